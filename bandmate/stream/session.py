"""A clock put on the engine: every call gets its instants, late ones the late policy, all of them are
counted.
"""

import math
import statistics
from collections import deque
from collections.abc import Callable

import numpy as np

from bandmate.stream.engine import Engine, OutputBlock
from bandmate.stream.late import LatePolicy
from bandmate.stream.scheduler import Call, Clock, LateTracker, Timing


class SampleQueue:
    """First in, first out, of samples."""

    def __init__(self) -> None:
        self._blocks: deque[np.ndarray] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, samples: np.ndarray) -> None:
        if len(samples):
            self._blocks.append(samples)
            self._length += len(samples)

    def take(self, count: int) -> np.ndarray:
        """The oldest ``count`` samples, or as many as there are."""
        count = min(count, self._length)
        self._length -= count
        taken: list[np.ndarray] = [np.zeros(0, dtype=np.float32)]
        while count:
            block = self._blocks.popleft()
            if len(block) > count:
                self._blocks.appendleft(block[count:])
            taken.append(block[:count])
            count -= len(taken[-1])
        return np.concatenate(taken)


class Trace:
    """A bounded record of timings for pictures: when full, of each two neighbours the later one stays."""

    def __init__(self, room: int = 4096) -> None:
        self._room, self._stride, self._worst = room, 1, None
        self.timings: list[Timing] = []

    _worst: Timing | None

    def add(self, timing: Timing) -> None:
        if timing.call.silent:
            return
        self._worst = later(self._worst, timing)
        if (timing.call.index + 1) % self._stride:
            return
        self.timings.append(self._worst)
        self._worst = None
        if len(self.timings) >= self._room:
            pairs = zip(self.timings[::2], self.timings[1::2])
            self.timings = [later(a, b) for a, b in pairs]
            self._stride *= 2


def later(one: Timing | None, other: Timing) -> Timing:
    """Of two timings the one with less slack."""
    return other if one is None or other.lateness >= one.lateness else one


class Pace:
    """How long a call is expected to take, in samples: the median of the last five that were played.

    The expectation shrinks with every call skipped, so that one standstill does not end the music.
    """

    SHRINK = 0.95

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=5)
        self.expected = 0.0

    def add(self, took: float | None) -> None:
        """``took`` samples, None for a call that was skipped."""
        if took is None:
            self.expected *= self.SHRINK
            return
        self._recent.append(took)
        self.expected = statistics.median(self._recent)


class Session:
    """Drives an engine by a clock: samples in, the samples that sound out, input and output equally long.

    Without a ``policy`` lateness is counted but the sound is unaffected. ``shift`` samples: everything is
    due, and sounds, that much later. ``catch_up``: a call of which nothing would come in time is skipped, so
    that a machine that fell behind comes back.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        policy: LatePolicy | None = None,
        *,
        shift: int = 0,
        catch_up: bool = True,
        ignore_first: bool = False,
        resting: Callable[[Call], bool] | None = None,
        on_call: Callable[[np.ndarray, Timing], None] | None = None,
    ) -> None:
        """``resting``: whether a call is left out because nobody wants to hear it. ``on_call`` gets the samples
        that sound in each call's place as soon as they are known, ahead of what ``push`` returns.
        """
        self.engine, self._clock, self._policy = engine, clock, policy
        self._resting, self._on_call = resting, on_call
        self._shift, self._catch_up = shift, catch_up and policy is not None
        self.tracker, self.trace, self._pace = LateTracker(ignore_first), Trace(), Pace()
        self._queue = SampleQueue()
        self._queue.put(np.zeros(shift, dtype=np.float32))
        self._released = 0
        self._behind = False

    def push(self, samples: np.ndarray) -> np.ndarray:
        """samples [S] at the engine's rate -> the output that is final, never beyond the input received."""
        self._drain()
        for piece in self.engine.pieces(samples):
            self.engine.feed(piece)
            self._drain()
        return self._release()

    def finish(self) -> np.ndarray:
        """Ends the input and returns the rest of the output."""
        self.engine.close()
        self._drain()
        return self._release()

    def _drain(self) -> None:
        while self.engine.ready:
            self._run(self.engine.next_call)

    def _run(self, call: Call) -> None:
        begin = self._clock.begin(call)
        rest = self._resting is not None and self._resting(call)
        self._behind = not rest and self._catch_up and self._too_late(call, begin)
        skipped = rest or self._behind
        block = self.engine.step(play=not skipped)
        finish = self._clock.end(call, block.seconds, skipped)
        self._pace.add(None if skipped else finish - begin)
        timing = Timing(call, begin, finish, block.seconds, skipped, self._shift, rest)
        self.tracker.add(timing)
        self.trace.add(timing)
        placed = self._place(block, timing)
        self._queue.put(placed)
        if self._on_call is not None:
            self._on_call(placed, timing)

    def _too_late(self, call: Call, begin: float) -> bool:
        """Whether nothing of the call is expected in time, or, once behind, not all of it.

        A call that begins as soon as it has its input gains nothing from skipping those before it.
        """
        if call.due is None:
            return False
        finish = begin + self._pace.expected - self._shift
        return finish >= call.end or (self._behind and begin > call.ready and finish > call.due)

    def _place(self, block: OutputBlock, timing: Timing) -> np.ndarray:
        if self._policy is None:
            return block.samples
        if timing.skipped:
            return self._policy.place(block, None)
        available = -math.inf if timing.call.due is None else timing.finish - self._shift
        return self._policy.place(block, available)

    def _release(self) -> np.ndarray:
        out = self._queue.take(self.engine.received - self._released)
        self._released += len(out)
        return out
