"""Bundles: what is written is read back, and whatever is wrong with one is said in a line."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from bandmate import checkpoint
from bandmate.checkpoint import (
    DEFAULT,
    advised_sampling,
    available,
    load_bundle,
    made_for,
    resolve,
    sampling_for,
    save_bundle,
)
from bandmate.codec.spectral import SpectralCodec
from bandmate.configs import CODECS, MODEL_KINDS, MODELS, duet_tiny, preset, spectral_tiny
from bandmate.model.duet import Duet
from bandmate.model.sampling import Sampler


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_bundle(
        tmp_path / "b",
        SpectralCodec(spectral_tiny()),
        Duet(duet_tiny()),
        {"guidance": 2.0},
        {"seed": 0},
        half=False,
    )
    return tmp_path / "b"


def test_what_is_written_is_read_back(folder: Path) -> None:
    torch.manual_seed(0)
    codec, model = SpectralCodec(spectral_tiny()), Duet(duet_tiny())
    bundle = load_bundle(str(folder))
    assert bundle.card["sampling"] == {"guidance": 2.0}
    for built, read in ((codec, bundle.codec), (model, bundle.model)):
        for name, value in built.state_dict().items():
            assert torch.equal(read.state_dict()[name], value), name
    assert not bundle.model.training


def test_the_default_bundle_comes_with_the_package_and_fits_its_limits() -> None:
    assert DEFAULT in available()
    bundle = load_bundle()
    assert sum(p.numel() for p in bundle.codec.parameters()) <= 5_000_000
    assert sum(p.numel() for p in bundle.model.parameters()) <= 10_000_000
    files = resolve(DEFAULT).iterdir()
    assert sum(file.stat().st_size for file in files) <= 30_000_000
    assert (resolve(DEFAULT) / "MODEL_CARD.md").is_file()
    assert all(torch.isfinite(value).all() for value in bundle.model.state_dict().values())


@pytest.mark.parametrize(
    ("t_f", "guidance", "top_k"),
    [(None, 1.5, 200), (-4.0, 2.0, 200), (-0.4, 2.0, 200), (0.3, 2.0, 200), (0.31, 1.0, 50), (1.0, 1.0, 50)],
)
def test_how_to_draw_may_depend_on_t_f(folder: Path, t_f: float | None, guidance: float, top_k: int) -> None:
    by_t_f = {-0.4: {"guidance": 2.0}, 1: {"guidance": 1.0, "top_k": 50, "temperature": [0.7, 1.0, 1.0, 1.0]}}
    write_sampling(folder, {"temperature": 1.0, "top_k": 200, "guidance": 1.5, "by_t_f": by_t_f})
    drawing = sampling_for(load_bundle(str(folder)).card, t_f)
    temperature = (0.7, 1.0, 1.0, 1.0) if top_k == 50 else 1.0
    assert drawing == {"temperature": temperature, "top_k": top_k, "guidance": guidance}


@pytest.mark.parametrize(
    "by_t_f",
    [[], {"soon": {"guidance": 2.0}}, {True: {}}, {float("inf"): {}}, {0: 2.0}, {0: {"guidence": 2.0}}],
)
def test_by_t_f_is_looked_at_when_a_bundle_is_read(folder: Path, by_t_f: object) -> None:
    write_sampling(folder, {"guidance": 1.5, "by_t_f": by_t_f})
    with pytest.raises(ValueError, match="by_t_f wants seconds, each with temperature, top_k, guidance"):
        load_bundle(str(folder))


@pytest.mark.parametrize(
    ("sampling", "says"),
    [
        (
            {"guidence": 2.0},
            "unknown key 'guidence'; known are temperature, top_k, guidance, plausible, by_t_f",
        ),
        ({7: 2.0}, "unknown key '7'"),
        (
            {"guidance": "much"},
            "sampling, guidance wants a number, or a list with one for each level, not 'much'",
        ),
        ({"temperature": None}, "temperature wants a number"),
        ({"temperature": True}, "temperature wants a number"),
        ({"temperature": []}, "temperature wants a number"),
        ({"temperature": [1.0, "a"]}, "temperature wants a number"),
        ({"top_k": 1.5}, "top_k wants a whole number"),
        ({"top_k": 0}, "sampling, top-k must be at least 1, not 0"),
        ({"temperature": float("nan")}, "temperature must be 0 or more"),
        ({"guidance": [1.0, -1.0, 1.0, 1.0]}, "guidance must be 0 or more"),
        ({"by_t_f": {0.5: {"guidance": "much"}}}, "sampling, by_t_f 0.5, guidance wants a number"),
        ({"by_t_f": {0.5: {"top_k": -1}}}, "sampling, by_t_f 0.5, top-k must be at least 1"),
        ({"guidance": [2.0, 1.0]}, "sampling, guidance has 2 entries, the codec 4 levels"),
        ({"plausible": 1.5}, "sampling, plausible wants a whole number"),
        ({"plausible": 0}, "plausible must be at least 1, not 0"),
        ({"by_t_f": {1: {"top_k": [9] * 5}}}, "sampling, by_t_f 1, top_k has 5 entries, the codec 4 levels"),
    ],
)
def test_what_cannot_be_drawn_by_is_told_when_a_bundle_is_read(
    folder: Path, sampling: dict, says: str
) -> None:
    write_sampling(folder, sampling)
    with pytest.raises(ValueError, match=re.escape(says)) as told:
        load_bundle(str(folder))
    assert str(told.value).startswith(f"{folder / 'config.yaml'}: ")


def test_each_level_may_be_drawn_in_its_own_way(folder: Path) -> None:
    each = {"temperature": [1, 0.9, 0.8, 0], "top_k": [200, 9, 9, 1], "guidance": [4.0, 2.0, 1.0, 0.0]}
    write_sampling(folder, each | {"by_t_f": {1: each}})
    Sampler(**sampling_for(load_bundle(str(folder)).card, 1.0))


def test_the_advised_sampling_is_that_of_the_kind() -> None:
    paper = {"temperature": 1.0, "top_k": 200, "guidance": 1.0}
    for name in ("decoder-tiny", "prefix-decoder-tiny", "offline-prefix-tiny", "encoder-decoder-tiny"):
        assert advised_sampling(built(name)) == paper, name
    assert advised_sampling(built("stemgen-tiny")) == {"temperature": 1.0, "top_k": 32, "guidance": 2.0}
    duet = advised_sampling(built("duet-tiny"))
    assert duet["guidance"][0] > 1
    assert duet["plausible"] > 0
    assert Sampler(**sampling_for({"sampling": duet}, 0.0)).guided


def built(name: str) -> torch.nn.Module:
    config = preset(MODELS, name)
    return next(make(config) for known, make in MODEL_KINDS.values() if known is type(config))


def write_sampling(folder: Path, sampling: dict) -> None:
    card = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(card | {"sampling": sampling}))


def test_the_nearest_name_is_suggested() -> None:
    with pytest.raises(ValueError, match="did you mean 'duet-small'"):
        load_bundle("duet-smal")
    with pytest.raises(ValueError, match="did you mean 'duet-tiny'"):
        preset(MODELS, "duet-tyni")
    assert set(CODECS) == {"spectral-small", "spectral-tiny", "dac", "dac-tiny"}


@pytest.mark.parametrize("name", ["codec.safetensors", "model.safetensors"])
def test_a_truncated_file_is_named(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=rf"{name} is damaged"):
        load_bundle(str(folder))


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        load_bundle(str(folder))


@pytest.mark.parametrize(
    ("section", "message"),
    [("model", "unknown key 'widht'"), ("codec", "unknown key 'widht'"), (None, "unknown key 'widht'")],
)
def test_an_unknown_key_is_named(folder: Path, section: str | None, message: str) -> None:
    card = yaml.safe_load((folder / "config.yaml").read_text())
    (card[section] if section else card)["widht"] = {}
    (folder / "config.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(ValueError, match=message):
        load_bundle(str(folder))


def test_weights_of_another_size_are_told(folder: Path) -> None:
    card = yaml.safe_load((folder / "config.yaml").read_text())
    card["model"]["width"] = 64
    (folder / "config.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(ValueError, match=r"does not fit its config\.yaml"):
        load_bundle(str(folder))


@pytest.mark.parametrize("text", ["codec: [", "just words", "codec: {}\nmodel: {}\n"])
def test_a_broken_card_is_told(folder: Path, text: str) -> None:
    (folder / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml"):
        load_bundle(str(folder))


def test_a_folder_that_is_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.yaml is wanted"):
        load_bundle(str(tmp_path))


class Killed(BaseException):
    """What a kill is to the code that it ends; not even clean-up runs after a real one."""


def another_bundle(folder: Path) -> None:
    torch.manual_seed(1)
    save_bundle(folder, SpectralCodec(spectral_tiny()), Duet(duet_tiny()), {"guidance": 3.0}, {}, half=False)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("over", [False, True])
def test_a_kill_in_between_leaves_what_was_there(
    number: int, over: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, calls = folder if over else tmp_path / "fresh", []

    def save(state: dict, path: Path) -> None:
        calls.append(path)
        if len(calls) > number:
            raise Killed
        path.write_bytes(b"half")

    before = files(folder)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", save)
        patch.setattr(checkpoint.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            another_bundle(target)
    assert files(folder) == before
    assert target.exists() == over
    assert len(list(tmp_path.glob(".*.unfinished"))) == 1
    another_bundle(target)
    assert load_bundle(str(target)).card["sampling"] == {"guidance": 3.0}
    assert not list(tmp_path.glob(".*"))


def test_a_kill_between_the_two_moves_loses_nothing(folder: Path) -> None:
    old = folder.rename(folder.with_name(".b.replaced"))
    (old / "MODEL_CARD.md").write_text("mine")
    another_bundle(folder)
    assert load_bundle(str(folder)).card["sampling"] == {"guidance": 3.0}
    assert (folder / "MODEL_CARD.md").read_text() == "mine"
    assert not old.exists()


@pytest.mark.parametrize(
    ("about", "place"),
    [
        ({"made_for": {"t_f": 0.6, "k": 0.2}}, {"t_f": 0.6, "k": 0.2}),
        ({"made_for": {"t_f": -1}}, {"t_f": -1.0}),
        ({"made_for": {"k": True, "t_f": "soon"}}, {}),
        ({"made_for": 3}, {}),
        ("by hand", {}),
        (None, {}),
    ],
)
def test_the_place_that_a_bundle_was_made_for(about: object, place: dict) -> None:
    assert made_for({"about": about}) == place
