"""Causal convolutions over time, channels last, with their state as a value.

Every layer here keeps one contract: ``forward(x, state) -> (y, state)``; ``state=None`` means "the sequence
begins here". Splitting a sequence anywhere and handing the state on gives the same result as one pass.
"""

import torch
from torch import Tensor, nn

from bandmate.nn.linear import Linear


class CausalDepthwiseConv(nn.Module):
    """One FIR filter per channel, looking back only; a sum of shifted copies, which on CPUs beats grouped conv1d."""

    def __init__(self, width: int, kernel: int = 7) -> None:
        super().__init__()
        self.kernel = kernel
        self.weight = nn.Parameter(torch.randn(kernel, width) * kernel**-0.5)
        self.bias = nn.Parameter(torch.zeros(width))

    def init_state(self, batch: int) -> Tensor:
        """The last ``kernel - 1`` inputs, [B, kernel - 1, D]: zeros before the sequence."""
        return self.weight.new_zeros(batch, self.kernel - 1, self.weight.shape[1])

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B, T, D] -> [B, T, D]."""
        past = self.init_state(x.shape[0]) if state is None else state
        padded = torch.cat([past.to(x.dtype), x], dim=1)
        length = x.shape[1]
        y = self.bias.to(x.dtype) + padded[:, :length] * self.weight[0].to(x.dtype)
        for tap in range(1, self.kernel):
            y = y + padded[:, tap : tap + length] * self.weight[tap].to(x.dtype)
        return y, padded[:, length:]


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution in time, then an MLP per step (Liu et al. 2022), normalised over channels only.

    Normalising over time (as ConvNeXt v2's GRN does) would let the future in.
    """

    def __init__(self, width: int, kernel: int = 7, expansion: int = 3) -> None:
        super().__init__()
        self.depthwise = CausalDepthwiseConv(width, kernel)
        self.norm = nn.LayerNorm(width)
        self.up = Linear(width, expansion * width, bias=True)
        self.down = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.2))

    def init_state(self, batch: int) -> Tensor:
        return self.depthwise.init_state(batch)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B, T, D] -> [B, T, D]."""
        y, state = self.depthwise(x, state)
        y = self.down(nn.functional.gelu(self.up(self.norm(y)), approximate="tanh"))
        return x + self.scale.to(x.dtype) * y, state


class ConvNeXtStack(nn.Module):
    """Blocks in a row; the state is the list of theirs."""

    def __init__(self, width: int, depth: int, kernel: int = 7) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConvNeXtBlock(width, kernel) for _ in range(depth))

    def init_state(self, batch: int) -> list[Tensor]:
        return [block.init_state(batch) for block in self.blocks]  # type: ignore[operator]

    def forward(self, x: Tensor, state: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """x [B, T, D] -> [B, T, D]."""
        states = [None] * len(self.blocks) if state is None else state
        after = []
        for block, before in zip(self.blocks, states, strict=True):
            x, new = block(x, before)
            after.append(new)
        return x, after
