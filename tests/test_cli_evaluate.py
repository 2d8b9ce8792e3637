"""``bandmate evaluate systems`` as it is typed; the networks are stand-ins, their choice is not."""

import csv
import json
from pathlib import Path

import pytest

from bandmate import weights
from bandmate.cli import main
from bandmate.evaluate import networks
from tests.evaluate import fakes

MEASURES = {"coherence", "beats", "embedding"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fakes.generated(tmp_path_factory.mktemp("cli") / "good", clips=2)


def stand_in(monkeypatch: pytest.MonkeyPatch, measures: set[str]) -> None:
    for measure, network in fakes.listener()._asdict().items():
        if measure in measures:
            monkeypatch.setattr(networks, measure, lambda _, network=network: network)


@pytest.fixture
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, MEASURES)


def run(*argv: object) -> int:
    return main(["evaluate", "systems", *map(str, argv)])


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1, error
    return error


@pytest.mark.usefixtures("_stand_ins")
def test_tables_in_all_forms(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {form: tmp_path / f"table.{form}" for form in ("json", "csv", "markdown")}
    flags = [word for form, path in files.items() for word in (f"--{form}", path)]
    assert run(f"mine={folder}", "--cache", tmp_path / "cache", *flags) == 0
    captured = capsys.readouterr()
    assert files["markdown"].read_text() == captured.out
    assert "systems: 100 %" in captured.err
    report = json.loads(files["json"].read_text())
    assert [row["system"] for row in report["tables"][0]["rows"]][-1] == "mine"
    assert report["networks"]["beats"] == {"name": "fake beats", "version": "1"}
    with files["csv"].open() as file:
        lines = list(csv.DictReader(file))
    assert [line["system"] for line in lines].count("mine") == 3
    mine = next(line for line in lines if line["system"] == "mine")
    assert float(mine["beat_f1"]) == pytest.approx(1, abs=0.05)
    assert mine["coherence_both_clips"] == "2"
    assert mine["embedding_network"] == "fake embedding"


@pytest.mark.usefixtures("_stand_ins")
def test_what_makes_no_sense(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = fakes.generated(tmp_path / "short", clips=1)
    cases: list[tuple[list[object], str]] = [
        ([], "give either folders"),
        ([folder, "--input", folder / "input"], "give either folders"),
        (["--input", folder / "input"], "plain folders come as three"),
        ([tmp_path / "nowhere"], "there is no folder"),
        ([tmp_path], "no clips.jsonl"),
        ([f"a={folder}", f"b={short}"], "lacks 1 of 2 clips: 00001"),
        ([folder, "--unconditional", "other"], "there is no such system"),
        ([folder, "--workers", 0], "--workers must be 1 or more"),
        ([folder, "--csv", tmp_path / "no" / "a.csv"], "create it first"),
        ([folder, "--beats", "metronome"], "beats"),
    ]
    for arguments, what in cases:
        assert run(*arguments) == 2, arguments
        assert what in complaint(capsys)


@pytest.mark.parametrize(
    ("flag", "name"), [("coherence", "cocola"), ("beats", "beat-this"), ("embedding", "vggish")]
)
def test_weights_that_are_absent_or_have_a_wrong_hash(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    name: str,
) -> None:
    monkeypatch.setenv("BANDMATE_WEIGHTS", str(tmp_path))
    stand_in(monkeypatch, MEASURES - {flag})
    assert run(folder, f"--{flag}", name) == 2
    assert f"bandmate models fetch {name}" in complaint(capsys)
    weights.path_of(name).write_bytes(b"these are no weights")
    if not weights.source(name).sha256:  # its publisher names none: the first copy's is written down
        weights.record(weights.source(name), "0" * 64)
    for wanted in (name, "auto"):  # what is there but wrong is never passed over in silence
        assert run(folder, f"--{flag}", wanted) == 2
        assert "wrong hash" in complaint(capsys)


def test_an_encoder_that_is_not_there(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--coherence", tmp_path) == 2
    assert "bandmate train coherence" in complaint(capsys)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        run("--help")
    assert not leave.value.code
    assert "Example:" in capsys.readouterr().out
