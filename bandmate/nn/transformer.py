"""Transformer parts shared by all models: pre-norm, rotary positions, normalised queries and keys, gated MLP.

The parts leave it to the model who attends to whom: a block projects, the model attends, the block finishes.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bandmate.nn.linear import Linear


def rms_normalise(x: Tensor) -> Tensor:
    """x / rms(x) over the last axis, the mean taken in float32 or wider."""
    wide = x if x.dtype == torch.float64 else x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class RMSNorm(nn.Module):
    """x / rms(x) over the last axis, with a learned gain per channel unless ``gain`` is False (Zhang and Sennrich 2019)."""

    def __init__(self, width: int, gain: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width)) if gain else None

    def forward(self, x: Tensor) -> Tensor:
        x = rms_normalise(x)
        return x if self.weight is None else x * self.weight.to(x.dtype)


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = Linear(width, 2 * hidden)
        self.down = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


def rotary_angles(positions: Tensor, head_width: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosine and sine, [T, head_width / 2] each, of the rotary angles of integer positions [T].

    Taken modulo one turn in float64, so that hour-old positions are as exact as the first (Su et al. 2021).
    """
    frequency = base ** (
        -torch.arange(0, head_width, 2, dtype=torch.float64, device=positions.device) / head_width
    )
    angle = torch.remainder(positions.double()[:, None] * frequency, 2 * torch.pi)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Rotates x [B, H, T, head_width], its halves being the two coordinates of each pair."""
    cos, sin = (part.to(x.dtype) for part in angles)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Projections(nn.Module):
    """Keys and values (and queries) of one layer for one stream, normalised and rotated."""

    def __init__(self, width: int, heads: int, kv_heads: int, queries: bool = True) -> None:
        super().__init__()
        if width % heads or heads % kv_heads:
            raise ValueError(f"width {width} must divide by heads {heads}, and heads by kv_heads {kv_heads}")
        self.head_width = width // heads
        self.split = [heads * queries, kv_heads, kv_heads]
        self.norm = RMSNorm(width)
        self.project = Linear(width, sum(self.split) * self.head_width)
        self.query_gain = nn.Parameter(torch.ones(heads, 1, 1)) if queries else None

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor | None, Tensor, Tensor]:
        """x [B, T, D] -> queries [B, H, T, d] or None, keys and values [B, H_kv, T, d]."""
        heads = self.project(self.norm(x)).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        q, k, v = heads.split(self.split, dim=1)
        k = rotate(rms_normalise(k), angles)
        if self.query_gain is None:
            return None, k, v
        q = rotate(rms_normalise(q), angles) * self.query_gain.to(q.dtype)
        return q, k, v


class Block(nn.Module):
    """One pre-norm layer in two halves around an attention that the model carries out."""

    def __init__(self, width: int, heads: int, kv_heads: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention_in = Projections(width, heads, kv_heads)
        self.attention_out = Linear(width, width)
        self.norm = RMSNorm(width)
        self.mlp = SwiGLU(width, hidden)
        self.dropout = nn.Dropout(dropout)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """x [B, T, D] and what its queries fetched [B, H, T, d] -> the layer's output [B, T, D]."""
        x = x + self.dropout(self.attention_out(attended.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.mlp(self.norm(x)))


class Blocks(nn.ModuleList):
    """Blocks in a row, and nothing but blocks."""

    def __iter__(self) -> Iterator[Block]:
        return super().__iter__()  # type: ignore[return-value]

    def at(self, layer: int) -> Block:
        return self[layer]  # type: ignore[return-value]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Scaled dot-product attention with grouped keys; mask [B or 1, 1, Tq, Tk], True or 0 where a query may look."""
    if k.shape[1] != q.shape[1]:
        k, v = (part.repeat_interleave(q.shape[1] // part.shape[1], dim=1) for part in (k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
