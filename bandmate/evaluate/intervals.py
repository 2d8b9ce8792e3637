"""Means with bootstrap intervals over songs, and rank correlation."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 2000


class Interval(NamedTuple):
    """A mean with its 95 % interval.

    NaN where it cannot be told. ``songs`` and ``values``: how many entered.
    """

    mean: float
    low: float
    high: float
    songs: int
    values: int

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval lies above 0."""
        return bool(self.low > 0)


def song_means(values: ArrayLike, songs: ArrayLike) -> NDArray[np.float64]:
    """Mean of each song's values [N] -> [G]; NaN is left out, and so is a song that has nothing else."""
    value, song = np.asarray(values, dtype=np.float64), np.asarray(songs)
    if value.ndim != 1 or value.shape != song.shape:
        raise ValueError(f"one song for each value is wanted, not {song.shape} for {value.shape}")
    if np.isinf(value).any():
        raise ValueError("a mean of infinite values says nothing: leave them out first")
    kept = ~np.isnan(value)
    if not kept.any():
        return np.zeros(0)
    _, index = np.unique(song[kept], return_inverse=True)
    return np.bincount(index, weights=value[kept]) / np.bincount(index)


def bootstrap(values: ArrayLike, songs: ArrayLike, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Mean over songs of the song means, with the 95 % percentile interval (Efron and Tibshirani 1993).

    Clips of one song are not independent, so songs are drawn with replacement, never clips.

    Args:
        values: [N], NaN where a clip gave no value. songs: [N] the song of each.
    Returns:
        the interval; its bounds are NaN with fewer than two songs.
    """
    means = song_means(values, songs)
    count = int(np.sum(~np.isnan(np.asarray(values, dtype=np.float64))))
    if len(means) < 2:
        return Interval(float(means[0]) if len(means) else np.nan, np.nan, np.nan, len(means), count)
    drawn = means[resampled(len(means), draws, seed)].mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(means.mean()), float(low), float(high), len(means), count)


def resampled(songs: int, draws: int = DRAWS, seed: int = 0) -> NDArray[np.intp]:
    """Indices [draws, songs] of the songs of each bootstrap draw."""
    return np.random.default_rng(seed).integers(songs, size=(draws, songs))


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rho of a [N] and b [N]: the correlation of their ranks, ties at their mean rank.

    NaN when all values of one are equal. Raises ValueError for fewer than two pairs or for NaN.
    """
    from scipy.stats import rankdata

    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2 or np.isnan([first, second]).any():
        raise ValueError("rank correlation wants two rows of equally many numbers, two or more")
    return correlation(rankdata(first), rankdata(second))


def correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Pearson's correlation of a [N] and b [N]; NaN when one of them is constant."""
    a, b = a - np.mean(a), b - np.mean(b)
    size = np.sqrt(np.sum(a * a) * np.sum(b * b))
    return float(np.sum(a * b) / size) if size > 1e-12 else float("nan")
