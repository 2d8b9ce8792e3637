"""``bandmate jam``: plays along live, on a sound device."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bandmate.commands.files import check_targets
from bandmate.commands.parsing import in_range, parse
from bandmate.commands.playing import check_options

if TYPE_CHECKING:
    from bandmate.stream.devices import Device

NAME = tyro.conf.arg(metavar="NAME")
SECONDS = tyro.conf.arg(metavar="SECONDS")
DB = tyro.conf.arg(metavar="DB")


@dataclass(frozen=True)
class Arguments:
    """Play along live: listen to a sound device and play an accompaniment on it.

    Example: bandmate jam --input Scarlett --output Scarlett --instrument Bass --record session
    """

    input: Annotated[str | None, NAME] = None
    """Device to listen to, a part of its name will do; default: the system's own."""
    output: Annotated[str | None, NAME] = None
    """Device to play on; default: the system's own."""
    devices: bool = False
    """List the devices and their rates, then end."""
    instrument: str = "Bass"
    """What to play: Piano, Chromatic Percussion, Organ, Guitar, Bass, Strings, Ensemble, Brass, Reed, Pipe, Synth Lead,
    Synth Pad, Synth Effects, Ethnic, Percussive (drums), Sound Effects, Vocal, Unknown."""
    t_f: Annotated[float | None, SECONDS] = None
    """How far the model hears ahead of what it plays, -4 to 4; default: the most that this machine and device allow."""
    k: Annotated[float, SECONDS] = 0.1
    """How much is played per call, 0.02 to 2."""
    model: Annotated[str, tyro.conf.arg(metavar="NAME_OR_PATH")] = "duet-small"
    """A bundled model (see bandmate models) or a folder with one."""
    seed: int = 0
    """The same input, instants and seed give the same output, bit by bit, on one kind of processor."""
    gain: Annotated[float, DB] = 0.0
    """Applied to the input before the model hears it; not to the output."""
    guidance: float | None = None
    """How much stronger than usual the model follows the input; default: the model's own."""
    temperature: float | None = None
    """Of the sampling, 0 = always the likeliest; default: the model's own."""
    top_k: int | None = None
    """Sample among this many; default: the model's own."""
    plausible: int | None = None
    """Guidance chooses among this many codes, the likeliest without it; default: the model's own."""
    listen: Annotated[float, SECONDS] = 0.0
    """Only listen for so long before the first note."""
    record: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Keep input, accompaniment, mix and session.json there; bandmate stream --replay plays it again."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write what was measured."""
    seconds: Annotated[float | None, SECONDS] = None
    """End after so much music; default: when you press q or Ctrl-C."""
    volume: Annotated[float, DB] = 0.0
    """Of the accompaniment, -60 to 0."""
    monitor: Annotated[float | None, DB] = None
    """Also play the input on the output, undelayed, -60 to 0; default: not at all, as the hardware does it better."""
    rate: Annotated[int | None, tyro.conf.arg(metavar="HZ")] = None
    """Of the device; default: what it likes best. Whatever it is, it is resampled."""
    block: Annotated[int | None, tyro.conf.arg(metavar="SAMPLES")] = None
    """Of the device; default: what it likes best."""
    device_latency: Annotated[float | None, SECONDS] = None
    """From the output through the air to the input, as a loop-back measures it; default: what the driver reports."""
    shift: bool = False
    """When it cannot be in time, play later by as much as is needed."""
    unguarded: bool = False
    """Do not turn down when the output seems to come back through the microphone."""
    patience: Annotated[float, SECONDS] = 30.0
    """How long to wait for a device that is gone."""
    precision: Literal["int8", "fp32"] = "int8"
    """Of the weights: int8 plays in little more than half the time (fp32 what is not made for it, model or processor)."""
    threads: int = 1
    """CPU threads; one is quickest for a model this small, 0 = as many as torch takes by itself."""


def main(argv: list[str]) -> int:
    if argv[:1] == ["devices"]:
        argv = ["--devices", *argv[1:]]
    args = parse(Arguments, argv, "bandmate jam")
    if args.devices:
        return show_devices()
    check(args)
    from bandmate.commands.jamming import Jam

    with open_device(args) as device:
        return Jam(args, device).perform()


def show_devices() -> int:
    from bandmate.stream.supervisor import list_devices

    devices = list_devices()
    print("\n".join(device.line() for device in devices) if devices else "the system has no sound device")
    return 0


def check(args: Arguments) -> None:
    """Refuses what cannot work before anything is opened; ValueError with one sentence."""
    from bandmate.stream.recording import check_folder

    check_options(args)
    in_range(
        {
            "--seconds": (args.seconds, 0.1, 86_400.0 * 365),
            "--volume": (args.volume, -60.0, 0.0),
            "--monitor": (args.monitor, -60.0, 0.0),
            "--rate": (args.rate, 8_000, 384_000),
            "--block": (args.block, 16, 8192),
            "--device-latency": (args.device_latency, 0.0, 1.0),
            "--patience": (args.patience, 0.0, 86_400.0),
        }
    )
    check_targets({"--json": args.json})
    if args.record is not None:
        check_folder(args.record)


@contextlib.contextmanager
def open_device(args: Arguments) -> "Iterator[Device]":
    from bandmate.stream.devices import DeviceRequest
    from bandmate.stream.supervisor import ChildDevice

    device = ChildDevice(DeviceRequest(args.input, args.output, args.rate or 0, args.block or 0))
    try:
        yield device
    finally:
        device.close()
