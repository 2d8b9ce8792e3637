"""What stands between an instrument and the model's ears: equaliser, room, noise, a driven amplifier, narrow bandwidth.

Done on the 8-bit levels that the ears give (:class:`bandmate.model.ears.MelEars`), in power per band: rendered inputs are
prepared once, and every epoch hears them through other equipment. The played part is left as it is.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from bandmate.model.ears import ATTACK_BANDS, PITCH_BANDS
from bandmate.nn.spectrogram import FLOOR_DB, STEP_DB

Levels = NDArray[np.float32]  # [T, F] dB

PITCHES = 27.5 * 2 ** (np.arange(PITCH_BANDS) / 12)
ATTACKS = np.geomspace(60.0, 15_000.0, ATTACK_BANDS)
FREQUENCY = np.concatenate([PITCHES, ATTACKS, ATTACKS])  # Hz, of every feature
OCTAVES = np.log2(FREQUENCY / 1000.0)  # from 1 kHz
OCTAVE_PITCH, OCTAVE_ATTACK = 12, 39 / np.log2(15_000 / 60)  # bands in an octave


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How often each happens to a window (probabilities), and how much of it. 0 for all of them is off."""

    equaliser: float = 0.5
    room: float = 0.3
    noise: float = 0.3
    drive: float = 0.2
    bandwidth: float = 0.2
    equaliser_db: float = 4.0  # standard deviation of each of three bumps
    room_seconds: tuple[float, float] = (0.15, 0.8)  # time in which the tail falls by 60 dB
    room_db: tuple[float, float] = (-18.0, -6.0)  # the tail beside the direct sound
    noise_db: tuple[float, float] = (-85.0, -55.0)  # per band, 0 dB = a full-scale sine
    drive_db: tuple[float, float] = (-30.0, -14.0)  # second and third harmonic beside what made them


OFF = AugmentConfig(equaliser=0, room=0, noise=0, drive=0, bandwidth=0)


def augment(x: NDArray[np.uint8], rng: np.random.Generator, config: AugmentConfig) -> NDArray[np.uint8]:
    """x [T, F] through a chain drawn from `rng`, in the order of a real one: amplifier, room, microphone, noise."""
    chance = rng.random(5)
    level = x.astype(np.float32) * STEP_DB + FLOOR_DB
    if chance[0] < config.drive:
        level = drive(level, *rng.uniform(*config.drive_db, 2))
    if chance[1] < config.room:
        level = room(level, rng.uniform(*config.room_seconds), rng.uniform(*config.room_db))
    if chance[2] < config.equaliser:
        level = level + equaliser(rng, config.equaliser_db)
    if chance[3] < config.bandwidth:
        level = level + band_limit(rng.uniform(40, 250), rng.uniform(2500, 10_000))
    if chance[4] < config.noise:
        level = noise(level, rng, rng.uniform(*config.noise_db))
    return np.clip(np.round((level - FLOOR_DB) / STEP_DB), 0, 255).astype(np.uint8)


def add_power(one: Levels, other: Levels) -> Levels:
    """The level in dB of two sounds that have nothing to do with each other."""
    return decibels(power(one) + power(other))


def power(level: Levels) -> Levels:
    return np.exp(level * np.float32(np.log(10) / 10))


def decibels(power: Levels) -> Levels:
    return np.float32(10 / np.log(10)) * np.log(power + np.float32(1e-12))


def equaliser(rng: np.random.Generator, spread_db: float) -> Levels:
    """Gain in dB of every feature [F]: three smooth bumps, one to two octaves wide."""
    centre, width = rng.uniform(-5, 4, (3, 1)), rng.uniform(1, 2, (3, 1))
    bumps = rng.normal(0, spread_db, (3, 1)) * np.exp(-0.5 * ((OCTAVES - centre) / width) ** 2)
    return bumps.sum(0).astype(np.float32)


def band_limit(low: float, high: float) -> Levels:
    """Gain in dB [F] of a second-order high pass at `low` Hz and a fourth-order low pass at `high` Hz."""
    falling = -10 * np.log10(1 + (FREQUENCY / high) ** 8) - 10 * np.log10(1 + (low / FREQUENCY) ** 4)
    return falling.astype(np.float32)


def room(level: Levels, seconds: float, tail_db: float, frame_rate: float = 50.0) -> Levels:
    """A tail that falls by 60 dB in `seconds`, higher bands twice as fast as lower ones, added from the next frame on."""
    direct = power(level)
    tail = np.empty_like(direct)
    for band, height in enumerate(np.clip(OCTAVES, -2, 3)):
        fade = 10 ** (-6 / (seconds * frame_rate * 2 ** (-height / 5)))  # of power per frame
        tail[:, band] = lfilter([0, (1 - fade) * 10 ** (tail_db / 10) * 10], [1, -fade], direct[:, band])
    return decibels(direct + tail)


def noise(level: Levels, rng: np.random.Generator, floor_db: float) -> Levels:
    """Steady noise, tilted by up to 3 dB per octave either way, each frame's power spread as noise's is."""
    floor = floor_db + rng.uniform(-3, 3) * OCTAVES
    spread = rng.standard_exponential((2, *level.shape), dtype=np.float32).mean(0)
    return decibels(power(level) + power(floor.astype(np.float32)) * spread)


def drive(level: Levels, second_db: float, third_db: float) -> Levels:
    """Adds the second and third harmonic of every band to the bands an octave, and a twelfth, higher."""
    parts = np.split(level, [PITCH_BANDS, PITCH_BANDS + ATTACK_BANDS], axis=1)
    octaves = (OCTAVE_PITCH, OCTAVE_ATTACK, OCTAVE_ATTACK)
    driven = []
    for part, octave in zip(parts, octaves, strict=True):
        for harmonic, gain in ((2, second_db), (3, third_db)):
            part = add_power(part, raised(part, round(octave * np.log2(harmonic))) + np.float32(gain))
        driven.append(part)
    return np.concatenate(driven, axis=1)


def raised(level: Levels, bands: int) -> Levels:
    """Every band's level moved up by some bands; silence comes in from below."""
    out = np.full_like(level, FLOOR_DB)
    out[:, bands:] = level[:, : level.shape[1] - bands]
    return out
