"""Is the input pipeline the bottleneck? Parts of a batch per second: drawn only, learnt from only, and both together.

usage: python benchmarks/bench_input.py --data prepared --preset decoder-tiny [--workers 4] [--set batch=64 ...]
"""

import dataclasses
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch.utils.data import DataLoader

from bandmate.configs import preset
from bandmate.train import presets, runs
from bandmate.train.loop import StepBatches, Training


@dataclasses.dataclass(frozen=True)
class Arguments:
    data: Path
    preset: str = "decoder-tiny"
    workers: int = 0
    seconds: float = 10.0
    """How long each figure is measured."""
    set: Annotated[list[str], tyro.conf.arg(metavar="FIELD=VALUE")] = dataclasses.field(default_factory=list)


def drawn(training: Training, workers: int) -> Iterator[Any]:
    """Parts in the order of training."""
    batches = StepBatches(training.draw_part, 0, 10**6, range(training.loop.parts))
    return iter(DataLoader(batches, batch_size=None, num_workers=workers))


def learn(training: Any, parts: Iterator[Any], device: torch.device, precision: str) -> None:
    """One part forward, backward and into the weights."""
    part = training.transfer_batch_to_device(next(parts), device, 0)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
        loss, _ = training.loss(part)
    loss.backward()
    training.optimizer.step()
    training.model.zero_grad()


def rate(step: Any, seconds: float, device: torch.device) -> float:
    """Calls per second, after one that does not count."""
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        calls += 1
    if device.type == "cuda":
        torch.cuda.synchronize()
    return calls / (time.perf_counter() - began)


def main() -> None:
    args = tyro.cli(Arguments)
    config = runs.override(preset(presets.LM, args.preset), args.set)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training = config.build(args.data).to(device)
    training.optimizer = training.configure_optimizers()
    rows = config.batch // config.parts
    print(
        f"{args.preset}: parts of {rows} windows of {config.frames} frames, {args.workers} workers, {device.type}"
    )
    source = drawn(training, args.workers)
    same = itertools.repeat(training.draw_part(0, 0))
    measured = {
        "drawn only": rate(lambda: next(source), args.seconds, device),
        "learnt from only": rate(
            lambda: learn(training, same, device, config.precision), args.seconds, device
        ),
        "both": rate(lambda: learn(training, source, device, config.precision), args.seconds, device),
    }
    for name, value in measured.items():
        print(f"{name:<18}{value:8.2f} parts/s {value * rows:10.1f} windows/s")


if __name__ == "__main__":
    main()
