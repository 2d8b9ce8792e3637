"""Deadlines against the formulas of StreamSpec; clocks and counters against cases worked out by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmate.spec import StreamSpec
from bandmate.stream.scheduler import (
    Geometry,
    LatencyHistogram,
    LateTracker,
    Schedule,
    SimulatedLatency,
    Timing,
    VirtualClock,
    WallClock,
)

SPECS = st.builds(StreamSpec, t_f=st.integers(-200, 200), k=st.integers(1, 100))


@given(SPECS, st.integers(0, 60))
def test_calls_agree_with_the_spec(spec: StreamSpec, index: int) -> None:
    call = Schedule(spec, Geometry()).call(index)
    assert call.column == index * spec.k
    assert call.horizon == spec.horizon(call.column)
    assert call.ready == spec.ready_at(call.column) * 640
    deadline = spec.deadline(call.column)
    assert (call.due is None) == math.isinf(deadline)
    if call.due is not None:
        assert call.due == pytest.approx(deadline * 640)


@given(SPECS, st.integers(0, 150))
def test_outputs_tile_the_time(spec: StreamSpec, first_column: int) -> None:
    calls = [Schedule(spec, Geometry(), first_column).call(i) for i in range(40)]
    assert calls[0].start == 0
    assert all(a.end == b.start and a.column + a.count == b.column for a, b in itertools.pairwise(calls))
    assert next(c for c in calls if not c.silent or c is calls[-1]).column >= min(
        first_column, calls[-1].column
    )


def test_budget_is_slack_without_compute() -> None:
    schedule = Schedule(StreamSpec(-20, 5), Geometry())
    assert schedule.budget == pytest.approx(0.4 - 0.075)
    assert schedule.period == pytest.approx(0.1)
    call = schedule.call(30)
    assert (call.due - call.ready) / 32_000 == pytest.approx(schedule.budget)
    assert Schedule(StreamSpec(-4, 1), Geometry()).budget > 0 > Schedule(StreamSpec(-3, 1), Geometry()).budget


def run(spec: StreamSpec, costs: list[float], shift: int = 0) -> tuple[list[Timing], LateTracker]:
    clock, tracker, timings = VirtualClock(32_000), LateTracker(), []
    for index, cost in enumerate(costs):
        call = Schedule(spec, Geometry()).call(index)
        begin = clock.begin(call)
        timings.append(Timing(call, begin, clock.end(call, cost), cost, shift=shift))
        tracker.add(timings[-1])
    return timings, tracker


def test_one_slow_call_delays_those_behind_it_and_each_miss_counts_once() -> None:
    # k = 0.1 s, budget 0.325 s; a call of 0.6 s is 0.275 s late, then 0.175 s, 0.075 s, then in time again.
    costs = [0.0] * 10 + [0.6] + [0.0] * 10
    timings, tracker = run(StreamSpec(-20, 5), costs)
    late = [t.call.index for t in timings if t.late]
    assert late == [10, 11, 12]
    assert tracker.misses == 3
    assert tracker.worst_lateness / 32_000 == pytest.approx(0.275)
    assert run(StreamSpec(-20, 5), costs, shift=round(0.275 * 32_000))[1].misses == 0


def test_calls_without_input_start_before_the_first_sample() -> None:
    timings, tracker = run(StreamSpec(-20, 5), [0.05] * 8)
    assert timings[0].begin == -20 * 640
    assert tracker.misses == 0


def test_looking_ahead_is_never_in_time() -> None:
    timings, _ = run(StreamSpec(0, 5), [0.0] * 10)
    # The first call alone is: the pattern and the overlap that it should have filled lie before sample 0.
    assert [t.late for t in timings] == [False] + [True] * 9


def test_a_call_counts_once() -> None:
    timings, tracker = run(StreamSpec(-20, 5), [0.01])
    with pytest.raises(ValueError, match="counted already"):
        tracker.add(timings[0])


def test_first_call_can_be_left_out() -> None:
    tracker = LateTracker(ignore_first=True)
    schedule = Schedule(StreamSpec(0, 5), Geometry())
    for index in (0, 1):
        tracker.add(Timing(schedule.call(index), 0, 1e9, 3.0 if index == 0 else 1.0))
    assert (tracker.misses, tracker.steps.max, tracker.work) == (1, 1.0, 4.0)


def test_simulated_latency_is_a_function_of_seed_and_call() -> None:
    calls = [Schedule(StreamSpec(0, 1), Geometry()).call(i) for i in range(400)]
    one = [SimulatedLatency(0.05, 0.01, seed=3)(c) for c in calls]
    assert one == [SimulatedLatency(0.05, 0.01, seed=3)(c) for c in reversed(calls)][::-1]
    assert one != [SimulatedLatency(0.05, 0.01, seed=4)(c) for c in calls]
    assert np.mean(one) == pytest.approx(0.05, abs=0.002)
    assert np.std(one) == pytest.approx(0.01, abs=0.002)
    assert min(SimulatedLatency(0.0, 1.0)(c) for c in calls) == 0.0


@pytest.mark.parametrize("text", ["", "fast", "-1", "1:2:3", "nan", "1:-1", "inf"])
def test_latency_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="MEAN or MEAN:SD"):
        SimulatedLatency.parse(text)


def test_latency_text() -> None:
    assert SimulatedLatency.parse("0.05:0.01", 7) == SimulatedLatency(0.05, 0.01, 7)
    assert SimulatedLatency.parse("0.2") == SimulatedLatency(0.2)


def test_histogram_quantiles_within_a_percent(rng: np.random.Generator) -> None:
    seconds = rng.lognormal(-4, 1, 20_000)
    histogram = LatencyHistogram()
    for s in seconds:
        histogram.add(float(s))
    for q in (0.5, 0.95, 0.99):
        assert histogram.quantile(q) == pytest.approx(np.quantile(seconds, q), rel=0.011)
    assert histogram.max == seconds.max()
    assert list(histogram.summary()) == ["p50", "p95", "p99", "max"]


def test_histogram_takes_anything() -> None:
    histogram = LatencyHistogram()
    assert histogram.summary() == {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}
    for s in (0.0, 1e9):
        histogram.add(s)
    assert histogram.max == 1e9


def test_wall_clock_waits_for_the_input_and_no_longer() -> None:
    now = [100.0]

    def sleep(seconds: float) -> None:
        assert seconds > 0
        now[0] += seconds

    schedule = Schedule(StreamSpec(-20, 5), Geometry())
    clock = WallClock(32_000, lambda: now[0], sleep)
    assert clock.begin(schedule.call(0)) == pytest.approx(-20 * 640)
    now[0] += 0.03
    assert clock.end(schedule.call(0), 0.03) == pytest.approx(-20 * 640 + 0.03 * 32_000)
    assert clock.begin(schedule.call(1)) == pytest.approx(-15 * 640)
    now[0] += 0.5
    assert clock.begin(schedule.call(2)) == pytest.approx(-15 * 640 + 16_000)
