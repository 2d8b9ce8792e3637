"""``bandmate models list``: where a bundled model plays, and how it is advised to be drawn from."""

from typing import Any

import pytest

from bandmate.commands import models


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"kind": "duet"}, "any t_f and k, in one model"),
        ({"kind": "decoder", "t_f": -20}, "t_f = -0.4 s, k = 0.02 s"),
        ({"kind": "prefix_decoder", "t_f": 50, "k": 5}, "t_f = 1 s, k = 0.1 s"),
        ({"kind": "encoder_decoder", "t_f": None, "k": 1}, "offline: hears the whole clip"),
        ({"kind": "stemgen"}, "offline: hears the whole clip"),
    ],
)
def test_the_list_tells_where_a_model_plays(model: dict[str, Any], says: str) -> None:
    assert models.place_of(model) == says


def test_the_list_tells_how_to_draw() -> None:
    sampling = {"temperature": 0.9, "top_k": 100, "by_t_f": {-1.0: {"top_k": 40}, -0.4: {}}}
    assert models.drawing(sampling) == "temperature 0.9, top_k 100 (near t_f = -1 s: top_k 40)"
    assert models.drawing({}) == "nothing"
