"""StreamSpec against a stream that is played out column by column, call by call, sample by sample."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmate.spec import FeasibleRegion, Latency, StreamSpec, feasible_region, largest_t_f

T_F = st.integers(-250, 250)
K = st.integers(1, 100)
LEVELS = st.integers(1, 8)
FRAMES = st.integers(1, 130)
HOP, LAG = 640, 480  # samples per frame; by how many the decoder lags


@dataclasses.dataclass
class Played:
    """One stream, played out without a formula: input frames seen per cell, and what each call finished."""

    seen: dict[tuple[int, int], int]  # (level, frame) → number of input frames
    call_of: dict[int, int]  # column → column of its call
    finished: dict[int, list[int]]  # call → frames whose last cell it wrote


def play(spec: StreamSpec, frames: int) -> Played:
    played = Played({}, {}, {})
    missing = dict.fromkeys(range(frames), spec.levels)
    column = 0
    while any(missing.values()):
        call = column
        heard = sum(
            1 for x in range(frames) if x + 1 <= call + spec.t_f
        )  # frame x is complete at instant x + 1
        played.finished[call] = []
        for column in range(call, call + spec.k):
            played.call_of[column] = call
            for level in range(spec.levels):
                frame = column - level
                if frame not in missing:
                    continue
                played.seen[level, frame] = heard
                missing[frame] -= 1
                if not missing[frame]:
                    played.finished[call].append(frame)
        column = call + spec.k
    return played


@given(T_F, K, LEVELS, FRAMES)
def test_columns_calls_and_visibility(t_f: int, k: int, levels: int, frames: int) -> None:
    spec = StreamSpec(t_f, k, levels=levels)
    played = play(spec, frames)
    assert list(spec.calls(frames)) == list(played.finished)
    assert spec.columns(frames) == frames + levels - 1
    assert all(spec.call_column(column) == call for column, call in played.call_of.items())
    for (level, frame), seen in played.seen.items():
        assert min(frames, spec.visible(level, frame)) == seen
    for call, finished in played.finished.items():
        assert [frame for frame in spec.completed_frames(call) if frame < frames] == finished


@given(T_F, K, st.integers(0, 500))
def test_visibility_within_a_chunk(t_f: int, k: int, column: int) -> None:
    spec = StreamSpec(t_f, k)
    call = spec.call_column(column)
    j = column - call
    assert spec.horizon(call) == column + spec.effective_visibility(j)


@given(T_F, st.integers(1, 60))
def test_fused_index_is_the_newest_frame_that_may_be_seen(t_f: int, frames: int) -> None:
    spec = StreamSpec(t_f, 1)
    for column in range(spec.columns(frames)):
        assert spec.fused_index(column) == spec.horizon(spec.call_column(column)) - 1


@given(st.integers(-40, 40))
def test_fused_padding_lines_up_the_streams(t_f: int) -> None:
    spec = StreamSpec(t_f, 1)
    rows_x, rows_y = spec.fused_padding
    frames = 60
    x = ["pad"] * rows_x + list(range(frames))  # what is added at step 0, 1, ...
    emitted = ["pad"] * rows_y + list(range(frames))  # the column that step 0, 1, ... emits
    assert min(rows_x, rows_y) == 0
    for added, column in zip(x, emitted, strict=False):
        if column != "pad":
            index = spec.fused_index(column)
            assert added == (index if index >= 0 else "pad")


def test_fused_index_is_for_k_1() -> None:
    with pytest.raises(ValueError, match="k = 5"):
        StreamSpec(0, 5).fused_index(0)


def first_sample(spec: StreamSpec, call: int) -> int | None:
    """Output sample with which the audio of a call begins: the decoder's blocks lag and start at sample 0."""
    blocks = [range(HOP * f - LAG, HOP * (f + 1) - LAG) for f in spec.completed_frames(call)]
    samples = [
        sample for block in blocks for sample in (block[0], block[-1], 0) if sample in block and sample >= 0
    ]
    return min(samples, default=None)


@given(T_F, K, st.integers(0, 40))
def test_deadline_is_the_first_sample_of_the_call(t_f: int, k: int, nth: int) -> None:
    spec = StreamSpec(t_f, k)
    call = nth * k
    sample = first_sample(spec, call)
    if sample is None:
        assert spec.deadline(call) == math.inf
    else:
        assert spec.deadline(call) == pytest.approx(sample / HOP, abs=1e-9)


MILLISECONDS = st.integers(0, 200)


def simulate(spec: StreamSpec, calls: int, ms: dict[str, int]) -> list[Fraction]:
    """Run the calls one after the other on one machine; return how early their first samples sound, in ms."""
    free, early = Fraction(-(10**9)), []  # the machine is ready long before the stream begins
    frame = Fraction(1000, spec.frame_rate)
    for call in range(0, calls * spec.k, spec.k):
        heard = spec.horizon(call) * frame + ms["device_in"]
        free = max(heard, free) + ms["t_gen"]
        sample = first_sample(spec, call)
        if sample is not None:
            early.append(Fraction(sample, HOP) * frame - (free + ms["device_out"] + ms["jitter"]))
    return early


@given(
    st.integers(-60, 10),
    st.integers(1, 20),
    st.fixed_dictionaries(dict.fromkeys(("device_in", "device_out", "t_gen", "jitter"), MILLISECONDS)),
)
def test_deployable_means_that_no_call_is_late(t_f: int, k: int, ms: dict[str, int]) -> None:
    spec = StreamSpec(t_f, k)
    latency = Latency(**{name: value / 1000 for name, value in ms.items()})
    enough = 4 + 100 * 20 // k  # calls until a backlog of 1 ms per call must show
    early = simulate(spec, max(enough, 1500) if not spec.throughput_ok(latency) else enough, ms)
    assert spec.is_deployable(latency) == (min(early) >= 0)
    if spec.throughput_ok(
        latency
    ):  # without a backlog every call has the same slack, but for the trimmed first
        assert min(early) == pytest.approx(spec.slack(latency) * 1000, abs=1e-6)


@given(MILLISECONDS, MILLISECONDS)
def test_largest_t_f_is_the_border(device: int, t_gen: int) -> None:
    latency = Latency(device_in=device / 1000, t_gen=t_gen / 1000)
    best = largest_t_f(latency)
    k = 50
    assert StreamSpec(best, k).is_deployable(latency)
    assert not StreamSpec(best + 1, k).is_deployable(latency)


def test_synchronous_playing_costs_four_frames_with_spectral_and_three_with_dac() -> None:
    assert largest_t_f(Latency()) == -4
    assert largest_t_f(Latency(synthesis=0.0)) == -3
    assert not StreamSpec.synchronous().is_deployable(Latency())
    assert StreamSpec(-3, 1).is_deployable(Latency(synthesis=0.0))


def test_conditions_of_the_paper() -> None:
    latency = Latency(device_in=0.02, device_out=0.03, t_gen=0.05, jitter=0.025)
    assert latency.tau_sys == pytest.approx(0.175)
    assert StreamSpec.from_seconds(-0.4, 0.1).slack(latency) == pytest.approx(0.2)
    assert StreamSpec.from_seconds(-0.2, 0.1).is_deployable(latency)
    assert not StreamSpec.from_seconds(-0.18, 0.1).is_deployable(latency)
    assert not StreamSpec.from_seconds(-0.4, 0.04).throughput_ok(latency)
    assert StreamSpec.from_seconds(-0.4, 0.3).throughput_ok(Latency(t_gen=0.3))  # just in time
    assert not StreamSpec.from_seconds(-0.4, 0.04).is_deployable(latency)


@given(st.integers(1, 200), st.integers(0, 199), st.integers(0, 3))
def test_limits_of_the_plane(frames: int, frame: int, level: int) -> None:
    frame %= frames
    for spec in (
        StreamSpec.offline(frames),
        StreamSpec.offline(frames, k=7),
        StreamSpec.encoder_decoder(frames),
    ):
        assert spec.visible(level, frame) >= frames
    parallel = StreamSpec.parallel(frames)
    assert parallel.visible(0, frame) >= frames
    assert list(parallel.calls(frames)) == [0]
    assert parallel.completed_frames(0) == range(frames)
    synchronous = StreamSpec.synchronous()
    assert synchronous.visible(0, frame) == frame  # strictly the past


@given(T_F, K)
def test_seconds_round_trip(t_f: int, k: int) -> None:
    spec = StreamSpec(t_f, k)
    assert StreamSpec.from_seconds(spec.t_f_seconds, spec.k_seconds) == spec
    assert spec.update_rate * spec.k_seconds == pytest.approx(1)


@pytest.mark.parametrize(
    ("seconds", "frames"),
    [
        ((0.58, 0.1), (29, 5)),
        ((-0.401, 0.049), (-21, 2)),
        ((0.019, 0.05), (0, 3)),
        ((-0.001, 0.001), (-1, 1)),
    ],
)
def test_from_seconds_rounds_t_f_down_and_k_to_the_nearest(
    seconds: tuple[float, float], frames: tuple[int, int]
) -> None:
    assert StreamSpec.from_seconds(*seconds) == StreamSpec(*frames)


@pytest.mark.parametrize("k", [0, -1, 1.0, math.nan, True, "5", None])
def test_refuses_a_k_that_is_no_count(k: object) -> None:
    with pytest.raises(ValueError, match="k must"):
        StreamSpec(0, k)  # type: ignore[arg-type]


@pytest.mark.parametrize("t_f", [0.5, 1.0, math.nan, math.inf, False, "0"])
def test_refuses_a_t_f_that_is_no_count(t_f: object) -> None:
    with pytest.raises(ValueError, match="t_f must be a whole number of frames"):
        StreamSpec(t_f, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "seconds", [(math.nan, 0.1), (math.inf, 0.1), (0, math.nan), (0, math.inf), (0, 0), (0, -1)]
)
def test_refuses_seconds_that_are_none(seconds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="seconds, not"):
        StreamSpec.from_seconds(*seconds)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Latency)])
@pytest.mark.parametrize("value", [-0.001, math.nan, math.inf])
def test_refuses_a_latency_that_cannot_be(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Latency(**{name: value})


def test_refuses_cells_that_do_not_exist() -> None:
    spec = StreamSpec(0, 5)
    for call in (
        lambda: spec.visible(4, 0),
        lambda: spec.visible(-1, 0),
        lambda: spec.effective_visibility(5),
    ):
        with pytest.raises(ValueError, match=r"must be in 0\.\."):
            call()
    for call in (lambda: spec.call_column(-1), lambda: spec.completed_frames(-1), lambda: spec.columns(-1)):
        with pytest.raises(ValueError, match="must be at least 0"):
            call()


def test_is_a_value() -> None:
    spec = StreamSpec(np.int64(-20), 5)
    assert spec == StreamSpec(-20, 5)
    assert hash(spec) == hash(StreamSpec(-20, 5))
    assert len({spec, StreamSpec(-20, 5), StreamSpec(-20, 6), StreamSpec(-20, 5, levels=1)}) == 3
    assert type(spec.t_f) is int
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.k = 2  # type: ignore[misc]
    assert dataclasses.replace(spec, k=10) == StreamSpec(-20, 10)


def test_repr_is_in_seconds() -> None:
    assert repr(StreamSpec(-20, 5)) == "StreamSpec(t_f=-0.4 s, k=0.1 s)"
    assert repr(StreamSpec(7, 1, 100, 1)) == "StreamSpec(t_f=0.07 s, k=0.01 s, frame_rate=100, levels=1)"


def test_feasible_region_asks_every_point() -> None:
    t_fs, ks = range(-30, 5), (1, 2, 5, 10, 25)
    base = Latency(device_in=0.01, device_out=0.02, jitter=0.01)

    def t_gen(k: int) -> float:
        return 0.03 + 0.004 * k

    region = feasible_region(t_fs, ks, t_gen, base)
    assert isinstance(region, FeasibleRegion)
    for row, k in enumerate(ks):
        latency = dataclasses.replace(base, t_gen=t_gen(k))
        for column, t_f in enumerate(t_fs):
            spec = StreamSpec(t_f, k)
            assert region.deployable[row][column] == spec.is_deployable(latency)
            assert region.slack[row][column] == spec.slack(latency)
    frontier = region.frontier()
    assert frontier[1] is None  # 34 ms of work for 20 ms of sound
    assert frontier[5] == largest_t_f(dataclasses.replace(base, t_gen=t_gen(5)))
