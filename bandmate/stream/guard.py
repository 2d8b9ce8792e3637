"""Feedback: the output comes back through the microphone, louder each time round. Found, and turned down."""

from collections import deque

import numpy as np

WINDOW, REACH = 0.25, 0.75  # seconds of input compared with, seconds of output before it
HOP = 0.1  # seconds from one look to the next
COARSE = 8_000  # Hz: enough to know a sound by
ALIKE = 0.7  # correlation at the best delay
LOUD_DB, GROWTH_DB, FULL_DB = -30.0, 6.0, -6.0
STEP = 10 ** (-12 / 20)
FLOOR = 10 ** (-48 / 20)


class HowlGuard:
    """Looks every 0.1 s at what was heard and what was sent.

    It is a howl when what is heard (1) is a delayed copy of what was sent up to 0.75 s before: correlation 0.7;
    (2) is loud: above -30 dBFS; and (3) has grown by 6 dB within a second, or stands above -6 dBFS. Each time
    the output is turned down by 12 dB, and stays so until ``reset``.
    """

    def __init__(self, rate: int) -> None:
        self._every = max(1, rate // COARSE)
        self._coarse = rate / self._every
        self._heard = np.zeros(round(WINDOW * self._coarse), dtype=np.float32)
        self._sent = np.zeros(round(REACH * self._coarse), dtype=np.float32)
        self._rest = np.zeros((2, 0), dtype=np.float32)
        self._since, self._pause = 0, 0
        self._levels: deque[float] = deque(maxlen=round(1 / HOP))  # dB, one a hop
        self.gain, self.howls = 1.0, 0

    def reset(self) -> None:
        """Full volume again."""
        self.gain = 1.0
        self._levels.clear()

    def push(self, heard: np.ndarray, sent: np.ndarray) -> float:
        """heard, sent [S] of the same instants -> the gain that the output should have."""
        both = np.concatenate([self._rest, np.stack([heard, sent])], axis=1)
        count = both.shape[1] // self._every
        self._rest = both[:, count * self._every :]
        coarse = both[:, : count * self._every].reshape(2, count, self._every).mean(2)
        hop = round(HOP * self._coarse)
        for start in range(0, count, hop):
            self._add(coarse[:, start : start + hop])
            if self._since >= hop:
                self._since = 0
                self._look()
        return self.gain

    def _add(self, coarse: np.ndarray) -> None:
        count = coarse.shape[1]
        self._since += count
        self._heard = np.concatenate([self._heard, coarse[0]])[-len(self._heard) :]
        self._sent = np.concatenate([self._sent, coarse[1]])[-len(self._sent) :]

    def _look(self) -> None:
        level = decibels(float(np.sqrt(np.mean(self._heard**2))))
        grown = level - min(self._levels, default=level)
        self._levels.append(level)
        self._pause = max(0, self._pause - 1)
        rising = grown >= GROWTH_DB or level >= FULL_DB
        if self._pause or level < LOUD_DB or not rising or self.likeness() < ALIKE:
            return
        self.gain, self.howls = max(FLOOR, self.gain * STEP), self.howls + 1
        self._pause = 3  # hops, until what was sent louder has come and gone
        self._levels.clear()

    def likeness(self) -> float:
        """Greatest correlation (0..1) of what was heard with what was sent before it, over all delays."""
        heard, sent = self._heard.astype(np.float64), self._sent.astype(np.float64)
        size = 1 << (len(heard) + len(sent) - 1).bit_length()
        spectrum = np.fft.rfft(sent, size) * np.conj(np.fft.rfft(heard, size))
        delays = len(sent) - len(heard)
        products = np.abs(np.fft.irfft(spectrum, size)[:delays])
        energies = np.concatenate([[0.0], np.cumsum(sent**2)])
        there = energies[len(heard) :][:delays] - energies[:delays]
        scale = np.sqrt(np.maximum(there, 0.0) * np.sum(heard**2))
        return float(np.max(products / np.maximum(scale, 1e-9), initial=0.0))


def decibels(level: float) -> float:
    return 20 * float(np.log10(max(level, 1e-6)))
