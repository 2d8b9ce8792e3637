"""Before a stream starts: every shape run twice, and a measured answer to what a step costs here."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bandmate.spec import StreamSpec
from bandmate.stream.engine import Engine
from bandmate.stream.scheduler import Schedule

LEAST_CALLS, MOST_CALLS, ENOUGH = 3, 12, 1.0  # calls, calls, seconds of work


def warm_up(make_engine: Callable[[StreamSpec], Engine], spec: StreamSpec) -> float:
    """Seconds that a step of spec.k frames takes, the longest of those measured after the first two."""
    return max(step_times(make_engine, spec))


def step_times(
    make_engine: Callable[[StreamSpec], Engine],
    spec: StreamSpec,
    most: int = MOST_CALLS,
    enough: float = ENOUGH,
) -> list[float]:
    """Seconds of each step of spec.k frames after the first two: of ``most`` in all, or of ``enough`` seconds of work.

    Runs on a stream of its own, over quiet noise, and leaves no trace in the next one. It begins at t_f = 0, where
    every step listens, but for a model that was made for one spec only.
    """
    try:
        engine = make_engine(StreamSpec(0, spec.k))
    except ValueError:
        engine = make_engine(spec)
    rng = np.random.default_rng(0)
    seconds: list[float] = []
    while len(seconds) < LEAST_CALLS or (len(seconds) < most and sum(seconds) < enough):
        noise = 0.01 * rng.standard_normal(spec.k * engine.geometry.hop)
        for piece in engine.pieces(noise.astype(np.float32)):
            engine.feed(piece)
            while engine.ready:
                block = engine.step()
                if block.call.horizon >= 0:  # calls before it had nothing to listen to
                    seconds.append(block.seconds)
    return seconds[2:]


@dataclass(frozen=True)
class Feasibility:
    """What the time of a step means for a (t_f, k). All in seconds.

    ``shift``: by how much later everything must sound for the output to be in time; 0 when it is.
    ``keeps_up``: whether a step, ``usual`` where that is known, is shorter than its chunk. If not, no shift helps
    for long.
    """

    step: float
    budget: float
    period: float
    margin: float
    usual: float | None = None

    @property
    def shift(self) -> float:
        return max(0.0, self.step + self.margin - self.budget)

    @property
    def keeps_up(self) -> bool:
        return (self.step if self.usual is None else self.usual) <= self.period

    def shift_samples(self, rate: int) -> int:
        return math.ceil(self.shift * rate - 1e-6)


def feasibility(schedule: Schedule, step: float, margin: float, usual: float | None = None) -> Feasibility:
    """``margin``: seconds kept free for what takes longer than ``step``; ``usual``: the mean step, where it differs."""
    return Feasibility(step, schedule.budget, schedule.period, margin, usual)
