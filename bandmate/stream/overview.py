"""A long signal seen from afar, in constant memory: log-frequency levels and peaks for a picture."""

import numpy as np

WINDOW = 2048
BANDS = 96
LOWEST, HIGHEST = 40.0, 14_000.0  # Hz
FLOOR_DB = -90.0


def log_bands(rate: int) -> np.ndarray:
    """Triangular bands on a logarithmic frequency axis [BANDS, WINDOW // 2 + 1], each of unit sum."""
    edges = np.geomspace(LOWEST, min(HIGHEST, rate / 2), BANDS + 2)[:, None]
    frequency = np.fft.rfftfreq(WINDOW, 1 / rate)[None]
    # In the bass a band is narrower than a bin: widen it to one bin, else it is empty.
    left = np.minimum(edges[:-2], edges[1:-1] - rate / WINDOW)
    right = np.maximum(edges[2:], edges[1:-1] + rate / WINDOW)
    rise = (frequency - left) / (edges[1:-1] - left)
    fall = (right - frequency) / (right - edges[1:-1])
    weight = np.clip(np.minimum(rise, fall), 0, None)
    return weight / weight.sum(1, keepdims=True)


class Overview:
    """Columns of ``stride`` * 20 ms: band powers [n, BANDS] and the greatest magnitude [n].

    When there are more than ``room`` columns, each two neighbours become one. ``loudest``: the greatest magnitude of all
    samples, also of a last frame that is not whole and has no column.
    """

    def __init__(self, rate: int = 32_000, hop: int = 640, room: int = 2000) -> None:
        self.rate, self.hop, self._room, self.stride = rate, hop, room, 1
        self._bands = log_bands(rate)
        self._window = np.hanning(WINDOW)
        self._window /= self._window.sum() / 2
        self._past = np.zeros(WINDOW - hop)
        self._rest = np.zeros(0)
        self._powers: list[np.ndarray] = []
        self._peaks: list[float] = []
        self._group: list[tuple[np.ndarray, float]] = []
        self.loudest = 0.0

    def push(self, samples: np.ndarray) -> None:
        """Takes samples [S] of any length."""
        if len(samples):
            self.loudest = max(self.loudest, float(np.abs(samples).max()))
        waiting = np.concatenate([self._rest, samples])
        count = len(waiting) // self.hop
        for frame in waiting[: count * self.hop].reshape(-1, self.hop):
            self._frame(frame)
        self._rest = waiting[count * self.hop :]

    def _frame(self, frame: np.ndarray) -> None:
        segment = np.concatenate([self._past, frame])
        self._past = segment[self.hop :]
        power = self._bands @ np.abs(np.fft.rfft(segment * self._window)) ** 2
        self._group.append((power, float(np.abs(frame).max())))
        if len(self._group) < self.stride:
            return
        self._powers.append(np.mean([p for p, _ in self._group], axis=0))
        self._peaks.append(max(peak for _, peak in self._group))
        self._group = []
        if len(self._powers) >= self._room:
            self._halve()

    def _halve(self) -> None:
        self._powers = [(a + b) / 2 for a, b in zip(self._powers[::2], self._powers[1::2])]
        self._peaks = [max(a, b) for a, b in zip(self._peaks[::2], self._peaks[1::2])]
        self.stride *= 2

    @property
    def seconds_per_column(self) -> float:
        return self.stride * self.hop / self.rate

    @property
    def levels_db(self) -> np.ndarray:
        """[BANDS, n] dB, a full-scale sine near 0."""
        powers = np.array(self._powers).reshape(-1, BANDS).T
        return 10 * np.log10(np.maximum(powers, 10 ** (FLOOR_DB / 10)))

    @property
    def peaks(self) -> np.ndarray:
        """[n] greatest magnitude of each column."""
        return np.array(self._peaks)

    @property
    def band_frequencies(self) -> np.ndarray:
        """[BANDS] Hz."""
        return np.geomspace(LOWEST, min(HIGHEST, self.rate / 2), BANDS + 2)[1:-1]
