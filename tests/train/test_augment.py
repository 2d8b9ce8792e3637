"""The chain between an instrument and the ears, on levels whose result is known."""

import dataclasses

import numpy as np
import pytest
import torch

from bandmate.model.ears import FEATURES, PITCH_BANDS, MelEars
from bandmate.train import augment as a

TONE = 48  # the pitch band of A4


def levels(frames: int = 40, tone: float = -20.0) -> np.ndarray:
    """Silence with one steady pitch."""
    out = np.full((frames, FEATURES), a.FLOOR_DB, dtype=np.float32)
    out[:, TONE] = tone
    return out


def only(**values: float) -> a.AugmentConfig:
    return dataclasses.replace(a.OFF, **values)


def test_off_changes_nothing() -> None:
    x = np.random.default_rng(0).integers(0, 256, (30, FEATURES)).astype(np.uint8)
    assert np.array_equal(a.augment(x, np.random.default_rng(1), a.OFF), x)


@pytest.mark.parametrize("name", ["equaliser", "room", "noise", "drive", "bandwidth"])
def test_each_part_does_something_and_is_a_function_of_the_generator(name: str) -> None:
    x = np.random.default_rng(0).integers(60, 200, (30, FEATURES)).astype(np.uint8)
    one, two = (a.augment(x, np.random.default_rng(5), only(**{name: 1.0})) for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, x)


def test_the_bands_are_those_of_the_ears() -> None:
    time = torch.arange(32_000) / 32_000
    heard, _ = MelEars()(0.5 * torch.sin(2 * torch.pi * 440 * time)[None])
    assert int(heard[0, -1, :PITCH_BANDS].argmax()) == TONE
    assert a.FREQUENCY[TONE] == pytest.approx(440)
    assert len(a.FREQUENCY) == FEATURES


def test_drive_puts_harmonics_an_octave_and_a_twelfth_higher() -> None:
    driven = a.drive(levels(), second_db=-15.0, third_db=-20.0)
    assert driven[0, TONE + 12] == pytest.approx(-35, abs=0.1)
    assert driven[0, TONE + 19] == pytest.approx(-40, abs=0.1)
    assert driven[0, TONE] == pytest.approx(-20, abs=0.01)


def test_a_tail_falls_by_60_db_in_its_time() -> None:
    struck = levels(60)
    struck[1:, TONE] = a.FLOOR_DB
    rung = a.room(struck, seconds=0.5, tail_db=-10.0)
    height = np.clip(a.OCTAVES[TONE], -2, 3)
    frames = 0.5 * 50 * 2 ** (-height / 5)
    slope = np.polyfit(np.arange(1, 12), rung[1:12, TONE], 1)[0]
    assert slope == pytest.approx(-60 / frames, rel=0.02)
    assert rung[0, TONE] == pytest.approx(-20, abs=0.01), "nothing sounds before it is struck"


def test_noise_lifts_silence_to_its_floor_and_leaves_loud_bands() -> None:
    noisy = a.noise(levels(400), np.random.default_rng(2), floor_db=-70.0)
    near_1k = int(np.abs(a.OCTAVES[:PITCH_BANDS]).argmin())
    assert np.mean(10 ** (noisy[:, near_1k] / 10)) == pytest.approx(1e-7, rel=0.2)
    assert np.abs(noisy[:, TONE] + 20).max() < 0.1


def test_band_limit_takes_3_db_at_its_edges() -> None:
    gain = a.band_limit(100.0, 5000.0)
    at = lambda hertz: np.interp(hertz, a.PITCHES, gain[:PITCH_BANDS])  # noqa: E731
    assert at(100.0) == pytest.approx(-3, abs=0.3)
    assert at(700.0) == pytest.approx(0, abs=0.1)
    assert np.interp(5000.0, a.ATTACKS, gain[PITCH_BANDS : PITCH_BANDS + 40]) == pytest.approx(-3, abs=0.4)


def test_an_equaliser_is_smooth() -> None:
    gain = a.equaliser(np.random.default_rng(3), 4.0)[:PITCH_BANDS]
    assert np.abs(np.diff(gain)).max() < 2.0 < np.ptp(gain)
