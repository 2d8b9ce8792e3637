"""What a step costs: engines over endless sound, timed call by call and part by part, their caches full and rolled over."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from bandmate.audio.io import open_audio
from bandmate.audio.resample import StreamResampler
from bandmate.spec import StreamSpec
from bandmate.stream.engine import Engine

PARTS = ("encode", "listen", "play", "decode")
PART_OF = {
    "encode_chunk": "encode",
    "hear": "encode",
    "listen": "listen",
    "play": "play",
    "skip": "play",
    "decode_chunk": "decode",
    "flush": "decode",
}
BEYOND = 64  # columns played after the caches are full, so that their oldest entries have made room
UNCOUNTED = 3  # calls played before the first that is timed

Clock = Callable[[], float]


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile (0..1) by nearest rank, an element of ``values``; ValueError when there is none."""
    if not values:
        raise ValueError("no quantile of nothing")
    return sorted(values)[max(1, math.ceil(q * len(values) - 1e-9)) - 1]


class Loop:
    """A sound [S] over and over."""

    def __init__(self, sound: np.ndarray) -> None:
        """ValueError for a sound without samples."""
        if not len(sound):
            raise ValueError("there is no sound to play over and over")
        self._sound, self._at = sound, 0

    def take(self, count: int) -> np.ndarray:
        """The next samples [count]."""
        index = (self._at + np.arange(count)) % len(self._sound)
        self._at = (self._at + count) % len(self._sound)
        return self._sound[index]


def read_sound(path: Any, rate: int, most: float = 60.0) -> np.ndarray:
    """The first ``most`` seconds of a file as mono [S] float32 at ``rate``. Errors as of open_audio."""
    with open_audio(path) as reader:
        resampler = StreamResampler(reader.rate, rate)
        blocks = []
        for block in reader.blocks(reader.rate):
            blocks.append(resampler.push(block))
            if reader.delivered >= most * reader.rate:
                break
        return np.concatenate([*blocks, resampler.flush()])


class Meter(Protocol):
    """Is told of each part of a step, and runs it."""

    def run(self, part: str, call: Callable[..., Any], *arguments: Any) -> Any: ...


class Stopwatch:
    """Seconds spent in each part."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.spent = dict.fromkeys(PARTS, 0.0)

    def run(self, part: str, call: Callable[..., Any], *arguments: Any) -> Any:
        began = self._clock()
        try:
            return call(*arguments)
        finally:
            self.spent[part] += self._clock() - began


class Watched:
    """Stands for a codec or a model in an engine: ``run(part, call, *arguments)`` makes the calls of PART_OF."""

    def __init__(self, inner: Any, run: Callable[..., Any]) -> None:
        self._inner, self._run = inner, run

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        part = PART_OF.get(name)
        return found if part is None else functools.partial(self._run, part, found)


@dataclass
class Times:
    """Of the calls of one k, in seconds; ``first`` is of the slowest call before everything was warm.

    ``parts`` and ``cpu`` (processor time) are sums over ``steps``.
    """

    k: int
    first: float = 0.0
    steps: list[float] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    cpu: float = 0.0

    @property
    def t_gen(self) -> float:
        """Seconds that 99 of 100 calls do not exceed."""
        return quantile(self.steps, 0.99)

    @property
    def audio(self) -> float:
        """Seconds of sound that were played."""
        return len(self.steps) * StreamSpec(0, self.k).k_seconds

    @property
    def real_time_factor(self) -> float:
        return sum(self.steps) / self.audio

    @property
    def players_per_core(self) -> int:
        """Streams of which one core can do all the work, one after the other: audio over processor time."""
        return math.floor(self.audio / self.cpu + 1e-9) if self.cpu > 0 else 0

    def shares(self) -> dict[str, float]:
        """Of the work, by part; what is between the parts is ``other``. They sum to 1."""
        total = sum(self.steps) or 1.0
        shares = {name: spent / total for name, spent in self.parts.items()}
        return shares | {"other": max(0.0, 1.0 - sum(shares.values()))}

    def summary(self) -> dict[str, float]:
        """p50, p95, p99 and max of a step in milliseconds."""
        named = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
        return {name: round(1000 * quantile(self.steps, q), 3) for name, q in named.items()}


@dataclass(frozen=True)
class Clocks:
    """Where time is from: the wall, the processor time of this process, and how to let time pass."""

    wall: Clock
    cpu: Clock
    sleep: Callable[[float], None]


class Probe:
    """One stream of one spec over a looped sound."""

    def __init__(
        self, build: Callable[[Any], Engine], spec: StreamSpec, sound: np.ndarray, clocks: Clocks
    ) -> None:
        """``build(run)`` makes the engine from codec and model as :class:`Watched` by that ``run``."""
        self.spec, self.clocks, self.times = spec, clocks, Times(spec.k)
        self.meter: Meter = Stopwatch(clocks.wall)
        self.engine = build(lambda part, call, *arguments: self.meter.run(part, call, *arguments))
        self._loop = Loop(sound)

    def call(self, play: bool = True) -> float:
        """Feeds what the next call needs, runs it, returns its wall time in seconds."""
        while not self.engine.ready:
            self.engine.feed(self._loop.take(self.engine.geometry.hop))
        began = self.clocks.wall()
        self.engine.step(play=play)
        return self.clocks.wall() - began

    def warm(self, window: int) -> None:
        """Runs the first calls, then as many as fill caches of ``window`` frames and let them roll over.

        Those of the filling only listen and pass their columns unplayed: it takes a fraction of the time.
        """
        spec, calls = self.spec, 0
        first = [self.call()]
        while self.engine.next_call.horizon <= spec.k:
            first.append(self.call())
        self.times.first = max(*first, self.call())
        while calls * spec.k < window + BEYOND + max(0, spec.t_f):
            self.call(play=False)
            calls += 1
        for _ in range(UNCOUNTED):
            self.call()

    def run(self, calls: int, pause: float = 0.0) -> None:
        """Times so many calls more; ``pause`` seconds of rest before each, as in playing."""
        for _ in range(calls):
            if pause:
                self.clocks.sleep(pause)
            watch = self.meter = Stopwatch(self.clocks.wall)
            processor = self.clocks.cpu()
            self.times.steps.append(self.call())
            self.times.cpu += self.clocks.cpu() - processor
            for name, spent in watch.spent.items():
                self.times.parts[name] += spent


def window_of(model: Any) -> int:
    """Frames that the caches of a model hold, as its config says; 0 where it says nothing."""
    return int(getattr(getattr(model, "config", None), "window", 0))


def measure(
    probes: Iterable[Probe],
    seconds: float,
    pause: float = 0.0,
    most: float = math.inf,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Times ``seconds`` of sound of each probe, a second of each in turn, so that all meet the same disturbances.

    Ends early when all together have worked for ``most`` seconds; each is timed for one call at least. ``progress``
    gets the seconds of sound that are done, of all together.
    """
    probes = list(probes)
    turns = max(1, math.ceil(seconds - 1e-9))
    for turn in range(1, turns + 1):
        for probe in probes:
            due = max(1, round(min(seconds, turn) / probe.spec.k_seconds))
            worked = sum(sum(each.times.steps) for each in probes)
            calls = due - len(probe.times.steps)
            probe.run(calls if worked < most else int(not probe.times.steps), pause)
            if progress is not None:
                progress(sum(each.times.audio for each in probes))
