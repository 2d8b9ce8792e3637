"""Which (t_f, k) a machine holds, and which of them to take. Frames and seconds as in :mod:`bandmate.spec`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bandmate.spec import FeasibleRegion, Latency, StreamSpec, feasible_region, largest_t_f

MARGIN = 1.25  # what is advised is also held by a machine that takes a quarter longer
LOWEST = -200  # frames: -4 s, the least t_f that anything here is trained for


@dataclass(frozen=True)
class Machine:
    """t_gen: k in frames -> seconds of a chunk, p99. latency: all the rest (its own t_gen is not used)."""

    t_gen: Mapping[int, float]
    latency: Latency
    t_f: int | None = None

    def spent(self, k: int, times: float = 1.0) -> Latency:
        """The latency with the time of a chunk of k frames, and that a number of times."""
        return replace(self.latency, t_gen=times * self.t_gen[k])

    def load(self, k: int) -> float:
        """Share of the time that work takes: t_gen(k) / k."""
        return self.t_gen[k] / StreamSpec(0, k).k_seconds

    def freshest(self, k: int, times: float = 1.0) -> int:
        """The largest t_f in frames that is in time with this k, or the model's own."""
        return largest_t_f(self.spent(k, times)) if self.t_f is None else self.t_f

    def region(self, t_fs: list[int]) -> FeasibleRegion:
        """Both conditions at t_f (frames) x every k that was timed."""
        return feasible_region(t_fs, self.t_gen, self.t_gen.__getitem__, self.latency)


@dataclass(frozen=True)
class Advice:
    """spec: what to play with; None when the machine holds nothing. margin: whether a quarter more time is left.

    slack: seconds, by the measured times. reason: one sentence.
    """

    spec: StreamSpec | None
    margin: bool
    slack: float
    reason: str


def freshness(spec: StreamSpec) -> float:
    """Mean over a chunk's columns of what they see, in frames: t_f - (k - 1) / 2."""
    return spec.t_f - (spec.k - 1) / 2


def held(machine: Machine, times: float = 1.0) -> list[StreamSpec]:
    """For each k that keeps up the freshest (t_f, k) that is in time, when every chunk takes ``times`` as long."""
    specs = [StreamSpec(machine.freshest(k, times), k) for k in machine.t_gen]
    return [spec for spec in specs if spec.t_f >= LOWEST and spec.is_deployable(machine.spent(spec.k, times))]


def advise(machine: Machine) -> Advice:
    """The (t_f, k) whose columns see freshest on average, of those that leave a quarter of the time.

    Columns of a chunk share what was heard, so that the last of them lies k - 1 frames further from it than the first.
    Of two equals the longer k, which costs less. Where nothing leaves a quarter, the same without; docs/plan.md.
    """
    for times in (MARGIN, 1.0):
        specs = held(machine, times)
        if specs:
            spec = max(specs, key=lambda spec: (freshness(spec), spec.k))
            return Advice(spec, times > 1, spec.slack(machine.spent(spec.k)), why(machine, spec, times > 1))
    return Advice(None, False, 0.0, why_not(machine))


def why(machine: Machine, spec: StreamSpec, margin: bool) -> str:
    slack = 1000 * spec.slack(machine.spent(spec.k))
    text = (
        f"its columns see {-20 * freshness(spec):.0f} ms back on average, the least here; {slack:.0f} ms of slack, "
        f"{100 * machine.load(spec.k):.0f} % of the time is work"
    )
    if margin:
        return text
    return f"{text}; there is no quarter to spare, so expect a miss when something else runs"


def why_not(machine: Machine) -> str:
    """Which of the two conditions nothing meets, with the number that is nearest."""
    quickest = min(machine.t_gen, key=machine.load)
    if machine.load(quickest) > 1:
        return (
            f"throughput: at the best k, {StreamSpec(0, quickest).k_seconds:g} s, a chunk takes "
            f"{machine.t_gen[quickest]:.3g} s, {machine.load(quickest):.2f} times as long as it sounds"
        )
    keeping = [k for k in machine.t_gen if machine.load(k) <= 1]
    k = max(keeping, key=lambda k: largest_t_f(machine.spent(k)))
    wanted = largest_t_f(machine.spent(k)) / 50
    bound = (LOWEST if machine.t_f is None else machine.t_f) / 50
    what = "the least there is" if machine.t_f is None else "the only one of this model"
    return (
        f"latency: in time would be t_f = {wanted:g} s or less (k = {StreamSpec(0, k).k_seconds:g} s), beyond "
        f"t_f = {bound:g} s, {what}"
    )
