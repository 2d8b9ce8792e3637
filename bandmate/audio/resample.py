"""Sample rates: a stream resampled block by block, on the same clock to the sample."""

import numpy as np
import soxr
from numpy.typing import NDArray

Mono = NDArray[np.float32]  # [S]


def resampled_length(samples: int, in_rate: int, out_rate: int) -> int:
    """round(samples * out_rate / in_rate), halves upwards, in whole numbers."""
    return (2 * samples * out_rate + in_rate) // (2 * in_rate)


class StreamResampler:
    """Mono float32 from in_rate to out_rate (Hz, whole numbers), in blocks of any size, in constant memory.

    Output sample j is the sound of instant j / out_rate: the delay of the filter is taken out, `push` only
    returns that much later. All outputs together are `resampled_length` samples, equal to resampling
    everything at once.
    """

    def __init__(self, in_rate: int, out_rate: int) -> None:
        if in_rate < 1 or out_rate < 1:
            raise ValueError(f"sample rates must be at least 1 Hz, not {in_rate} and {out_rate}")
        self.in_rate, self.out_rate = in_rate, out_rate
        self.taken = self.given = 0  # samples in, samples out
        self._stream: soxr.ResampleStream | None = None  # None: nothing to do
        if in_rate != out_rate:
            self._stream = soxr.ResampleStream(in_rate, out_rate, 1, dtype="float32", quality="HQ")
        self._flushed = False

    def push(self, block: NDArray[np.floating]) -> Mono:
        """Take samples [S], return those that are complete [S'], maybe none. ValueError for another shape."""
        if block.ndim != 1:
            raise ValueError(f"a block is one channel [S], not {list(block.shape)}")
        if self._flushed:
            raise ValueError("the resampler is flushed: make a new one for a new stream")
        self.taken += len(block)
        return self._give(self._through(np.ascontiguousarray(block, dtype=np.float32)))

    def flush(self) -> Mono:
        """The rest [S'], as if silence followed."""
        if self._flushed:
            return np.zeros(0, np.float32)
        missing = resampled_length(self.taken, self.in_rate, self.out_rate) - self.given
        out = [np.zeros(0, np.float32)]
        silence = np.zeros(max(64, self.in_rate // 100), np.float32)
        while sum(map(len, out)) < missing:
            out.append(self._through(silence))
        self._flushed = True
        return self._give(np.concatenate(out)[:missing])

    def _through(self, block: Mono) -> Mono:
        return block.copy() if self._stream is None else self._stream.resample_chunk(block)

    def _give(self, block: Mono) -> Mono:
        self.given += len(block)
        return block
