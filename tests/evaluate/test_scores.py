"""What one clip's numbers are, where sounds are missing or have no attacks."""

import math

import numpy as np
import pytest

from bandmate.evaluate.agreement import Audio, describe
from bandmate.evaluate.scores import agreed, level
from tests.evaluate.sounds import RATE, chord, clicks


def half_sounding(first: float) -> dict[str, np.ndarray]:
    """A record whose first half has that power and does not count as sound, and whose second half sounds."""
    active = np.arange(500) >= 250
    return {
        "sound.samples": np.array(10 * RATE),
        "sound.power": np.array([first, 0.01]),
        "sound.active": active,
    }


def test_the_level_of_a_half_is_told_where_that_half_sounds() -> None:
    noise, both = half_sounding(1e-10), half_sounding(0.01) | {"sound.active": np.ones(500, dtype=bool)}
    assert math.isnan(level(both, noise, "first half"))
    assert math.isnan(level(noise, both, "first half"))
    assert level(both, noise, "second half") == pytest.approx(0)
    assert level(both, noise, "whole") == pytest.approx(10 * math.log10(0.5), abs=1e-3)


def test_a_pad_has_no_onsets_to_be_judged_by_and_silence_agrees_with_nothing() -> None:
    def of(*parts: np.ndarray) -> Audio:
        return np.sum(parts, axis=0).astype(np.float32)

    beats = np.arange(0.3, 9.5, 0.5)
    mix = describe(of(clicks(beats, 10.0), 0.2 * chord(0, 4, 7, seconds=10.0)))
    fade = np.sin(np.pi * np.arange(10 * RATE) / (10 * RATE)) ** 2
    pad, silence = (describe(of(chord(0, 4, 7, seconds=10.0) * part)) for part in (fade, 0 * fade))
    assert len(mix.onsets) >= len(beats) - 1
    assert not len(pad.onsets)
    chroma, onset_f1 = agreed(mix, pad, True)
    assert chroma > 0.8
    assert math.isnan(onset_f1)
    assert agreed(mix, silence, False) == (0.0, 0.0)
