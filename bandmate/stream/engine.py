"""The engine: blocks of samples in, blocks of accompaniment out, each stamped with its absolute sample index.

It has no device and no clock. The calls of the schedule run as soon as the input they need is complete, each
over the same frames whatever the size of the blocks pushed, so that equal input and seed give bit-identical
output.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from bandmate.spec import StreamSpec
from bandmate.stream.decoding import ChunkDecoder
from bandmate.stream.limiter import clean, limit
from bandmate.stream.ring_buffer import RingBuffer
from bandmate.stream.scheduler import Call, Geometry, Schedule

LOUDEST = np.float32(100.0)  # 40 dB over full scale: no input, however broken, overflows what follows


@dataclass(frozen=True)
class OutputBlock:
    """Samples [S] float32 that belong at ``start_sample`` of the stream, and the call that made them.

    ``tail``: how the sound would go on, were there nothing after it; ``seconds``: the work of the call.
    """

    start_sample: int
    samples: np.ndarray
    tail: np.ndarray
    call: Call
    seconds: float
    skipped: bool = False


class Engine:
    """One player's stream. ``push`` blocks of any size, then ``finish``; or ``feed`` and ``step`` call by
    call.
    """

    def __init__(
        self,
        codec: Any,
        model: Any,
        spec: StreamSpec,
        sampler: Any,
        instrument: int,
        *,
        gain_db: float = 0.0,
        first_column: int = 0,
    ) -> None:
        """``gain_db`` is applied to the input before listening; nothing is played before column
        ``first_column``.
        """
        self.geometry = Geometry(codec.sample_rate, codec.hop, codec.levels, codec.synthesis_delay)
        self.schedule = Schedule(spec, self.geometry, first_column)
        self._codec, self._model, self._sampler = codec, model, sampler
        self._gain = np.float32(10 ** (gain_db / 20))
        self._decoder = ChunkDecoder(codec)
        with torch.inference_mode():
            self._ears = model.init_ears(1) if model.ears == "mel" else codec.init_encoder(1)
            self._state = model.init_state(
                torch.tensor([instrument]), spec, 1, column=first_column, guided=sampler.guided
            )
        self._ring = RingBuffer((max(spec.t_f, 0) + 2 * spec.k + 4) * codec.hop)
        self._index = 0
        self._heard = 0  # frames
        self._closed = self._done = False
        self._held: list[OutputBlock] = []  # output of calls that ran ahead of the input
        self.received = 0  # samples
        self.bad_samples = 0

    # The simple way: everything that is due, when it is due.

    def push(self, samples: np.ndarray) -> list[OutputBlock]:
        """samples [S] float32 at the codec's rate -> the blocks of output up to the last sample received.

        Calls with t_f < 0 run ahead of the input; what belongs to a time after it is held back until the
        input is there, so that the output never is the longer one.
        """
        blocks: list[OutputBlock] = []
        for piece in self.pieces(samples):
            self.feed(piece)
            blocks += self._advance()
        return blocks

    def finish(self) -> list[OutputBlock]:
        """Ends the input and returns the rest: input and output are equally long."""
        self.close()
        return self._advance()

    def _advance(self) -> list[OutputBlock]:
        while self.ready:
            self._held.append(self.step())
        released = [b for b in self._held if b.start_sample + len(b.samples) <= self.received]
        self._held = self._held[len(released) :]
        if self._held and self._held[0].start_sample < self.received:
            now, later = split_block(self._held[0], self.received)
            released.append(now)
            self._held[0] = later
        return [block for block in released if len(block.samples)]

    # Call by call, for whoever brings a clock.

    def pieces(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Cuts samples [S] into pieces short enough to be fed one at a time, with all that is ready run
        between.
        """
        for start in range(0, len(samples), self.geometry.hop):
            yield samples[start : start + self.geometry.hop]

    def feed(self, samples: np.ndarray) -> None:
        """Takes samples [S] in; runs nothing. ValueError after the end, or when there is no room: run what is
        ready.
        """
        if self._closed:
            raise ValueError("the input of this stream has ended; start a new engine")
        if len(samples) > self._ring.room:
            raise ValueError(f"no room for {len(samples)} samples; run the calls that are ready first")
        finite, bad = clean(samples)
        self._ring.write(np.clip(finite * self._gain, -LOUDEST, LOUDEST))
        self.received += len(samples)
        self.bad_samples += bad

    def close(self) -> None:
        """No more input: its last frame is filled up with silence, and the calls that remain hear silence."""
        self._closed = True

    @property
    def next_call(self) -> Call:
        """The call that ``step`` runs next; after ``close`` it is cut to what the input's length asks for."""
        call = self.schedule.call(self._index)
        if not self._closed:
            return call
        missing = -(-self.received // self.geometry.hop) + self.geometry.pattern - call.column
        if missing > call.count:
            return call
        return replace(call, count=max(0, missing), end=max(call.start, self.received))

    @property
    def ready(self) -> bool:
        """Whether the next call has the input it needs (and, once the input has ended, is still needed)."""
        call = self.schedule.call(self._index)
        if self._closed:
            return not self._done and call.start < self.received
        return call.horizon * self.geometry.hop <= self.received

    @torch.inference_mode()
    def step(self, play: bool = True) -> OutputBlock:
        """Runs the next call; with ``play`` false its columns are skipped, as when it is far too late for
        them.

        Its time is that of hear, listen, play and decode together.
        """
        begin = time.perf_counter()
        call = self.next_call
        self._listen(call.horizon)
        codes = self._emit(call, play)
        self._done = self._closed and call.end >= self.received
        samples, tail = self._sound(call, codes)
        self._index += 1
        return OutputBlock(call.start, samples, tail, call, time.perf_counter() - begin, not play)

    def _listen(self, horizon: int) -> None:
        count = horizon - self._heard
        if count <= 0:
            return
        audio = torch.from_numpy(self._hear_samples(count * self.geometry.hop))[None]
        if self._model.ears == "mel":
            x, self._ears = self._model.hear(audio, self._ears)
        else:
            codes, self._ears = self._codec.encode_chunk(audio, self._ears)
            x = codes.transpose(1, 2)
        self._state = self._model.listen(x, self._state)
        self._heard = horizon

    def _hear_samples(self, count: int) -> np.ndarray:
        """The next samples of the input, silence where it has ended."""
        samples = np.zeros(count, dtype=np.float32)
        there = min(count, self._ring.available)
        samples[:there] = self._ring.read(there)
        return samples

    def _emit(self, call: Call, play: bool) -> torch.Tensor:
        """codes [1, K, m] of the frames that the call completes; -1 where there are none."""
        pattern = self.geometry.pattern
        frames = max(0, call.column + call.count - pattern) - max(0, call.column - pattern)
        codes = torch.full((1, self.geometry.levels, 0), -1)
        if play and call.count and not call.silent:
            codes, self._state = self._model.play(self._state, call.count, self._sampler)
        elif call.count and not call.silent:
            codes, self._state = self._model.skip(self._state, call.count)
        # What lies before the first column was not for the model to play.
        return torch.nn.functional.pad(codes, (frames - codes.shape[2], 0), value=-1)

    def _sound(self, call: Call, codes: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Samples for exactly call.start .. call.end, and the tail after them."""
        decoded, tail = self._decoder.decode(codes), self._decoder.tail()
        if self._done:
            decoded, tail = np.concatenate([decoded, tail]), np.zeros(0, dtype=np.float32)
        before = (
            max(0, call.column - self.geometry.pattern) * self.geometry.hop - self.geometry.synthesis_delay
        )
        offset = call.start - before  # what the codec puts before sample 0
        samples = decoded[offset : offset + call.end - call.start]
        return limit(samples), limit(tail)


def split_block(block: OutputBlock, at: int) -> tuple[OutputBlock, OutputBlock]:
    """Cuts a block in two at an absolute sample index within it."""
    cut = at - block.start_sample
    first = replace(block, samples=block.samples[:cut])
    return first, replace(block, start_sample=at, samples=block.samples[cut:], seconds=0.0)
