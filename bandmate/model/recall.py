"""What music repeats: a player who hears nothing yet of the moment he plays in recalls how it went a period ago.

For t_f < 0 the sound that a column belongs with has not been heard when the column is made, and the paper leaves open how
to stay coherent there. But most music says in advance what it will do: it repeats by the beat, the bar, the phrase. So
each column is handed, beside what attention finds by itself, the heard frames that lie one period before it, and, for
t_f >= 0, those that sound with it. The period is not learned: it is the lag at which the novelty of the input (its
attacks by band and by pitch class) is most like itself, sought anew whenever more has been heard. Novelty is counted in
small integers, so that sums of products are exact, and a stream and a training window find the same lag, bit by bit.
"""

import dataclasses
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bandmate.model.ears import ATTACK_BANDS, PITCH_BANDS
from bandmate.nn.linear import Linear
from bandmate.nn.transformer import RMSNorm

COMPARED = 256  # frames that are compared with what was before them
SHORTEST, LONGEST = 12, 384  # lags in frames
SLOTS, APART = 2, 4  # how many lags are recalled, and how many frames they differ at least
REMEMBERED = LONGEST + COMPARED
REFRESH = 5  # frames
RING = REMEMBERED + REFRESH
SURE = 100  # compared frames from which on a likeness counts in full
QUIET = 100.0  # energy beside which a likeness counts in full
OFFSETS = (0, 3)  # frames after the one in question whose front is looked at, too: it looks back by itself
GROUPS, CLASSES = 10, 12
NOVELTY = GROUPS + CLASSES
NOWHERE = -1

Count = TypeVar("Count", int, Tensor)


def novelty(x: Tensor, before: Tensor) -> Tensor:
    """How much begins in each frame, by band and by pitch class.

    Args:
        x: uint8 levels [B, T, FEATURES] in half dB; before: [B, 1, FEATURES] the frame before.
    Returns:
        [B, T, NOVELTY] integers 0 ... 15 as float32.
    """
    level = x.float()
    past = torch.cat([before.float(), level[:, :-1]], dim=1)
    split = [PITCH_BANDS, ATTACK_BANDS, ATTACK_BANDS]
    (pitch, early, late), (old_pitch, _, old_late) = level.split(split, dim=-1), past.split(split, dim=-1)
    attack = counted(torch.maximum(early - old_late, late - early)).unflatten(-1, (GROUPS, -1)).sum(-1)
    notes = counted(pitch - old_pitch).unflatten(-1, (-1, CLASSES)).sum(-2)
    return torch.cat([(attack / 8).floor(), (notes / 16).floor()], dim=-1)


def counted(rise: Tensor) -> Tensor:
    """Rises of 3 to 18 dB, in half dB beyond the first 3."""
    return (rise - 6).clamp(0, 30)


def lags() -> Tensor:
    """The lags that are tried, in frames: the longest first, [LONGEST + 1 - SHORTEST]."""
    return torch.arange(LONGEST, SHORTEST - 1, -1)


def likeness_at(new: Tensor, heard: Tensor) -> Tensor:
    """How like the novelty heard last is to that one lag earlier, 0 ... 1.

    Args:
        new: [B, T, NOVELTY] novelty of the frames from the first heard one on; the sums are exact for a minute at least.
        heard: [B, S] how many of them have been heard, at each column.
    Returns:
        [B, S, lags]; of two that are as like, the shorter lag is a little higher.
    """
    with torch.autocast(new.device.type, enabled=False):
        products = F.pad(
            diagonals(new @ F.pad(new, (0, 0, LONGEST, 0)).transpose(1, 2)), (0, 0, 1, 0)
        ).cumsum(1)
    index = asked(heard)[..., None].expand(-1, -1, products.shape[-1])
    product = products.gather(1, index) - products.gather(1, (index - COMPARED).clamp(min=0))
    energy = F.pad(new.square().sum(-1).cumsum(1), (1, 0))
    return score(product, energy, asked(heard), asked(heard))


def likeness_now(past: Tensor, heard: int) -> Tensor:
    """The same [B, 1, lags] in mid-stream, from past [B, REMEMBERED, NOVELTY], oldest first, zeros before the first."""
    recent = past[:, LONGEST:]
    product = diagonals(recent @ past.transpose(1, 2)).sum(1, keepdim=True)
    energy = F.pad(past.square().sum(-1).cumsum(1), (1, 0))
    end = torch.full((len(past), 1), past.shape[1], device=past.device)
    return score(product, energy, end, torch.full((1, 1), heard, device=past.device))


def asked(heard: Count) -> Count:
    """The period is sought anew whenever REFRESH frames have been heard, whatever k is."""
    return heard // REFRESH * REFRESH


def diagonals(gram: Tensor) -> Tensor:
    """[B, N, N + LONGEST] -> [B, N, lags]: of frame n, the product with the frame one lag earlier."""
    batch, rows, columns = gram.shape
    size = (batch, rows, LONGEST + 1 - SHORTEST)
    return gram.contiguous().as_strided(size, (rows * columns, columns + 1, 1))


def score(product: Tensor, energy: Tensor, end: Tensor, heard: Tensor) -> Tensor:
    """Likeness from sums over the frames compared.

    Args:
        product: [B, S, lags] of the frames with those one lag earlier.
        energy: [B, T + 1] running sums of the energy of each frame. end: [B, S] place in it, up to which is compared.
        heard: [B, S] frames heard in all: frames before the first have no likeness.
    """
    lag, now = lags().to(product.device), heard[..., None]
    # Of the frames compared, those whose partner would be before the first.
    alone = (lag - (now - COMPARED).clamp(min=0)).clamp(min=0)
    pairs = (now.clamp(max=COMPARED) - alone).clamp(min=0)
    before = torch.broadcast_tensors(0 * pairs, pairs, lag, lag + pairs)
    place = (end[..., None] - torch.stack(before)).clamp(min=0)
    total = [energy.gather(1, at.expand(len(energy), -1, -1).flatten(1)).view_as(product) for at in place]
    own, partner = total[0] - total[1], total[2] - total[3]
    like = product / (own.sqrt() * partner.sqrt() + QUIET) * (pairs / SURE).clamp(max=1)
    return like - lag * 1e-6


class Places(NamedTuple):
    """Which heard frames a column is handed: those of now and of one period ago, NOWHERE where there is none.

    None is older than the RING frames that a stream remembers, not even where a training window holds it.
    """

    frame: Tensor  # [B, S, 1 + SLOTS, offsets]
    score: Tensor  # [B, S, SLOTS]


def places(like: Tensor, column: Tensor, heard: Tensor) -> Places:
    """Where to look.

    Args:
        like: [B, S, lags] likeness when the column is made.
        column: [S] frame the column belongs with, counted like the heard ones. heard: [B, S] frames heard by then.
    """
    lag = lags().to(like.device)
    known = lag > (column - heard)[..., None] + OFFSETS[-1]
    left, offset = torch.where(known, like, 0.0), torch.tensor(OFFSETS, device=like.device)
    now = torch.minimum(column[:, None] + offset, heard[..., None] - 1)
    frames, scores = [now], []
    for _ in range(SLOTS):
        best, place = left.max(dim=-1)
        period = lag[place][..., None]
        frames.append(torch.where(best[..., None] > 0, column[:, None] - period + offset, NOWHERE))
        scores.append(best.clamp(min=0))
        left = torch.where((lag - period).abs() > APART, left, 0.0)
    frame = torch.stack(frames, dim=2)
    known = (frame >= 0) & (frame >= heard[..., None, None] - RING)
    return Places(torch.where(known, frame, NOWHERE), torch.stack(scores, dim=-1))


class Recall(nn.Module):
    """What the frames at :class:`Places` say to a column. It begins by saying nothing, so that any duet may take it up."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.now = Linear(len(OFFSETS) * width, width)
        self.ago = Linear(len(OFFSETS) * width, width)
        self.sure = nn.Parameter(torch.zeros(SLOTS, width))
        for layer in (self.now, self.ago):
            nn.init.zeros_(layer.weight)

    def forward(self, frames: Tensor, score: Tensor) -> Tensor:
        """frames [B, S, 1 + SLOTS, offsets, D], zeros where there was none, score [B, S, SLOTS] -> [B, S, D]."""
        frames = self.norm(frames).flatten(3)
        weight = score.to(frames.dtype)
        ago = (frames[:, :, 1:] * weight[..., None]).sum(2)
        return self.now(frames[:, :, 0]) + self.ago(ago) + weight @ self.sure.to(frames.dtype)


def fetch(h: Tensor, frame: Tensor) -> Tensor:
    """Rows of h [B, T, D] at frame [B, ...] -> [B, ..., D], zeros at NOWHERE."""
    index = frame.clamp(min=0).flatten(1)
    rows = h.gather(1, index[..., None].expand(-1, -1, h.shape[-1]))
    rows = torch.where((frame.flatten(1) != NOWHERE)[..., None], rows, 0.0)
    return rows.unflatten(1, frame.shape[1:])


@dataclasses.dataclass
class Memory:
    """What recall needs of a stream's past: rings by position, written in place, and the period as last sought."""

    fronts: Tensor  # [B, RING, D]
    novelty: Tensor  # [B, RING, NOVELTY]
    last: Tensor | None = None  # [B, 1, FEATURES], the frame heard last
    like: Tensor | None = None  # [B, 1, lags], of the moment when
    sought: int = -1  # so many frames had been heard
    first: int = 0  # position of the first frame; all others are counted from it

    @classmethod
    def empty(cls, batch: int, width: int, like: Tensor) -> "Memory":
        """On the device of ``like``, the fronts in its width of numbers."""
        return cls(like.new_zeros(batch, RING, width), torch.zeros(batch, RING, NOVELTY, device=like.device))

    def add(self, x: Tensor, h: Tensor, positions: Tensor) -> None:
        """Takes in the frames x [B, n, FEATURES] at positions [n], and their fronts h [B, n, D]; n <= RING."""
        if self.last is None:
            self.first, self.last = int(positions[0]), x[:, :1]
        slots = (positions - self.first) % RING
        self.novelty[:, slots] = novelty(x, self.last)
        self.fronts[:, slots] = h
        self.last = x[:, -1:]

    def at(self, columns: Tensor, heard: int) -> tuple[Tensor, Tensor]:
        """What :class:`Recall` takes, for columns [S] that are made now."""
        heard = heard - self.first
        like = self.period(asked(heard)).expand(-1, len(columns), -1)
        where = places(like, columns - self.first, torch.full(like.shape[:2], heard, device=like.device))
        frame = torch.where(where.frame == NOWHERE, NOWHERE, where.frame % RING)
        return fetch(self.fronts, frame), where.score

    def period(self, heard: int) -> Tensor:
        """The likeness by lag when ``heard`` frames had been heard, which is at most REFRESH - 1 frames ago."""
        if self.like is None or self.sought != heard:
            position = torch.arange(heard - REMEMBERED, heard, device=self.novelty.device)
            past = torch.where((position >= 0)[:, None], self.novelty[:, position % RING], 0.0)
            self.like, self.sought = likeness_now(past, heard), heard
        return self.like
