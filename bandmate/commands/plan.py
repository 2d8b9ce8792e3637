"""``bandmate plan``: which (t_f, k) this machine and its sound card hold, and which of them to take."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bandmate.commands import measuring, playing
from bandmate.commands.files import check_targets, write_whole
from bandmate.commands.parsing import in_range, parse

if TYPE_CHECKING:
    from bandmate.commands.plan_telling import Measured
    from bandmate.spec import Latency
    from bandmate.stream.loopback import Delay
    from bandmate.stream.measure import Probe
    from bandmate.stream.scheduler import Geometry

FILE, SECONDS = tyro.conf.arg(metavar="FILE"), tyro.conf.arg(metavar="SECONDS")
MANY = tyro.conf.arg(metavar="SECONDS ...")
DEVICE = tyro.conf.arg(metavar="NAME_OR_NUMBER")
KS, QUICK_KS = (0.02, 0.04, 0.1, 0.2, 0.4, 1.0), (0.02, 0.1, 0.4)
T_FS = (-1.0, -0.6, -0.4, -0.3, -0.2, -0.16, -0.12, -0.1)
PAUSE = 0.01  # seconds before each call: in playing, too, it comes to caches that others have used
ASSUMED = 0.01  # seconds in each direction: two blocks of 256 samples at 48 kHz
REPEATS, QUICK_REPEATS = 5, 3


@dataclass(frozen=True)
class Arguments:
    """Measure what chunks take here, how late this machine wakes, and (--loopback) what its sound card delays.

    Prints which t_f and k can be played in time, and advises one.

    Example: bandmate plan --loopback --plot plan.png --json plan.json
    """

    model: Annotated[str, tyro.conf.arg(metavar="NAME_OR_PATH")] = "duet-small"
    """A bundled model (see bandmate models) or a folder with one."""
    k: Annotated[tuple[float, ...], MANY] = ()
    """Chunk lengths to time, 0.02 to 2; default: 0.02 0.04 0.1 0.2 0.4 1, or the model's own."""
    t_f: Annotated[tuple[float, ...], MANY] = ()
    """Columns of the table, -4 to 4; default: -1 to -0.1, or the model's own. The advice is not bound to them."""
    guidance: float | None = None
    """1 = without, in half the work; default: the model's own."""
    precision: Literal["int8", "fp32"] = "int8"
    """Of the weights, where model and processor can."""
    threads: int = 1
    """CPU threads, 0 = as many as torch takes by itself."""
    loopback: bool = False
    """Measure the sound card: plays a few sweeps; connect its output to its input before."""
    input: Annotated[str | None, DEVICE] = None
    """With --loopback: the device that hears; default: the system's."""
    output: Annotated[str | None, DEVICE] = None
    """With --loopback: the device that plays; default: the system's."""
    device_in: Annotated[float | None, SECONDS] = None
    """Delay from the air to the program, where it is known; assumed otherwise: 0.01."""
    device_out: Annotated[float | None, SECONDS] = None
    """Delay from the program to the air; assumed otherwise: 0.01."""
    jitter: Annotated[float | None, SECONDS] = None
    """How late things may be beyond that; default: measured, how late a process wakes (p99.9)."""
    block: Annotated[float, SECONDS] = 0.01
    """Of the sound card, 0.001 to 0.2: how long a process sleeps between two wake-ups, how --loopback plays."""
    seconds: Annotated[float, SECONDS] = 20.0
    """Of sound, for each k."""
    quick: bool = False
    """About ten seconds in all: less sound, and only k = 0.02, 0.1 and 0.4 unless --k says otherwise."""
    plot: Annotated[Path | None, FILE] = None
    """Also draw the plane (.png)."""
    json: Annotated[Path | None, FILE] = None
    """Also write what was measured; bandmate sweep figures --latency takes it."""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "bandmate plan")
    check(args)
    card = sound_card(args) if args.loopback else None
    plan = measured(args, card)
    picture = plan.picture() if args.plot else None
    if args.plot and picture is not None:
        write_whole(args.plot, picture)
    if args.json:
        write_whole(args.json, (json.dumps(plan.report(), indent=2) + "\n").encode())
    print("\n".join(plan.lines()))
    return 0


def check(args: Arguments) -> None:
    """Refuses what cannot be before anything is loaded or played."""
    measuring.check_common(args)
    in_range(
        {
            "--device-in": (args.device_in, 0, 2),
            "--device-out": (args.device_out, 0, 2),
            "--jitter": (args.jitter, 0, 2),
            "--block": (args.block, 0.001, 0.2),
        }
    )
    if args.loopback and (args.device_in is not None or args.device_out is not None):
        raise ValueError(
            "--loopback measures what --device-in and --device-out would say: give one or the other"
        )
    if not args.loopback and (args.input is not None or args.output is not None):
        raise ValueError("--input and --output choose the devices of --loopback: give that, too")
    if args.plot and args.plot.suffix.lower() != ".png":
        raise ValueError(f"--plot writes PNG only: name the file {args.plot.with_suffix('.png')}")
    check_targets({"--plot": args.plot, "--json": args.json})


def sound_card(args: Arguments) -> "Delay":
    """Plays the sweeps; ValueError or OSError in one line where that tells nothing."""
    from bandmate.stream import loopback

    repeats = QUICK_REPEATS if args.quick else REPEATS
    seconds = repeats * (loopback.LONGEST + loopback.SWEEP_SECONDS)
    print(f"bandmate plan: playing {repeats} sweeps, {seconds:.0f} s", file=sys.stderr)
    names = [int(name) if name is not None and name.isdigit() else name for name in (args.output, args.input)]
    return loopback.measured_delay(
        lambda count: loopback.play_and_record(count, names[0], names[1], args.block), repeats
    )


def measured(args: Arguments, card: "Delay | None") -> "Measured":
    """Loads the model, times it, and draws the conclusion."""
    from bandmate.commands.plan_telling import Measured
    from bandmate.spec import StreamSpec
    from bandmate.stream import host
    from bandmate.stream.advice import Machine, advise

    load = host.load_average()
    bundle, precision = playing.load_to_play(args.model, args.precision, args.threads)
    player = measuring.TimedPlayer(bundle, precision, args.guidance)
    about = host.describe() | {"load_average": load}
    t_f, ks = player.own or (measuring.T_F, None)
    usual = (QUICK_KS if args.quick else KS) if ks is None else (ks,)
    probes = player.probes(t_f, args.k or usual, measuring.DEMO)
    share, lateness = run(args, player, probes)
    times = [probe.times for probe in probes]
    fixed = None if player.own is None or args.k else StreamSpec.from_seconds(t_f, 1).t_f
    t_gen = {each.k: each.t_gen for each in times}
    machine = Machine(t_gen, latency(args, probes[0].engine.geometry, lateness, card), fixed)
    grid = args.t_f or (T_FS if fixed is None else (t_f,))
    t_fs = sorted({StreamSpec.from_seconds(each, 1).t_f for each in grid})
    return Measured(args, player, about, share, lateness, times, machine, advise(machine), t_fs, card)


def run(args: Arguments, player: measuring.TimedPlayer, probes: "list[Probe]") -> tuple[float, list[float]]:
    """Times the probes while another process sleeps beside them, unless the jitter was given."""
    from bandmate.stream.jitter import Sleeper

    if args.jitter is not None:
        return measuring.run_probes(player, probes, args.seconds, args.quick, PAUSE).share, []
    with Sleeper(args.block) as sleeper:
        timed = measuring.run_probes(player, probes, args.seconds, args.quick, PAUSE)
    return timed.share, sleeper.lateness


def latency(args: Arguments, geometry: "Geometry", lateness: list[float], card: "Delay | None") -> "Latency":
    """Everything but the chunks themselves: given, else measured, else assumed."""
    from bandmate.spec import Latency
    from bandmate.stream.jitter import worst

    half = ASSUMED if card is None else card.seconds / 2
    return Latency(
        device_in=half if args.device_in is None else args.device_in,
        device_out=half if args.device_out is None else args.device_out,
        pattern=geometry.pattern * geometry.hop / geometry.rate,
        synthesis=geometry.synthesis_delay / geometry.rate,
        jitter=worst(lateness) if args.jitter is None else args.jitter,
    )
