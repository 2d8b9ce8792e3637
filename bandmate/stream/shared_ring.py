"""A ring of samples in memory that two processes share: one writes, the other reads, neither ever waits."""

import numpy as np


class SharedRing:
    """Samples by absolute index over memory that is given: ``head`` int64 [1], ``data`` float32 [capacity].

    ``head`` is the index after the last sample written and moves after the data. Sample ``i`` can be read while
    ``head - capacity <= i < head``; all others are read as silence, so that nothing ever moves to another place
    in time. Nothing is allocated but views.
    """

    def __init__(self, head: np.ndarray, data: np.ndarray) -> None:
        if head.dtype != np.int64 or head.shape != (1,) or data.dtype != np.float32 or not data.size:
            raise ValueError("a shared ring lies over int64 [1] and float32 [capacity], at least one sample")
        self._head, self._data = head, data

    @property
    def capacity(self) -> int:
        return len(self._data)

    @property
    def written(self) -> int:
        """Index after the last sample written."""
        return int(self._head[0])

    def write(self, at: int, samples: np.ndarray) -> None:
        """Lays samples [S] at the absolute index ``at``; a gap before it becomes silence.

        What lies before ``written`` may be written again, by a better version of itself; ``written`` never goes back.
        """
        end = at + len(samples)
        oldest = max(0, max(end, self.written) - self.capacity)  # what lies before has no place any more
        self._fill(max(self.written, oldest), min(at, end), None)
        self._fill(max(at, oldest), end, samples[max(0, oldest - at) :])
        self._head[0] = max(end, self.written)

    def read_into(self, start: int, out: np.ndarray) -> int:
        """Fills ``out`` [S] with the samples from ``start`` on; returns how many at its end are not there yet."""
        written, end = self.written, start + len(out)
        first = min(max(start, written - self.capacity), end)
        last = max(first, min(end, written))
        out[: first - start] = 0.0
        out[last - start :] = 0.0
        place = first % self.capacity
        head = min(last - first, self.capacity - place)
        out[first - start : first - start + head] = self._data[place : place + head]
        out[first - start + head : last - start] = self._data[: last - first - head]
        return end - last

    def _fill(self, start: int, end: int, samples: np.ndarray | None) -> None:
        if end <= start:
            return
        place = start % self.capacity
        head = min(end - start, self.capacity - place)
        self._data[place : place + head] = 0.0 if samples is None else samples[:head]
        self._data[: end - start - head] = 0.0 if samples is None else samples[head:]
