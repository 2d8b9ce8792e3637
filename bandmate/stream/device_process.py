"""The process that owns the sound device: PortAudio's callback, the shared memory, a watch over both.

Run as ``python -m bandmate.stream.device_process``. It says what happens on its output, a line of JSON each, and
ends when its input is closed: no device stays open behind a player that is gone. Nothing else runs here, since a
Python thread beside a callback breaks it.
"""

import contextlib
import gc
import json
import os
import select
import sys
import time
from multiprocessing import resource_tracker, shared_memory
from typing import Any

import numpy as np

from bandmate.stream.devices import (
    INSTALL,
    DeviceFacts,
    DeviceInfo,
    DeviceRequest,
    believable,
    find_device,
)
from bandmate.stream.exchange import Count, Exchange, Shared

CHANNELS = 2  # at most, each way
WATCH = 0.05  # seconds
LOST, REFUSED = 3, 4  # exit codes
WRONG_RATE = -9997  # PortAudio's number for it


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def sound_library() -> Any:
    """sounddevice; ImportError in one sentence that says what to install."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: PortAudio itself is missing
        raise ImportError(INSTALL) from error
    return sounddevice


def list_devices(library: Any) -> list[DeviceInfo]:
    hosts = library.query_hostapis()
    return [
        DeviceInfo(
            device["name"],
            hosts[device["hostapi"]]["name"],
            device["max_input_channels"],
            device["max_output_channels"],
            device["default_samplerate"],
        )
        for device in library.query_devices()
    ]


def choose(library: Any, name: str | None, wants: str) -> int:
    """Index of the device to open. ValueError when there is none."""
    devices = list_devices(library)
    if name is not None:
        return find_device(devices, name, wants)
    default = library.default.device[0 if wants == "inputs" else 1]
    if not 0 <= default < len(devices) or not getattr(devices[default], wants):
        raise ValueError(f"the system has no device with {wants}: connect one, or start its sound server")
    return int(default)


class Callback:
    """PortAudio's callback: an exchange whose position begins with the first call, as time tells it."""

    def __init__(self, shared: Shared, rate: int, position: int, since_ns: int) -> None:
        """``position`` was reached at the instant ``since_ns`` (0: now) of the monotonic clock."""
        self._shared, self._rate = shared, rate
        self._position, self._since = position, since_ns
        self._exchange: Exchange | None = None

    def __call__(self, heard: np.ndarray, sounding: np.ndarray, count: int, when: Any, flags: Any) -> None:
        now, counts = time.monotonic_ns(), self._shared.counts
        if self._exchange is None:
            gone = (now - self._since) * self._rate // 10**9 if self._since else 0
            self._exchange = Exchange(self._shared, self._rate, self._position + gone)
        elif now - counts[Count.LAST_NS] > counts[Count.WORST_GAP_NS]:
            counts[Count.WORST_GAP_NS] = now - counts[Count.LAST_NS]
        self._exchange.run(heard, sounding)
        counts[Count.FLAGGED] += bool(flags)
        counts[Count.LAST_NS] = now


def open_stream(library: Any, request: DeviceRequest, callback: Any, rate: int) -> tuple[Any, DeviceFacts]:
    """An open PortAudio stream, not yet started, and its facts."""
    source, sink = choose(library, request.input, "inputs"), choose(library, request.output, "outputs")
    devices = list_devices(library)
    channels = min(CHANNELS, devices[source].inputs), min(CHANNELS, devices[sink].outputs)
    try:
        stream = library.Stream(
            samplerate=rate,
            blocksize=request.block,
            device=(source, sink),
            channels=channels,
            dtype="float32",
            latency="low",
            callback=callback,
        )
    except library.PortAudioError as error:
        if WRONG_RATE in error.args:
            raise ValueError(f"the device does not run at {rate} Hz; leave --rate out") from None
        raise
    block = (request.block or 1024) / rate
    into, doubts_in = believable(stream.latency[0], block, "input")
    out, doubts_out = believable(stream.latency[1], block, "output")
    facts = DeviceFacts(
        input=devices[source].name,
        output=devices[sink].name,
        rate=round(stream.samplerate),
        block=request.block,
        input_channels=channels[0],
        output_channels=channels[1],
        input_latency=into,
        output_latency=out,
        doubts=(*doubts_in, *doubts_out),
    )
    return stream, facts


def rate_of(library: Any, request: DeviceRequest) -> int:
    """The rate asked for, else the one that the output likes best."""
    if request.rate:
        return request.rate
    return round(list_devices(library)[choose(library, request.output, "outputs")].rate)


def attach(name: str, rate: int) -> tuple[shared_memory.SharedMemory, Shared]:
    """The player's shared memory. It is the player's to remove, which Python would do at the end of this process."""
    memory = shared_memory.SharedMemory(name)
    resource_tracker.unregister(memory._name, "shared_memory")  # type: ignore[attr-defined]
    return memory, Shared(memory.buf, Shared.capacity(rate))


def ordered(seconds: float) -> str | None:
    """A line of input if one comes in time; empty when the input is closed."""
    return sys.stdin.readline() if select.select([sys.stdin], [], [], seconds)[0] else None


def serve(library: Any, request: DeviceRequest) -> int:
    """Tells the rate, is told where the memory lies, plays until the input is closed or the device is gone."""
    rate = rate_of(library, request)
    say(rate=rate)
    order = sys.stdin.readline()
    if not order:
        return 0
    told = json.loads(order)
    _memory, shared = attach(told["memory"], rate)
    callback = Callback(shared, rate, told["position"], told["since_ns"])
    stream, facts = open_stream(library, request, callback, rate)
    gc.collect()
    gc.disable()
    np.seterr(all="ignore")
    stream.start()
    say(facts=facts.plain())
    while (order := ordered(WATCH)) is None:
        if not stream.active:
            return LOST
    with contextlib.suppress(library.PortAudioError):
        stream.close()
    return 0


def main(arguments: list[str]) -> int:
    try:
        library = sound_library()
        if arguments == ["list"]:
            say(devices=[vars(device) for device in list_devices(library)])
            return 0
        return serve(library, DeviceRequest(**json.loads(arguments[0])))
    except Exception as error:
        kind = (
            "use"
            if isinstance(error, ValueError)
            else "missing"
            if isinstance(error, ImportError)
            else "device"
        )
        say(error=" ".join(str(error).split()), kind=kind)
        return REFUSED


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    if code == LOST:
        os._exit(code)  # PortAudio's own way out aborts when the sound server is gone
    sys.exit(code)  # else it must be taken: a sound server may hang on a client that just vanishes
