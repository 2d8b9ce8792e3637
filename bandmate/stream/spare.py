"""What sounds should the next call be late, at the rate of the device."""

import math

import numpy as np

from bandmate.audio.resample import StreamResampler
from bandmate.stream.late import LatePolicy
from bandmate.stream.limiter import limit

CONTEXT = 1024  # samples of the engine: far more than a resampler's filter reaches
LONGEST_GRID = 4096


class SpareSound:
    """The late policy's continuation after each call, resampled with what comes before it."""

    def __init__(self, engine_rate: int, rate: int) -> None:
        self.policy = LatePolicy()
        self._rates = engine_rate, rate
        grid = engine_rate // math.gcd(engine_rate, rate)
        # On every grid-th sample of the engine lies one of the device; where these are rare, half a sample is lost.
        self._grid = grid if grid <= LONGEST_GRID else 1
        self._recent = np.zeros(0, dtype=np.float32)
        self._start = 0  # index of the first recent sample, of the engine

    def after(self, placed: np.ndarray, given: int) -> tuple[int, np.ndarray]:
        """placed [S], the newest output of the engine; of the device ``given`` samples are laid already ->
        index and samples of what follows these, should nothing more come.
        """
        engine_rate, rate = self._rates
        going = self.policy.continuation()
        if engine_rate == rate:
            return given, limit(going)
        self._remember(placed)
        both = StreamResampler(engine_rate, rate)
        sound = np.concatenate([both.push(np.concatenate([self._recent, going])), both.flush()])
        before = given - round(self._start * rate / engine_rate)
        return given, limit(sound[max(0, before) :])

    def _remember(self, placed: np.ndarray) -> None:
        self._recent = np.concatenate([self._recent, placed])
        gone = max(0, len(self._recent) - CONTEXT) // self._grid * self._grid
        self._recent, self._start = self._recent[gone:], self._start + gone
