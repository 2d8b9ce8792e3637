"""``bandmate evaluate`` as it is typed."""

import json
from pathlib import Path

import pytest
import soundfile

from bandmate.cli import main


def run(*argv: object) -> int:
    return main(["evaluate", *map(str, argv)])


def test_codec(rendered: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "codec.json", tmp_path / "codec.md"]
    arguments = ["--rendered", rendered, "--model", bundle_path, "--songs", 1, "--stems", 1, "--seconds", 1]
    assert run("codec", *arguments, "--json", files[0], "--markdown", files[1]) == 0
    out = capsys.readouterr().out
    assert files[1].read_text() == out
    report = json.loads(files[0].read_text())
    assert {row["sound"] for row in report["rows"]} >= {"mix", "stems"}
    assert report["split"] == "test"


def test_listening(
    store: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "l.json", tmp_path / "l.png"]
    arguments = ["--store", store, "--model", bundle_path, "--windows", 1, "--seconds", 2, "--listen", 1]
    arguments += ["--t-f", -0.4, 0, 1, "--k", 0.1, "--json", files[0], "--plot", files[1]]
    assert run("listening", *arguments) == 0
    report = json.loads(files[0].read_text())
    assert [row["t_f"] for row in report["rows"] if row["level"] == 1] == [-0.4, 0, 1]
    assert report["listened_before_seconds"] == 1
    assert files[1].read_bytes().startswith(b"\x89PNG")
    captured = capsys.readouterr()
    assert "Spearman" in captured.out
    assert "listening: 100 %" in captured.err


def test_music(rendered: Path, bundle_path: Path, tmp_path: Path) -> None:
    arguments = ["--rendered", rendered, "--model", bundle_path, "--clips", 4, "--t-f", 0, "--seconds", 1]
    assert run("music", *arguments, "--audio", tmp_path / "wav", "--json", tmp_path / "m.json") == 0
    assert [row["system"] for row in json.loads((tmp_path / "m.json").read_text())["rows"]] == [
        "true stem",
        "model",
    ]
    written = sorted((tmp_path / "wav").glob("*.wav"))
    assert len(written) == 4
    assert soundfile.info(written[0]).channels == 2


def test_offline_models_are_not_for_music(
    rendered: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bandmate.checkpoint import load_bundle, save_bundle
    from bandmate.configs import stemgen_tiny
    from bandmate.model.stemgen import StemGen

    save_bundle(tmp_path / "offline", load_bundle(str(bundle_path)).codec, StemGen(stemgen_tiny()), {}, {})
    assert run("music", "--rendered", rendered, "--model", tmp_path / "offline", "--clips", 4) == 2
    assert "offline hears whole clips only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["codecs"], "give codec, listening, music"),
        (["codec"], "rendered"),
        (["codec", "--rendered", "nowhere", "--model", "BUNDLE"], "no rendered tracks under nowhere"),
        (["music", "--rendered", "x", "--clips", "0"], "--clips must be 1 or more"),
        (["music", "--rendered", "x", "--seconds", "0.1"], "--seconds 0.1 is out of range"),
        (["music", "--rendered", "x", "--k", "0"], "--k takes seconds from 0.02"),
        (["listening", "--store", "nowhere", "--model", "BUNDLE"], "no prepared store at nowhere"),
        (["listening", "--store", "x", "--plot", "a.pdf"], "a.png"),
        (["listening", "--store", "x", "--json", "nowhere/a.json"], "create it first"),
    ],
)
def test_what_makes_no_sense(
    arguments: list[str], what: str, bundle_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(bundle_path) if each == "BUNDLE" else each for each in arguments]
    assert run(*given) == 2
    error = capsys.readouterr().err
    assert what in error
    assert len(error.strip().splitlines()) == 1


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert "example:" in capsys.readouterr().out
    for kind in ("codec", "listening", "music"):
        with pytest.raises(SystemExit) as leave:
            run(kind, "--help")
        assert not leave.value.code
        assert "Example:" in capsys.readouterr().out
