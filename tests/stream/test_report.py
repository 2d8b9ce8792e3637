"""What the report of a stream and its notes say of the bundle that played."""

import dataclasses

import pytest
import torch

from bandmate.checkpoint import Bundle
from bandmate.codec.spectral import SpectralCodec
from bandmate.commands.playing import elsewhere
from bandmate.configs import decoder_tiny, duet_tiny, spectral_tiny
from bandmate.model.decoder import Decoder
from bandmate.model.duet import Duet
from bandmate.spec import StreamSpec
from bandmate.stream import quick as quick_module
from bandmate.stream.quick import precision_of, quick


def test_the_precision_is_what_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_module, "can_pack", lambda: True)
    duet = Bundle("x", SpectralCodec(spectral_tiny()), Duet(duet_tiny()), {})
    paper = dataclasses.replace(duet, model=Decoder(decoder_tiny()))
    other = dataclasses.replace(duet, codec=torch.nn.Linear(16, 16))
    told = [precision_of(each, quick(each)) for each in (duet, paper, other)]
    assert told == ["int8", "int8, model fp32", "int8, codec fp32"]
    neither = dataclasses.replace(paper, codec=other.codec)
    assert precision_of(neither, quick(neither)) == "fp32"
    assert precision_of(duet, duet) == "fp32"


@pytest.mark.parametrize(
    ("about", "t_f", "k", "says"),
    [
        ({}, -20, 5, ""),
        ({"made_for": {"t_f": 0.6, "k": 0.2}}, 30, 10, ""),
        ({"made_for": {"t_f": 0.6, "k": 0.2}}, 30, 5, "t_f = 0.6 s, k = 0.1 s: give --t-f 0.6 --k 0.2"),
        ({"made_for": {"k": 0.2}}, -20, 5, "t_f = -0.4 s, k = 0.1 s: give --k 0.2"),
    ],
)
def test_a_specialist_that_is_played_elsewhere_is_told(about: dict, t_f: int, k: int, says: str) -> None:
    told = elsewhere({"about": about}, StreamSpec(t_f, k))
    assert told.endswith(says)
    assert bool(told) == bool(says)
