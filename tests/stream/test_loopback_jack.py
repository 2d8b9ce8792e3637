"""The loop-back through a virtual sound card: JACK's dummy driver, output wired to input, is two periods to the sample.

Only samples are asserted: the dummy driver's clock waits for nobody, and a sample is delayed by whole periods of it.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PERIOD, RATE, REPEATS = 1024, 16_000, 2
PATIENCE = 60.0  # seconds
MEASURE = f"""
from bandmate.stream.loopback import measured_delay, play_and_record

device = "system, JACK"
found = measured_delay(lambda repeats: play_and_record(repeats, device, device, {PERIOD / RATE}), {REPEATS})
print(found.seconds * {RATE}, found.spread * {RATE}, found.repeats)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Name of a JACK server of our own, ended afterwards."""
    name = f"bandmate{os.getpid()}"
    program = shutil.which("jackd")
    assert program, "this test needs jackd: on Debian apt-get install jackd2 libportaudio2"
    words = [program, "--name", name, "--no-realtime", "--no-mlock", "-t", "5000"]
    words += ["-d", "dummy", "-r", str(RATE), "-p", str(PERIOD)]
    quiet = os.environ | {"JACK_NO_AUDIO_RESERVATION": "1"}
    with (tmp_path / "jackd.log").open("w") as log:
        process = subprocess.Popen(words, env=quiet, stdout=log, stderr=log)
    try:
        yield name
    finally:
        process.terminate()
        process.wait(PATIENCE)


def wire(server: str, measuring: subprocess.Popen[str]) -> None:
    """Connects what PortAudio plays with what it records, as soon as both are there."""
    import jack

    with jack.Client("wire", servername=server, no_start_server=True) as client:
        while measuring.poll() is None:
            played = client.get_ports("PortAudio", is_audio=True, is_output=True)
            heard = client.get_ports("PortAudio", is_audio=True, is_input=True)
            if played and heard:
                client.connect(played[0], heard[0])
                return
            time.sleep(0.01)


def wait_for(server: str) -> None:
    """Until the server takes clients."""
    import jack

    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            jack.Client("knock", servername=server, no_start_server=True).close()
        except jack.JackOpenError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("jackd does not answer")


@pytest.mark.slow
def test_a_wire_through_jack_is_two_periods(server: str) -> None:
    wait_for(server)
    there = os.environ | {"JACK_DEFAULT_SERVER": server, "JACK_NO_START_SERVER": "1"}
    measuring = subprocess.Popen(
        [sys.executable, "-c", MEASURE], env=there, stdout=subprocess.PIPE, text=True
    )
    try:
        wire(server, measuring)
        told, _ = measuring.communicate(timeout=PATIENCE)
    finally:
        measuring.kill()
        measuring.wait(PATIENCE)
    samples, spread, repeats = (float(word) for word in told.split()[-3:])
    assert samples == pytest.approx(2 * PERIOD, abs=1e-3)
    assert spread < 1e-3
    assert repeats == REPEATS
