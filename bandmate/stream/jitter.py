"""How late a sleeping process wakes: what an audio process suffers while the model computes beside it.

Standard library only, so that the process that sleeps starts at once and does nothing else.
"""

import contextlib
import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

QUANTILE = 0.999
WITHIN = 30.0  # seconds until the other process must have begun, or ended


def wakes(
    block: float, now: Callable[[], float], sleep: Callable[[float], None], going: Callable[[], bool]
) -> Iterator[float]:
    """Seconds by which each wake-up comes after the end of its block, while ``going()``.

    The ends lie on a grid of ``block`` seconds, as those of a device do. Who sleeps past the next one has missed it,
    and sleeps to the one after.
    """
    due = now() + block
    while going():
        sleep(max(0.0, due - now()))
        late = now() - due
        yield max(0.0, late)
        due += block * (1 + max(0, math.floor(late / block)))


def worst(lateness: Sequence[float]) -> float:
    """The 99.9th percentile of lateness by nearest rank: of fewer than 1000 wake-ups the longest. 0 of none."""
    if not lateness:
        return 0.0
    return sorted(lateness)[max(1, math.ceil(QUANTILE * len(lateness) - 1e-9)) - 1]


def sleep_beside(block: float, pipe: Any) -> None:
    """What the other process does: says that it has begun, sleeps until it is told to stop, sends what it noted.

    An interrupt is left to who started it. It ends with that process, however that ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):
        pipe.send("begun")
        pipe.send(list(wakes(block, time.perf_counter, time.sleep, lambda: not pipe.poll())))


class Sleeper:
    """A process that sleeps block by block from ``with`` to its end; then ``lateness`` holds seconds, one per wake-up.

    OSError when it cannot run here.
    """

    def __init__(self, block: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=sleep_beside, args=(block, other), daemon=True)
        self._other = other
        self.lateness: list[float] = []

    def __enter__(self) -> Self:
        self._process.start()
        self._other.close()
        self._receive()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: TracebackType | BaseException | None) -> None:
        try:
            if kind is None:
                self._pipe.send("stop")
                self.lateness = self._receive()
        finally:
            self._process.terminate()
            self._process.join()
            self._pipe.close()

    def _receive(self) -> Any:
        try:
            if self._pipe.poll(WITHIN):
                return self._pipe.recv()
        except EOFError:
            pass
        raise OSError(
            "the process that measures the jitter ended before its time: give --jitter SECONDS instead"
        )
