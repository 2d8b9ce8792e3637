from typing import Any

import pytest

from bandmate.train import presets, runs
from bandmate.train.presets import TABLES


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("rate=1e-4", 1e-4),
        ("rate=1", 1),
        ("batch=3", 3),
        ("noise=0.5", 0.5),
        ("precision=bf16-mixed", "bf16-mixed"),
    ],
)
def test_values_are_read_as_the_field_takes_them(setting: str, value: Any) -> None:
    config = runs.override(TABLES["codec"]["tiny"](), [setting])
    assert getattr(config, setting.partition("=")[0]) == value


def test_a_field_of_a_config_within() -> None:
    config = runs.override(TABLES["lm"]["tiny"](), ["model.layers=1"])
    assert config.model.layers == 1


@pytest.mark.parametrize("what", presets.TABLES)
def test_every_preset_takes_its_own_values(what: str) -> None:
    """Each plain field of each preset, set to what it is: nothing that is allowed is refused."""
    for make in TABLES[what].values():
        config = make()
        plain = {name: value for name, value in vars(config).items() if isinstance(value, int | float | str)}
        assert runs.override(config, [f"{name}={value}" for name, value in plain.items()]) == config
