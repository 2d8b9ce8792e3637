import dataclasses
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
        named = {
            field.name: getattr(config, field.name) for field in dataclasses.fields(config) if field.init
        }
        plain = {name: value for name, value in named.items() if isinstance(value, int | float | str)}
        assert runs.override(config, [f"{name}={value}" for name, value in plain.items()]) == config


@pytest.mark.parametrize(
    ("table", "preset", "setting", "value"),
    [
        ("lm", "tiny", "level_weights=[1e-4, 1]", (1e-4, 1)),
        ("lm", "decoder-tiny", "betas=[0.9, 0.95]", (0.9, 0.95)),
        ("lm", "stemgen-tiny", "model.steps=[4, 2]", (4, 2)),
        ("lm", "tiny", "only_t_f=-5", -5),
    ],
)
def test_lists_are_read_entry_by_entry(table: str, preset: str, setting: str, value: Any) -> None:
    config: Any = runs.override(TABLES[table][preset](), [setting])
    for name in setting.partition("=")[0].split("."):
        config = getattr(config, name)
    assert config == value
    assert (
        [type(each) for each in value] == [type(each) for each in config]
        if isinstance(value, tuple)
        else True
    )


@pytest.mark.parametrize(
    ("preset", "setting", "says"),
    [
        ("tiny", "level_weights=[1, a]", "level_weights takes a list of numbers"),
        ("tiny", "level_weights=1e-4", "level_weights takes a list of numbers"),
        ("tiny", "level_weights=[[1, 2]]", "level_weights takes a list of numbers"),
        ("decoder-tiny", "betas=[0.9]", "betas takes a list of 2 numbers"),
        ("stemgen-tiny", "model.steps=[1.5]", "steps takes a list of whole numbers"),
    ],
)
def test_a_list_that_does_not_fit_is_told(preset: str, setting: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        runs.override(TABLES["lm"][preset](), [setting])


@pytest.mark.parametrize(
    ("table", "preset", "setting", "says"),
    [
        ("lm", "tiny", "batch=[", "batch takes a whole number"),
        ("lm", "tiny", "rate=2020-13-45", "rate takes a number"),
        ("lm", "tiny", "model.layers.x=3", "layers has no fields of its own"),
        ("lm", "decoder-tiny", "model=3", "model has fields of its own"),
        ("lm", "tiny", "model.kv_heads=0", "kv_heads must be 1 or more"),
        ("lm", "decoder-tiny", "model.window=0", "window must be 1 or more"),
        ("lm", "tiny", "model.hidden=0", "hidden must be 1 or more"),
        ("lm", "tiny", "model.levels=0", "levels must be 1 or more"),
        ("lm", "tiny", "workers=-1", "workers must be 0 or more"),
        ("lm", "tiny", "model.kv_heads=3", "model.heads=4 is no multiple of model.kv_heads=3"),
        ("lm", "tiny", "model.heads=3", "model.width=32 is no multiple of model.heads=3"),
        ("lm", "tiny", "model.width=36", "gives each of 4 heads an odd width"),
        ("codec", "tiny", "codec.levels=0", "levels must be 1 or more"),
        ("codec", "tiny", "steps=3", "there is no field 'steps'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_told_in_one_line(
    table: str, preset: str, setting: str, says: str
) -> None:
    with pytest.raises(ValueError, match=says) as told:
        runs.override(TABLES[table][preset](), [setting])
    assert "\n" not in str(told.value)


def test_a_word_may_look_like_broken_yaml() -> None:
    assert runs.override(TABLES["coherence"]["tiny"](), ["spectra=[a"]).spectra == "[a"


def test_heads_are_looked_at_when_all_is_set() -> None:
    config = runs.override(TABLES["lm"]["tiny"](), ["model.heads=8", "model.kv_heads=8"])
    assert (config.model.heads, config.model.kv_heads) == (8, 8)
