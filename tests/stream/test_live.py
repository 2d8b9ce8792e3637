"""A live stream on a virtual device: everything in its place to the sample, whatever goes wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandmate.audio.io import AudioReader, AudioWriter, read_audio
from bandmate.spec import StreamSpec
from bandmate.stream.decoding import FADE
from bandmate.stream.devices import DeviceLost
from bandmate.stream.engine import Engine
from bandmate.stream.exchange import Control, Count
from bandmate.stream.file import FileOutput, play_file
from bandmate.stream.late import LatePolicy
from bandmate.stream.limiter import limit
from bandmate.stream.live import LiveStream, play
from bandmate.stream.recording import Recording, session_document
from bandmate.stream.replay import Replay
from bandmate.stream.session import Session
from tests.stream.fakes import FakeCodec, FakeModel, FakeSampler, music
from tests.stream.live_fakes import Echo, FakeDevice

SPECS = [(-20, 5), (-10, 1), (-13, 3), (-50, 20)]
FRAMES = 50  # per second


def loop(samples: np.ndarray) -> Callable[[int, int], np.ndarray]:
    """A source that repeats samples for ever."""
    return lambda start, count: np.take(samples, np.arange(start, start + count), mode="wrap")


def echo_stream(
    device: FakeDevice,
    spec: tuple[int, int],
    cost: Callable[[int], float] = lambda call: 0.0,
    **options: object,
) -> tuple[LiveStream, Echo]:
    """A stream that plays back what it heard; call number n takes ``cost(n)`` seconds of the device's time."""
    t_f, k = spec
    echo = Echo(delay=k - t_f, spend=lambda call: device.spend(cost(call)))
    engine = Engine(echo, echo, StreamSpec(t_f, k), FakeSampler(), 4)
    return LiveStream(device, engine, **{"guarded": False} | options), echo  # type: ignore[arg-type]


def perform(stream: LiveStream, patience: float = 30.0) -> list[str]:
    said: list[str] = []
    stream.begin(ahead=0.1)
    play(stream, lambda: False, patience, said.append)
    stream.finish()
    return said


def expected(
    stream: LiveStream, echo: Echo, source: Callable[[int, int], np.ndarray], count: int
) -> np.ndarray:
    """What an echo sounds like on the device, from its sample 0 on."""
    rate, origin = stream.rate, stream.timeline.origin
    delay = echo.delay * rate // FRAMES - stream.timeline.lead
    out = np.zeros(count, dtype=np.float32)
    out[origin + delay :] = source(origin, count - origin - delay)
    return out


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("blocks", [(64,), (1024,), (640,), (100, 777, 1, 256)])
@pytest.mark.parametrize("lead", [0, 333])
def test_every_sample_is_in_its_place(spec: tuple[int, int], blocks: tuple[int, ...], lead: int) -> None:
    """At the engine's own rate the echo is equal bit by bit, lead of the device included."""
    source = loop(np.round(music(0.7) * 2**23).astype(np.float32) / 2**23)
    device = FakeDevice(source, blocks=blocks)
    stream, echo = echo_stream(device, spec, seconds=2.0, lead=lead)
    perform(stream)
    out = device.sounding
    np.testing.assert_array_equal(out, expected(stream, echo, source, len(out)))
    assert stream.session.tracker.misses == 0
    assert device.shared.counts[Count.UNDERRUNS] == 0


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
@pytest.mark.parametrize("blocks", [(512,), (100, 777, 1, 256)])
def test_other_rates_are_aligned_too(rate: int, blocks: tuple[int, ...]) -> None:
    """Resampled twice: the delay that fits best is the right one, to the sample, and what is left is small."""
    rng = np.random.default_rng(1)
    spectrum = np.zeros(rate // 2 + 1, dtype=complex)
    spectrum[50:9000] = rng.standard_normal(8950) + 1j * rng.standard_normal(8950)
    noise = np.fft.irfft(spectrum)
    source = loop((0.3 * noise / np.abs(noise).max()).astype(np.float32))
    device = FakeDevice(source, rate, blocks, channels=(2, 2))
    stream, echo = echo_stream(device, (-20, 5), seconds=2.5)
    perform(stream)
    out = device.sounding
    wanted = expected(stream, echo, source, len(out))
    steady = slice(stream.timeline.origin + rate, len(out))
    errors = {shift: np.abs(np.roll(out, shift) - wanted)[steady].max() for shift in (-1, 0, 1)}
    assert errors[0] < 0.003 < 0.03 < min(errors[-1], errors[1])
    assert stream.session.tracker.misses == 0


@pytest.mark.parametrize("rate", [32_000, 48_000])
@pytest.mark.parametrize("stall", [0.1, 0.5, 2.0])
def test_a_stall_is_counted_and_moves_nothing(rate: int, stall: float) -> None:
    """After it the sound is where it would have been; it counts as many misses as calls were late; no click."""
    period = rate // 50
    tone = (0.5 * np.sin(2 * np.pi * np.arange(period) * 8 / period)).astype(np.float32)
    source = loop(tone)
    device = FakeDevice(source, rate)
    stream, echo = echo_stream(device, (-20, 5), lambda call: stall if call == 15 else 0.01, seconds=5.0)
    perform(stream)
    out, tracker = device.sounding, stream.session.tracker
    wanted = expected(stream, echo, source, len(out))
    late = slice(stream.timeline.origin + 4 * rate, len(out))
    np.testing.assert_allclose(out[late], wanted[late], atol=1e-3)
    timings = stream.session.trace.timings
    assert tracker.misses == sum(timing.late for timing in timings)
    assert (tracker.misses > 0) == (stall > 0.3)
    assert (device.shared.counts[Count.UNDERRUNS] > 0) == (stall > 0.3)
    after = out[stream.timeline.origin + rate :]
    steepest = 0.5 * 2 * np.pi * 8 / period
    fade = 0.008 * rate
    assert np.abs(np.diff(after)).max() <= steepest + 2 * 0.5 * np.pi / 2 / fade + 1e-3


@settings(max_examples=12)
@given(st.lists(st.floats(0, 0.6), min_size=1, max_size=12), st.sampled_from([(640,), (1024,), (300, 9)]))
def test_whatever_calls_cost_nothing_slips(costs: list[float], blocks: tuple[int, ...]) -> None:
    """A slow positive wave: what sounds is it, or less of it, at its own place; and there is no step."""
    wave = (0.25 + 0.2 * np.sin(2 * np.pi * np.arange(48_000) / 48_000)).astype(np.float32)
    source = loop(wave)
    device = FakeDevice(source, blocks=blocks)
    stream, echo = echo_stream(device, (-20, 5), lambda call: costs[call % len(costs)], seconds=2.0)
    perform(stream)
    out = device.sounding
    wanted = expected(stream, echo, source, len(out))
    assert out.min() >= 0.0
    assert (out - wanted).max() <= 0.2 * 2 * np.pi / 48_000 * FADE + 1e-4, (
        "a wave that falls shows every slip"
    )
    begins = int(np.flatnonzero(wanted)[0])
    steps = np.abs(np.diff(out))
    steps[begins - 1] = 0.0  # where the source itself begins
    assert steps.max() <= 2 * 0.45 * np.pi / 2 / FADE + 1e-4


def test_hostile_input_comes_out_finite_and_within_full_scale() -> None:
    rng = np.random.default_rng(0)
    odd = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-40, 5.0, 1.0, -1.0, 0.0], dtype=np.float32)
    source = loop(rng.choice(odd, 30_011))
    device = FakeDevice(source, channels=(2, 2))
    device.shared.controls[Control.MONITOR] = 1.0
    stream, _ = echo_stream(device, (-20, 5), seconds=2.0)
    perform(stream)
    out = device.sounding
    assert np.isfinite(out).all()
    assert np.abs(out).max() == 1.0
    assert device.shared.counts[Count.BAD] > 10_000


@pytest.mark.parametrize("flag", [Count.MUTED, Count.STOPPED])
def test_silence_within_a_block(flag: Count) -> None:
    source = loop(np.full(100, 0.25, dtype=np.float32))
    device = FakeDevice(source, blocks=(256,))
    stream, _ = echo_stream(device, (-20, 5), seconds=2.0)
    at = 40_192

    def press(index: int) -> None:
        device.shared.counts[flag] = at <= index < at + 2560

    device.on_block = press
    perform(stream)
    out = device.sounding
    assert out[at - 1] == 0.25
    assert not out[at + 256 : at + 2560].any()
    assert out[at + 2560 + 256] == 0.25
    assert np.abs(np.diff(out[at - 256 : at + 3000])).max() <= 0.25 / 256 + 1e-6


def test_stop_and_start_again_plays_nothing_of_before() -> None:
    source = loop(music(0.9))
    device = FakeDevice(source)
    stream, echo = echo_stream(device, (-20, 5), seconds=4.0)
    stops = {40_192: True, 80_128: False}
    device.on_block = lambda index: stream.stop(stops[index]) if index in stops else None
    perform(stream)
    out, tracker = device.sounding, stream.session.tracker
    assert not out[40_192 + 256 : 80_128].any()
    assert 10 <= tracker.rested <= 15
    assert (tracker.misses, tracker.skipped) == (0, 0)
    wanted = expected(stream, echo, source, len(out))
    np.testing.assert_allclose(out[100_000:], wanted[100_000:], atol=1e-6)


@pytest.mark.parametrize("outage", [(1.5, 1.6), (1.5, 3.2)])
def test_a_device_that_comes_back_finds_the_stream_where_time_is(outage: tuple[float, float]) -> None:
    source = loop(np.round(music(0.7) * 2**23).astype(np.float32) / 2**23)
    device = FakeDevice(source, outages=[outage])
    stream, echo = echo_stream(device, (-20, 5), lambda call: 0.02, seconds=6.0)
    said = perform(stream)
    assert len(said) == 2
    assert "is gone" in said[0]
    assert "is back" in said[1]
    assert stream.losses == 1
    assert stream.taken == 6 * 32_000
    out = device.sounding
    settled = slice(round((outage[1] + 1.7) * 32_000), len(out))
    np.testing.assert_array_equal(out[settled], expected(stream, echo, source, len(out))[settled])
    tracker = stream.session.tracker
    assert (tracker.skipped > 5) == (outage[1] > 3)
    assert tracker.calls == len({timing.call.index for timing in stream.session.trace.timings})


def test_a_device_that_stays_away_ends_it() -> None:
    device = FakeDevice(loop(music(0.5)), outages=[(1.0, 1e9)])
    stream, _ = echo_stream(device, (-20, 5))
    stream.begin(ahead=0.1)
    with pytest.raises(DeviceLost, match="'fake' did not come back within 5 s"):
        play(stream, lambda: False, 5.0, lambda text: None)
    assert 6.0 <= device.seconds() < 7.0


def test_whoever_gives_up_waiting_for_a_device_may_end() -> None:
    device = FakeDevice(loop(music(0.5)), outages=[(1.0, 1e9)])
    stream, _ = echo_stream(device, (-20, 5))
    stream.begin(ahead=0.1)
    play(stream, lambda: device.seconds() > 3.0, 1e9, lambda text: None)
    assert 3.0 < device.seconds() < 3.5


def test_shift_plays_later_by_as_much() -> None:
    source = loop(np.round(music(0.7) * 2**23).astype(np.float32) / 2**23)
    device = FakeDevice(source)
    stream, echo = echo_stream(device, (-5, 5), lambda call: 0.05, seconds=2.0, shift=6400)
    perform(stream)
    out = device.sounding
    wanted = np.zeros_like(out)
    wanted[6400:] = expected(stream, echo, source, len(out))[:-6400]
    np.testing.assert_array_equal(out, wanted)
    assert stream.session.tracker.misses == 0


def record(folder: Path, rate: int, costs: Callable[[int], float]) -> tuple[LiveStream, FakeDevice]:
    """A session with misses, an outage and a stop, recorded; the fake model draws by everything it heard."""
    device = FakeDevice(loop(music(1.3, rate=rate)), rate, (256, 100), outages=[(2.0, 2.9)])
    recording = Recording(folder, rate, 32_000)

    class Slow(FakeModel):
        def play(self, *args: object) -> tuple:
            device.spend(costs(len(self.calls)))
            return super().play(*args)  # type: ignore[arg-type]

    engine = Engine(FakeCodec(), Slow(), StreamSpec(-20, 5), FakeSampler(seed=5), 4)
    stream = LiveStream(device, engine, seconds=5.0, lead=rate // 100, recording=recording)
    stops = iter([(3.5, True), (3.9, False), (1e9, False)])
    due = next(stops)

    def press(index: int) -> None:
        nonlocal due
        if index >= due[0] * rate:
            stream.stop(due[1])
            due = next(stops)

    device.on_block = press
    perform(stream)
    facts = {"spec": {"t_f": -20, "k": 5}, "model": "fake", "instrument": "Bass", "options": {}}
    document = session_document(recording.calls, shift_samples=stream.shift, **facts)
    (folder / "session.json").write_text(json.dumps(document))
    recording.finish()
    return stream, device


@pytest.mark.parametrize("rate", [32_000, 44_100, 48_000])
def test_a_recorded_session_is_replayed_bit_by_bit(rate: int, tmp_path: Path) -> None:
    stream, _ = record(tmp_path, rate, lambda call: 0.7 if call in (12, 13, 40) else 0.03)
    tracker = stream.session.tracker
    assert tracker.misses > 0
    assert tracker.skipped > 0
    assert tracker.rested > 0
    replay = Replay.read(tmp_path / "session.json")
    engine = Engine(FakeCodec(), FakeModel(), StreamSpec(-20, 5), FakeSampler(seed=5), 4)
    again = Session(engine, replay, LatePolicy(), resting=replay.resting)
    with AudioReader(tmp_path / "input.flac") as reader, AudioWriter(tmp_path / "out.flac", rate) as out:
        play_file(reader, again, FileOutput(out, None, 32_000, rate))
    then, now = (read_audio(tmp_path / name)[0] for name in ("accompaniment.flac", "out.flac"))
    assert len(then) == 5 * rate
    np.testing.assert_array_equal(then, now)
    assert np.abs(then).max() > 0.1
    for counted in ("calls", "misses", "skipped", "rested", "worst_lateness"):
        assert getattr(again.tracker, counted) == getattr(tracker, counted)


def test_the_mix_is_what_was_heard_and_what_sounded_beside_it(tmp_path: Path) -> None:
    stream, device = record(tmp_path, 32_000, lambda call: 0.03)
    heard, mix = (read_audio(tmp_path / name)[0] for name in ("input.flac", "mix.flac"))
    start = stream.timeline.origin - stream.timeline.lead
    sounding = device.sounding[start : start + len(heard)]
    there = min(len(sounding), len(mix))
    np.testing.assert_allclose(mix[:there], limit(heard + sounding)[:there], atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "accompaniment.flac", "input.flac", "mix.flac", "session.json",
    ]  # fmt: skip


def test_a_howl_is_turned_down() -> None:
    """The loudspeaker beside the microphone: what the echo sends comes back, 3 dB louder each time."""
    first = 0.02 * music(0.4)
    device: FakeDevice

    def source(start: int, count: int) -> np.ndarray:
        sent = np.zeros(count, dtype=np.float32)
        device.shared.sent.read_into(max(0, start - 2000), sent)
        struck = np.zeros(count, dtype=np.float32)
        fresh = first[start - 4000 : start - 4000 + count] if start >= 4000 else first[:0]
        struck[: len(fresh)] = fresh
        return 1.41 * sent + struck

    device = FakeDevice(source)
    stream, _ = echo_stream(device, (-20, 5), seconds=15.0, guarded=True)
    perform(stream)
    out = np.abs(device.sounding)
    assert stream.guard.howls >= 1
    assert stream.guard.gain <= 10 ** (-12 / 20) + 1e-9
    assert out[-32_000 * 3 :].max() < out.max() / 4
