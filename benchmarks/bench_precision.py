"""int8 against fp32, second by second: two streams side by side, so that what else the machine does meets both.

usage: python benchmarks/bench_precision.py [--turns 10] [--k 0.1]      (`bandmate bench` times one of them alone)
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tyro

from bandmate.checkpoint import DEFAULT, load_bundle, sampling_for
from bandmate.commands.measuring import DEMO
from bandmate.model.sampling import Sampler
from bandmate.spec import StreamSpec
from bandmate.stream.engine import Engine
from bandmate.stream.measure import Clocks, Probe, Watched, read_sound, window_of
from bandmate.stream.quick import quick


@dataclass(frozen=True)
class Arguments:
    model: str = DEFAULT
    """Name or folder of a model."""
    turns: int = 10
    """Seconds of sound that each stream plays, in turn."""
    k: float = 0.1
    t_f: float = -0.4
    threads: int = 1


def probe(bundle: Any, spec: StreamSpec, sound: np.ndarray) -> Probe:
    sampler = Sampler(**sampling_for(bundle.card, spec.t_f_seconds))

    def build(run: Any) -> Engine:
        return Engine(Watched(bundle.codec, run), Watched(bundle.model, run), spec, sampler, 4)

    warmed = Probe(build, spec, sound, Clocks(time.perf_counter, time.process_time, time.sleep))
    warmed.warm(window_of(bundle.model))
    return warmed


def main(args: Arguments) -> None:
    torch.set_num_threads(args.threads)
    bundle, spec = load_bundle(args.model), StreamSpec.from_seconds(args.t_f, args.k)
    sound = read_sound(DEMO, bundle.codec.sample_rate)
    probes, calls = [probe(each, spec, sound) for each in (bundle, quick(bundle))], math.ceil(1 / args.k)
    spent = []
    for _ in range(args.turns):
        before = [sum(each.times.steps) for each in probes]
        for each in probes:
            each.run(calls)
        spent.append([sum(each.times.steps) - was for each, was in zip(probes, before)])
    fp32, int8 = (each.times.real_time_factor for each in probes)
    low, ratio, high = np.percentile([quick / plain for plain, quick in spent], [10, 50, 90])
    print(
        f"k = {spec.k_seconds:g} s: real-time factor {fp32:.3f} with fp32, {int8:.3f} with int8;"
        f" ratio {ratio:.2f} (80 % of the turns: {low:.2f} to {high:.2f})"
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
