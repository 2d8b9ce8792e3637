"""Onsets and chroma on sounds where they are known; the F-measure against its definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from bandmate.evaluate.agreement import (
    agreement,
    chroma,
    chroma_cosine,
    describe,
    f_measure,
    onset_strength,
    onsets,
    pick_onsets,
)
from tests.evaluate.sounds import RATE, chord, clicks, tone

TRAIN = np.arange(0.5, 4.6, 0.3)


def test_clicks_are_found_where_they_are() -> None:
    found = onsets(clicks(TRAIN, 5))
    assert len(found) == len(TRAIN)
    assert np.abs(found - TRAIN).max() <= 0.02


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 1.0), (0.03, 1.0), (0.07, 0.0)])
def test_a_shifted_click_train(shift: float, expected: float) -> None:
    """±50 ms: 30 ms off is a hit, 70 ms off is none."""
    assert f_measure(onsets(clicks(TRAIN, 5)), onsets(clicks(TRAIN + shift, 5))) == expected


def test_level_does_not_matter_and_noise_and_silence_have_no_onsets(rng: np.random.Generator) -> None:
    audio = clicks(TRAIN, 5)
    np.testing.assert_array_equal(onsets(audio), onsets(0.1 * audio))
    assert len(onsets(np.zeros(RATE, np.float32))) == 0
    assert len(onsets(1e-5 * rng.normal(size=3 * RATE))) == 0
    assert len(onsets(np.zeros(100, np.float32))) == 0
    assert len(pick_onsets(np.zeros(0))) == 0


def test_notes_are_found_within_a_sounding_chord() -> None:
    audio = chord(0, 7, seconds=4)
    audio[2 * RATE :] += 2 * chord(4, 12, 16, seconds=2)
    found = onsets(audio)
    assert np.abs(found - 2).min() <= 0.03
    assert len(found[(found > 0.2) & (found < 3.8)]) == 1


def test_strength_has_one_value_per_10_ms() -> None:
    strength = onset_strength(clicks(TRAIN, 5))
    assert strength.shape == (500,)
    assert (strength >= 0).all()
    assert abs(int(strength.argmax()) / 100 - TRAIN).min() < 0.02


times = st.lists(st.integers(0, 60), max_size=14).map(lambda steps: np.sort(np.array(steps, float)) * 0.021)


@given(times, times)
def test_f_measure_is_that_of_a_largest_matching(reference: np.ndarray, estimate: np.ndarray) -> None:
    if not len(reference) or not len(estimate):
        assert f_measure(reference, estimate) == 0
        return
    near = csr_matrix(np.abs(reference[:, None] - estimate) <= 0.05)
    hits = int((maximum_bipartite_matching(near) >= 0).sum())
    assert f_measure(reference, estimate) == pytest.approx(2 * hits / (len(reference) + len(estimate)))


def test_f_measure_of_known_rows() -> None:
    a = np.array([1.0, 2.0, 3.0, 4.0])
    assert f_measure(a, a) == 1
    assert f_measure(a, a[:2]) == pytest.approx(2 / 3)  # precision 1, recall 1/2
    assert f_measure(a, np.array([1.0, 1.01, 1.02])) == pytest.approx(2 / 7)  # one match each at most
    # what mir_eval.onset.f_measure of 0.8.2 gives for these
    assert f_measure(
        np.array([0.1, 0.5, 0.9, 1.5]), np.array([0.12, 0.44, 0.93, 1.3, 1.53])
    ) == pytest.approx(2 / 3)


def test_bad_instants_are_refused() -> None:
    for bad in (np.array([2.0, 1.0]), np.array([np.nan]), np.zeros((1, 1))):
        with pytest.raises(ValueError, match="rising order"):
            f_measure(np.array([1.0]), bad)


@pytest.mark.parametrize("semitone", range(12))
def test_a_tone_has_its_pitch_class(semitone: int) -> None:
    for octave in (-1, 0, 2):
        energy = chroma(tone(440 * 2 ** ((semitone - 9) / 12 + octave)))
        assert energy.shape == (10, 12)
        assert (energy.argmax(axis=1) == semitone).all()
        assert (energy[1:-1, semitone] > 0.7 * energy[1:-1].sum(axis=1)).all()


def test_a_chord_against_itself_its_octave_and_others() -> None:
    major = chroma(chord(0, 4, 7))
    assert chroma_cosine(major, major) == pytest.approx(1)
    assert chroma_cosine(major, chroma(0.01 * chord(12, 16, 19))) > 0.98  # an octave up, quieter
    assert chroma_cosine(major, chroma(chord(1, 5, 8))) < 0.15  # a semitone up: leakage only
    assert chroma_cosine(major, chroma(chord(0, 3, 7))) == pytest.approx(2 / 3, abs=0.06)  # minor


def test_agreement_of_a_sound_with_itself_and_with_another() -> None:
    audio = clicks(TRAIN, 5) + chord(0, 4, 7, seconds=5)
    a = describe(audio)
    assert a.chroma.shape == (25, 12)
    assert a.sounding.shape == (25,)
    assert a.strength.shape == (250,)
    assert agreement(a, a) == pytest.approx((1, 1, 1))
    other = describe(clicks(TRAIN + 0.15, 5) + chord(1, 5, 8, seconds=5))
    chroma_, onset_f1, strength = agreement(a, other)
    assert chroma_ < 0.6
    assert onset_f1 < 0.4
    assert strength < 0.3
    assert agreement(a, other) == pytest.approx(agreement(other, a))


def test_silence_agrees_with_nothing() -> None:
    silent = describe(np.zeros(5 * RATE, np.float32))
    assert not silent.sounding.any()
    assert all(math.isnan(value) for value in agreement(silent, describe(clicks(TRAIN, 5))))
    assert all(math.isnan(value) for value in agreement(silent, silent))


def test_bad_audio_is_refused() -> None:
    with pytest.raises(ValueError, match="mono"):
        describe(np.zeros((2, RATE)))
    with pytest.raises(ValueError, match="NaN"):
        describe(np.full(RATE, np.nan))
    with pytest.raises(ValueError, match="rate"):
        describe(np.zeros(RATE), 11_025)
    with pytest.raises(ValueError, match="same length"):
        agreement(describe(np.zeros(RATE)), describe(np.zeros(2 * RATE)))
    with pytest.raises(ValueError, match="same shape"):
        chroma_cosine(np.zeros((2, 12)), np.zeros((3, 12)))


def test_other_rates_give_the_same() -> None:
    instants = np.arange(0.5, 2.6, 0.4)
    audio = clicks(instants, 3)
    assert f_measure(onsets(audio), onsets(audio[::2], 16_000)) == 1
    assert (chroma(tone(440)[::2], 16_000).argmax(axis=1) == 9).all()
