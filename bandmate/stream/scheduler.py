"""Which call is due when, and whether it came in time. All instants are samples on the stream's clock.

The call at column c hears ``x[: c + t_f]``, so it may start when those frames are complete. It completes the
frames c-3 .. c+n-4 (delay pattern), and the codec hands out a frame's sound ``synthesis_delay`` samples late:
its output takes the place from ``(c-3) * 640 - 480`` on, and must be ready then. Hence the budget of every
call is the same, ``-t_f - 3.75`` frames. Calls that need no input yet (c + t_f <= 0) may start before instant
0: instants can be negative.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bandmate.spec import StreamSpec


@dataclass(frozen=True)
class Geometry:
    """Samples per frame, codec levels (the delay pattern costs levels - 1 frames), synthesis delay in
    samples.
    """

    rate: int = 32_000
    hop: int = 640
    levels: int = 4
    synthesis_delay: int = 480

    @property
    def pattern(self) -> int:
        """Frames that the delay pattern costs."""
        return self.levels - 1

    def decoded(self, columns: int) -> int:
        """Samples whose place is filled once the first ``columns`` columns are generated and decoded."""
        return max(0, max(0, columns - self.pattern) * self.hop - self.synthesis_delay)


@dataclass(frozen=True)
class Call:
    """One step of the stream: hear up to ``horizon`` frames, then emit columns ``column .. column + count``.

    ``silent`` calls only listen: the columns before the first that is played. The output of the call takes
    the samples ``start .. end``; ``ready`` and ``due`` are instants in samples, ``due`` None when nothing
    waits for it.
    """

    index: int
    column: int
    count: int
    silent: bool
    horizon: int
    ready: int
    start: int
    end: int

    @property
    def due(self) -> int | None:
        """The instant at which the first sample of the output must be ready."""
        return None if self.silent or self.end <= self.start else self.start


class Schedule:
    """The calls of a stream, one after the other; their outputs tile the time from sample 0 on without gap or
    overlap.
    """

    def __init__(self, spec: StreamSpec, geometry: Geometry, first_column: int = 0) -> None:
        """``first_column``: the first column that is played; silent calls that only listen fill the time
        before.
        """
        self.spec, self.geometry, self.first_column = spec, geometry, first_column
        self._listening = math.ceil(first_column / spec.k)

    def call(self, index: int) -> Call:
        """The call number ``index`` (0, 1, ...)."""
        spec, geometry = self.spec, self.geometry
        column = self.first_column + (index - self._listening) * spec.k
        horizon = column + spec.t_f
        return Call(
            index=index,
            column=column,
            count=spec.k,
            silent=column < self.first_column,
            horizon=horizon,
            ready=horizon * geometry.hop,
            start=geometry.decoded(column),
            end=geometry.decoded(column + spec.k),
        )

    @property
    def budget(self) -> float:
        """Seconds from the instant a call has its input to the instant its output is due; negative: never in
        time.
        """
        geometry = self.geometry
        frames = -self.spec.t_f - geometry.pattern
        return (frames * geometry.hop - geometry.synthesis_delay) / geometry.rate

    @property
    def period(self) -> float:
        """Seconds from one call to the next: a step must take no longer."""
        return self.spec.k * self.geometry.hop / self.geometry.rate


@dataclass(frozen=True)
class Timing:
    """When a call ran, in samples on the stream's clock; ``seconds`` is the work it took.

    ``skipped``: not played, either to catch up or, with ``rest``, because nobody wanted to hear it.
    """

    call: Call
    begin: float
    finish: float
    seconds: float
    skipped: bool = False
    shift: int = 0
    rest: bool = False

    @property
    def late(self) -> bool:
        """Whether the output came after the instant it was due (``shift`` samples later than unshifted)."""
        if self.call.due is None or self.rest:
            return False
        return self.skipped or self.finish > self.call.due + self.shift

    @property
    def lateness(self) -> float:
        """Samples after the deadline; negative is slack. 0 where there is none."""
        return 0.0 if self.call.due is None else self.finish - self.call.due - self.shift


class Clock(Protocol):
    """Tells when a call begins and ends. The engine has none; whoever drives it brings one."""

    def begin(self, call: Call) -> float:
        """The instant at which the call starts: once its input is there and the call before it is done."""

    def end(self, call: Call, seconds: float, skipped: bool) -> float:
        """The instant at which the call that took ``seconds`` of work is done."""


class VirtualClock:
    """A single worker that takes the calls in turn; ``cost(call, seconds)`` is how long it takes for each, in
    seconds.

    With the measured seconds themselves as the cost (the default), a run at full speed is replayed as if it
    were live.
    """

    def __init__(self, rate: int, cost: Callable[[Call, float], float] | None = None) -> None:
        self._rate = rate
        self._cost = cost or (lambda call, seconds: seconds)
        self._free = -math.inf

    def begin(self, call: Call) -> float:
        return max(float(call.ready), self._free)

    def end(self, call: Call, seconds: float, skipped: bool = False) -> float:
        cost = 0.0 if skipped else self._cost(call, seconds)
        self._free = self.begin(call) + cost * self._rate
        return self._free


class WallClock:
    """Real time: a call waits until its input would have come in. ``now`` and ``sleep`` in seconds."""

    def __init__(self, rate: int, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._rate, self._now, self._sleep = rate, now, sleep
        self._zero: float | None = None

    def begin(self, call: Call) -> float:
        if self._zero is None:  # calls that need no input may run before instant 0
            self._zero = self._now() - min(0, call.ready) / self._rate
        wait = self._zero + call.ready / self._rate - self._now()
        if wait > 0:
            self._sleep(wait)
        return self._instant()

    def end(self, call: Call, seconds: float, skipped: bool = False) -> float:
        return self._instant()

    def _instant(self) -> float:
        return (self._now() - (self._zero or 0.0)) * self._rate


@dataclass(frozen=True)
class SimulatedLatency:
    """Seconds per call: a normal draw, never below 0, a pure function of (seed, call)."""

    mean: float
    deviation: float = 0.0
    seed: int = 0

    def __call__(self, call: Call, seconds: float = 0.0) -> float:
        if not self.deviation:
            return self.mean
        draw = np.random.Generator(np.random.Philox(key=[self.seed % 2**64, call.index])).standard_normal()
        return max(0.0, self.mean + self.deviation * float(draw))

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> "SimulatedLatency":
        """``MEAN`` or ``MEAN:SD`` in seconds; ValueError otherwise."""
        try:
            numbers = [float(part) for part in text.split(":")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2) or not all(0 <= n < math.inf for n in numbers):
            raise ValueError(f"--latency takes MEAN or MEAN:SD in seconds, such as 0.05:0.01, not {text!r}")
        return cls(numbers[0], numbers[1] if len(numbers) > 1 else 0.0, seed)


class LatencyHistogram:
    """Durations in constant memory: 1 % wide bins from 1 µs to 1000 s, the greatest kept exactly."""

    FLOOR, RATIO, BINS = 1e-6, 1.01, 2084

    def __init__(self) -> None:
        self._counts = np.zeros(self.BINS + 1, dtype=np.int64)
        self.count, self.total, self.max = 0, 0.0, 0.0

    def add(self, seconds: float) -> None:
        place = math.log(max(seconds, self.FLOOR) / self.FLOOR) / math.log(self.RATIO)
        self._counts[min(int(place), self.BINS)] += 1
        self.count += 1
        self.total += seconds
        self.max = max(self.max, seconds)

    def quantile(self, q: float) -> float:
        """The q-quantile (0..1) in seconds, within 1 %; 0 when nothing was added."""
        if not self.count:
            return 0.0
        rank = max(1, math.ceil(q * self.count))
        place = int(np.searchsorted(np.cumsum(self._counts), rank))
        return min(self.FLOOR * self.RATIO ** (place + 0.5), self.max)

    def summary(self) -> dict[str, float]:
        """p50, p95, p99 and max in milliseconds."""
        named = {f"p{round(100 * q)}": self.quantile(q) for q in (0.5, 0.95, 0.99)} | {"max": self.max}
        return {name: round(1000 * seconds, 3) for name, seconds in named.items()}


class LateTracker:
    """Counts every call, and every missed one once; keeps how long the calls took. Constant memory."""

    def __init__(self, ignore_first: bool = False) -> None:
        """``ignore_first``: the first call's time counts as work, but as no miss and in no percentile."""
        self._ignore = ignore_first
        self._last = -1
        self.calls = self.misses = self.skipped = self.rested = 0
        self.work = self.worst_lateness = 0.0
        self.steps = LatencyHistogram()

    def add(self, timing: Timing) -> None:
        """Calls must come in order, each once: ValueError otherwise."""
        if timing.call.index <= self._last:
            raise ValueError(f"call {timing.call.index} was counted already")
        self._last = timing.call.index
        self.calls += 1
        self.work += timing.seconds
        self.skipped += timing.skipped and not timing.rest
        self.rested += timing.rest
        if self._ignore and self.calls == 1:
            return
        if not timing.skipped:
            self.steps.add(timing.seconds)
        if timing.late:
            self.misses += 1
            self.worst_lateness = max(self.worst_lateness, timing.lateness)
