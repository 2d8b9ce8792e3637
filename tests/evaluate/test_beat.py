"""Beat F1 against published cases, mir_eval, and what the libraries leave open."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmate.evaluate.beat import beat_f1, between, librosa_beats
from tests.evaluate.sounds import RATE, clicks

# The case of madmom's own tests (test_evaluation_beats.py): 8 of 10 on both sides are hits.
ANNOTATIONS = np.arange(1.0, 11.0)
DETECTIONS = np.array([1.01, 2, 2.95, 4, 6, 7, 8, 9.1, 10, 11])


def test_madmoms_published_case() -> None:
    assert beat_f1(ANNOTATIONS, DETECTIONS) == pytest.approx(0.8)
    assert beat_f1(DETECTIONS, ANNOTATIONS) == pytest.approx(0.8)
    assert beat_f1(ANNOTATIONS, ANNOTATIONS) == 1


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 1), (0.069, 1), (-0.069, 1), (0.071, 0), (0.5, 0)])
def test_the_window_is_70_ms_on_both_sides(shift: float, expected: float) -> None:
    assert beat_f1(ANNOTATIONS, ANNOTATIONS + shift) == expected


def test_half_and_double_tempo() -> None:
    assert beat_f1(ANNOTATIONS, ANNOTATIONS[::2]) == pytest.approx(2 / 3)
    assert beat_f1(ANNOTATIONS, np.arange(1, 10.6, 0.5)) == pytest.approx(2 * 10 / 30)


def test_the_first_five_seconds_count() -> None:
    """mir_eval.beat.evaluate drops them: a clip of 10 s would lose half of its beats."""
    assert beat_f1(np.arange(0, 10, 0.5), np.arange(5, 10, 0.5)) == pytest.approx(2 / 3)


def test_empty_lists_and_single_beats() -> None:
    none, one = np.zeros(0), np.array([1.0])
    assert beat_f1(ANNOTATIONS, none) == 0
    assert beat_f1(ANNOTATIONS, one) == pytest.approx(2 / 11)
    for reference in (none, one):  # no beat to be met: the same clips are lost whatever was played
        for estimate in (none, one, ANNOTATIONS):
            assert math.isnan(beat_f1(reference, estimate))


grid = st.lists(st.integers(0, 120), max_size=12, unique=True).map(
    lambda steps: np.sort(np.array(steps, dtype=float)) * 0.043
)


@given(grid, grid)
def test_it_is_mir_evals_f_measure(reference: np.ndarray, estimate: np.ndarray) -> None:
    import mir_eval

    if len(reference) < 2 or not len(estimate):
        return
    assert beat_f1(reference, estimate) == pytest.approx(mir_eval.beat.f_measure(reference, estimate))


def test_bad_beats_are_refused() -> None:
    for bad, what in ((np.array([2.0, 1.0]), "rising"), (np.array([-1.0, 2.0]), "0 s or later")):
        with pytest.raises(ValueError, match=what):
            beat_f1(ANNOTATIONS, bad)
    with pytest.raises(ValueError, match="rising"):
        beat_f1(np.array([0.0, np.nan]), ANNOTATIONS)
    with pytest.raises(ValueError, match="above 0"):
        beat_f1(ANNOTATIONS, ANNOTATIONS, window=0)


def test_a_part_of_the_beats() -> None:
    np.testing.assert_allclose(between(ANNOTATIONS, 4.0, 7.0), [0, 1, 2])


def test_silence_has_no_beats() -> None:
    assert len(librosa_beats(np.zeros(10 * RATE), RATE)) == 0
    assert len(librosa_beats(np.ones(100), RATE)) == 0


@pytest.mark.slow  # librosa compiles its parts the first time
def test_librosa_finds_the_beats_of_clicks() -> None:
    train = np.arange(0.3, 9.8, 0.5)
    assert beat_f1(train, librosa_beats(clicks(train, 10), RATE)) > 0.9
