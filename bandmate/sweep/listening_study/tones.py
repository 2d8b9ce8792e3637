"""Headphone check after Woods et al. (2017), "Headphone screening to facilitate web-based auditory experiments".

Three tones of 200 Hz, and the softest is to be named. One is 6 dB softer; another is as loud as the third but reversed in
one ear: over headphones that makes no difference in level, over loudspeakers it nearly vanishes and is named instead.
"""

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from bandmate.sweep.listening_study.study import Tones

RATE = 32_000
HZ, SECONDS, PAUSE, RAMP = 200.0, 0.8, 0.4, 0.1  # of a tone, between tones, of its rise and fall
LEVEL_DB, SOFTER_DB = -23.0, -6.0  # peak re full scale
FORMATS = {"flac": ("FLAC", "PCM_16"), "wav": ("WAV", "PCM_16"), "mp3": ("MP3", None)}

Stereo = NDArray[np.float64]


def tone(softer: bool, reversed_: bool) -> Stereo:
    """One tone [S, 2] with raised-cosine ends; ``reversed_``: the right ear in antiphase."""
    time = np.arange(round(SECONDS * RATE)) / RATE
    ends = np.minimum(1.0, np.minimum(time, SECONDS - time) / RAMP)
    level = 10 ** ((LEVEL_DB + SOFTER_DB * softer) / 20)
    left = level * np.sin(2 * np.pi * HZ * time) * (0.5 - 0.5 * np.cos(np.pi * ends))
    return np.stack([left, -left if reversed_ else left], axis=1)


def tasks() -> Iterator[tuple[Stereo, int]]:
    """All six orders of the three tones: the sound [S, 2], and which tone (1, 2, 3) is the softest."""
    kinds = ((False, False), (True, False), (False, True))
    pause = np.zeros((round(PAUSE * RATE), 2))
    for order in itertools.permutations(range(3)):
        parts = [tone(*kinds[each]) for each in order]
        yield np.concatenate([parts[0], pause, parts[1], pause, parts[2]]), order.index(1) + 1


def write_check(folder: Path, suffix: str, seed: int) -> Iterator[Tones]:
    """Writes the six sounds under names that tell nothing."""
    for number, (audio, softest) in enumerate(tasks()):
        name = f"{np.random.default_rng([seed, 6, number]).integers(2**63):016x}"
        content, (container, subtype) = io.BytesIO(), FORMATS[suffix]
        soundfile.write(content, audio, RATE, format=container, subtype=subtype)
        (folder / f"{name}.{suffix}").write_bytes(content.getvalue())
        yield Tones(name, softest)
