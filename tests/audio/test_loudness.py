import numpy as np
import pytest

from bandmate.audio.loudness import a_weighted_rms, activity

RATE = 32000


def sine(hertz: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


@pytest.mark.parametrize(
    ("hertz", "decibels", "tolerance"),
    # the A curve as tabled in IEC 61672-1; the bilinear transform bends it towards half the sample rate
    [
        (63, -26.2, 0.3),
        (125, -16.1, 0.2),
        (500, -3.2, 0.1),
        (1000, 0.0, 0.01),
        (4000, 1.0, 0.3),
        (8000, -1.1, 2.0),
    ],
)
def test_the_a_curve(hertz: float, decibels: float, tolerance: float) -> None:
    level = a_weighted_rms(sine(hertz))[25:]  # after the filter has settled
    mean = 10 * np.log10(np.mean(10 ** (level / 10)))
    assert mean == pytest.approx(decibels - 3.01, abs=tolerance)


def test_frames_are_those_of_the_clock_and_a_part_frame_counts() -> None:
    audio = np.concatenate([sine(1000, 0.2), np.zeros(641)])
    assert a_weighted_rms(audio).shape == (12,)
    assert a_weighted_rms(np.stack([audio, audio])).shape == (2, 12)
    assert a_weighted_rms(np.zeros(0)).shape == (0,)


def test_what_comes_later_changes_nothing_before() -> None:
    audio = np.random.default_rng(0).normal(size=6400)
    np.testing.assert_array_equal(a_weighted_rms(audio)[:4], a_weighted_rms(audio[: 4 * 640]))


def test_silence_is_inactive_and_the_limit_is_60_db() -> None:
    assert not activity(np.zeros(6400)).any()
    quiet, loud = 10 ** ((-61 + 3.01) / 20), 10 ** ((-59 + 3.01) / 20)
    assert not activity(quiet * sine(1000))[5:].any()
    assert activity(loud * sine(1000))[5:].all()


def test_a_frame_rate_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="divide"):
        a_weighted_rms(np.zeros(100), 44100, 52)
