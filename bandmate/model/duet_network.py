"""The network of ``duet``: one model for the whole (t_f, k) plane.

What is heard (x) and what is played (y) are two streams of tokens on one clock, each with its own tower of layers. A
heard frame attends to the heard frames before it. The played position that emits column s attends to the columns
before s and to the last frames of x[: horizon(s)], whatever the horizon: t_f and k enter only through that mask and
through the age s - horizon of the newest frame that may be seen. Every column is supervised in one pass.
"""

import dataclasses
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bandmate.model.ears import CodeFront, MelFront
from bandmate.model.recall import Places, Recall, fetch, likeness_at, novelty, places
from bandmate.model.tokens import SPECIAL, mask_id, pad_id
from bandmate.nn.linear import Linear
from bandmate.nn.transformer import Block, Blocks, Projections, RMSNorm, attend, rotary_angles

AGE_PERIODS = (4.0, 1600.0)  # frames: shortest and longest period of the Fourier features of the age
AGE_FEATURES = 32


@dataclasses.dataclass(frozen=True)
class DuetConfig:
    """Sizes; ``window`` is how many frames of each stream a position may look back on.

    recall: whether columns are handed the heard frames of now and of a period ago (:mod:`bandmate.model.recall`).
    """

    width: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 4
    hidden: int = 512
    window: int = 256
    sinks: int = 1
    levels: int = 4
    codes: int = 1024
    instruments: int = 18
    ears: Literal["mel", "codes"] = "mel"
    code_latent: int = 64
    dropout: float = 0.0
    recall: bool = False


@dataclasses.dataclass
class Visibility:
    """What a training window's columns may see. Positions are on one clock; the first column is at 0.

    x_start: position of the first heard frame (negative: heard before playing began).
    horizon: [B, S] number such that column s sees the frames at positions < horizon[s].
    deaf: [B] rows that hear nothing at all.
    """

    x_start: int
    horizon: Tensor
    deaf: Tensor


class DuetNetwork(nn.Module):
    """Two towers; see the module's first lines. It is played live through :class:`bandmate.model.duet.Duet`."""

    first_row: Tensor  # [K, 1] of each level's embeddings, were they one table

    def __init__(self, config: DuetConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or DuetConfig()
        self.front = (
            MelFront(c.width) if c.ears == "mel" else CodeFront(c.width, c.levels, c.codes, c.code_latent)
        )
        if c.recall and c.ears != "mel":
            raise ValueError("recall finds the period of a spectrum: set recall = false to hear codes")
        self.recall = Recall(c.width) if c.recall else None
        # Nobody reads what the last heard layer would put out: it has keys and values only.
        self.heard = Blocks(
            Block(c.width, c.heads, c.kv_heads, c.hidden, c.dropout) for _ in range(c.layers - 1)
        )
        self.heard_last = Projections(c.width, c.heads, c.kv_heads, queries=False)
        self.played = Blocks(
            Block(c.width, c.heads, c.kv_heads, c.hidden, c.dropout) for _ in range(c.layers)
        )
        # What attention rests on when nothing fits. Its key is zero: a score that does not depend on the position.
        self.sinks = nn.Parameter(torch.randn(c.layers, c.kv_heads, c.sinks, c.width // c.heads) * 0.2)
        self.embedding = nn.Parameter(torch.randn(c.levels, c.codes + SPECIAL, c.width) * 0.02)
        first_row = torch.arange(c.levels)[:, None] * (c.codes + SPECIAL)
        self.register_buffer("first_row", first_row, persistent=False)
        self.instrument = nn.Embedding(c.instruments, c.width)
        self.age = nn.Linear(AGE_FEATURES, c.width)
        self.deaf = nn.Parameter(torch.zeros(c.width))
        self.norm = RMSNorm(c.width)
        self.head = Linear(c.width, c.levels * c.codes)
        nn.init.normal_(self.instrument.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)
        for block in [*self.heard, *self.played]:
            nn.init.zeros_(block.attention_out.weight)
            nn.init.zeros_(block.mlp.down.weight)

    @property
    def pad(self) -> int:
        return pad_id(self.config.codes)

    @property
    def mask(self) -> int:
        return mask_id(self.config.codes)

    def embed_played(self, previous: Tensor, instrument: Tensor, age: Tensor, deaf: Tensor) -> Tensor:
        """Input of the played tower.

        Args:
            previous: [B, K, S] the column before each position, special ids included.
            instrument: [B] class; age: [B, S] frames between a position and its horizon; deaf: [B] bool.
        Returns:
            [B, S, D]
        """
        return self.embed(previous) + self.tell(instrument, age, deaf)

    def embed(self, columns: Tensor) -> Tensor:
        """The sum of the embeddings of all levels, looked up in one go: [B, K, S] -> [B, S, D]."""
        return F.embedding(columns + self.first_row, self.embedding.flatten(0, 1)).sum(1)

    def tell(self, instrument: Tensor, age: Tensor, deaf: Tensor) -> Tensor:
        """What a position is told beside the columns before it: [B], [B, S], [B] -> [B, S, D]."""
        heard = self.age(age_features(age).to(self.age.weight.dtype))
        return self.instrument(instrument)[:, None] + torch.where(deaf[:, None, None], self.deaf, heard)

    def logits(self, x: Tensor) -> Tensor:
        """[B, S, D] -> [B, S, K, V]."""
        return self.head(self.norm(x)).unflatten(-1, (self.config.levels, self.config.codes))

    def forward(self, x: Tensor, previous: Tensor, instrument: Tensor, view: Visibility) -> Tensor:
        """Logits of every column of a window at once, for training and scoring.

        Args:
            x: [B, Tx, F] what ``ears`` makes. previous: [B, K, S] the column before each position.
            instrument: [B]. view: who sees what.
        Returns:
            [B, S, K, V]
        """
        columns = torch.arange(previous.shape[2], device=x.device)
        frames = torch.arange(x.shape[1], device=x.device) + view.x_start
        x_mask, y_mask = self.masks(frames, columns, view)
        x_angles, y_angles = (
            rotary_angles(p, self.config.width // self.config.heads) for p in (frames, columns)
        )
        h, _ = self.front(x)
        y = self.embed_played(previous, instrument, columns - view.horizon, view.deaf)
        if self.recall is not None:
            y = y + self.recalled(x, h, columns, view)
        for layer, block in enumerate(self.played):
            q, k, v = self.hear_layer(layer, h, x_angles)
            yq, yk, yv = block.attention_in(y, y_angles)
            sink = self.sinks[layer].expand(len(y), -1, -1, -1).to(yk.dtype)
            keys, values = torch.cat([torch.zeros_like(sink), k, yk], dim=2), torch.cat([sink, v, yv], dim=2)
            y = block.finish(y, attend(yq, keys, values, y_mask))
            if q is not None:
                h = self.heard.at(layer).finish(h, attend(q, k, v, x_mask))
        return self.logits(y)

    def recalled(self, x: Tensor, h: Tensor, columns: Tensor, view: Visibility) -> Tensor:
        """What each column is handed of the frames of now and of a period ago, [B, S, D]."""
        assert self.recall is not None
        where = self.places(x, columns, view)
        told = self.recall(fetch(h, where.frame), where.score)
        return torch.where(view.deaf[:, None, None], 0.0, told)

    def places(self, x: Tensor, columns: Tensor, view: Visibility) -> Places:
        """Which frames of x each column is handed."""
        heard = (view.horizon - view.x_start).clamp(0, x.shape[1])
        return places(likeness_at(novelty(x, x[:, :1]), heard), columns - view.x_start, heard)

    def hear_layer(
        self, layer: int, h: Tensor, angles: tuple[Tensor, Tensor]
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """Queries (None in the last layer), keys and values of the heard stream."""
        last = layer == self.config.layers - 1
        return self.heard_last(h, angles) if last else self.heard.at(layer).attention_in(h, angles)

    def masks(self, frames: Tensor, columns: Tensor, view: Visibility) -> tuple[Tensor, Tensor]:
        """Who sees what: heard on heard [1, 1, Tx, Tx], and played on (sinks, heard, played) [B, 1, S, sinks + Tx + S]."""
        window = self.config.window
        x_mask = within(frames, frames[:, None] + 1, window)[None, None]
        heard = within(frames, view.horizon[:, :, None], window) & ~view.deaf[:, None, None]
        played = within(columns, columns[:, None] + 1, window).expand(len(heard), -1, -1)
        sinks = heard.new_ones(*heard.shape[:2], self.config.sinks)
        return x_mask, torch.cat([sinks, heard, played], dim=2)[:, None]


def within(position: Tensor, end: Tensor, window: int) -> Tensor:
    """Whether end - window <= position < end."""
    return (position < end) & (position >= end - window)


def age_features(age: Tensor) -> Tensor:
    """[...] frames -> [..., AGE_FEATURES]: sines and cosines at log-spaced periods."""
    low, high = AGE_PERIODS
    steps = torch.arange(AGE_FEATURES // 2, dtype=torch.float64, device=age.device) / (AGE_FEATURES // 2 - 1)
    angle = age.double()[..., None] * (2 * torch.pi / (low * (high / low) ** steps))
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
