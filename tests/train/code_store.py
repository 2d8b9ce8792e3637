"""A prepared store whose codes follow a rule instead of a codec: the same on every machine, and something to learn."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bandmate.data.stems import Stem, Track
from bandmate.data.tokens import write_store

FRAMES, CODES, LEVELS, LATENT, FEATURES = 500, 32, 4, 8, 176
Floats = NDArray[np.float32]


def write_code_store(folder: Path, tracks: int = 6, codes: int = CODES) -> Path:
    """Songs of three stems that follow the same chords, new ones every 8 frames. The last two are for validation."""
    songs = [make_track(index, "valid" if index > tracks - 3 else "train") for index in range(tracks)]
    table = np.random.default_rng(0).normal(size=(LEVELS, codes, LATENT)).astype(np.float32)
    failed = write_store(
        songs, lambda audio: encode(audio, codes), listen, folder, submixes=3, codes=codes,
        submix_codes=True, codebook=table,
    )  # fmt: skip
    assert not failed
    return folder


def make_track(index: int, split: str) -> Track:
    """The first sample of each frame carries chord and stem as a whole number of 64ths; the rest is there to sound."""
    rng = np.random.default_rng(index)
    chords = np.repeat(rng.integers(0, 8, -(-FRAMES // 8)), 8)[:FRAMES]
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(FRAMES * 640) / 32_000)
    stems = []
    for place in range(3):
        audio = tone.copy()
        audio[::640] = (2 * chords + place) / 64
        stems.append(Stem(audio.astype(np.float32), 4 * place))
    return Track(f"t{index}", f"song{index}", f"c{index}", split, tuple(stems))


def numbers(audio: Floats) -> NDArray[np.int64]:
    """[N, S] -> [N, T]."""
    return np.round(audio[:, ::640] * 64).astype(np.int64)


def encode(audio: Floats, codes: int) -> NDArray[np.int64]:
    """[N, S] -> codes [N, K, T]: a figure of four frames over the chord."""
    base, beat = numbers(audio)[:, None], np.arange(audio.shape[1] // 640) % 4
    level = np.arange(LEVELS)[:, None]
    return (base + 2 * beat * (level + 1) + 3 * level) % codes


def listen(audio: Floats) -> NDArray[np.uint8]:
    """[M, S] -> features [M, T, F]."""
    return (numbers(audio)[:, :, None] * np.arange(1, FEATURES + 1) % 200).astype(np.uint8)
