"""Sounds whose onsets and pitches are known."""

import numpy as np

RATE = 32_000


def tone(frequency: float, seconds: float = 2.0, level: float = 0.1) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(
        np.float32
    )


def chord(*semitones: int, seconds: float = 2.0) -> np.ndarray:
    """Sines at semitones above C4."""
    return np.sum([tone(440 * 2 ** ((each - 9) / 12), seconds) for each in semitones], axis=0)


def clicks(instants: np.ndarray, seconds: float) -> np.ndarray:
    """Bursts of noise that die away within about 30 ms."""
    audio = np.zeros(round(seconds * RATE), np.float32)
    burst = np.random.default_rng(1).normal(size=1600) * np.exp(-np.arange(1600) / 250)
    for instant in instants:
        start = round(instant * RATE)
        piece = audio[start : start + 1600]
        piece += 0.2 * burst[: len(piece)].astype(np.float32)
    return audio
