"""`bandmate prepare` on data sets of stems, with a tiny codec."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bandmate.checkpoint import save_bundle
from bandmate.cli import main
from bandmate.codec.spectral import SpectralCodec
from bandmate.commands.prepare import with_address
from bandmate.configs import duet_tiny, spectral_tiny
from bandmate.data.tokens import TokenStore
from bandmate.model.duet import Duet
from bandmate.train.encode import Encoders
from tests.data import trees

SAMPLE = Path(__file__).parent / "slakh_sample"


def make_bundle(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    codec, model = SpectralCodec(spectral_tiny()).eval(), Duet(duet_tiny())
    codec.quantizer.codebook.normal_()
    save_bundle(folder, codec, model, {"temperature": 1.0, "top_k": 8, "guidance": 1.0}, {}, half=False)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


def prepare(what: str, data: Path, codec: Path | str, out: Path, *more: str) -> int:
    return main(
        [
            "prepare",
            what,
            "--data",
            str(data),
            "--codec",
            str(codec),
            "--out",
            str(out),
            "--workers",
            "1",
            *more,
        ]
    )


def test_the_slakh_sample_becomes_a_store(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare("slakh", SAMPLE / "slakh2100_flac_redux", bundle, tmp_path) == 0
    store = TokenStore(tmp_path)
    (entry,) = store.entries
    assert (entry.id, entry.frames, len(entry.instruments), len(entry.submixes)) == (
        "Track00001",
        100,
        10,
        20,
    )
    assert (store.config.codes, store.config.submix_codes, store.config.features) == (32, True, False)
    codec = SpectralCodec(spectral_tiny())
    assert store.codebook().shape == tuple(codec.codebook_table().shape)
    error = capsys.readouterr().err
    assert "S06 is listed in metadata.yaml, but has no file" in error
    assert "1 of 1 tracks" in error
    assert json.loads((tmp_path / "left_out.jsonl").read_text())["track"] == "Track00001"


def test_every_reader_reaches_the_store(bundle: Path, tmp_path: Path) -> None:
    trees.musdb(tmp_path / "musdb")
    trees.moises_song(
        tmp_path / "moises" / "v" / "id",
        {"bass": [("a", "bass guitar")], "guitar": [("b", "acoustic guitar")]},
    )
    trees.cocochorales_track(tmp_path / "cocochorales" / "test" / "brass_track216001", ("trumpet", "tuba"))
    trees.write(tmp_path / "folder" / "one" / "a.wav")
    trees.write(tmp_path / "folder" / "one" / "b.wav")
    (tmp_path / "folder" / "layout.yaml").write_text(
        "stems: '{song}/{stem}.wav'\nclasses: {a: Piano, b: Bass}"
    )
    for name, tracks in {"musdb": 3, "moises": 1, "cocochorales": 1, "folder": 1}.items():
        assert (
            prepare(
                name, tmp_path / name, bundle, tmp_path / "out" / name, "--submixes", "2", "--seconds", "0.4"
            )
            == 0
        )
        store = TokenStore(tmp_path / "out" / name)
        assert len(store) == tracks
        assert {entry.frames for entry in store.entries} == {20}
        assert {len(entry.submixes) for entry in store.entries} == {2}
        window = store.window(0, 0, 5)
        assert window.x_codes is not None
        assert window.x_codes.shape == (4, 5)


def test_what_the_models_hear_can_be_chosen(bundle: Path, tmp_path: Path) -> None:
    trees.slakh_track(tmp_path / "data" / "Track00001")
    assert prepare("slakh", tmp_path / "data", bundle, tmp_path / "both", "--hear", "both") == 0
    assert prepare("slakh", tmp_path / "data", bundle, tmp_path / "mel", "--hear", "mel") == 0
    both, mel = (TokenStore(tmp_path / name).window(0, 0, 20) for name in ("both", "mel"))
    assert both.x_codes is not None
    assert mel.x_codes is None
    np.testing.assert_array_equal(both.x_features, mel.x_features)


def refused(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> None:
    """The last line on stderr says all the words; no traceback."""
    assert code in (1, 2)
    error = capsys.readouterr().err
    assert "Traceback" not in error
    for word in words:
        assert word in error.splitlines()[-1]


def test_a_store_of_another_codec_or_format_is_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trees.slakh_track(tmp_path / "data" / "Track00001")
    out = tmp_path / "out"
    assert prepare("slakh", tmp_path / "data", bundle, out) == 0
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    other = make_bundle(tmp_path / "other", seed=1)
    refused(capsys, prepare("slakh", tmp_path / "data", other, out), str(out), "another codec")
    refused(capsys, prepare("slakh", tmp_path / "data", bundle, out, "--submixes", "3"), "another submixes")
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    settings = json.loads(before["store.json"])
    (out / "store.json").write_text(json.dumps(settings | {"format": 0}))
    refused(capsys, prepare("slakh", tmp_path / "data", bundle, out), str(out), "another format (0")
    (out / "store.json").write_text("{")
    refused(capsys, prepare("slakh", tmp_path / "data", bundle, out), "store.json is damaged")


def test_a_store_of_another_length_is_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a store that an earlier version made nothing is known: it goes on."""
    data, out = trees.slakh_track(tmp_path / "data" / "Track00001").parent, tmp_path / "out"
    assert prepare("slakh", data, bundle, out, "--seconds", "0.5") == 0
    refused(capsys, prepare("slakh", data, bundle, out), str(out), "another seconds")
    refused(capsys, prepare("slakh", data, bundle, out, "--seconds", "0.4"), "another seconds")
    settings = json.loads((out / "store.json").read_text())
    assert settings.pop("seconds") == 0.5
    (out / "store.json").write_text(json.dumps(settings))
    assert TokenStore(out).config.seconds is None
    assert prepare("slakh", data, bundle, out, "--seconds", "0.5") == 0


@pytest.mark.parametrize(
    ("what", "idle"),
    [
        ("band", "--workers 2"), ("band", "--seconds 20"), ("band", "--data x"), ("midi", "--cluster"),
        ("midi", "--codec x"), ("midi", "--hear mel"), ("midi", "--submixes 3"), ("midi", "--layout x"),
        ("midi", "--songs 3"), ("store", "--renditions 3"), ("store", "--songs 3"), ("store", "--layout x"),
        ("slakh", "--renditions 3"), ("folder", "--songs 3"), ("slakh", "--as tracks --seed 1"),
        ("slakh", "--cluster --workers 2"),
    ],
)  # fmt: skip
def test_an_option_that_would_change_nothing_is_refused(
    what: str, idle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", what, "--out", str(tmp_path / "out"), *idle.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert idle.rpartition("--")[2].split()[0] in line
    assert "leave" in line
    assert not (tmp_path / "out").exists()


def test_a_store_without_a_codebook_gets_one(bundle: Path, tmp_path: Path) -> None:
    trees.slakh_track(tmp_path / "data" / "Track00001")
    assert prepare("slakh", tmp_path / "data", bundle, tmp_path / "out") == 0
    wanted = TokenStore(tmp_path / "out").codebook()
    (tmp_path / "out" / "codebook.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="prepare"):
        TokenStore(tmp_path / "out").codebook()
    assert prepare("slakh", tmp_path / "data", bundle, tmp_path / "out") == 0
    np.testing.assert_array_equal(TokenStore(tmp_path / "out").codebook(), wanted)
    (tmp_path / "out" / "codebook.safetensors").write_bytes(b"no table")
    with pytest.raises(ValueError, match=r"codebook\.safetensors is damaged"):
        TokenStore(tmp_path / "out").codebook()


def test_what_makes_no_sense_is_told_in_a_line(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = trees.slakh_track(tmp_path / "data" / "Track00001").parent, tmp_path / "out"
    refused(capsys, main(["prepare", "slakh", "--out", str(out)]), "needs --data")
    refused(capsys, prepare("slakh", tmp_path / "none", bundle, out), "there is no folder", "none")
    refused(capsys, prepare("slakh", data, "duet-smal", out), "did you mean 'duet-small'")
    refused(capsys, prepare("slakh", data, bundle, out, "--layout", "x.yaml"), "--layout is for folder")
    refused(capsys, prepare("folder", data, bundle, out), "there is no layout", "layout.yaml")
    (data / "layout.yaml").write_text("stems: [")
    refused(capsys, prepare("folder", data, bundle, out), "layout.yaml is broken YAML")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("", (), {"free": 10})())
    assert prepare("slakh", data, bundle, out) == 1
    refused(capsys, 1, "out will take about", "10 bytes free")
    assert not out.exists()


def test_a_data_set_without_a_usable_track_is_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    track = trees.slakh_track(tmp_path / "data" / "Track00001")
    for file in (track / "stems").iterdir():
        trees.damage(file)
    refused(capsys, prepare("slakh", tmp_path / "data", bundle, tmp_path / "out"), "no track of", "S00.flac")


def test_a_codec_of_another_kind_is_encoded_in_pieces(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What any codec can do is enough: the pieces give the codes of the whole."""
    from bandmate.train import encode

    torch.manual_seed(0)
    codec = SpectralCodec(spectral_tiny()).eval()
    codec.quantizer.codebook.normal_()
    audio = np.random.default_rng(0).normal(0, 0.1, (2, 32000)).astype(np.float32)
    with torch.inference_mode():
        wanted = codec.encode(torch.from_numpy(audio))
    monkeypatch.setattr(encode, "SpectralCodec", type(None))
    monkeypatch.setattr(encode, "PIECE", 7)
    assert (Encoders(codec).codes(audio) == wanted).float().mean() > 0.999  # ties aside


def test_a_lone_cluster_flag_means_auto() -> None:
    assert with_address(["slakh", "--cluster"]) == ["slakh", "--cluster", "auto"]
    assert with_address(["--cluster", "--out", "x"]) == ["--cluster", "auto", "--out", "x"]
    assert with_address(["--cluster", "ray://a:1", "--out", "x"]) == ["--cluster", "ray://a:1", "--out", "x"]
