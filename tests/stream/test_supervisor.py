"""The process that owns the device, with a stand-in for PortAudio: opened, watched, lost, brought back, refused."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bandmate.stream import supervisor
from bandmate.stream.devices import DeviceLost, DeviceRequest
from bandmate.stream.exchange import Count
from bandmate.stream.supervisor import ChildDevice, list_devices

STUB = Path(__file__).resolve().parent / "stub"
ROOT = STUB.parents[2]


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the faults of the stub for the processes that come."""
    monkeypatch.setenv("PYTHONPATH", f"{STUB}{os.pathsep}{ROOT}")
    monkeypatch.setenv("BANDMATE_STUB", "")
    return lambda words: monkeypatch.setenv("BANDMATE_STUB", words)


def until(there: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.usefixtures("order")
def test_devices_are_listed() -> None:
    devices = list_devices()
    assert [(d.name, d.inputs, d.outputs, d.rate) for d in devices] == [
        ("stub in", 1, 0, 16_000),
        ("stub out", 0, 2, 16_000),
    ]
    assert "stub out" in devices[1].line()


@pytest.mark.usefixtures("order")
def test_a_device_is_opened_heard_and_closed() -> None:
    device = ChildDevice(DeviceRequest("stub in", "out"))
    memory = device._memory
    assert memory is not None
    facts = device.facts
    assert (facts.rate, facts.block, facts.input_channels, facts.output_channels) == (16_000, 160, 1, 2)
    assert (facts.input_latency, facts.output_latency) == (1024 / 16_000, 0.02)
    assert len(facts.doubts) == 1
    until(lambda: device.position() > 1600)
    heard = np.zeros(800, np.float32)
    assert device.shared.heard.read_into(400, heard) == 0
    np.testing.assert_array_equal(heard, 0.25)
    assert not device.lost
    device.close()
    device.close()
    with pytest.raises(FileNotFoundError):
        type(memory)(memory.name)


@pytest.mark.parametrize("fault", ["", "dies"])
def test_a_lost_device_comes_back_where_time_is(order: Callable[[str], None], fault: str) -> None:
    """A killed process and a stream that ends by itself; the count of samples goes on with the clock."""
    order(fault)
    device = ChildDevice(DeviceRequest())
    try:
        if not fault:
            os.kill(device._process._process.pid, signal.SIGKILL)
        until(lambda: device.lost)
        before, then = int(device.shared.counts[Count.CLAIMED]), int(device.shared.counts[Count.LAST_NS])
        order("")
        until(device.reopen)
        counts = device.shared.counts
        first = int(counts[Count.CLAIMED])
        passed = (int(counts[Count.LAST_NS]) - then) / 1e9
        assert not device.lost
        assert first > before + 0.9 * passed * 16_000 - 16_000 * 0.2
        gap = np.ones(100, np.float32)
        device.shared.heard.read_into(before + 200, gap)
        assert not gap.any(), "what nobody heard is silence"
    finally:
        device.close()


def test_a_device_that_is_not_back_is_tried_again(order: Callable[[str], None], tmp_path: Path) -> None:
    away = tmp_path / "away"
    order(f"gone {away}")
    device = ChildDevice(DeviceRequest("stub in", "stub out"))
    try:
        away.touch()
        os.kill(device._process._process.pid, signal.SIGKILL)
        until(lambda: device.lost)
        assert not device.reopen()
        assert device.lost
        away.unlink()
        assert device.reopen()
        assert not device.lost
    finally:
        device.close()


@pytest.mark.parametrize(
    ("fault", "request_", "error", "says"),
    [
        ("", DeviceRequest(input="Kazoo"), ValueError, "there is no device 'Kazoo' with inputs"),
        ("", DeviceRequest(output="stub in"), ValueError, "there is no device 'stub in' with outputs"),
        ("", DeviceRequest(rate=44_100), ValueError, "the device does not run at 44100 Hz"),
        ("missing", DeviceRequest(), DeviceLost, r"pip install 'bandmate\[live\]'"),
        ("gone /", DeviceRequest(), ValueError, "the system has no device with outputs"),
        ("stalls", DeviceRequest(), DeviceLost, "opened but does not run"),
    ],
)
def test_what_cannot_be_opened_is_told_in_one_sentence(
    order: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    request_: DeviceRequest,
    error: type[Exception],
    says: str,
) -> None:
    order(fault)
    if fault == "stalls":
        monkeypatch.setattr(supervisor, "RUNS", 0.5)
    with pytest.raises(error, match=says):
        ChildDevice(request_)


def test_the_process_does_not_outlive_its_player(order: Callable[[str], None]) -> None:
    device = ChildDevice(DeviceRequest())
    process = device._process._process
    assert process.stdin is not None
    process.stdin.close()  # as when the player is killed
    assert process.wait(60) == 0
    device.close()
