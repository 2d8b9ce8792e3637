"""A linear layer for streams: few rows at a time."""

import torch
from torch import Tensor, nn

FEW = 8  # rows up to which W @ x.T may be the quicker way round
SMALL = 2560  # numbers of x up to which it is


class Linear(nn.Linear):
    """nn.Linear, quick for the few rows of a streamed step.

    For two to eight rows the usual x @ W.T reads the weights at a fraction of the memory's speed; W @ x.T is two to four
    times as quick while x is small (benchmarks/bench_linear.py). For one row the two are equal, and it is left to the
    library.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__(inputs, outputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.numel() // x.shape[-1]
        few = 2 <= rows <= FEW and x.numel() <= SMALL
        if not few or torch.is_grad_enabled() or not x.is_cpu:
            return super().forward(x)
        y = (self.weight @ x.reshape(rows, -1).t()).t().reshape(*x.shape[:-1], -1)
        return y if self.bias is None else y + self.bias
