"""A row of blocks over one sequence: the whole of it at once, or piece by piece over a cache that never grows.

A position looks at itself and the ``window - 1`` positions before it. Once the first position has left the window it
stays in sight at the constant distance ``window``: what it tells (the instrument) is never forgotten, and no distance
occurs that training has not seen. Up to ``window`` positions, all is as in a plain causal transformer.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from bandmate.nn.transformer import Block, Blocks, RMSNorm, Style, attend, rotary_angles, rotate

BLOCK = 32  # positions written at once, and so the slack of the ring beyond the window
NEVER = -(2**40)  # position of a slot that was never written

Angles = tuple[Tensor, Tensor]
Kept = tuple[Tensor, Tensor, Tensor]  # keys, values, the first position's key
Cross = Sequence[tuple]


@dataclasses.dataclass(frozen=True)
class StackConfig:
    """Sizes of the paper's transformer and what a LLaMA-style block leaves open (see Style for the words).

    hidden: 2816 makes a gated MLP as large as a plain one of 4 x 1024. dropout: within the MLP.
    """

    width: int = 1024
    layers: int = 16
    heads: int = 16
    kv_heads: int = 8
    hidden: int = 2816
    mlp: Literal["swiglu", "silu"] = "swiglu"
    dropout: float = 0.1
    norm_gain: bool = False
    norm_eps: float = 1e-6
    rotary_share: float = 1.0
    qk_scale: float = 10.0
    window: int = 512

    @property
    def style(self) -> Style:
        return Style(
            self.norm_gain, self.norm_eps, self.mlp, self.dropout, self.rotary_share, "channel", self.qk_scale
        )

    @property
    def rotary_width(self) -> int:
        """Channels of each head that turn with the position."""
        return int(self.width // self.heads * self.rotary_share) // 2 * 2


@dataclasses.dataclass
class Cache:
    """Keys and values [L, R, H_kv, 1 + ring, d] of a stream; slot 0 is for the first position, once out of sight.

    The ring's keys are rotated. ``first_key`` is not: its distance is fixed. Consumed by use.
    """

    keys: Tensor
    values: Tensor
    first_key: Tensor  # [L, R, H_kv, 1, d]
    at: Tensor  # [ring] position held by each slot
    first: int  # the position that stays

    @property
    def ring(self) -> int:
        return len(self.at)


class Sight:
    """What n queries of a stream may look at: a window of positions, and the first position from far away."""

    def __init__(self, positions: Tensor, at: Tensor, first: int, window: int, last: int, width: int) -> None:
        """positions [n] of the queries, ``last`` the highest of them; at [slots]; ``width``: rotated channels."""
        self.near = (at <= positions[:, None]) & (at > positions[:, None] - window)  # [n, slots]
        self.far = (positions - first >= window)[:, None]  # [n, 1]
        self.any_far = last - first >= window
        self.away = rotary_angles(torch.full_like(positions, window), width)

    def fetch(self, block: Block, q: Tensor, angles: Angles, kept: Kept) -> Tensor:
        """q [R, H, n, d] not yet rotated -> what it finds [R, H, n, d]. Slot 0 of ``kept`` is the first position."""
        keys, values, first_key = kept
        near = torch.zeros_like(self.near, dtype=q.dtype).masked_fill_(~self.near, -torch.inf)[None, None]
        turned = block.attention_in.turn_query(q, angles)
        if not self.any_far:
            return attend(turned, keys[:, :, 1:], values[:, :, 1:], near)
        # The first position's slot holds a key of zeros; its score, at a distance of its own, goes in by the mask.
        there = first_key.repeat_interleave(q.shape[1] // first_key.shape[1], dim=1)
        score = block.attention_in.turn_query(q, self.away) @ there.transpose(2, 3) / q.shape[-1] ** 0.5
        score = score.masked_fill(~self.far, -torch.inf)
        mask = torch.cat([score, near.expand(*score.shape[:3], -1)], dim=-1)
        return attend(turned, keys, values, mask)


class Stack(nn.Module):
    """Blocks and a last norm."""

    def __init__(self, config: StackConfig, layers: int | None = None, cross: bool = False) -> None:
        super().__init__()
        self.config = c = config
        self.blocks = Blocks(
            Block(c.width, c.heads, c.kv_heads, c.hidden, style=c.style, cross=cross)
            for _ in range(layers or c.layers)
        )
        self.norm = RMSNorm(c.width, c.norm_gain, c.norm_eps)

    def angles(self, positions: Tensor) -> Angles:
        """Rotary angles of integer positions [T]."""
        return rotary_angles(positions, self.config.rotary_width)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        mask: Tensor | None = None,
        *,
        causal: bool = True,
        cross: Cross | None = None,
    ) -> Tensor:
        """A whole sequence at once, however long: here nothing leaves the window.

        Args:
            x: [B, S, D]. positions: [S] integers; places on the clock, which may repeat when a mask is given.
            mask: [B or 1, 1, S, S], True where a position may look. None: ``causal``, or everywhere.
            cross: for each layer what :class:`CrossAttention` takes after x.
        Returns:
            [B, S, D], normalised.
        """
        angles = self.angles(positions)
        for layer, block in enumerate(self.blocks):
            q, k, v = block.attention_in(x, angles)
            assert q is not None
            fetched = attend(q, k, v, mask, causal and mask is None)
            x = block.finish(x, fetched, cross[layer] if cross else None)
        return self.norm(x)

    def stream(self, x: Tensor, start: int, first: int, cross: Cross | None = None) -> Tensor:
        """What :meth:`step` would make of a whole stream x [B, S, D] whose first position is ``start``.

        first: the position that stays in sight. Within one window this is the plain causal pass.
        """
        positions = torch.arange(start, start + x.shape[1], device=x.device)
        if x.shape[1] <= self.config.window:
            return self(x, positions, cross=cross)
        angles, index = self.angles(positions), slice(first - start, first - start + 1)
        sight = self._sight(positions, positions, first, start + x.shape[1] - 1)
        for layer, block in enumerate(self.blocks):
            q, k, v = block.attention_in.plain(x)
            assert q is not None
            keys = torch.cat([torch.zeros_like(k[:, :, :1]), rotate(k, angles)], dim=2)
            values = torch.cat([v[:, :, index], v], dim=2)
            fetched = sight.fetch(block, q, angles, (keys, values, k[:, :, index]))
            x = block.finish(x, fetched, cross[layer] if cross else None)
        return self.norm(x)

    def init_cache(self, rows: int, first: int, ahead: int = 0) -> Cache:
        """An empty cache for R rows. ``first``: the position that stays; ``ahead``: how many positions may be
        written that are overwritten later.
        """
        c, like = self.config, next(self.parameters())
        ring = c.window + ahead + BLOCK
        shape = (len(self.blocks), rows, c.kv_heads, 1 + ring, c.width // c.heads)
        keys, values = (torch.zeros(shape, dtype=like.dtype, device=like.device) for _ in range(2))
        at = torch.full((ring,), NEVER, device=like.device)
        return Cache(keys, values, torch.zeros_like(keys[:, :, :, :1]), at, first)

    def step(self, x: Tensor, position: int, cache: Cache, cross: Cross | None = None) -> Tensor:
        """The next piece of a stream, or one that replaces what was written at the same positions.

        Args:
            x: [R, n, D], n <= BLOCK. position: that of the first of the n. cross: as in :meth:`forward`.
        Returns:
            [R, n, D], normalised.
        """
        positions = torch.arange(position, position + x.shape[1], device=x.device)
        cache.at[positions % cache.ring] = positions
        sight = self._sight(positions, cache.at, cache.first, position + x.shape[1] - 1)
        angles, slots = self.angles(positions), 1 + positions % cache.ring
        for layer, block in enumerate(self.blocks):
            q, k, v = block.attention_in.plain(x)
            assert q is not None
            cache.keys[layer, :, :, slots], cache.values[layer, :, :, slots] = rotate(k, angles), v
            if 0 <= (index := cache.first - position) < x.shape[1]:
                cache.first_key[layer], cache.values[layer, :, :, 0] = (
                    k[:, :, index : index + 1],
                    v[:, :, index],
                )
            kept = cache.keys[layer], cache.values[layer], cache.first_key[layer]
            fetched = sight.fetch(block, q, angles, kept)
            x = block.finish(x, fetched, cross[layer] if cross else None)
        return self.norm(x)

    def _sight(self, positions: Tensor, at: Tensor, first: int, last: int) -> Sight:
        return Sight(positions, at, first, self.config.window, last, self.config.rotary_width)
