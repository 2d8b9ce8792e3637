"""The late policy: the stream never slips, never clicks, and counts each miss once."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandmate.spec import StreamSpec
from bandmate.stream.decoding import FADE
from bandmate.stream.engine import Engine, OutputBlock
from bandmate.stream.late import LatePolicy
from bandmate.stream.scheduler import Call, Geometry, Schedule, SimulatedLatency, Timing, VirtualClock
from bandmate.stream.session import SampleQueue, Session, Trace
from tests.stream.fakes import FakeCodec, FakeModel, FakeSampler, music

SPEC = StreamSpec(-20, 5)  # budget 0.325 s, period 0.1 s


class SteadyModel(FakeModel):
    """Always the same code: with the fake codec one unbroken sine, in which every click shows."""

    def play(self, *args: object) -> tuple:
        codes, state = super().play(*args)  # type: ignore[arg-type]
        return codes.where(codes < 0, 900), state


def session(
    cost: Callable[[Call, float], float],
    spec: StreamSpec = SPEC,
    model: FakeModel | None = None,
    **options: bool | int,
) -> Session:
    engine = Engine(FakeCodec(), model or FakeModel(), spec, FakeSampler(), 4)
    return Session(engine, VirtualClock(32_000, cost), LatePolicy(), **options)  # type: ignore[arg-type]


def listen(stream: Session, samples: np.ndarray, block: int = 1000) -> np.ndarray:
    parts = [stream.push(samples[i : i + block]) for i in range(0, len(samples), block)]
    return np.concatenate([*parts, stream.finish()])


@settings(max_examples=30)
@given(
    st.sampled_from([(-20, 5), (-4, 1), (-10, 3), (-50, 20)]),
    st.lists(st.floats(0, 0.9), min_size=1, max_size=25),
    st.integers(0, 3),
)
def test_the_stream_never_slips(spec: tuple[int, int], costs: list[float], slow: int) -> None:
    """Whatever the latencies: every sample has its place, and a chunk in time is that of a run without
    latency.

    Only where a chunk follows one that came in its last 8 ms does the end of the fade reach into it.
    """
    samples = music(1.3)

    def cost(call: Call, seconds: float) -> float:
        return costs[call.index % len(costs)] if call.index % (slow + 1) == slow else 0.0

    ideal = listen(session(lambda call, seconds: 0.0, StreamSpec(*spec)), samples)
    stream = session(cost, StreamSpec(*spec), catch_up=False)
    out = listen(stream, samples)
    assert out.shape == samples.shape
    timings = stream.trace.timings
    assert stream.tracker.misses == sum(t.late for t in timings)
    for before, timing in zip([None, *timings], timings):
        call = timing.call
        fading = FADE if before is not None and before.finish > before.call.end - FADE else 0
        certain = call.start + fading
        if timing.late:
            certain = max(call.start, int(np.ceil(min(timing.finish, 1e9))) + FADE)
        np.testing.assert_array_equal(out[certain : call.end], ideal[certain : call.end])


@settings(max_examples=30)
@given(st.lists(st.floats(0, 0.7), min_size=1, max_size=15), st.booleans())
def test_no_click(costs: list[float], catch_up: bool) -> None:
    """In a steady sine no step is steeper than the sine itself and a fade of 8 ms can make it."""
    stream = session(lambda call, s: costs[call.index % len(costs)], model=SteadyModel(), catch_up=catch_up)
    out = listen(stream, music(2.0))
    steepest = 0.9 * 2 * np.pi * 8 / 640
    assert np.abs(np.diff(out)).max() <= steepest + 0.9 * np.pi / 2 / FADE + 1e-3


def test_a_codec_without_a_tail_does_not_click_either() -> None:
    policy, call = LatePolicy(), Schedule(SPEC, Geometry()).call(2)
    none = np.zeros(0, np.float32)
    one = policy.place(OutputBlock(0, np.full(1000, 0.8, np.float32), none, call, 0.0), 0)
    two = policy.place(OutputBlock(1000, np.full(1000, 0.8, np.float32), none, call, 0.0), None)
    three = policy.place(OutputBlock(2000, np.full(1000, -0.8, np.float32), none, call, 0.0), 2500)
    out = np.concatenate([one, two, three])
    np.testing.assert_array_equal(one, np.full(1000, 0.8, np.float32))
    assert not out[1400:2500].any()
    np.testing.assert_array_equal(out[2500 + FADE :], np.full(500 - FADE, -0.8, np.float32))
    assert np.abs(np.diff(out)).max() < 0.01
    assert policy.concealed == 1500


def test_a_block_cannot_sound_before_it_is_there() -> None:
    call, tail = Schedule(SPEC, Geometry()).call(2), np.zeros(480, np.float32)
    block = OutputBlock(1000, np.ones(600, np.float32), tail, call, 0.0)
    for available, first in ((1000.0, 1000), (1000.5, 1001), (1200.0, 1200), (1200.01, 1201)):
        out = LatePolicy().place(block, available)
        assert 1000 + int(np.flatnonzero(out)[0]) == first


@pytest.mark.parametrize("missed_again", [False, True])
def test_a_border_within_a_fade_does_not_click(missed_again: bool) -> None:
    """A block comes 100 samples before its end; the next one is in time, or missed: no step at the border."""
    call, policy = Schedule(SPEC, Geometry()).call(2), LatePolicy()

    def block(start: int, length: int, level: float) -> OutputBlock:
        tail = np.full(480, level, np.float32)
        return OutputBlock(start, np.full(length, level, np.float32), tail, call, 0.0)

    out = np.concatenate(
        [
            policy.place(block(0, 1000, 0.8), 0),
            policy.place(block(1000, 200, -0.8), 1100),
            policy.place(block(1200, 1000, -0.8), None if missed_again else 0),
        ]
    )
    assert np.abs(np.diff(out)).max() < 0.8 * np.pi / FADE + 0.002
    assert out[1000:1100].min() > 0.5
    assert (out[-1] == 0) if missed_again else (out[1200 + FADE :] == np.float32(-0.8)).all()


def test_the_tail_of_the_last_chunk_sounds_on() -> None:
    stall = 40
    stream = session(lambda call, s: 10.0 if call.index == stall else 0.0, model=SteadyModel())
    out = listen(stream, music(5.0))
    ideal = listen(session(lambda call, s: 0.0, model=SteadyModel()), music(5.0))
    start = Schedule(SPEC, Geometry()).call(stall).start
    np.testing.assert_array_equal(out[:start], ideal[:start])
    assert np.abs(out[start : start + 200]).max() > 0.3
    assert not out[start + 480 :].any()


def test_a_stall_is_made_up_for_by_skipping() -> None:
    """After 1 s of standstill the stream is back in its place; without skipping each call behind it is late
    too.
    """
    cost = {20: 1.0}
    model = FakeModel()
    stream = session(lambda call, s: cost.get(call.index, 0.08), model=model)
    out = listen(stream, music(6.0))
    tracker = stream.tracker
    assert tracker.skipped == [name for name, _ in model.calls].count("skip") > 0
    assert tracker.misses >= tracker.skipped
    last = max(t.call.index for t in stream.trace.timings if t.late)
    patient = session(lambda call, s: cost.get(call.index, 0.08), catch_up=False)
    listen(patient, music(6.0))
    assert last < max(t.call.index for t in patient.trace.timings if t.late)
    assert out[-32_000:].any()


def test_standstills_do_not_end_the_music() -> None:
    """Steps of 5 s make all later ones look hopeless, until what is expected has shrunk again."""
    stalls = {10, 70, 130, 190}
    stream = session(lambda call, s: 5.0 if call.index in stalls or call.index < 8 else 0.01)
    out = listen(stream, music(60.0))
    assert out[-10 * 32_000 :].any()


@pytest.mark.parametrize(("cost", "share"), [(0.15, 0.6), (0.2, 0.45), (0.3, 0.3)])
def test_overload_goes_on_playing_something_in_time(cost: float, share: float) -> None:
    """Steps longer than their chunks: as many as fit are played, in time, and the rest is left out."""
    stream = session(lambda call, s: cost)
    out = listen(stream, music(8.0))
    tracker = stream.tracker
    assert out.shape == music(8.0).shape
    assert share < 1 - tracker.skipped / tracker.calls < 0.1 / cost + 0.1
    assert tracker.calls - tracker.misses > 0.2 * tracker.calls


def test_shift_moves_the_sound_and_nothing_is_late() -> None:
    samples, shift = music(3.0), 8_000
    ideal = listen(session(lambda call, s: 0.0, StreamSpec(0, 5)), samples)
    engine = Engine(FakeCodec(), FakeModel(), StreamSpec(0, 5), FakeSampler(), 4)
    free = Session(engine, VirtualClock(32_000))
    exact = listen(free, samples)
    stream = session(lambda call, s: 0.05, StreamSpec(0, 5), shift=shift)
    out = listen(stream, samples)
    assert stream.tracker.misses == 0
    assert free.tracker.misses > 0
    assert not out[:shift].any()
    np.testing.assert_array_equal(out[shift:], exact[:-shift])
    assert not np.array_equal(exact, ideal)  # unshifted, the late policy has something to do


def test_replay_is_bit_identical() -> None:
    runs = []
    for block in (100, 4321):
        stream = session(SimulatedLatency(0.25, 0.1, seed=5))
        runs.append((listen(stream, music(4.0), block), stream.tracker.misses))
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1] > 0


def test_queue() -> None:
    queue = SampleQueue()
    queue.put(np.arange(5, dtype=np.float32))
    queue.put(np.arange(5, 8, dtype=np.float32))
    np.testing.assert_array_equal(queue.take(6), np.arange(6))
    np.testing.assert_array_equal(queue.take(6), [6, 7])
    assert len(queue) == len(queue.take(1)) == 0


def test_trace_is_bounded_and_keeps_the_worst() -> None:
    trace, schedule = Trace(room=16), Schedule(SPEC, Geometry())
    for index in range(2000):
        call = schedule.call(index)
        trace.add(Timing(call, call.ready, call.ready + (1e6 if index == 777 else 0), 0.0))
    assert 8 <= len(trace.timings) <= 16
    assert any(t.call.index == 777 for t in trace.timings)


@pytest.mark.parametrize("t_f", [-20, 0, 20])
def test_free_run_only_counts(t_f: int) -> None:
    """Without a policy the sound is the engine's own, however long the steps took."""
    samples, spec = music(2.0), StreamSpec(t_f, 5)
    engine = Engine(FakeCodec(), FakeModel(), spec, FakeSampler(), 4)
    plain = Engine(FakeCodec(), FakeModel(), spec, FakeSampler(), 4)
    expected = np.concatenate([b.samples for b in plain.push(samples) + plain.finish()])
    stream = Session(engine, VirtualClock(32_000, lambda call, s: 5.0))
    np.testing.assert_array_equal(listen(stream, samples), expected)
    assert stream.tracker.misses > 0
