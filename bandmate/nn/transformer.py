"""Transformer parts shared by all models: pre-norm, rotary positions, normalised queries and keys, gated MLP.

The parts leave it to the model who attends to whom: a block projects, the model attends, the block finishes.
A row of blocks over one sequence, with its cache, is :mod:`bandmate.nn.stack`.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bandmate.nn.linear import Linear


@dataclasses.dataclass(frozen=True)
class Style:
    """How a block is built. The defaults are those of ``duet``; what the paper's models take is in StackConfig.

    norm_gain: a learned gain per channel in every norm. norm_eps: added to the mean square. mlp: gated (SwiGLU), or
    one SiLU layer with biases. mlp_dropout: after the activation of the MLP. rotary_share: the first part of each head
    that turns with the position; the rest carries no position. qk_gain: learned on normalised queries, one per head; or
    on queries and keys, one per channel. qk_scale: what the cosine between query and key is multiplied with; None:
    sqrt(head width).
    """

    norm_gain: bool = True
    norm_eps: float = 1e-6
    mlp: Literal["swiglu", "silu"] = "swiglu"
    mlp_dropout: float = 0.0
    rotary_share: float = 1.0
    qk_gain: Literal["head", "channel"] = "head"
    qk_scale: float | None = None


DUET = Style()


def rms_normalise(x: Tensor, eps: float = 1e-6) -> Tensor:
    """x / rms(x) over the last axis, the mean taken in float32 or wider."""
    wide = x if x.dtype == torch.float64 else x.float()
    return F.rms_norm(wide, x.shape[-1:], eps=eps).to(x.dtype)


class RMSNorm(nn.Module):
    """x / rms(x) over the last axis, with a learned gain per channel unless ``gain`` is False (Zhang and Sennrich 2019)."""

    def __init__(self, width: int, gain: bool = True, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width)) if gain else None

    def forward(self, x: Tensor) -> Tensor:
        x = rms_normalise(x, self.eps)
        return x if self.weight is None else x * self.weight.to(x.dtype)


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.gate_up = Linear(width, 2 * hidden)
        self.down = Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(self.dropout(F.silu(gate) * up))


class SiLUMLP(nn.Module):
    """down(silu(up(x))) with biases."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.up = Linear(width, hidden, bias=True)
        self.down = Linear(hidden, width, bias=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.dropout(F.silu(self.up(x))))


MLPS: dict[str, type[SwiGLU] | type[SiLUMLP]] = {"swiglu": SwiGLU, "silu": SiLUMLP}


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
    """Rotates x [B, H, T, head_width], its halves being the two coordinates of each pair.

    Of fewer angles than half of the head's channels, the first channels take part and the rest stays as it is.
    """
    cos, sin = (part.to(x.dtype) for part in angles)
    turned = 2 * cos.shape[-1]
    a, b = x[..., :turned].chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos, x[..., turned:]], dim=-1)


class Projections(nn.Module):
    """Keys and values (and queries) of one layer for one stream, normalised and rotated."""

    def __init__(
        self, width: int, heads: int, kv_heads: int, queries: bool = True, style: Style = DUET
    ) -> None:
        super().__init__()
        if width % heads or heads % kv_heads:
            raise ValueError(f"width {width} must divide by heads {heads}, and heads by kv_heads {kv_heads}")
        self.style, self.head_width = style, width // heads
        self.split = [heads * queries, kv_heads, kv_heads]
        self.norm = RMSNorm(width, style.norm_gain, style.norm_eps)
        self.project = Linear(width, sum(self.split) * self.head_width)
        channels = self.head_width if style.qk_gain == "channel" else 1
        self.query_gain = nn.Parameter(torch.ones(heads, 1, channels)) if queries else None
        self.key_gain = (
            nn.Parameter(torch.ones(kv_heads, 1, channels)) if style.qk_gain == "channel" else None
        )

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor | None, Tensor, Tensor]:
        """x [B, T, D] -> queries [B, H, T, d] or None, keys and values [B, H_kv, T, d]."""
        if self.query_gain is None or self.style.qk_gain != "head" or self.style.qk_scale is not None:
            q, k, v = self.plain(x)
            return (None if q is None else self.turn_query(q, angles)), rotate(k, angles), v
        # The same for duet, queries and keys in one go: a streamed step costs as much as it has calls.
        heads = self.project(self.norm(x)).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        turned, v = heads.split([sum(self.split[:2]), self.split[2]], dim=1)
        turned = rotate(rms_normalise(turned, self.style.norm_eps), angles)
        q, k = turned.split(self.split[:2], dim=1)
        return q * self.query_gain.to(q.dtype), k, v

    def plain(self, x: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """As :meth:`forward`, but keys and queries are not rotated yet."""
        heads = self.project(self.norm(x)).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        q, k, v = heads.split(self.split, dim=1)
        k = rms_normalise(k, self.style.norm_eps)
        if self.key_gain is not None:
            k = k * self.key_gain.to(k.dtype)
        return (None if self.query_gain is None else rms_normalise(q, self.style.norm_eps)), k, v

    def turn_query(self, q: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """Plain queries [B, H, T, d] with gain, rotated, and scaled such that 1 / sqrt(d) is still to come."""
        assert self.query_gain is not None
        gain = self.query_gain.to(q.dtype)
        if self.style.qk_gain == "head":
            q = rotate(q, angles) * gain
        else:
            q = rotate(q * gain, angles)
        return q if self.style.qk_scale is None else q * (self.style.qk_scale / self.head_width**0.5)


class QueryProjection(nn.Module):
    """Queries alone, for attention to another stream."""

    def __init__(self, width: int, heads: int, style: Style = DUET) -> None:
        super().__init__()
        self.head_width = width // heads
        self.norm = RMSNorm(width, style.norm_gain, style.norm_eps)
        self.project = Linear(width, width)
        self.gain = nn.Parameter(torch.ones(heads, 1, 1))
        self.eps = style.norm_eps
        self.scale = (style.qk_scale or self.head_width**0.5) / self.head_width**0.5

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """x [B, T, D] -> [B, H, T, d]."""
        q = self.project(self.norm(x)).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        return rotate(rms_normalise(q, self.eps), angles) * (self.gain.to(q.dtype) * self.scale)


class CrossAttention(nn.Module):
    """A position of one stream looks at the frames of another; both are turned by their place on one clock."""

    def __init__(self, width: int, heads: int, kv_heads: int, style: Style = DUET) -> None:
        super().__init__()
        self.query = QueryProjection(width, heads, style)
        self.memory = Projections(width, heads, kv_heads, queries=False, style=style)
        self.out = Linear(width, width)

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor], keys: Tensor, values: Tensor, mask: Tensor
    ) -> Tensor:
        """x [B, T, D], keys and values [B, H_kv, Tm, d] made by ``memory``, mask as :func:`attend` has it."""
        attended = attend(self.query(x, angles), keys, values, mask)
        return x + self.out(attended.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One pre-norm layer in two halves around an attention that the model carries out."""

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int,
        hidden: int,
        dropout: float = 0.0,
        style: Style = DUET,
        cross: bool = False,
    ) -> None:
        super().__init__()
        self.attention_in = Projections(width, heads, kv_heads, style=style)
        self.attention_out = Linear(width, width)
        self.cross = CrossAttention(width, heads, kv_heads, style) if cross else None
        self.norm = RMSNorm(width, style.norm_gain, style.norm_eps)
        self.mlp = MLPS[style.mlp](width, hidden, style.mlp_dropout)
        self.dropout = nn.Dropout(dropout)

    def finish(self, x: Tensor, attended: Tensor, cross: tuple | None = None) -> Tensor:
        """x [B, T, D] and what its queries fetched [B, H, T, d] -> the layer's output [B, T, D].

        ``cross``: what :class:`CrossAttention` takes after x, in a block that has one.
        """
        x = x + self.dropout(self.attention_out(attended.transpose(1, 2).flatten(2)))
        if self.cross is not None and cross is not None:
            x = self.cross(x, *cross)
        return x + self.dropout(self.mlp(self.norm(x)))


class Blocks(nn.ModuleList):
    """Blocks in a row, and nothing but blocks."""

    def __iter__(self) -> Iterator[Block]:
        return super().__iter__()  # type: ignore[return-value]

    def at(self, layer: int) -> Block:
        return self[layer]  # type: ignore[return-value]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool = False) -> Tensor:
    """Scaled dot-product attention with grouped keys.

    mask: [B or 1, H or 1, Tq, Tk], True or 0 where a query may look; None: everywhere, or with ``causal`` (Tq = Tk) at
    itself and what is before it.
    """
    if k.shape[1] != q.shape[1]:
        k, v = (part.repeat_interleave(q.shape[1] // part.shape[1], dim=1) for part in (k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)


FEW_QUERIES = 8


def attend_few(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """:func:`attend` for the one or few queries of a streamed step, the same for all rows and heads.

    For so few queries the library's kernel costs more than the plain products. mask: [Tq, Tk], added to the scores; every
    query must be allowed to look somewhere.
    """
    if q.shape[2] > FEW_QUERIES or k.shape[1] != q.shape[1] or not q.is_cpu:
        return attend(q, k, v, mask)
    keys = k.flatten(0, 1).transpose(1, 2)
    scores = torch.baddbmm(mask, q.flatten(0, 1), keys, alpha=1 / math.sqrt(q.shape[-1]))
    return torch.bmm(scores.softmax(-1), v.flatten(0, 1)).unflatten(0, q.shape[:2])


def additive(visible: Tensor) -> Tensor:
    """Where queries may look, bool, as a mask to be added to the scores: 0 there, minus infinity elsewhere."""
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, -torch.inf)
