"""StreamSpec: where the output of a streaming model lies in time, and what it may have heard of the input.

One clock for both streams, in frames; integers count frames, spans are half-open, floats are instants.
Input frame i is the sound of [i, i + 1); x[:n] is complete at instant n. Output frame i is meant to sound at
[i, i + 1), together with it. Equations and symbols: paper §3.1-3.5 (arXiv 2510.22105); derivations and a
picture: docs/spec.md. Standard library only.
"""

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

FRAME_RATE = 50  # frames per second: 640 samples at 32 kHz
LEVELS = 4  # codebook levels spread by the delay pattern
SYNTHESIS_DELAY = 0.015  # seconds by which the bundled codec's streaming decoder lags: 480 samples
_ROUNDING = 1e-9  # what float arithmetic on seconds may lose


def _whole(name: str, value: object, least: int | None = None) -> int:
    """`value` as an int; refuses floats (1.0 too), booleans and nan."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ValueError(
            f"{name} must be a whole number of frames, not {value!r}; see StreamSpec.from_seconds"
        )
    number = operator.index(value)
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}, not {number}")
    return number


def _seconds(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number of seconds, not {value!r}")
    return float(value)


@dataclass(frozen=True)
class Latency:
    """What a running system spends, in seconds; each at least 0.

    device_in, device_out: from the air to the program and back. pattern: the delay pattern, levels - 1
    frames. synthesis: the lag of the codec's streaming decoder. t_gen: wall time to make one chunk of k
    frames, codec included. jitter: the safety margin for all of these (tau_jitter).
    """

    device_in: float = 0.0
    device_out: float = 0.0
    pattern: float = (LEVELS - 1) / FRAME_RATE
    synthesis: float = SYNTHESIS_DELAY
    t_gen: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if _seconds(name, value) < 0:
                raise ValueError(f"{name} must not be negative, not {value!r}")

    @property
    def tau_sys(self) -> float:
        """Seconds from a sound that the model hears to the sound that it makes of it (tau_sys of §3.4)."""
        return self.device_in + self.pattern + self.synthesis + self.t_gen + self.device_out


@dataclass(frozen=True, repr=False)
class StreamSpec:
    """One streaming task: y[t : t + k] given y[:t] and x[: t + t_f] (Eq. 1). Equal and hashable by value.

    t_f: future visibility in frames; below 0 predicts ahead, 0 sees strictly the past, above 0 looks ahead.
    k: frames per call, at least 1. levels: of the delay pattern, where column s holds level l of frame s - l;
    1 for a model without one. ValueError for anything but whole numbers: seconds enter by `from_seconds`.
    """

    t_f: int
    k: int
    frame_rate: int = FRAME_RATE
    levels: int = LEVELS

    def __post_init__(self) -> None:
        for name, least in (("t_f", None), ("k", 1), ("frame_rate", 1), ("levels", 1)):
            object.__setattr__(self, name, _whole(name, getattr(self, name), least))

    @classmethod
    def from_seconds(
        cls, t_f_seconds: float, k_seconds: float, frame_rate: int = FRAME_RATE, levels: int = LEVELS
    ) -> Self:
        """t_f is rounded down (never hear more than was asked for), k to the nearest frame, 1 at least."""
        if _seconds("k", k_seconds) <= 0:
            raise ValueError(f"k must be more than 0 seconds, not {k_seconds!r}")
        t_f = math.floor(_seconds("t_f", t_f_seconds) * frame_rate + _ROUNDING)
        return cls(t_f, max(1, math.floor(k_seconds * frame_rate + 0.5 + _ROUNDING)), frame_rate, levels)

    # The limits of the plane (§3.5). With no x at all any of them is an unconditional model.

    @classmethod
    def offline(cls, frames: int, k: int = 1) -> Self:
        """Every call sees the whole input of `frames` frames: t_f = T (the paper's §4.3 writes -T)."""
        return cls(_whole("frames", frames, 1), k)

    @classmethod
    def encoder_decoder(cls, frames: int) -> Self:
        """t_f = T, k = 1: the whole input, then one column after the other."""
        return cls.offline(frames, k=1)

    @classmethod
    def parallel(cls, frames: int) -> Self:
        """t_f = T, k = T: everything in one call, which needs no delay pattern (levels = 1)."""
        return cls(_whole("frames", frames, 1), frames, levels=1)

    @classmethod
    def synchronous(cls, k: int = 1) -> Self:
        """t_f = 0: strictly the past. No system with any delay plays it in time; see `largest_t_f`."""
        return cls(0, k)

    @property
    def t_f_seconds(self) -> float:
        return self.t_f / self.frame_rate

    @property
    def k_seconds(self) -> float:
        return self.k / self.frame_rate

    @property
    def update_rate(self) -> float:
        """Calls per second, 1 / k."""
        return self.frame_rate / self.k

    @property
    def pattern_delay(self) -> int:
        """Columns between the first and the last level of a frame."""
        return self.levels - 1

    # Calls and columns. A call at column c emits columns [c, c + k). Here k is constant and the first call is
    # at 0; a state that changes k keeps its own column and asks only what takes the column of the call.

    def columns(self, frames: int) -> int:
        """Columns that carry `frames` frames: the last frames end `pattern_delay` columns later."""
        return _whole("frames", frames, 0) + self.pattern_delay if frames else 0

    def calls(self, frames: int) -> range:
        """First column of each call that it takes to complete `frames` frames."""
        return range(0, self.columns(frames), self.k)

    def call_column(self, column: int) -> int:
        """c(s) = floor(s / k) * k, the first column of the call that emits column s >= 0."""
        return _whole("column", column, 0) // self.k * self.k

    def completed_frames(self, call: int) -> range:
        """Frames whose last level the call at this column emits; empty while the pattern fills."""
        first = _whole("call", call, 0) - self.pattern_delay
        return range(max(0, first), max(0, first + self.k))

    # Visibility.

    def horizon(self, call: int) -> int:
        """Input frames that the call at this column has seen, x[: c + t_f]; 0 or less means none yet."""
        return call + self.t_f

    def visible(self, level: int, frame: int) -> int:
        """Input frames that the cell (level, frame) has seen: c(frame + level) + t_f, and not below 0."""
        if not 0 <= level < self.levels:
            raise ValueError(f"level must be in 0..{self.levels - 1}, not {level}")
        return max(0, self.horizon(self.call_column(_whole("frame", frame, 0) + level)))

    def effective_visibility(self, j: int) -> int:
        """Visibility measured from column j of a chunk: t_f - j, as the whole chunk sees the same x."""
        if not 0 <= j < self.k:
            raise ValueError(f"j must be in 0..{self.k - 1}, not {j}")
        return self.t_f - j

    def fused_index(self, column: int) -> int:
        """Index of the input frame that a fused model adds at the step that emits this column: s + t_f - 1.

        One rule for both signs, for k = 1 only. Outside of the input (below 0 or past its end): padding.
        """
        if self.k != 1:
            raise ValueError(f"input and output are fused frame by frame for k = 1 only, not k = {self.k}")
        return _whole("column", column, 0) + self.t_f - 1

    @property
    def fused_padding(self) -> tuple[int, int]:
        """(learned rows before the input, before the output) that line up the streams of a fused model."""
        return max(0, 1 - self.t_f), max(0, self.t_f - 1)

    # Time. Instants in frames on the common clock; before 0 lies the time before the first input sample.

    def ready_at(self, call: int) -> int:
        """Instant at which all that the call may see has sounded: c + t_f. Up to 0 it waits for nothing."""
        return self.horizon(call)

    def deadline(self, call: int, synthesis: float = SYNTHESIS_DELAY) -> float:
        """Instant at which the first output sample of the call must sound; inf if it completes no frame.

        The decoder lags: given frame f, it returns the samples of [f - d, f + 1 - d), d = `synthesis` seconds
        in frames. So this is (first completed frame) - d, and not below 0, where the output begins.
        """
        frames = self.completed_frames(call)
        if not frames:
            return math.inf
        return max(0.0, frames.start - synthesis * self.frame_rate)

    def slack(self, latency: Latency) -> float:
        """Seconds between the end of the work of a call and its deadline: -t_f - tau_sys - tau_jitter."""
        return -self.t_f_seconds - latency.tau_sys - latency.jitter

    def throughput_ok(self, latency: Latency) -> bool:
        """t_gen(k) <= k: the next chunk is made while this one sounds."""
        return latency.t_gen <= self.k_seconds + _ROUNDING

    def is_deployable(self, latency: Latency) -> bool:
        """Both conditions of §3.4: -t_f >= tau_sys + tau_jitter (the sign mended) and t_gen(k) <= k."""
        return self.slack(latency) >= -_ROUNDING and self.throughput_ok(latency)

    def __repr__(self) -> str:
        extra = "" if self.frame_rate == FRAME_RATE else f", frame_rate={self.frame_rate}"
        extra += "" if self.levels == LEVELS else f", levels={self.levels}"
        return f"StreamSpec(t_f={self.t_f_seconds:.12g} s, k={self.k_seconds:.12g} s{extra})"


def largest_t_f(latency: Latency, frame_rate: int = FRAME_RATE) -> int:
    """The most a system may hear and still play in time, in frames: floor(-(tau_sys + tau_jitter))."""
    return math.floor(-(latency.tau_sys + latency.jitter) * frame_rate + _ROUNDING * frame_rate)


@dataclass(frozen=True)
class FeasibleRegion:
    """Which (t_f, k) a system can hold. Rows follow `k`, columns follow `t_f`, both in frames.

    deployable: both conditions of §3.4. slack: seconds, below 0 where the latency condition fails.
    """

    t_f: tuple[int, ...]
    k: tuple[int, ...]
    deployable: tuple[tuple[bool, ...], ...]
    slack: tuple[tuple[float, ...], ...]

    def frontier(self) -> dict[int, int | None]:
        """For each k the largest t_f of the grid that is deployable, or None."""
        return {
            k: max((t_f for t_f, good in zip(self.t_f, row, strict=True) if good), default=None)
            for k, row in zip(self.k, self.deployable, strict=True)
        }


def feasible_region(
    t_f_grid: Iterable[int],
    k_grid: Iterable[int],
    t_gen: Callable[[int], float],
    latency: Latency | None = None,
    frame_rate: int = FRAME_RATE,
) -> FeasibleRegion:
    """Ask both conditions of §3.4 at every point of a grid, given in frames.

    t_gen: k in frames → seconds of wall time for one chunk; asked once per k. latency: everything else (its
    own t_gen is not used); by default an ideal machine with the bundled codec.
    """
    base = vars(latency or Latency())
    t_fs, ks = tuple(t_f_grid), tuple(k_grid)
    deployable, slack = [], []
    for k in ks:
        spent = Latency(**{**base, "t_gen": t_gen(k)})
        row = [StreamSpec(t_f, k, frame_rate) for t_f in t_fs]
        deployable.append(tuple(spec.is_deployable(spent) for spec in row))
        slack.append(tuple(spec.slack(spent) for spec in row))
    return FeasibleRegion(t_fs, ks, tuple(deployable), tuple(slack))
