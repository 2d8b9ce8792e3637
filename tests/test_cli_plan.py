"""``bandmate plan`` as a user meets it, on machines that are made up."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bandmate.checkpoint import load_bundle, save_bundle
from bandmate.cli import main
from bandmate.codec.spectral import SpectralCodec
from bandmate.configs import decoder_tiny, spectral_tiny
from bandmate.model.decoder import Decoder
from bandmate.spec import StreamSpec
from bandmate.stream.loopback import Samples, sweeps
from bandmate.sweep import grid, machine
from tests.stream.test_loopback import card
from tests.stream.ticking import Ticker, step_seconds
from tests.sweep.test_grid_figures import made_up
from tests.ticking_player import complaint, install, runner

run = runner("plan")


@pytest.fixture
def ticker(monkeypatch: pytest.MonkeyPatch) -> Ticker:
    return install(monkeypatch)


def planned(folder: Path, *arguments: object) -> dict[str, Any]:
    assert run("--json", folder / "p.json", "--seconds", 2, *arguments) == 0
    return json.loads((folder / "p.json").read_text())


def test_the_report(ticker: Ticker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """11 ms for 20: 1.25 times that is 13.75; with 20 of the card, 75 of pattern and codec, 1 of jitter 109.75 ms."""
    report = planned(tmp_path, "--plot", tmp_path / "p.png", "--t-f", -1, -0.1, "--k", 0.02, 0.1, 0.4)
    assert report["t_gen"] == pytest.approx({str(k): step_seconds(round(50 * k)) for k in (0.02, 0.1, 0.4)})
    assert (report["device_in"], report["device_out"], report["jitter"]) == (0.01, 0.01, 0.001)
    assert (report["pattern"], report["synthesis"]) == pytest.approx((0.06, 0.015))
    assert report["assumed"] == ["device_in", "device_out"]
    assert (report["wakes"], report["loopback"]) == (2000, None)
    advice = report["advice"]
    assert (advice["t_f"], advice["k"], advice["margin"]) == (-0.12, 0.02, True)
    assert advice["slack"] == pytest.approx(0.12 - 0.107)
    assert advice["command"] == "bandmate jam --t-f -0.12 --k 0.02"
    assert report["region"]["t_f"] == [-1, -0.1]
    assert report["region"]["deployable"] == [[True, False]] * 3
    assert report["region"]["slack"][1] == pytest.approx([1 - 0.123, 0.1 - 0.123])
    assert ticker.slept == pytest.approx(0.01 * (100 + 20 + 5))
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr()
    assert not said.err
    rows = [line.split() for line in said.out.splitlines()]
    assert ["0.1", "20", "27.0", "27.0", "27", "%", "877", "(-23)"] in rows
    assert "the sound card is assumed, not measured: give --loopback" in said.out
    assert "fewer than 100 calls of k = 0.1, 0.4 s" in said.out
    assert "jitter 1 ms (p99.9 of 2000 wake-ups)" in said.out
    assert "advised: t_f = -0.12 s, k = 0.02 s: its columns see 120 ms back on average" in said.out
    assert "bandmate jam --t-f -0.12 --k 0.02" in said.out


@pytest.mark.parametrize(
    ("speed", "t_f", "k", "margin"),
    [(10, -0.1, 0.02, True), (0.45, -0.18, 0.1, True), (0.35, -0.2, 0.1, True), (0.26, -0.28, 0.2, False)],
)
def test_slower_machines(
    speed: float, t_f: float, k: float, margin: bool, ticker: Ticker, tmp_path: Path
) -> None:
    ticker.speed = speed
    advice = planned(tmp_path, "--k", 0.02, 0.04, 0.1, 0.2)["advice"]
    needed = 0.096 + (1.25 if margin else 1) * step_seconds(round(50 * k)) / speed
    assert 0 <= -t_f - needed < 0.02
    assert (advice["t_f"], advice["k"], advice["margin"]) == (t_f, k, margin)


def test_what_was_given_is_not_measured(
    ticker: Ticker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bandmate.stream.jitter.Sleeper", None)
    flags = ["--device-in", 0.004, "--device-out", 0.02, "--jitter", 0.05, "--k", 0.1, "--threads", 2]
    report = planned(tmp_path, *flags)
    assert (report["device_in"], report["device_out"], report["jitter"]) == (0.004, 0.02, 0.05)
    assert (report["assumed"], report["wakes"]) == ([], 0)
    assert report["advice"]["command"] == "bandmate jam --t-f -0.2 --k 0.1 --threads 2"
    assert "assumed" not in capsys.readouterr().out


def test_loopback(
    ticker: Ticker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", card(delay=800))  # 50 ms at 16 kHz
    report = planned(tmp_path, "--loopback", "--input", "my mic", "--output", 2, "--k", 0.1, "--quick")
    assert (report["device_in"], report["device_out"], report["assumed"]) == (
        pytest.approx(0.025),
        pytest.approx(0.025),
        [],
    )
    assert report["loopback"]["seconds"] == pytest.approx(0.05)
    assert report["loopback"]["repeats"] == 3
    assert report["advice"]["command"] == "bandmate jam --t-f -0.16 --k 0.1 --input 'my mic' --output 2"
    said = capsys.readouterr()
    assert "playing 3 sweeps, 7 s" in said.err
    assert "sound card 50 ms both ways (± 0 ms, 3 sweeps)" in said.out


def test_a_loop_that_is_not_wired(
    ticker: Ticker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def silent(signal: Samples, **_: object) -> Samples:
        return 0 * signal[:, None]

    monkeypatch.setitem(sys.modules, "sounddevice", card(0, playrec=silent))
    assert run("--loopback", "--json", tmp_path / "p.json") == 2
    told = capsys.readouterr().err.splitlines()
    assert told[1].startswith(
        "bandmate plan: no signal came back, only silence: connect the output to the input"
    )
    assert len(told) == 2
    assert len(sweeps(16_000, 5)) == 5 * 36_000
    assert not list(tmp_path.iterdir())


def test_without_sounddevice(
    ticker: Ticker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert run("--loopback") == 1
    assert "pip install 'bandmate[live]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("speed", "flags", "says"),
    [
        (0.01, [], "throughput: at the best k, 0.2 s, a chunk takes 4.7 s, 23.50 times as long as it sounds"),
        (1.0, ["--device-in", 2, "--device-out", 2], "latency: in time would be t_f = -4.1 s or less"),
    ],
)
def test_nothing_is_feasible(
    speed: float,
    flags: list[object],
    says: str,
    ticker: Ticker,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ticker.speed = speed
    report = planned(tmp_path, "--k", 0.02, 0.2, "--plot", tmp_path / "p.png", *flags)
    assert f"nothing can be played in time here. {says}" in capsys.readouterr().out
    assert report["advice"]["t_f"] is report["advice"]["k"] is report["advice"]["command"] is None
    assert not any(any(row) for row in report["region"]["deployable"])
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_figures_take_the_report(ticker: Ticker, tmp_path: Path) -> None:
    report = planned(tmp_path, "--k", 0.1, 1)
    held = machine.read([tmp_path / "p.json"])
    for k, row in zip(report["region"]["k"], report["region"]["deployable"]):
        assert [held.holds(t_f, k) for t_f in report["region"]["t_f"]] == row
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in made_up(grid.small())))
    flags = ["--rows", rows, "--latency", tmp_path / "p.json", "--out", tmp_path / "figures"]
    assert main(["sweep", "figures", *map(str, flags)]) == 0
    assert (tmp_path / "figures" / "plane.png").is_file()


def test_a_model_of_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.setattr("bandmate.checkpoint.load_bundle", load_bundle)
    model = Decoder(decoder_tiny())
    own = StreamSpec(model.config.t_f, model.config.k)
    save_bundle(tmp_path / "own", SpectralCodec(spectral_tiny()), model, {}, {})
    report = planned(tmp_path, "--model", tmp_path / "own")
    assert (report["region"]["t_f"], report["region"]["k"]) == ([own.t_f_seconds], [0.02])
    assert report["advice"]["t_f"] in (None, own.t_f_seconds)
    assert run("--model", tmp_path / "own", "--k", 0.1) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--k", "0.1", "3"], "--k 3 is out of range: give 0.02 to 2 seconds"),
        (["--t-f", "-5"], "--t-f -5 is out of range: give -4 to 4 seconds"),
        (["--jitter", "-1"], "--jitter -1 is out of range"),
        (["--device-in", "inf"], "--device-in inf is out of range: give 0 to 2"),
        (["--block", "0"], "--block 0 is out of range"),
        (["--loopback", "--device-in", "0.01"], "give one or the other"),
        (["--input", "mic"], "--input and --output choose the devices of --loopback: give that, too"),
        (["--plot", "p.pdf"], "--plot writes PNG only: name the file p.png"),
        (["--plot", "no/p.png"], "there is no folder no"),
        (["--plot", "a.png", "--json", "a.png"], "are the same file"),
        (["--model", "offline"], "offline is an offline model"),
        (["--loopbak"], "did you mean --loopback?"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str], says: str, ticker: Ticker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert says in complaint(capsys, "plan")
    assert not list(tmp_path.iterdir())


def test_interrupt(
    ticker: Ticker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bandmate.stream.measure.Probe.run", interrupted)
    assert run("--json", tmp_path / "p.json") == 130
    assert "interrupted" in complaint(capsys, "plan")
    assert not list(tmp_path.iterdir())


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run("--help")
    assert left.value.code == 0
    assert "bandmate plan --loopback --plot plan.png --json plan.json" in " ".join(
        capsys.readouterr().out.split()
    )
