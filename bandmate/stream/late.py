"""What sounds when a chunk is late. Every chunk has a place in time; a late one loses its beginning, never
its place.
"""

import math

import numpy as np

from bandmate.stream.decoding import FADE, rise
from bandmate.stream.engine import OutputBlock


class LatePolicy:
    """Lays blocks in order into a gapless stream, concealing what came too late.

    Until a late block is there, the tail of the one before sounds on and fades out, then silence; the block
    fades in (raised cosine, 8 ms) at the instant at which it is there. A block in time is not touched, unless
    it follows so close on a late one that the fade is not over.
    """

    def __init__(self, fade: int = FADE) -> None:
        self._rise = np.append(rise(fade), np.float32(1.0))
        self._step = fade  # how far the fade-in has come; ``fade`` = over
        self._last = np.float32(0.0)  # the last sample that sounded
        self._tail = np.zeros(0, dtype=np.float32)
        self._rest = np.zeros(0, dtype=np.float32)  # concealment still to come
        self.concealed = 0  # samples

    def place(self, block: OutputBlock, available: float | None) -> np.ndarray:
        """The samples that sound in the block's place [S].

        ``available``: instant, in samples, from which the block can sound; None: never.
        """
        length = len(block.samples)
        late = math.inf if available is None else available - block.start_sample
        cut = math.ceil(min(max(late, 0), length))
        if cut:
            self._miss()
        self.concealed += cut
        sounding = self._blend(block.samples, cut)
        if length:
            self._last = sounding[-1]
        if cut < length:
            self._tail = block.tail
        return sounding

    def continuation(self) -> np.ndarray:
        """What sounds after the last sample placed if nothing new comes in time [S], fading to silence."""
        gain = self._rise[self._step]
        going = self._tail if len(self._tail) else np.full(len(self._rise) - 1, self._last, dtype=np.float32)
        rest = np.zeros(max(len(going), len(self._rest)), dtype=np.float32)
        rest[: len(going)] += gain * going * rise(len(going))[::-1]
        rest[: len(self._rest)] += (1 - gain) * self._rest
        return rest

    def _miss(self) -> None:
        """From here on nothing new is there: what sounded last goes on, and fades."""
        self._rest, self._tail, self._step = self.continuation(), np.zeros(0, dtype=np.float32), 0

    def _blend(self, samples: np.ndarray, cut: int) -> np.ndarray:
        """Concealment for ``cut`` samples, then the cross-fade to the block as far as it goes."""
        over = len(self._rise) - 1
        if not cut and self._step == over:
            return samples
        length = len(samples)
        steps = np.clip(np.arange(length) - cut + self._step, 0, over)
        weight = np.where(np.arange(length) < cut, np.float32(0.0), self._rise[steps])
        conceal = np.zeros(length, dtype=np.float32)
        there = min(length, len(self._rest))
        conceal[:there] = self._rest[:there]
        self._rest = self._rest[length:]
        if cut < length:
            self._step = int(min(over, self._step + length - cut))
        return np.where(weight == 1, samples, weight * samples + (1 - weight) * conceal)
