"""What a step of the stream costs on this machine, and whether memory stays flat.

    python benchmarks/bench_stream.py                      # the bundled model, k = 0.02, 0.1, 0.2 and 1 s
    python benchmarks/bench_stream.py --minutes 60 --k 0.1
    python benchmarks/bench_stream.py --turns 10 --k 0.1   # int8 against fp32, second by second

One step = hear + listen + play + decode of one chunk, guidance included. Without a bundled model the
sizes of the default presets are timed with random weights: the cost is the same.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro

from bandmate.checkpoint import DEFAULT, Bundle, available, load_bundle, sampling_for
from bandmate.codec.spectral import SpectralCodec
from bandmate.configs import duet_small, spectral_small
from bandmate.model.duet import Duet
from bandmate.model.sampling import Sampler
from bandmate.spec import StreamSpec
from bandmate.stream.engine import Engine
from bandmate.stream.quick import quick
from bandmate.stream.scheduler import VirtualClock
from bandmate.stream.session import Session
from bandmate.stream.warmup import warm_up

HEADER = (
    "k s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "max ms",
    "real-time factor",
    "late",
    "start s",
    "MB before",
    "MB after",
)


@dataclass(frozen=True)
class Arguments:
    model: str = DEFAULT
    """Name or folder of a model."""
    minutes: float = 0.5
    """Of audio, for every k."""
    k: tuple[float, ...] = (0.02, 0.1, 0.2, 1.0)
    """Chunk lengths in seconds."""
    t_f: float = -0.4
    """Seconds."""
    guidance: float | None = None
    """Default: the model's own."""
    threads: int = 1
    """0 = torch's own."""
    precision: Literal["int8", "fp32"] = "int8"
    """Of the weights."""
    turns: int = 0
    """Instead: so many times five seconds, each second played with fp32 and with int8, and the ratio."""


def main(args: Arguments) -> None:
    if args.threads:
        torch.set_num_threads(args.threads)
    bundle = (
        load_bundle(args.model) if args.model in available() or Path(args.model).is_dir() else random_bundle()
    )
    sampling = sampling_for(bundle.card, args.t_f) | (
        {} if args.guidance is None else {"guidance": args.guidance}
    )
    print(
        f"{bundle.name}, t_f = {args.t_f:g} s, {sampling},"
        f" torch {torch.__version__}, {torch.get_num_threads()} threads, {args.precision}"
    )
    if args.turns:
        for k in args.k:
            compare(bundle, sampling, StreamSpec.from_seconds(args.t_f, k), args.turns)
        return
    bundle = quick(bundle) if args.precision == "int8" else bundle
    widths = [max(8, len(name)) for name in HEADER]
    print("  ".join(f"{name:>{width}}" for name, width in zip(HEADER, widths)))
    for k in args.k:
        row = measure(bundle, sampling, StreamSpec.from_seconds(args.t_f, k), args.minutes)
        print("  ".join(f"{value:>{width}g}" for value, width in zip(row, widths)), flush=True)


def measure(bundle: Bundle, sampling: dict, spec: StreamSpec, minutes: float) -> list[float]:
    """One row of the table."""

    def engine(task: StreamSpec) -> Engine:
        return Engine(bundle.codec, bundle.model, task, Sampler(**sampling), 4)

    began = time.perf_counter()
    warm_up(engine, spec)
    session = Session(engine(spec), VirtualClock(32_000), ignore_first=True)
    start = time.perf_counter() - began
    before = 0.0
    for second, block in enumerate(noise_and_tones(round(60 * minutes))):
        session.push(block)
        if second == 10:
            before = resident()
    session.finish()
    steps, tracker = session.tracker.steps.summary(), session.tracker
    factor = round(tracker.work / (60 * minutes), 4)
    memory = [round(before), round(resident())]
    return [
        spec.k_seconds,
        *(round(v, 2) for v in steps.values()),
        factor,
        tracker.misses,
        round(start, 2),
        *memory,
    ]


def compare(bundle: Bundle, sampling: dict, spec: StreamSpec, turns: int) -> None:
    """Two streams side by side, one of each precision: what else the machine does meets both."""
    sampler = Sampler(**sampling)
    engines = [Engine(each.codec, each.model, spec, sampler, 4) for each in (bundle, quick(bundle))]
    times = []
    for turn, block in enumerate(noise_and_tones(5 * turns)):
        spent = [sum(out.seconds for out in engine.push(block)) for engine in engines]
        if turn >= 5:  # the first seconds fill the caches
            times.append(spent)
    fp32, int8 = np.median(times, axis=0)
    low, ratio, high = np.percentile([b / a for a, b in times], [10, 50, 90])
    print(
        f"k = {spec.k_seconds:g} s: real-time factor {fp32:.3f} with fp32, {int8:.3f} with int8;"
        f" ratio {ratio:.2f} (80 % of the seconds: {low:.2f} to {high:.2f})"
    )


def noise_and_tones(seconds: int) -> Iterator[np.ndarray]:
    """Music enough to keep the model busy: one second [32000] at a time."""
    rng, t = np.random.default_rng(0), np.arange(32_000) / 32_000
    for _ in range(seconds):
        tones = sum(np.sin(2 * np.pi * f * t) for f in rng.uniform(60, 2000, 5))
        yield (0.05 * tones + 0.02 * rng.standard_normal(32_000)).astype(np.float32)


def resident() -> float:
    """Resident memory of this process in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def random_bundle() -> Bundle:
    torch.manual_seed(0)
    codec, model = SpectralCodec(spectral_small()).eval(), Duet(duet_small()).eval()
    torch.nn.init.normal_(codec.quantizer.codebook)
    sampling = {"temperature": 1.0, "top_k": 200, "guidance": 1.5}
    return Bundle("random weights of the default sizes", codec, model, {"sampling": sampling})


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
