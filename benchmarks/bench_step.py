"""What training at the paper's size costs: operations of a step, what this machine makes of it, hours on a GPU projected.

A step is a real one: loss, gradients, clipping and AdamW in the preset's precision, on random codes of the codec's
sizes. It is measured on one thread in CPU time, so that other processes do not count, with a batch of ``rows``; the
batch of the preset is counted, not run. Shares are of the fastest matrix product measured in the same run.

usage: python benchmarks/bench_step.py [--presets decoder prefix-decoder stemgen] [--rows 1] [--codecs dac]
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor

from bandmate.configs import CODEC_KINDS, CODECS, preset
from bandmate.nn.linear import Linear
from bandmate.train import presets
from bandmate.train.flops import Counter, step_flops
from bandmate.train.language import module_of
from bandmate.train.loop import clip
from bandmate.train.paper import PaperTrainConfig


@dataclasses.dataclass(frozen=True)
class Arguments:
    presets: tuple[str, ...] = ("decoder", "prefix-decoder", "stemgen")
    codecs: tuple[str, ...] = ("dac", "spectral-small")
    rows: int = 1
    """Windows of the measured step; 0: count only."""
    peak: float = 989e12
    """Dense bf16 FLOP/s of the GPU that is projected to."""
    use: float = 0.3
    """Share of it that is assumed."""
    hours: float = 145.0
    """Hours of songs to be prepared."""
    streams: int = 30
    """Stems and submixes of a song."""


def cpu_seconds(run: Callable[[], Any], times: int) -> float:
    """Mean CPU time of a call."""
    began = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - began) / times


def matrix_product_speed(dtype: torch.dtype, size: int = 1536, times: int = 5) -> float:
    """FLOP/s of the fastest of some square products."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    a @ b
    return 2 * size**3 / min(cpu_seconds(lambda: a @ b, 1) for _ in range(times))


def counted(run: Callable[[], Any]) -> int:
    with Counter() as counter:
        run()
    return counter.flops


def whole_step(model: Any, config: PaperTrainConfig) -> float:
    """6 N per position and attention, of the preset's batch; random prefixes by their mean."""
    c = config.model
    heads = model.heads.project.weight.numel()
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, Linear | torch.nn.Linear))
    positions = np.array([config.frames])
    if hasattr(c, "objective") and c.objective == "random_prefix":
        positions = np.arange(config.frames // c.k) * c.k + c.k
    columns = c.k if len(positions) > 1 else config.frames
    one = [step_flops(linear - heads, n, heads, columns, c.layers, c.width) for n in positions.tolist()]
    return config.batch * float(np.mean(one))


def random_batch(config: PaperTrainConfig, model: Any, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    c = config.model
    frames = sum(model.input_span(config.frames)) + config.frames
    x, y = (torch.randint(c.codes, (rows, c.levels, n)) for n in (frames, config.frames))
    return x, y, torch.zeros(rows, dtype=torch.long)


def bench_model(name: str, args: Arguments, fastest: float) -> None:
    """One line: what a step of the preset holds, and what it took here."""
    config = preset(presets.LM, name)
    model = module_of(config.model).train()
    optimizer = torch.optim.AdamW(model.parameters(), config.rate, betas=config.betas, foreach=True)
    batch = random_batch(config, model, args.rows)
    rng = np.random.default_rng(0)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16-mixed"):
            logits, wanted = model.objective(*batch, rng)
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 2), wanted.flatten())
        loss.backward()
        clip(model.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad()

    flops, weights = whole_step(model, config), sum(p.numel() for p in model.parameters())
    hours = config.steps * flops / (args.peak * args.use) / 3600
    print(
        f"{name}: {weights / 1e6:.0f} M parameters, {flops / 1e12:.1f} TFLOP a step of {config.batch} windows; "
        f"projected: {config.steps} steps in {hours:.1f} hours"
    )
    if args.rows:
        measured: list[float] = []
        found = counted(lambda: measured.append(cpu_seconds(step, 1)))
        print(
            f"  measured with {args.rows} windows, {config.precision}: {measured[0]:.1f} s of one core, "
            f"{found / 1e12:.2f} TFLOP, {found / measured[0] / 1e9:.0f} GFLOP/s, "
            f"{100 * found / measured[0] / fastest:.0f} % of the fastest product",
            flush=True,
        )


def bench_codec(name: str, args: Arguments, frames: int = 50) -> None:
    """One line: what encoding a second holds, and all streams of the songs."""
    config = preset(CODECS, name)
    make = next(made for known, made in CODEC_KINDS.values() if type(config) is known)
    codec = make(config).eval()
    audio = torch.randn(1, frames * codec.hop) * 0.1
    with torch.no_grad():
        second = counted(lambda: codec.quantizer.encode(codec.encoder(audio)[0])) * codec.sample_rate
    second /= audio.shape[1]
    everything = second * args.hours * args.streams * 3600
    print(
        f"{name}: {second / 1e9:.1f} GFLOP to encode a second; {args.hours:.0f} hours in {args.streams} streams "
        f"{everything / 1e15:,.0f} PFLOP; projected: {everything / (args.peak * args.use) / 3600:.2f} hours"
    )


def main() -> None:
    args = tyro.cli(Arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    speeds = {str(kind): matrix_product_speed(kind) for kind in (torch.float32, torch.bfloat16)}
    print("one core:", ", ".join(f"{name} {speed / 1e9:.0f} GFLOP/s" for name, speed in speeds.items()))
    print(f"projections: one GPU at {100 * args.use:.0f} % of {args.peak / 1e12:.0f} TFLOP/s\n", flush=True)
    for name in args.codecs:
        bench_codec(name, args)
    for name in args.presets:
        bench_model(name, args, max(speeds.values()))


if __name__ == "__main__":
    main()
