"""``bandmate bench``: what a step costs on this machine, and how far that is from what its memory allows."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from bandmate.commands import measuring, playing
from bandmate.commands.files import check_targets, write_whole
from bandmate.commands.parsing import parse

if TYPE_CHECKING:
    from bandmate.stream.bandwidth import Bandwidth, Traffic
    from bandmate.stream.measure import Probe

FILE, SECONDS = tyro.conf.arg(metavar="FILE"), tyro.conf.arg(metavar="SECONDS")
KS, QUICK_KS = (0.02, 0.1, 0.2, 1.0), (0.02, 0.1)


@dataclass(frozen=True)
class Arguments:
    """Time the real engine over real audio, call by call, and compare with the speed of this machine's memory.

    One step = encode + listen + play + decode of one chunk, guidance included. Every cache is full and has rolled over
    before the first step that counts.

    Example: bandmate bench --k 0.1 0.2 --json bench.json
    """

    model: Annotated[str, tyro.conf.arg(metavar="NAME_OR_PATH")] = "duet-small"
    """A bundled model (see bandmate models) or a folder with one."""
    k: Annotated[tuple[float, ...], tyro.conf.arg(metavar="SECONDS ...")] = ()
    """Chunk lengths, 0.02 to 2; default: 0.02 0.1 0.2 1, or the model's own."""
    t_f: Annotated[float | None, SECONDS] = None
    """How far the model hears ahead of what it plays; default: -0.4, or the model's own."""
    guidance: float | None = None
    """1 = without, in half the work; default: the model's own."""
    precision: Literal["int8", "fp32"] = "int8"
    """Of the weights, where model and processor can."""
    threads: int = 1
    """CPU threads, 0 = as many as torch takes by itself."""
    seconds: Annotated[float, SECONDS] = 20.0
    """Of sound, for each k."""
    quick: bool = False
    """About ten seconds in all: less sound, and only k = 0.02 and 0.1 unless --k says otherwise."""
    audio: Annotated[Path | None, FILE] = None
    """What is heard, over and over; default: the bundled clip."""
    json: Annotated[Path | None, FILE] = None
    """Also write what was measured; bandmate sweep figures --latency takes it."""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "bandmate bench")
    measuring.check_common(args)
    check_targets({"--json": args.json}, args.audio)
    report = measured(args)
    if args.json:
        write_whole(args.json, (json.dumps(report, indent=2) + "\n").encode())
    print("\n".join(lines(report)))
    if args.json:
        print(f"report  {args.json}")
    return 0


def measured(args: Arguments) -> dict[str, Any]:
    """Loads, times, and tells."""
    from bandmate.stream import bandwidth, host
    from bandmate.stream.report import versions

    before = host.load_average()
    bundle, precision = playing.load_to_play(args.model, args.precision, args.threads)
    player = measuring.TimedPlayer(bundle, precision, args.guidance)
    t_f, ks = place(args, player)
    probes = player.probes(t_f, ks, args.audio or measuring.DEMO)
    timed = measuring.run_probes(player, probes, args.seconds, args.quick)
    held = {"warm": round(timed.warm), "end": round(host.memory()), "peak": round(host.peak_memory())}
    weights = bandwidth.weights_of(player.bundle.codec, player.bundle.model)
    traffic = [bandwidth.bytes_per_step(probe, weights) for probe in probes]
    speed = bandwidth.bandwidth(max(round(each.total / probe.spec.k) for each, probe in zip(traffic, probes)))
    return {
        "model": player.bundle.name,
        "precision": player.precision,
        "t_f": probes[0].spec.t_f_seconds,
        "sampling": player.sampling(t_f),
        "t_gen": {f"{probe.spec.k_seconds:g}": probe.times.t_gen for probe in probes},
        "chunks": [chunk(probe, each, speed) for probe, each in zip(probes, traffic)],
        "memory_mb": held,
        "bandwidth_gb_s": {
            "read": round(speed.read / 1e9, 2),
            "copy": round(speed.copy / 1e9, 2),
            "resident": round(speed.resident / 1e9, 2),
            "resident_mb": round(speed.resident_bytes / 1e6, 2),
        },
        "machine": host.describe() | {"load_average": before},
        "on_processor": round(timed.share, 3),
        "versions": versions(),
    }


def place(args: Arguments, player: measuring.TimedPlayer) -> tuple[float, tuple[float, ...]]:
    """t_f and the k to be timed, in seconds: as given, else the model's own, else the usual ones."""
    t_f, k = player.own or (measuring.T_F, None)
    usual = (QUICK_KS if args.quick else KS) if k is None else (k,)
    return (t_f if args.t_f is None else args.t_f), args.k or usual


def chunk(probe: "Probe", traffic: "Traffic", speed: "Bandwidth") -> dict[str, Any]:
    """One k: times in ms, bytes in MB of a column, the floor in ms of a chunk."""
    times, k = probe.times, probe.spec.k
    steps, floor = times.summary(), 1000 * traffic.total / speed.read
    megabytes = {
        name: round(sum(count.values()) / k / 1e6, 3)
        for name, count in (("weights", traffic.weight_bytes), ("caches", traffic.state_bytes))
    }
    return {
        "k": probe.spec.k_seconds,
        "calls": len(times.steps),
        "step_ms": steps,
        "first_ms": round(1000 * times.first, 3),
        "real_time_factor": round(times.real_time_factor, 4),
        "share": {name: round(share, 4) for name, share in times.shares().items()},
        "players_per_core": times.players_per_core,
        "column_mb": megabytes,
        "floor_ms": round(floor, 3),
        "times_floor": round(steps["p50"] / floor, 1) if floor else None,
    }


def lines(report: dict[str, Any]) -> list[str]:
    """What is printed."""
    from bandmate.stream import host

    chunks, speed, held = report["chunks"], report["bandwidth_gb_s"], report["memory_mb"]
    return [
        host.in_words(report["machine"], report["on_processor"]),
        f"{report['model']}, {report['precision']}, t_f = {report['t_f']:g} s, guidance {guidance_of(report)}",
        "",
        *measuring.table([STEPS, *map(step_row, chunks)]),
        "",
        *measuring.table([FLOOR, *map(floor_row, chunks)]),
        "",
        f"memory read at {speed['read']:g} GB/s, copied at {speed['copy']:g} GB/s; {speed['resident_mb']:g} MB, as much as"
        f" a column reads, again and again at {speed['resident']:g} GB/s",
        "floor: the time to read weights and caches of a chunk from memory; what stays in a cache may be quicker",
        f"memory of the process: {held['warm']} MB when warm, {held['end']} MB at the end, at most {held['peak']} MB",
    ]


STEPS = (
    "k s",
    "calls",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "max ms",
    "first ms",
    "real-time factor",
    "players per core",
)
FLOOR = (
    "k s", "encode", "listen", "play", "decode", "other", "weights MB/column", "caches MB/column", "floor ms", "p50 / floor",
)  # fmt: skip


def guidance_of(report: dict[str, Any]) -> str:
    value = report["sampling"].get("guidance", 1.0)
    return ", ".join(f"{each:g}" for each in value) if isinstance(value, list | tuple) else f"{value:g}"


def step_row(chunk: dict[str, Any]) -> list[str]:
    steps = [f"{chunk['step_ms'][name]:.1f}" for name in ("p50", "p95", "p99", "max")]
    first, factor = f"{chunk['first_ms']:.1f}", f"{chunk['real_time_factor']:.3f}"
    return [f"{chunk['k']:g}", str(chunk["calls"]), *steps, first, factor, str(chunk["players_per_core"])]


def floor_row(chunk: dict[str, Any]) -> list[str]:
    shares = [f"{100 * share:.0f} %" for share in chunk["share"].values()]
    megabytes = [f"{value:.2f}" for value in chunk["column_mb"].values()]
    times = "" if chunk["times_floor"] is None else f"{chunk['times_floor']:g}"
    return [f"{chunk['k']:g}", *shares, *megabytes, f"{chunk['floor_ms']:.2f}", times]
