"""The loudness cases that EBU Tech 3341 (table 1) publishes for a meter: what each sounds like, and what it must read."""

import numpy as np
import pytest

from bandmate.audio.loudness import lufs

RATE = 16_000  # Hz; the K filter is made for any rate, and 1 kHz lies far below the half
TOLERANCE = 0.1  # LU, the document's


def sine(*steps: tuple[float, float]) -> np.ndarray:
    """1 kHz at (peak level in dBFS, seconds), one after the other."""
    level = np.concatenate([np.full(round(seconds * RATE), 10 ** (db / 20)) for db, seconds in steps])
    return level * np.sin(2 * np.pi * 1000 * np.arange(len(level)) / RATE)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(-23, 20)], -23.0),
        ([(-33, 20)], -33.0),
        ([(-36, 10), (-23, 60), (-36, 10)], -23.0),  # the relative gate
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23.0),  # and the absolute one
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23.0),
    ],
)
def test_stereo_cases(steps: list[tuple[float, float]], expected: float) -> None:
    one = sine(*steps)
    assert lufs(np.stack([one, one]), RATE) == pytest.approx(expected, abs=TOLERANCE)
    assert lufs(one, RATE) == pytest.approx(expected - 3.01, abs=TOLERANCE)  # one channel: half the power


def test_five_channels() -> None:
    levels = (-28, -28, -24, -30, -30)  # left, right, centre, left and right surround
    assert lufs(np.stack([sine((level, 20)) for level in levels]), RATE) == pytest.approx(
        -23.0, abs=TOLERANCE
    )


def test_what_has_no_loudness() -> None:
    assert lufs(np.zeros((2, RATE)), RATE) == -np.inf
    with pytest.raises(ValueError, match="up to five"):
        lufs(np.zeros((6, RATE)), RATE)
    with pytest.raises(ValueError, match="NaN"):
        lufs(np.array([0.1, np.nan] * RATE), RATE)
