"""``bandmate jam`` as a user meets it: a device on a virtual clock, keys, reports, one line for what is wrong."""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bandmate import cli
from bandmate.audio.io import read_audio
from bandmate.commands import jam
from bandmate.commands.jam_display import BAR, Screen, budget, meter
from bandmate.stream.devices import DeviceLost
from bandmate.stream.exchange import Count
from tests.stream.fakes import music
from tests.stream.live_fakes import FakeDevice
from tests.stream.test_live import echo_stream, loop
from tests.test_cli_stream import load_fake


@pytest.fixture(autouse=True)
def fake_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake model, and a machine as quick as it is said to be: nothing here depends on how busy this one is."""
    monkeypatch.setattr("bandmate.checkpoint.load_bundle", load_fake)
    monkeypatch.setattr("bandmate.commands.jamming.step_times", lambda *_, **__: [0.02] * 20)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    return given(monkeypatch, FakeDevice(loop(music(2.0))))


def given(monkeypatch: pytest.MonkeyPatch, device: FakeDevice) -> FakeDevice:
    @contextlib.contextmanager
    def opened(args: jam.Arguments) -> Iterator[FakeDevice]:
        yield device
        device.close()

    monkeypatch.setattr(jam, "open_device", opened)
    return device


def run(*arguments: object) -> int:
    return cli.main(["jam", *map(str, arguments)])


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert said.startswith("bandmate jam: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said
    return said


def test_a_session_is_reported_and_recorded_and_replayed(
    device: FakeDevice, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report = tmp_path / "deep" / "session", tmp_path / "run.json"
    options = ("--seconds", 3, "--record", folder, "--json", report, "--seed", 7, "--gain", -3, "--t-f", -0.4)
    assert run(*options) == 0
    said = capsys.readouterr()
    assert "3.0 s live at t_f = -0.4 s" in said.out
    assert "ready: a call takes" in said.err
    numbers = json.loads(report.read_text())
    assert list(numbers)[:9] == [
        "real_time_factor", "step_ms", "misses", "t_f", "k", "model", "instrument", "seed", "seconds",
    ]  # fmt: skip
    assert (numbers["seconds"], numbers["seed"], numbers["clock"], numbers["misses"]) == (3.0, 7, "device", 0)
    assert numbers["device"]["rate"] == 32_000
    heard, rate = read_audio(folder / "input.flac")
    assert (rate, len(heard)) == (32_000, 96_000)
    again = tmp_path / "again.flac"
    words = ["stream", folder / "input.flac", "-o", again, "--replay", folder / "session.json"]
    assert cli.main([*map(str, words)]) == 0
    np.testing.assert_array_equal(read_audio(again)[0], read_audio(folder / "accompaniment.flac")[0])
    session = json.loads((folder / "session.json").read_text())
    assert session["calls"]["columns"] == [
        "index",
        "ready",
        "begin",
        "finish",
        "seconds",
        "late",
        "skipped",
        "rest",
    ]
    assert len(session["calls"]["rows"]) == numbers["calls"]
    assert device.closed


@pytest.mark.usefixtures("device")
def test_t_f_is_chosen_by_what_was_measured(tmp_path: Path) -> None:
    report = tmp_path / "run.json"
    assert run("--seconds", 0.5, "--json", report) == 0
    assert json.loads(report.read_text())["t_f"] == -0.12  # 75 ms, 8 a block, 20 a step and half of it


@pytest.mark.usefixtures("device")
def test_what_no_machine_plays_in_time_is_refused_or_shifted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "run.json"
    assert run("--t-f", 0, "--seconds", 1) == 2
    said = capsys.readouterr().err
    assert "t_f = 0 s, k = 0.1 s cannot be played in time here" in said
    assert "--shift" in said
    assert run("--t-f", 0, "--seconds", 1, "--shift", "--json", report) == 0
    assert json.loads(report.read_text())["shift_seconds"] > 0.075


def test_ctrl_c_ends_with_130_and_keeps_the_recording(device: FakeDevice, tmp_path: Path) -> None:
    device.on_block = lambda index: os.kill(os.getpid(), signal.SIGINT) if index == 64_000 else None
    before = signal.getsignal(signal.SIGINT)
    assert run("--record", tmp_path / "kept") == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "accompaniment.flac", "input.flac", "mix.flac", "session.json",
    ]  # fmt: skip


def test_a_device_that_stays_away_is_exit_code_1_and_all_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, FakeDevice(loop(music(2.0)), outages=[(2.0, 1e9)]))
    assert run("--record", tmp_path / "kept", "--patience", 2) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "bandmate jam: the sound device 'fake' did not come back within 2 s"
    assert (tmp_path / "kept" / "session.json").exists()


def test_a_full_disk_ends_the_recording_not_the_music(
    device: FakeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: object, block: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bandmate.audio.io.AudioWriter.write", full)
    assert run("--seconds", 1, "--record", tmp_path / "kept", "--json", tmp_path / "run.json") == 1
    assert capsys.readouterr().err.splitlines()[-1] == "bandmate jam: No space left on device"
    assert json.loads((tmp_path / "run.json").read_text())["seconds"] == 1.0
    assert not list((tmp_path / "kept").glob("*.flac"))
    assert not list((tmp_path / "kept").glob(".bandmate*"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--instrument", "Kazoo"], "unknown instrument 'Kazoo'"),
        (["--t-f", "9"], "--t-f 9 is out of range"),
        (["--volume", "3"], "--volume 3 is out of range"),
        (["--monitor", "3"], "--monitor 3 is out of range"),
        (["--rate", "5"], "--rate 5 is out of range"),
        (["--block", "5"], "--block 5 is out of range"),
        (["--seconds", "0"], "--seconds 0 is out of range"),
        (["--device-latency", "2"], "--device-latency 2 is out of range"),
        (["--patience", "-1"], "--patience -1 is out of range"),
        (["--loud"], "Unrecognized options: --loud"),
        (["--record", "taken"], "holds a recording already"),
        (["--record", "taken/input.flac"], "is a file: give a folder"),
        (["--json", "nowhere/run.json"], "create it first"),
    ],
)
def test_bad_use_is_one_line(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "input.flac").touch()
    monkeypatch.setattr(jam, "open_device", None)  # nothing is opened for what makes no sense
    assert run(*arguments) == 2
    assert says in complaint(capsys)


@pytest.mark.parametrize("words", [["devices"], ["--devices"]])
def test_devices_without_portaudio(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise DeviceLost("live playing needs PortAudio")

    monkeypatch.setattr("bandmate.stream.supervisor.list_devices", missing)
    assert run(*words) == 1
    assert "live playing needs PortAudio" in complaint(capsys)


WHOLE = {"spec": {"t_f": -20, "k": 5}, "model": "m", "instrument": "Bass", "options": {}, "shift_samples": 0}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{}", "is no session of bandmate jam"),
        ("half", "is no session of bandmate jam"),
        (json.dumps(WHOLE | {"calls": {}}), "is damaged"),
        (json.dumps(WHOLE | {"calls": {"rows": []}}), "is damaged"),
    ],
)
def test_a_session_that_is_none_is_refused(
    content: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = tmp_path / "session.json"
    session.write_text(content)
    assert cli.main(["stream", "in.wav", "-o", str(tmp_path / "o.wav"), "--replay", str(session)]) == 2
    assert says in capsys.readouterr().err


def screen(press: Callable[[Screen, int], None]) -> tuple[Screen, FakeDevice, list[str]]:
    device, ended = FakeDevice(loop(music(1.0))), []
    stream, _ = echo_stream(device, (-20, 5), seconds=2.0)
    tested = Screen(stream, lambda: ended.append("end"))
    device.on_block = lambda index: press(tested, index)
    stream.begin(ahead=0.1)
    while not stream.over:
        if not stream.pump():
            device.wait()
    return tested, device, ended


def test_keys() -> None:
    keys = {32_000: "m", 36_096: "m", 40_192: " ", 44_288: " ", 60_160: "q"}
    tested, device, ended = screen(lambda tested, index: tested.press(keys.get(index, "")))
    out = device.sounding
    for begin, end in ((32_000, 36_096), (40_192, 44_288)):
        assert not out[begin + 256 : end].any()
        assert out[begin - 256 : begin].any()
    assert ended == ["end"]
    assert tested.stream.session.tracker.rested > 0


def test_what_is_shown() -> None:
    from rich.console import Console

    shown: list[str] = []

    def look(tested: Screen, index: int) -> None:
        if index == 48_128:
            console = Console(width=120)
            with console.capture() as capture:
                console.print(tested.picture())
            shown.append(capture.get())
            shown.append(tested.line())

    tested, device, _ = screen(look)
    for word in ("in", "out", "step", "slack", "playing", "0 missed, 0 gaps", "space stop and start"):
        assert word in shown[0]
    assert "misses 0" in shown[1]
    device.shared.counts[Count.MUTED] = 1
    assert tested.state() == "muted"
    tested.stream.stop(True)
    assert tested.state() == "stopped"


def test_a_howl_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    tested, _, _ = screen(lambda tested, index: None)
    tested.stream.guard.howls = 1
    tested.watch()
    tested.stream.guard.howls = 4
    tested.watch()
    assert capsys.readouterr().err.count("feedback") == 1


def test_bars() -> None:
    assert meter(-120.0).count("·") == meter(0.0).count("█") == BAR
    assert "red" in meter(0.0)
    assert budget(0.05, 0.1, 0.1).count("█") == BAR // 2
    assert "red" in budget(0.05, 0.2, 0.1)
