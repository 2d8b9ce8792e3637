"""Feedback: the output comes back through the microphone, louder each time round. Found, and turned down."""

import numpy as np

WINDOW, REACH = 0.25, 1.0  # seconds of input compared with seconds of output, delays up to their difference
HOP = 0.1  # seconds from one look to the next
COARSE = 8_000  # Hz: enough to know a sound by
ALIKE = 0.7  # correlation at the best delay
LOUD_DB = -30.0
AS_LOUD = 10 ** (-0.5 / 20)  # of what came back to what was sent
LOOKS = 5  # in a row
STEP = 10 ** (-12 / 20)
FLOOR = 10 ** (-48 / 20)


class HowlGuard:
    """Looks every 0.1 s at what was heard and what was sent.

    It is a howl when, five looks in a row, what is heard (1) is loud: above -30 dBFS; (2) is a delayed copy of what
    was sent up to 0.75 s before: correlation 0.7; and (3) has come back no softer than it went, within 0.5 dB: then
    it grows with every round, or has grown as far as it can. Each time the output is turned down by 12 dB, and
    stays so until ``reset``. The output of a model that hears itself softly, as from a loudspeaker in the same
    room, is none.
    """

    def __init__(self, rate: int) -> None:
        self._every = max(1, rate // COARSE)
        self._coarse = rate / self._every
        self._heard = np.zeros(round(WINDOW * self._coarse), dtype=np.float32)
        self._sent = np.zeros(round(REACH * self._coarse), dtype=np.float32)
        self._rest = np.zeros((2, 0), dtype=np.float32)
        self._since, self._row = 0, 0
        self.gain, self.howls = 1.0, 0

    def reset(self) -> None:
        """Full volume again."""
        self.gain, self._row = 1.0, 0

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
        loud = decibels(float(np.sqrt(np.mean(self._heard**2)))) >= LOUD_DB
        alike, returned = self.likeness() if loud else (0.0, 0.0)
        self._row = self._row + 1 if alike >= ALIKE and returned >= AS_LOUD else 0
        if self._row >= LOOKS:
            self.gain, self.howls, self._row = max(FLOOR, self.gain * STEP), self.howls + 1, 0

    def likeness(self) -> tuple[float, float]:
        """Of all delays the best: correlation (0..1) of what was heard with what was sent then, and its gain."""
        heard, sent = self._heard.astype(np.float64), self._sent.astype(np.float64)
        size = 1 << (len(heard) + len(sent) - 1).bit_length()
        spectrum = np.fft.rfft(sent, size) * np.conj(np.fft.rfft(heard, size))
        delays = len(sent) - len(heard)  # delay 0, the monitor itself, is not among them
        products = np.abs(np.fft.irfft(spectrum, size)[:delays])
        energies = np.concatenate([[0.0], np.cumsum(sent**2)])
        there = np.maximum(energies[len(heard) :][:delays] - energies[:delays], 1e-9)
        alike = products / np.sqrt(there * max(float(np.sum(heard**2)), 1e-9))
        best = int(np.argmax(alike))
        return float(alike[best]), float(products[best] / there[best])


def decibels(level: float) -> float:
    return 20 * float(np.log10(max(level, 1e-6)))
