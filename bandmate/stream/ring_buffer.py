"""A fixed-size ring of samples, addressed by absolute sample index."""

import numpy as np


class RingBuffer:
    """One writer, one reader, no locks: each side moves only its own index, and moves it after the data.

    Sample ``i`` of the stream lies in the ring while ``written - capacity <= i < written``. A reader that
    comes too late loses the oldest samples (overrun), one that comes too early hears silence (underrun): both
    are counted, in events and in samples, and neither ever shifts a sample to another place in time.
    """

    def __init__(self, capacity: int, start: int = 0) -> None:
        """A ring of ``capacity`` samples whose first sample has the absolute index ``start``."""
        if capacity < 1:
            raise ValueError(f"a ring buffer needs room for at least one sample, not {capacity}")
        self._data = np.zeros(capacity, dtype=np.float32)
        self.written = start  # index after the last sample written
        self.position = start  # index of the next sample to be read
        self.overruns = self.underruns = 0
        self.samples_lost = self.samples_missing = 0

    @property
    def capacity(self) -> int:
        return len(self._data)

    @property
    def available(self) -> int:
        """Samples that wait to be read."""
        return max(0, self.written - max(self.position, self.written - self.capacity))

    @property
    def room(self) -> int:
        """Samples that can be written before the reader loses any."""
        return self.capacity - self.available

    def write(self, samples: np.ndarray, at: int | None = None) -> None:
        """Appends samples [S]; a gap before the absolute index ``at`` is filled with silence.

        Raises ValueError when ``at`` lies before what was written already: time is never written twice.
        """
        at = self.written if at is None else at
        if at < self.written:
            raise ValueError(f"sample {at} was written already; the ring stands at {self.written}")
        end = at + len(samples)
        oldest = end - self.capacity
        self._fill(max(self.written, oldest), min(at, end), None)
        self._fill(max(at, oldest), end, samples[max(0, oldest - at) :])
        self.written = end

    def read(self, count: int) -> np.ndarray:
        """The next ``count`` samples [count]; silence where they were lost or have not come yet."""
        start, end = self.position, self.position + count
        out = np.zeros(count, dtype=np.float32)
        first = max(start, self.written - self.capacity)
        last = min(end, self.written)
        if last > first:
            self._copy_to(out[first - start : last - start], first)
        self._count(lost=min(first, end) - start, missing=end - max(last, min(first, end), start))
        self.position = end
        return out

    def _count(self, lost: int, missing: int) -> None:
        self.overruns += lost > 0
        self.underruns += missing > 0
        self.samples_lost += lost
        self.samples_missing += missing

    def _fill(self, start: int, end: int, samples: np.ndarray | None) -> None:
        """Lays samples (None: silence) at the absolute indices start .. end, around the ring's end."""
        if end <= start:
            return
        place = start % self.capacity
        head = min(end - start, self.capacity - place)
        self._data[place : place + head] = 0.0 if samples is None else samples[:head]
        self._data[: end - start - head] = 0.0 if samples is None else samples[head:]

    def _copy_to(self, out: np.ndarray, start: int) -> None:
        place = start % self.capacity
        head = min(len(out), self.capacity - place)
        out[:head] = self._data[place : place + head]
        out[head:] = self._data[: len(out) - head]
