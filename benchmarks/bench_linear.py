"""Why bandmate.nn.linear and nn.packed exist: microseconds per product, weights in turn so that caches do not flatter.

usage: python benchmarks/bench_linear.py
"""

import statistics
import time
from collections.abc import Callable
from itertools import cycle

import torch
from torch.nn import functional as F

from bandmate.nn.packed import PackedLinear

SHAPES = [(256, 768), (256, 1024), (512, 256), (256, 4096)]


def median_us(call: Callable[[], object], rounds: int = 200) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    print(f"{'in':>6}{'out':>6}{'rows':>6}{'x @ W.T':>10}{'W @ x.T':>10}{'ratio':>8}{'int8':>8}{'ratio':>8}")
    for inputs, outputs in SHAPES:
        matrices = [torch.randn(outputs, inputs) for _ in range(12)]
        weights, layers = cycle(matrices), cycle([PackedLinear(matrix) for matrix in matrices])
        for rows in (1, 2, 5, 8, 20):
            x = torch.randn(rows, inputs)
            columns = x.t()
            usual = median_us(lambda x=x, w=weights: F.linear(x, next(w)))  # type: ignore[misc]
            turned = median_us(lambda c=columns, w=weights: next(w) @ c)  # type: ignore[misc]
            eight = median_us(lambda x=x, w=layers: next(w)(x))  # type: ignore[misc]
            print(
                f"{inputs:>6}{outputs:>6}{rows:>6}{usual:>10.0f}{turned:>10.0f}{usual / turned:>8.2f}"
                f"{eight:>8.0f}{turned / eight:>8.2f}"
            )


if __name__ == "__main__":
    main()
