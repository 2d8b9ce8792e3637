import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from bandmate.audio.resample import StreamResampler, resampled_length

RATES = (8000, 44100, 48000, 96000, 192000)
PAIRS = (
    [(rate, 32000) for rate in RATES] + [(32000, rate) for rate in RATES] + [(11025, 32000), (32000, 32000)]
)


def stream(audio: np.ndarray, in_rate: int, out_rate: int, sizes: list[int] | None = None) -> np.ndarray:
    """`audio` pushed in blocks of the given sizes, over and over, and flushed."""
    resampler, out, start = StreamResampler(in_rate, out_rate), [], 0
    sizes = sizes or [len(audio)]
    while start < len(audio):
        size = sizes[len(out) % len(sizes)]
        out.append(resampler.push(audio[start : start + size]))
        start += size
    return np.concatenate([*out, resampler.flush()])


def sine(hz: float, samples: int, rate: int) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(samples) / rate).astype(np.float32)


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
@pytest.mark.parametrize("hz", [50.0, 440.0, 3000.0])
def test_a_sine_stays_where_it_is(in_rate: int, out_rate: int, hz: float) -> None:
    out = stream(sine(hz, in_rate, in_rate), in_rate, out_rate, [1, 3000, 17, 640])
    expected = sine(hz, out_rate, out_rate)
    edge = out_rate // 20  # the sine starts and ends at once, which rings
    assert len(out) == out_rate
    assert np.abs(out - expected)[edge:-edge].max() < 1e-4


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_an_impulse_stays_where_it_is(in_rate: int, out_rate: int) -> None:
    audio = np.zeros(in_rate, np.float32)
    audio[in_rate // 2] = 1.0
    out = stream(audio, in_rate, out_rate, [640])
    place = in_rate // 2 * out_rate / in_rate  # in output samples, maybe between two
    around = round(place) + np.arange(-200, 201)
    assert abs(np.abs(out).argmax() - place) <= 0.5
    centre = np.sum(around * out[around] ** 2) / np.sum(out[around] ** 2)
    assert centre == pytest.approx(place, abs=0.01)


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_blocks_of_any_size_equal_the_whole(rng: np.random.Generator, in_rate: int, out_rate: int) -> None:
    audio = (0.1 * rng.standard_normal(in_rate // 2 + 37)).astype(np.float32)
    whole = soxr.resample(audio, in_rate, out_rate, quality="HQ")
    for sizes in ([len(audio)], [640], [1, 2, 3, 5000], rng.integers(1, 3000, 50).tolist()):
        out = stream(audio, in_rate, out_rate, sizes)
        assert len(out) == resampled_length(len(audio), in_rate, out_rate)
        together = min(len(out), len(whole))  # soxr rounds the length up or down
        assert abs(len(out) - len(whole)) <= 1
        assert np.abs(out[:together] - whole[:together]).max() < 1e-4


@given(st.integers(0, 3000), st.sampled_from(PAIRS), st.integers(1, 700))
def test_the_length_is_exact(samples: int, pair: tuple[int, int], size: int) -> None:
    in_rate, out_rate = pair
    out = stream(np.ones(samples, np.float32), in_rate, out_rate, [size])
    assert len(out) == int(np.floor(samples * out_rate / in_rate + 0.5))
    assert out.dtype == np.float32


@pytest.mark.parametrize(("in_rate", "out_rate"), [(1, 32000), (3, 7), (32000, 31999), (44099, 32000)])
def test_odd_ratios(in_rate: int, out_rate: int) -> None:
    out = stream(np.ones(50, np.float32), in_rate, out_rate)
    assert len(out) == resampled_length(50, in_rate, out_rate)


@pytest.mark.parametrize("rate", RATES)
def test_there_and_back_has_the_old_length(rate: int) -> None:
    for samples in (1, rate // 100, rate // 100 + 1, 12345):
        there = stream(np.ones(samples, np.float32), rate, 32000)
        back = stream(there, 32000, rate)
        # Half a sample of 32 kHz is up to 3 of 192 kHz: whoever needs the old length trims or pads that much.
        assert abs(len(back) - samples) <= (rate + 32000) // 64000


def test_10_ms_at_192_khz() -> None:
    out = stream(sine(1000, 1920, 192000), 192000, 32000)
    assert len(out) == 320
    np.testing.assert_allclose(out[60:-60], sine(1000, 320, 32000)[60:-60], atol=0.02)


def test_push_gives_nothing_before_its_time() -> None:
    """The delay is bounded: what is not out yet is a filter's length, however much went in."""
    resampler = StreamResampler(44100, 32000)
    for _ in range(200):
        resampler.push(np.zeros(441, np.float32))
    assert 0 <= resampled_length(resampler.taken, 44100, 32000) - resampler.given < 2000


def test_equal_rates_copy(rng: np.random.Generator) -> None:
    audio = rng.standard_normal(100).astype(np.float32)
    resampler = StreamResampler(32000, 32000)
    out = resampler.push(audio)
    np.testing.assert_array_equal(out, audio)
    audio[:] = 0  # the caller may reuse its buffer
    assert np.abs(out).max() > 0
    assert len(resampler.flush()) == 0


def test_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="at least 1 Hz"):
        StreamResampler(0, 32000)
    resampler = StreamResampler(48000, 32000)
    with pytest.raises(ValueError, match="one channel"):
        resampler.push(np.zeros((10, 2)))
    resampler.push(np.zeros(10))
    resampler.flush()
    assert len(resampler.flush()) == 0
    with pytest.raises(ValueError, match="is flushed"):
        resampler.push(np.zeros(10))
