"""A clock that moves only when work is done, and codec and model that say how long each of their calls takes."""

from typing import Any

from torch import Tensor

from bandmate.stream.measure import Clocks
from tests.stream.fakes import FakeCodec, FakeModel

ENCODE, LISTEN, COLUMN, DECODE, FLUSH = 0.001, 0.002, 0.004, 0.003, 0.001  # seconds, of a call or a column


class Ticker:
    """Seconds since it was made. Half of them are of the processor."""

    def __init__(self) -> None:
        self.now, self.slept, self.speed = 0.0, 0.0, 1.0

    def tick(self, seconds: float) -> None:
        self.now += seconds / self.speed

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def clocks(self) -> Clocks:
        return Clocks(lambda: self.now, lambda: self.now / 2, self.sleep)


class TickingCodec(FakeCodec):
    def __init__(self, ticker: Ticker) -> None:
        self.ticker = ticker

    def decode_chunk(self, codes: Tensor, state: Any) -> Any:
        self.ticker.tick(DECODE)
        return super().decode_chunk(codes, state)

    def flush(self, state: Any) -> Tensor:
        self.ticker.tick(FLUSH)
        return super().flush(state)


class TickingModel(FakeModel):
    """The first column that it plays takes ten times as long."""

    def __init__(self, ticker: Ticker) -> None:
        super().__init__()
        self.ticker, self.cold = ticker, 9 * COLUMN

    def hear(self, audio: Tensor, state: Tensor) -> Any:
        self.ticker.tick(ENCODE)
        return super().hear(audio, state)

    def listen(self, x: Tensor, state: Any) -> Any:
        self.ticker.tick(LISTEN)
        return super().listen(x, state)

    def play(self, state: Any, n: int, sampler: Any) -> Any:
        self.ticker.tick(n * COLUMN + self.cold)
        self.cold = 0.0
        return super().play(state, n, sampler)


def step_seconds(k: int) -> float:
    """What a whole step of k columns takes."""
    return ENCODE + LISTEN + k * COLUMN + DECODE + FLUSH
