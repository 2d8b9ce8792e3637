"""``bandmate bench`` as a user meets it; times are those of a clock that moves only when work is done."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bandmate.stream import host
from bandmate.sweep import machine
from tests.stream.ticking import COLUMN, DECODE, FLUSH, Ticker, step_seconds
from tests.sweep import small
from tests.ticking_player import complaint, install, runner

run = runner("bench")


@pytest.fixture
def ticker(monkeypatch: pytest.MonkeyPatch) -> Ticker:
    return install(monkeypatch)


def test_the_report(ticker: Ticker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--k", 0.1, 0.02, "--seconds", 2, "--json", tmp_path / "b.json") == 0
    report = json.loads((tmp_path / "b.json").read_text())
    assert report["t_gen"] == pytest.approx({"0.02": step_seconds(1), "0.1": step_seconds(5)})
    frame, five = report["chunks"]
    assert (frame["k"], frame["calls"], five["k"], five["calls"]) == (0.02, 100, 0.1, 20)
    assert five["step_ms"] == dict.fromkeys(("p50", "p95", "p99", "max"), pytest.approx(27))
    assert five["real_time_factor"] == pytest.approx(0.27)
    assert five["share"] == pytest.approx(
        {"encode": 1 / 27, "listen": 2 / 27, "play": 20 / 27, "decode": 4 / 27, "other": 0}, abs=1e-4
    )
    assert frame["first_ms"] == pytest.approx(1000 * 10 * COLUMN)
    assert five["first_ms"] == pytest.approx(1000 * step_seconds(5))
    assert five["players_per_core"] == 7  # half of 27 ms of processor for 100 ms of sound
    assert report["machine"] == host.describe()
    assert report["on_processor"] == pytest.approx(0.5)
    assert report["bandwidth_gb_s"]["read"] == 10
    memory = report["memory_mb"]
    assert memory["peak"] + 1 >= max(memory["warm"], memory["end"]) > 0
    assert {"bandmate", "torch"} <= set(report["versions"])
    said = capsys.readouterr()
    assert not said.err
    assert "Abacus 2" in said.out
    assert "load average 0.25 before" in said.out
    assert "busy: the work had a processor 50 % of its time" in said.out
    rows = [line.split() for line in said.out.splitlines()]
    assert ["0.1", "20", "27.0", "27.0", "27.0", "27.0", "27.0", "0.270", "7"] in rows
    assert ["0.1", "4", "%", "7", "%", "74", "%", "15", "%", "0", "%"] in [row[:11] for row in rows]


def test_the_floor_of_a_real_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy of the real kind: what it reads is at most what it weighs per column, and over the bandwidth the floor."""
    from bandmate.checkpoint import load_bundle

    folder = small.bundle(tmp_path / "tiny")
    install(monkeypatch)
    monkeypatch.setattr("bandmate.checkpoint.load_bundle", load_bundle)
    assert (
        run(
            "--model",
            folder,
            "--k",
            0.1,
            "--seconds",
            0.5,
            "--json",
            tmp_path / "b.json",
            "--precision",
            "fp32",
        )
        == 0
    )
    report = json.loads((tmp_path / "b.json").read_text())
    (five,) = report["chunks"]
    read = five["column_mb"]["weights"] + five["column_mb"]["caches"]
    assert five["column_mb"]["weights"] > 0.001
    assert five["floor_ms"] == pytest.approx(1000 * 5 * read * 1e6 / 10e9, rel=0.1)
    assert report["bandwidth_gb_s"]["resident_mb"] == pytest.approx(read, abs=0.01)
    assert (report["model"], report["precision"], report["sampling"]["guidance"]) == ("tiny", "fp32", 1.5)


def test_quick(ticker: Ticker, tmp_path: Path) -> None:
    assert run("--quick", "--json", tmp_path / "b.json") == 0
    assert {c["k"]: c["calls"] for c in json.loads((tmp_path / "b.json").read_text())["chunks"]} == {
        0.02: 150,
        0.1: 30,
    }
    ticker.speed = 0.01  # a hundred times as slow: it is cut short
    assert run("--quick", "--json", tmp_path / "b.json") == 0
    slow = json.loads((tmp_path / "b.json").read_text())
    assert [c["calls"] for c in slow["chunks"]] == [50, 1]
    assert slow["t_gen"] == pytest.approx({"0.02": 100 * step_seconds(1), "0.1": 100 * step_seconds(5)})


def test_figures_take_the_report(ticker: Ticker, tmp_path: Path) -> None:
    assert run("--k", 0.1, 1, "--seconds", 1, "--json", tmp_path / "b.json") == 0
    held = machine.read([tmp_path / "b.json"])
    assert held.k == (0.1, 1.0)
    assert held.t_gen == pytest.approx((step_seconds(5), step_seconds(50)))


def test_another_sound_and_another_guidance(ticker: Ticker, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(4_000), 8_000)
    flags = [
        "--audio",
        tmp_path / "a.wav",
        "--t-f",
        0.2,
        "--k",
        0.2,
        "--seconds",
        1,
        "--json",
        tmp_path / "b.json",
    ]
    assert run(*flags, "--guidance", 1) == 0
    report = json.loads((tmp_path / "b.json").read_text())
    assert (report["t_f"], report["sampling"]["guidance"]) == (0.2, 1.0)
    assert report["chunks"][0]["share"]["decode"] == pytest.approx(
        (DECODE + FLUSH) / step_seconds(10), abs=1e-4
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--k", "0.01"], "--k 0.01 is out of range: give 0.02 to 2 seconds"),
        (["--k", "nan"], "--k nan is out of range"),
        (["--k", "fast"], "'fast'"),
        (["--t-f", "9"], "--t-f 9 is out of range: give -4 to 4 seconds"),
        (["--seconds", "0"], "--seconds 0 is out of range"),
        (["--threads", "-1"], "--threads -1 is out of range"),
        (["--guidance", "-1"], "--guidance -1 is out of range"),
        (["--precision", "int4"], "int4"),
        (["--model", "duet"], "did you mean 'duet-small'?"),
        (["--model", "offline"], "offline is an offline model: it cannot play for as long as one likes"),
        (["--audio", "none.wav"], "there is no file none.wav"),
        (["--json", "no/b.json"], "there is no folder no"),
        (["--quikc"], "did you mean --quick?"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str], says: str, ticker: Ticker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert says in complaint(capsys, "bench")
    assert not list(tmp_path.iterdir())


def test_interrupt(
    ticker: Ticker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bandmate.stream.measure.Probe.run", interrupted)
    assert run("--json", tmp_path / "b.json") == 130
    assert "interrupted" in complaint(capsys, "bench")
    assert not list(tmp_path.iterdir())


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run("--help")
    assert left.value.code == 0
    assert "Example: bandmate bench --k 0.1 0.2 --json bench.json" in " ".join(
        capsys.readouterr().out.split()
    )
