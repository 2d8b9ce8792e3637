"""Layers of the Descript Audio Codec, channels first, causal with their state as a value.

Each stateful layer keeps one contract: ``forward(x [B, C, T], state) -> (y, state)``. What it holds is the tail of its
own input, zeros before the sequence, so any split into chunks (multiples of its stride) equals one pass.
``causal=False`` pads both sides evenly, as Descript's own releases do; such layers keep no state and take whole clips.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WeightNormed(nn.Module):
    """A weight split into direction and size (Salimans and Kingma 2016), size per first index as in torch.

    Folding 80 million of them anew for every 20 ms of sound would cost as much as using them, so the product is kept
    while the module only infers. That is why torch's own parametrisation is not used.
    """

    def __init__(self, shape: tuple[int, int, int], bias: int) -> None:
        super().__init__()
        self.weight_v = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_uniform_(self.weight_v, a=math.sqrt(5))
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=(1, 2), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(bias))
        self._kept: tuple[Any, Tensor] | None = None

    def weight(self) -> Tensor:
        """The product, of the shape of ``weight_v``."""
        if self.training or torch.is_grad_enabled() or self.weight_v.is_inference():
            self._kept = None
            return self._fold()
        # Changes in place raise the version, moves and casts change the address or the type.
        key = tuple((w._version, w.data_ptr(), w.dtype, w.device) for w in (self.weight_v, self.weight_g))
        if self._kept is None or self._kept[0] != key:
            self._kept = key, self._fold()
        return self._kept[1]

    def _fold(self) -> Tensor:
        return self.weight_v * (self.weight_g / self.weight_v.norm(dim=(1, 2), keepdim=True))


class Pointwise(WeightNormed):
    """A linear map of the channels at each step."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__((width_out, width_in, 1), width_out)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, T] -> [B, C', T]."""
        return F.conv1d(x, self.weight(), self.bias)


class Conv(WeightNormed):
    """A convolution whose output j has seen the input up to (j + 1) * stride and none after it."""

    def __init__(
        self, width_in: int, width_out: int, kernel: int, *, stride: int = 1, dilation: int = 1, causal: bool
    ) -> None:
        super().__init__((width_out, width_in, kernel), width_out)
        self.width_in, self.stride, self.dilation, self.causal = width_in, stride, dilation, causal
        self.span = dilation * (kernel - 1) + 1
        self.margin = (self.span - 1) // 2 if stride == 1 else math.ceil(stride / 2)  # if not causal

    def init_state(self, batch: int, early: bool = False) -> Tensor:
        """Zeros before the sequence. ``early``: so many that a lone first sample gives the first output."""
        length = self.span - 1 if early else self.span - self.stride
        return self.bias.new_zeros(batch, self.width_in, length)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """x [B, C, n * stride] -> [B, C', n]."""
        if not self.causal:
            padded = F.pad(x, (self.margin, self.margin))
            return F.conv1d(padded, self.weight(), self.bias, self.stride, dilation=self.dilation), None
        past = self.init_state(x.shape[0]) if state is None else state
        padded = torch.cat([past.to(x.dtype), x], dim=2)
        y = F.conv1d(padded, self.weight(), self.bias, self.stride, dilation=self.dilation)
        return y, padded[:, :, y.shape[2] * self.stride :]


class TransposedConv(WeightNormed):
    """Upsampling by ``stride`` with a kernel of twice that; input j sounds first at output j * stride.

    The state is what the last input still adds to the next ``stride`` outputs.
    """

    def __init__(self, width_in: int, width_out: int, stride: int, *, causal: bool) -> None:
        super().__init__((width_in, width_out, 2 * stride), width_out)
        self.width_out, self.stride, self.causal = width_out, stride, causal

    def init_state(self, batch: int, early: bool = False) -> Tensor:
        return self.bias.new_zeros(batch, self.width_out, self.stride)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """x [B, C, T] -> [B, C', T * stride] (without causality one sample less for an odd stride)."""
        if not self.causal:
            cut = math.ceil(self.stride / 2)
            return F.conv_transpose1d(x, self.weight(), self.bias, self.stride, padding=cut), None
        tail = self.init_state(x.shape[0]) if state is None else state
        spread = F.conv_transpose1d(x, self.weight(), None, self.stride)
        length = x.shape[2] * self.stride
        begun = torch.cat(
            [spread[:, :, : self.stride] + tail.to(spread.dtype), spread[:, :, self.stride : length]], dim=2
        )
        return begun + self.bias[:, None], spread[:, :, length:]


class Snake(nn.Module):
    """x + sin(a x)^2 / a, one a per channel: a bias towards what repeats (Ziyin et al. 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.sin(self.alpha * x).square() / (self.alpha + 1e-9)


class Chain(nn.Module):
    """Named parts one after another; the state holds one entry for each part that has ``init_state``."""

    def __init__(self, parts: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def init_state(self, batch: int, early: bool = False) -> list[Any]:
        parts: list[Any] = list(self.children())
        return [part.init_state(batch, early) for part in parts if hasattr(part, "init_state")]

    def run(self, x: Tensor, state: list[Any] | None = None) -> tuple[Tensor, list[Any]]:
        """x [B, C, T] through all parts."""
        after: list[Any] = []
        parts: list[Any] = list(self.children())
        for part in parts:
            if hasattr(part, "init_state"):
                x, new = part(x, None if state is None else state[len(after)])
                after.append(new)
            else:
                x = part(x)
        return x, after

    def forward(self, x: Tensor, state: list[Any] | None = None) -> tuple[Tensor, list[Any]]:
        return self.run(x, state)


class ResidualUnit(Chain):
    """A dilated convolution over 7 steps and a pointwise one, added to the input."""

    def __init__(self, width: int, dilation: int, causal: bool) -> None:
        super().__init__(
            {
                "snake": Snake(width),
                "conv": Conv(width, width, 7, dilation=dilation, causal=causal),
                "snake_out": Snake(width),
                "pointwise": Pointwise(width, width),
            }
        )

    def forward(self, x: Tensor, state: list[Any] | None = None) -> tuple[Tensor, list[Any]]:
        """x [B, C, T] -> [B, C, T]."""
        y, state = self.run(x, state)
        return x + y, state


DILATIONS = (1, 3, 9)


def residual_units(width: int, causal: bool) -> dict[str, nn.Module]:
    """unit0, unit1, unit2: three residual units that look further and further back."""
    return {f"unit{i}": ResidualUnit(width, dilation, causal) for i, dilation in enumerate(DILATIONS)}
