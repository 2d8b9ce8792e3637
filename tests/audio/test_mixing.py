import numpy as np
import pytest

from bandmate.audio.loudness import lufs, normalise_loudness
from bandmate.audio.mixing import BOOST_DB, PEAK, TARGET_LUFS, listening_mix

RATE = 32000


def sine(hz: float, seconds: float = 4.0, level: float = 0.1, rate: int = RATE) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def level_of(mix: np.ndarray, hz: float) -> float:
    """Amplitude of one of the sines in the mix."""
    return 2 * abs(np.mean(mix * np.exp(-2j * np.pi * hz * np.arange(len(mix)) / RATE)))


# Loudness.


def test_loudness_of_a_full_scale_1_khz_sine_is_about_minus_3() -> None:
    assert lufs(sine(1000, level=1.0), RATE) == pytest.approx(-3.05, abs=0.05)


@pytest.mark.parametrize("level", [0.001, 0.01, 0.5, 3.0])
def test_loudness_follows_the_level_in_db(level: float) -> None:
    assert lufs(sine(500, level=level), RATE) - lufs(sine(500, level=1.0), RATE) == pytest.approx(
        20 * np.log10(level)
    )


@pytest.mark.parametrize("samples", [1, 10, 320, 3200, 12799, 12800, 12801])
def test_a_clip_shorter_than_a_block_has_a_loudness(samples: int) -> None:
    assert -20 < lufs(sine(1000, level=0.5)[1 : samples + 1], RATE) < 0


@pytest.mark.parametrize(
    "audio", [np.zeros(0), np.zeros(5), np.zeros(RATE), sine(1000, level=1e-6), sine(9, level=1e-30)]
)
def test_silence_has_none_and_is_left_as_it_is(audio: np.ndarray) -> None:
    assert lufs(audio, RATE) == -np.inf
    np.testing.assert_array_equal(normalise_loudness(audio, RATE), audio.astype(np.float32))


def test_normalising_reaches_the_target() -> None:
    for level in (1e-3, 0.1, 2.0):
        assert lufs(normalise_loudness(sine(300, level=level), RATE, -23.0), RATE) == pytest.approx(
            -23, abs=0.01
        )


def test_loudness_is_of_one_channel() -> None:
    with pytest.raises(ValueError, match="one channel"):
        lufs(np.zeros((100, 2)), RATE)


# The mix.


def test_the_mix_has_the_loudness_of_the_paper() -> None:
    stems = [sine(250, level=0.02), sine(1000, level=0.3)]
    mix = listening_mix(stems, sine(2000, level=0.001), RATE)
    assert mix.dtype == np.float32
    assert lufs(mix, RATE) == pytest.approx(TARGET_LUFS, abs=0.05)


def test_the_part_is_5_db_over_each_stem() -> None:
    hz = (250.0, 500.0, 2000.0)
    stems = [sine(hz[0], level=0.02), sine(hz[1], level=0.3)]
    mix = listening_mix(stems, sine(hz[2], level=0.001), RATE)
    loudness = [lufs(sine(f, level=level_of(mix, f)), RATE) for f in hz]
    assert loudness[0] == pytest.approx(loudness[1], abs=0.1)
    assert loudness[2] - loudness[0] == pytest.approx(BOOST_DB, abs=0.1)


def test_levels_of_the_stems_do_not_matter() -> None:
    a = listening_mix([sine(250, level=0.01)], sine(2000, level=0.5), RATE)
    b = listening_mix([sine(250, level=0.9)], sine(2000, level=0.003), RATE)
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_silence_is_guarded() -> None:
    nothing = np.zeros(4 * RATE, np.float32)
    np.testing.assert_array_equal(listening_mix([nothing, nothing], nothing, RATE), nothing)
    for mix in (
        listening_mix([nothing, sine(440)], nothing, RATE),
        listening_mix([nothing], sine(440), RATE),
        listening_mix([], sine(440), RATE),
    ):
        assert lufs(mix, RATE) == pytest.approx(TARGET_LUFS, abs=0.05)
    assert len(listening_mix([], np.zeros(0), RATE)) == 0


def test_peaks_are_turned_down_not_clipped(rng: np.random.Generator) -> None:
    clicks = np.zeros(4 * RATE)
    clicks[:: RATE // 4] = 1.0
    quiet = 1e-3 * rng.standard_normal(4 * RATE)
    mix = listening_mix([quiet], clicks, RATE)
    assert np.abs(mix).max() == pytest.approx(PEAK, abs=1e-6)
    assert lufs(mix, RATE) < TARGET_LUFS


def test_refuses_lengths_that_differ() -> None:
    with pytest.raises(ValueError, match="equally long"):
        listening_mix([sine(440, 1.0)], sine(440, 2.0), RATE)
