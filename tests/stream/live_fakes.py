"""A sound device on a virtual clock, and a model that gives back what it heard, sample by sample."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from bandmate.stream.devices import DeviceFacts
from bandmate.stream.exchange import Count, Exchange, Shared
from tests.stream.fakes import HOP, LEVELS, FakeSampler


class FakeDevice:
    """Time passes only when somebody waits, or spends it: then the callbacks run that fall into it.

    ``source(start, count)`` is the input, by the device's samples. While an outage of ``outages`` (seconds from,
    to) lasts nothing runs. What was sent to the loudspeaker is ``sounding``, with silence where nothing ran.
    """

    def __init__(
        self,
        source: Callable[[int, int], np.ndarray],
        rate: int = 32_000,
        blocks: Iterable[int] = (256,),
        channels: tuple[int, int] = (1, 1),
        outages: Iterable[tuple[float, float]] = (),
    ) -> None:
        self._source, self._blocks, self._channels = source, itertools.cycle(blocks), channels
        self._outages = list(outages)
        capacity = Shared.capacity(rate)
        self.shared = Shared(bytearray(Shared.size(capacity)), capacity)
        self.shared.reset()
        self.facts = DeviceFacts("fake", "fake", rate, 256, *channels, 0.0, 0.0)
        self._exchange: Exchange | None = Exchange(self.shared, rate)
        self._now = 0.0  # samples
        self._next = next(self._blocks)
        self._parts: list[tuple[int, np.ndarray]] = []
        self.on_block: Callable[[int], None] = lambda index: None
        self.closed, self.trouble = False, ""

    def spend(self, seconds: float) -> None:
        """Time passes, and whatever falls into it happens."""
        end = self._now + seconds * self.facts.rate
        while self._exchange is not None and self._exchange.position + self._next <= end:
            self._now = float(self._exchange.position + self._next)
            if self._away():
                self._exchange = None
            else:
                self._callback()
        self._now = max(self._now, end)

    def _callback(self) -> None:
        assert self._exchange is not None
        start, count = self._exchange.position, self._next
        self.on_block(start)
        heard = np.repeat(self._source(start, count).astype(np.float32)[:, None], self._channels[0], axis=1)
        sounding = np.full((count, self._channels[1]), np.nan, dtype=np.float32)
        self._exchange.run(heard, sounding)
        assert (sounding == sounding[:, :1]).all(), "all channels get the same"
        self._parts.append((start, sounding[:, 0]))
        self._next = next(self._blocks)

    def _away(self) -> bool:
        return any(begin <= self.seconds() < end for begin, end in self._outages)

    @property
    def sounding(self) -> np.ndarray:
        end = max(start + len(part) for start, part in self._parts)
        whole = np.zeros(end, dtype=np.float32)
        for start, part in self._parts:
            whole[start : start + len(part)] = part
        return whole

    # The device as a live stream knows it.

    @property
    def lost(self) -> bool:
        return self._exchange is None

    def reopen(self) -> bool:
        if not self._away():
            self._exchange = Exchange(self.shared, self.facts.rate, int(self._now))
        return not self.lost

    def wait(self) -> None:
        left = self._next if self._exchange is None else self._exchange.position + self._next - self._now
        self.spend(max(1.0, left) / self.facts.rate)

    def seconds(self) -> float:
        return self._now / self.facts.rate

    def position(self) -> int:
        return int(self._now) if self.lost else int(self.shared.counts[Count.CLAIMED])

    def close(self) -> None:
        self.closed = True


@dataclass
class Echo:
    """Codec and model in one store: output frame i is input frame i - delay, bit by bit. Frames are remembered
    by their number, which is the code on every level.
    """

    delay: int
    spend: Callable[[int], None] = lambda call: None  # called with the number of each call that plays
    frames: list[np.ndarray] = field(default_factory=list)
    ears: str = "mel"
    sample_rate: int = 32_000
    hop: int = HOP
    levels: int = LEVELS
    synthesis_delay: int = 480
    played: int = 0

    # As a model.

    def init_ears(self, batch: int) -> int:
        self.frames.clear()
        return 0

    def hear(self, audio: Tensor, state: int) -> tuple[Tensor, int]:
        frames = audio.unflatten(1, (-1, HOP))
        self.frames.extend(frames[0].numpy())
        return frames, state

    def init_state(self, instrument: Tensor, spec: object, batch: int, **options: object) -> "EchoState":
        self.played = 0
        return EchoState(int(options.get("column", 0)))  # type: ignore[call-overload]

    def listen(self, x: Tensor, state: "EchoState") -> "EchoState":
        return state

    def play(self, state: "EchoState", n: int, sampler: FakeSampler) -> tuple[Tensor, "EchoState"]:
        self.spend(self.played)
        self.played += 1
        return self._emit(state, n, heard=True)

    def skip(self, state: "EchoState", n: int) -> tuple[Tensor, "EchoState"]:
        return self._emit(state, n, heard=False)

    def _emit(self, state: "EchoState", n: int, heard: bool) -> tuple[Tensor, "EchoState"]:
        """A frame counts as played when the call that completes it was."""
        first, last = (max(0, column - LEVELS + 1) for column in (state.column, state.column + n))
        numbers = [max(0, frame - self.delay + 1) if heard else -1 for frame in range(first, last)]
        codes = torch.tensor(numbers, dtype=torch.long).expand(1, LEVELS, len(numbers))
        return codes, replace(state, column=state.column + n)

    # As a codec. Code 0 is silence, code i + 1 frame i.

    def init_decoder(self, batch: int) -> Tensor:
        return torch.zeros(batch, self.synthesis_delay)

    def decode_chunk(self, codes: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        new = [self.frames[code - 1] if code else np.zeros(HOP, np.float32) for code in codes[0, 0].tolist()]
        both = torch.cat([state, torch.from_numpy(np.concatenate(new))[None]], 1)
        return both[:, : -self.synthesis_delay], both[:, -self.synthesis_delay :]

    def flush(self, state: Tensor) -> Tensor:
        return state


@dataclass(frozen=True)
class EchoState:
    column: int
