"""Sound devices: what they say about themselves, as far as it can be believed, and what a player needs of one."""

import difflib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from bandmate.stream.exchange import Shared

WORST_LATENCY = 1.0  # seconds; drivers also report hours
INSTALL = (
    "live playing needs PortAudio and sounddevice: apt-get install libportaudio2 (elsewhere it comes along),"
    " then pip install 'bandmate[live]'"
)


class DeviceLost(OSError):
    """A device is gone, or cannot be opened, and does not come back."""


@dataclass(frozen=True)
class DeviceInfo:
    """A device as the driver lists it: channels in and out, default rate in Hz."""

    name: str
    host: str
    inputs: int
    outputs: int
    rate: float

    def line(self) -> str:
        return f"{self.name:<40} {self.inputs:>3} in {self.outputs:>3} out  {self.rate:>8g} Hz  {self.host}"


@dataclass(frozen=True)
class DeviceRequest:
    """What is asked for: names or None for the system's own, rate in Hz, block in samples; 0 = as the device likes."""

    input: str | None = None
    output: str | None = None
    rate: int = 0
    block: int = 0


@dataclass(frozen=True)
class DeviceFacts:
    """An open device. ``block`` in samples; latencies in seconds, believable; ``doubts`` on what was reported."""

    input: str
    output: str
    rate: int
    block: int
    input_channels: int
    output_channels: int
    input_latency: float
    output_latency: float
    doubts: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        return asdict(self)


class Device(Protocol):
    """An open device: its facts, the shared memory, and a clock in seconds that goes on without it."""

    facts: DeviceFacts
    shared: Shared
    trouble: str  # why it could not be reopened last

    @property
    def lost(self) -> bool:
        """Whether it has stopped working."""

    def reopen(self) -> bool:
        """Tries to bring a lost device back, by name; its samples are counted on as time went on."""

    def wait(self) -> None:
        """Returns when there may be something new, after a moment at the latest."""

    def seconds(self) -> float:
        """Instant of now."""

    def position(self) -> int:
        """Samples of output that can no longer be changed; estimated by the clock while the device is lost."""

    def close(self) -> None:
        """Stops it and lets everything go; again: nothing."""


def believable(reported: float, fallback: float, what: str) -> tuple[float, list[str]]:
    """A latency in seconds, or ``fallback`` with a word why where nobody can believe it."""
    if math.isfinite(reported) and 0.0 <= reported <= WORST_LATENCY:
        return float(reported), []
    return fallback, [
        f"the driver reports a latency of {reported:g} s for the {what}; taken as {fallback:.3f} s"
    ]


def find_device(devices: Sequence[DeviceInfo], name: str, wants: str) -> int:
    """Index of the device of that name: the whole name first, then a part of it, case ignored.

    ``wants``: "inputs" or "outputs". ValueError with one sentence when there is none, or more than one.
    """
    able = [i for i, device in enumerate(devices) if getattr(device, wants)]
    for match in (str.__eq__, str.__contains__):
        found = [i for i in able if match(devices[i].name.lower(), name.lower())]
        if len(found) == 1 or (found and match is str.__eq__):
            return found[0]  # the same name twice: the first host, as PortAudio orders them
        if found:
            names = ", ".join(repr(devices[i].name) for i in found)
            raise ValueError(f"{name!r} may be any of {names}: give more of the name")
    near = difflib.get_close_matches(name, [devices[i].name for i in able], n=1)
    hint = f"did you mean {near[0]!r}?" if near else "bandmate jam --devices lists them"
    raise ValueError(f"there is no device {name!r} with {wants}; {hint}")
