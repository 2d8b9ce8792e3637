"""The advice on made-up machines: fast, slow, jittery, far away, and some that hold nothing."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmate.spec import Latency, StreamSpec
from bandmate.stream.advice import LOWEST, MARGIN, Machine, advise, freshness, held

CARD = Latency(device_in=0.01, device_out=0.01, jitter=0.005)  # with pattern and synthesis 0.1 s
FAST = {1: 0.008, 2: 0.014, 5: 0.03, 10: 0.055, 20: 0.1, 50: 0.25}
SLOW = {1: 0.05, 2: 0.06, 5: 0.09, 10: 0.15, 20: 0.25, 50: 0.6}


def test_a_fast_machine_plays_frame_by_frame() -> None:
    advice = advise(Machine(FAST, CARD))
    assert advice.spec == StreamSpec(-6, 1)  # 0.1 + 1.25 * 0.008 = 0.11 s
    assert advice.margin
    assert advice.slack == pytest.approx(0.012)
    assert "120 ms back on average" in advice.reason
    assert "12 ms of slack, 40 % of the time is work" in advice.reason


def test_a_slow_machine_takes_the_shortest_k_that_leaves_a_quarter() -> None:
    advice = advise(Machine(SLOW, CARD))
    assert advice.spec == StreamSpec(
        -15, 10
    )  # k = 5 keeps up, but with 90 % of its time; 0.1 + 1.25 * 0.15 = 0.2875 s
    assert advice.margin


def test_what_the_columns_see_decides_not_t_f_alone() -> None:
    """k = 1 s would be in time at a larger t_f, but the last of its columns lies 0.98 s beyond the first."""
    machine = Machine({5: 0.079, 50: 0.04}, CARD)
    assert [(spec.t_f, spec.k) for spec in held(machine)] == [(-9, 5), (-7, 50)]
    advice = advise(machine)
    assert advice.spec == StreamSpec(-10, 5)


def test_of_two_equals_the_longer_k() -> None:
    equal = Machine({1: 0.016, 3: 0.0}, Latency(device_in=0.085))
    specs = held(equal, MARGIN)
    assert [(spec.t_f, spec.k) for spec in specs] == [(-9, 1), (-8, 3)]
    assert [freshness(spec) for spec in specs] == [-9, -9]
    assert advise(equal).spec == StreamSpec(-8, 3)


def test_jitter_moves_t_f_one_to_one() -> None:
    calm, nervous = (
        advise(Machine(FAST, dataclasses.replace(CARD, jitter=jitter))) for jitter in (0.005, 0.105)
    )
    assert calm.spec is not None
    assert nervous.spec == StreamSpec(calm.spec.t_f - 5, calm.spec.k)


def test_without_a_quarter_to_spare_it_says_so() -> None:
    advice = advise(Machine({5: 0.095, 10: 0.19}, CARD))
    assert advice.spec == StreamSpec(-10, 5)
    assert not advice.margin
    assert "no quarter to spare" in advice.reason


def test_nothing_keeps_up() -> None:
    advice = advise(Machine({1: 0.2, 5: 0.4, 20: 1.2}, CARD))
    assert advice.spec is None
    assert not advice.margin
    assert advice.reason == (
        "throughput: at the best k, 0.4 s, a chunk takes 1.2 s, 3.00 times as long as it sounds"
    )


def test_nothing_is_in_time() -> None:
    advice = advise(Machine(FAST, dataclasses.replace(CARD, device_in=2.0, device_out=2.0)))
    assert advice.spec is None
    assert advice.reason.startswith("latency: in time would be t_f = -4.1 s or less (k = 0.02 s)")
    assert "t_f = -4 s, the least there is" in advice.reason


def test_a_model_of_one_place() -> None:
    advice = advise(Machine({5: 0.03}, CARD, t_f=-20))
    assert advice.spec == StreamSpec(-20, 5)
    assert advice.slack == pytest.approx(0.4 - 0.13)
    refused = advise(Machine({5: 0.03}, CARD, t_f=0))
    assert refused.spec is None
    assert refused.reason.startswith("latency: in time would be t_f = -0.14 s or less")
    assert "the only one of this model" in refused.reason


def test_the_region_is_that_of_the_conditions() -> None:
    region = Machine(SLOW, CARD).region([-50, -10])
    assert region.k == tuple(SLOW)
    assert [row[0] for row in region.deployable] == [False, False, True, True, True, True]
    assert [row[1] for row in region.deployable] == [False, False, True, False, False, False]
    assert region.slack[2][1] == pytest.approx(0.2 - 0.19)


times = st.dictionaries(st.integers(1, 100), st.floats(0, 3), min_size=1, max_size=6)


@given(times, st.floats(0, 1), st.floats(0, 1))
def test_what_is_advised_holds_and_nothing_that_holds_is_fresher(
    t_gen: dict[int, float], device: float, jitter: float
) -> None:
    latency = Latency(device_in=device, jitter=jitter)
    machine = Machine(t_gen, latency)
    advice = advise(machine)
    careful = [
        StreamSpec(t_f, k)
        for k, seconds in t_gen.items()
        for t_f in range(LOWEST, 1)
        if StreamSpec(t_f, k).is_deployable(dataclasses.replace(latency, t_gen=MARGIN * seconds))
    ]
    possible = [s for s in held(machine) if s.t_f >= LOWEST]
    assert (advice.spec is None) == (not possible and not careful)
    assert advice.margin == bool(careful)
    if advice.spec is not None:
        assert advice.spec.is_deployable(machine.spent(advice.spec.k))
        assert advice.slack >= -1e-9
        assert freshness(advice.spec) >= max(map(freshness, careful), default=-1e9)
