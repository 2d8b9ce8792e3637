"""``bandmate jam`` on a virtual sound card: JACK's dummy driver, a robot that plays clicks and records.

Asserted is what is exact: where samples are, that they are finite, that muted is silent. Never how fast it goes.
"""

import contextlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bandmate.audio.io import read_audio
from tests.stream.jam_echo import DELAY

HERE = Path(__file__).resolve().parent
RATE, PERIOD = 32_000, 1024
PATIENCE = 900.0  # seconds that anything may take on a busy machine
INSTALL = "install it: apt-get install -y --no-install-recommends jackd2 libportaudio2"

pytestmark = pytest.mark.slow


def wait_for(what: str, there: Callable[[], bool], alive: Callable[[], bool] = lambda: True) -> None:
    until = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < until, f"waited {PATIENCE:g} s for {what}"
        assert alive(), f"ended while waiting for {what}"
        time.sleep(0.05)
    print(f"{what}: there after {PATIENCE - (until - time.monotonic()):.1f} s")


class Card:
    """A JACK server of its own, in lock step with its clients: on a busy machine time stretches, nothing is lost."""

    def __init__(self) -> None:
        assert shutil.which("jackd"), f"this test needs jackd; {INSTALL}"
        self.name = f"bandmate-{os.getpid()}"
        self.environment = os.environ | {"JACK_NO_AUDIO_RESERVATION": "1", "JACK_DEFAULT_SERVER": self.name}
        self.start()

    def start(self) -> None:
        words = ["jackd", "-n", self.name, "--sync", "--no-realtime", "--no-mlock", "-t", "20000"]
        words += ["-d", "dummy", "-r", str(RATE), "-p", str(PERIOD)]
        quiet = {"env": self.environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.server = subprocess.Popen(words, **quiet)  # type: ignore[call-overload]
        ask = ["jack_lsp", "-s", self.name]
        what = (
            "jackd (where eight servers were killed it starts no more: remove /dev/shm/jack* when none runs)"
        )
        wait_for(what, lambda: subprocess.run(ask, **quiet).returncode == 0, self.running)  # type: ignore[call-overload]

    def running(self) -> bool:
        return self.server.poll() is None

    def kill(self) -> None:
        """As a crash: it cleans nothing up. Started again under its name it does."""
        self.server.kill()
        self.server.wait()

    def stop(self) -> None:
        """It frees its place among the eight servers that a machine has room for."""
        self.server.terminate()
        try:
            self.server.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


class Robot:
    """The robot's process, and what it has recorded so far by the card's own count of frames."""

    def __init__(self, card: Card, path: Path) -> None:
        self.path = path
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "jack_robot.py"), card.name, str(path)],
            env=card.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], PATIENCE)[0], "the robot does not get ready"
        assert self.process.stdout.readline() == b"ready\n", (
            "the robot needs JACK-Client: pip install JACK-Client"
        )

    def recorded(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """frames [n], sent [n], heard [n]."""
        raw, at = self.path.read_bytes(), 0
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        while at + 16 <= len(raw):
            start, count = np.frombuffer(raw, np.int64, 2, at)
            if at + 16 + 8 * count > len(raw):
                break
            rows = np.frombuffer(raw, np.float32, 2 * count, at + 16).reshape(2, count)
            parts.append((np.arange(start, start + count), rows[0], rows[1]))
            at += 16 + 8 * int(count)
        none = (np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32))
        return tuple(np.concatenate(rows) for rows in zip(none, *parts))  # type: ignore[return-value]

    def returns(self) -> np.ndarray:
        """Frames at which a whole click came back."""
        frames, _, heard = self.recorded()
        return frames[heard == 0.5]

    def end(self, patience: float = 20.0) -> None:
        """Takes its leave of the server, which may hang on a client that just vanishes."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.communicate(timeout=patience)
        self.process.kill()
        self.process.communicate()


class Jam:
    """``bandmate jam`` on a terminal of its own."""

    def __init__(self, card: Card, *options: str) -> None:
        self._keys, terminal = pty.openpty()
        words = [sys.executable, str(HERE / "jam_echo.py"), "jam", "--input", "robot", "--output", "robot"]
        self.process = subprocess.Popen(
            [*words, "--device-latency", "0", "--unguarded", "--patience", str(PATIENCE / 2), *options],
            env=card.environment | {"OMP_NUM_THREADS": "1", "TERM": "xterm-256color"},
            stdin=terminal,
            stdout=terminal,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(terminal)
        self.shown = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone
            while new := os.read(self._keys, 4096):
                self.shown += new.decode(errors="replace")

    def running(self) -> bool:
        return self.process.poll() is None

    def press(self, key: str) -> None:
        os.write(self._keys, key.encode())

    def end(self) -> None:
        if self.running():
            self.process.kill()
        self.process.wait()


@pytest.fixture
def card() -> Iterator[Card]:
    card = Card()
    try:
        yield card
    finally:
        card.stop()


@contextlib.contextmanager
def playing(card: Card, path: Path, *options: str) -> Iterator[tuple[Jam, Robot]]:
    robot = Robot(card, path)
    jam = Jam(card, "--t-f", "-1", "--k", "0.2", *options)
    try:
        yield jam, robot
    finally:
        jam.end()
        robot.end(0.0 if robot.process.poll() is not None else 20.0)
        print(jam.shown[-2000:])  # what pytest shows of a test that fails


def check_places(robot: Robot) -> int:
    """Every click that came back whole is one that was sent, exactly so long before; returns how many.

    The robot hears a period after it speaks. Where the card itself left out a period, nothing can be said.
    """
    frames, sent, heard = robot.recorded()
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() <= 1.0
    clicks = set(frames[sent == 0.5].tolist())
    gaps = frames[1:][np.diff(frames) != 1]
    delay = DELAY * 640 + PERIOD
    checked = 0
    for came in frames[heard == 0.5].tolist():
        if not ((gaps > came - delay) & (gaps <= came)).any():
            assert came - delay in clicks, f"a click at {came} belongs nowhere"
            checked += 1
    return checked


def test_jam_on_a_sound_card(card: Card, tmp_path: Path) -> None:
    """Clicks come back in their place; mute is silent; the device is lost and comes back; q ends; all is kept."""
    folder = tmp_path / "session"
    with playing(card, tmp_path / "one.raw", "--record", str(folder)) as (jam, robot):
        wait_for("clicks", lambda: len(robot.returns()) >= 12, jam.running)
        jam.press("m")
        wait_for("the word", lambda: "muted" in jam.shown, jam.running)
        begin = len(robot.recorded()[0])
        wait_for("silence", lambda: len(robot.recorded()[0]) > begin + 2 * RATE, jam.running)
        heard = robot.recorded()[2]
        assert not heard[begin + 4 * PERIOD :].any(), "muted is silent"
        jam.press("m")
        count = len(robot.returns())
        wait_for("clicks again", lambda: len(robot.returns()) >= count + 5, jam.running)
        assert check_places(robot) >= 12
        card.kill()
        wait_for("the loss", lambda: "is gone" in jam.shown, jam.running)
        robot.end(patience=0.0)
        card.start()
        second = Robot(card, tmp_path / "two.raw")
        wait_for("the return", lambda: "is back" in jam.shown, jam.running)
        wait_for("clicks after it", lambda: len(second.returns()) >= 8, jam.running)
        jam.press("q")
        assert jam.process.wait(PATIENCE) == 0, jam.shown
        second.end()
        assert check_places(second) >= 8
    check_recording(folder)


def check_recording(folder: Path) -> None:
    """Whole files, equally long; the same calls once more give the same sound, bit by bit."""
    heard, played, mix = (
        read_audio(folder / f"{name}.flac")[0] for name in ("input", "accompaniment", "mix")
    )
    assert len(heard) == len(played) == len(mix) > 5 * RATE
    assert np.abs(played).max() == 0.5
    session = json.loads((folder / "session.json").read_text())
    assert session["report"]["losses"] == 1
    again = folder / "again.flac"
    words = [
        sys.executable,
        str(HERE / "jam_echo.py"),
        "stream",
        str(folder / "input.flac"),
        "-o",
        str(again),
    ]
    subprocess.run([*words, "--replay", str(folder / "session.json")], check=True, capture_output=True)
    np.testing.assert_array_equal(read_audio(again)[0], played)


def test_ctrl_c_keeps_everything(card: Card, tmp_path: Path) -> None:
    folder = tmp_path / "session"
    with playing(card, tmp_path / "one.raw", "--record", str(folder)) as (jam, robot):
        wait_for("clicks", lambda: len(robot.returns()) >= 3, jam.running)
        jam.process.send_signal(signal.SIGINT)
        assert jam.process.wait(PATIENCE) == 130, jam.shown
    assert "Traceback" not in jam.shown
    assert sorted(path.name for path in folder.iterdir()) == [
        "accompaniment.flac", "input.flac", "mix.flac", "session.json",
    ]  # fmt: skip
    assert len(read_audio(folder / "input.flac")[0]) > 0
