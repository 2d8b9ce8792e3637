"""What a reconstruction is scored by, where the answer is known."""

import math

import numpy as np
import pytest

from bandmate.evaluate.codec import code_statistics, fidelity, level_difference, rms_db, si_sdr
from tests.evaluate.sounds import RATE, chord, clicks, tone


def test_a_perfect_copy() -> None:
    audio = clicks(np.arange(0.3, 2.8, 0.3), 3) + chord(0, 4, seconds=3)
    scores = fidelity(audio, audio.copy())
    assert scores.onset_f1 == 1
    assert scores.chroma == pytest.approx(1)
    assert scores.si_sdr == 100
    assert scores.level == 0


def test_a_silent_reconstruction_keeps_nothing() -> None:
    audio = clicks(np.arange(0.3, 2.8, 0.3), 3)
    scores = fidelity(audio, np.zeros_like(audio))
    assert (scores.onset_f1, scores.chroma) == (0, 0)
    assert scores.level < -100


def test_what_a_silent_original_cannot_tell() -> None:
    silent = np.zeros(2 * RATE, np.float32)
    assert all(math.isnan(value) for value in fidelity(silent, tone(440)))


def test_few_onsets_tell_nothing() -> None:
    assert math.isnan(fidelity(chord(0, seconds=2), chord(0, seconds=2)).onset_f1)


def test_half_a_reconstruction_halves_the_chroma() -> None:
    audio = chord(0, 4, 7, seconds=4)
    half = audio.copy()
    half[2 * RATE :] = 0
    assert fidelity(audio, half).chroma == pytest.approx(0.5, abs=0.06)


def test_si_sdr_of_orthogonal_noise() -> None:
    signal, noise = tone(100), tone(200, level=0.01)
    assert si_sdr(signal, signal + noise) == pytest.approx(20, abs=0.01)
    assert si_sdr(signal, 3 * (signal + noise)) == pytest.approx(20, abs=0.01)  # scale does not count
    assert si_sdr(signal, noise) == -100
    assert math.isnan(si_sdr(np.zeros(10), np.ones(10)))


def test_levels() -> None:
    assert rms_db(tone(440, level=1.0)) == pytest.approx(-3.01, abs=0.01)
    assert rms_db(np.zeros(10)) == -200
    assert level_difference(0.5 * tone(440), tone(440)) == pytest.approx(-6.02, abs=0.01)
    assert math.isnan(level_difference(tone(440), np.zeros(10)))


def test_code_statistics() -> None:
    even, one = np.tile(np.arange(8), 5), np.full(40, 3)
    even_row, one_row = code_statistics(np.stack([even, one]), 16)
    assert even_row == {"usage": 0.5, "perplexity": pytest.approx(8)}
    assert one_row == {"usage": 1 / 16, "perplexity": pytest.approx(1)}


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="equally long"):
        fidelity(np.zeros(RATE), np.zeros(RATE - 1))
    with pytest.raises(ValueError, match="NaN"):
        fidelity(np.zeros(RATE), np.full(RATE, np.nan))
    with pytest.raises(ValueError, match="codes lie in"):
        code_statistics(np.array([[16]]), 16)
    with pytest.raises(ValueError, match="a frame or more"):
        code_statistics(np.zeros((4, 0), int), 16)
