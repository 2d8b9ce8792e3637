"""Where on the plane a machine and its sound device can play live, from what was measured and reported."""

from dataclasses import dataclass

import numpy as np

from bandmate.spec import Latency, StreamSpec, largest_t_f
from bandmate.stream.devices import DeviceFacts
from bandmate.stream.scheduler import Schedule
from bandmate.stream.warmup import Feasibility, feasibility

RESAMPLING = 0.03  # seconds until a resampler has given what it was given
MOST_UNSTEADY = 0.1  # seconds that a device is believed to be late for long
MARGIN = 0.5  # of a step, kept free for what takes longer
FURTHEST = -4.0  # seconds of t_f


@dataclass(frozen=True)
class Measured:
    """A machine with its device. ``steps``: seconds of work each; ``worst_gap``: seconds between two callbacks."""

    facts: DeviceFacts
    lead: int
    steps: tuple[float, ...]
    worst_gap: float
    engine_rate: int

    @property
    def step(self) -> float:
        """p99 of a step, in seconds."""
        return float(np.quantile(self.steps, 0.99))

    @property
    def latency(self) -> Latency:
        """What a sound costs on its way in, through the model, and out.

        Input comes, and output goes, by the block: on top of the way through the device, one of them at worst.
        """
        block = self.facts.block / self.facts.rate
        unsteady = min(MOST_UNSTEADY, max(0.0, self.worst_gap - block))
        return Latency(
            device_in=0.0 if self.facts.rate == self.engine_rate else RESAMPLING,
            device_out=self.lead / self.facts.rate + block,
            t_gen=self.step,
            jitter=MARGIN * self.step + unsteady,
        )

    def best(self, spec: StreamSpec) -> StreamSpec:
        """spec with the largest t_f that this machine can hold, -4 s at least."""
        t_f = max(largest_t_f(self.latency, spec.frame_rate), round(FURTHEST * spec.frame_rate))
        return StreamSpec(t_f, spec.k, spec.frame_rate, spec.levels)

    def plan(self, schedule: Schedule) -> Feasibility:
        """What it means for this schedule."""
        latency = self.latency
        margin = latency.device_in + latency.device_out + latency.jitter
        return feasibility(schedule, self.step, margin, float(np.mean(self.steps)))
