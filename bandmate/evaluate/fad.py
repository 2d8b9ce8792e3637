"""Fréchet distance of embeddings: Fréchet Audio Distance when the embeddings are VGGish's."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.floating]  # [N, D]

EXTRAPOLATION_STEPS = 12  # subset sizes of the regression
SMALLEST_SHARE = 0.25  # of the embeddings, in the smallest subset


class Gaussian(NamedTuple):
    """A mean [D], a covariance [D, D], and how many embeddings they come from."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    size: int


class Extrapolation(NamedTuple):
    """The distance for N -> infinity, the rise per 1/N, and how well a line fits (R squared)."""

    distance: float
    slope: float
    fit: float


def gaussian(embeddings: Embeddings) -> Gaussian:
    """Mean and covariance (divided by N - 1) of embeddings [N, D]; two or more, all finite."""
    values = checked(embeddings)
    mean = values.mean(axis=0)
    centred = values - mean
    return Gaussian(mean, centred.T @ centred / (len(values) - 1), len(values))


def checked(embeddings: Embeddings) -> NDArray[np.float64]:
    """In float64; ValueError unless two or more, all finite."""
    values = np.asarray(embeddings, dtype=np.float64)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"two embeddings [N, D] or more are wanted, not {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError("the embeddings hold NaN or infinite values")
    return values


class Moments(NamedTuple):
    """Per group of embeddings, as per song: how many [G], their sum [G, D], the sum of their squares [G, D, D]."""

    sizes: NDArray[np.intp]
    total: NDArray[np.float64]
    square: NDArray[np.float64]


def moments(embeddings: Embeddings, group: NDArray[np.integer], groups: int) -> Moments:
    """Moments of embeddings [N, D] by the group 0 ... groups - 1 of each [N].

    Taken about the mean of all, so that nothing is lost when it is subtracted later.
    """
    values = checked(embeddings)
    values = values - values.mean(axis=0)
    parts = [values[group == index] for index in range(groups)]
    return Moments(
        np.array([len(part) for part in parts]),
        np.stack([part.sum(axis=0) for part in parts]),
        np.stack([part.T @ part for part in parts]),
    )


def combined(each: Moments, times: NDArray[np.integer], centre: NDArray[np.floating]) -> Gaussian:
    """The Gaussian of all groups, the g-th taken ``times[g]`` times; ``centre`` [D] is the mean of all embeddings."""
    count = int(times @ each.sizes)
    if count < 2:
        raise ValueError("two embeddings or more are wanted")
    mean = times @ each.total / count
    square = np.tensordot(times.astype(np.float64), each.square, axes=1)
    return Gaussian(centre + mean, (square - count * np.outer(mean, mean)) / (count - 1), count)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared Fréchet distance of two Gaussians (Dowson and Landau 1982), 0 or more, symmetric.

    |mean a - mean b|^2 + tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2, by eigenvalues of symmetric matrices:
    covariances that are singular, as with fewer embeddings than dimensions, need no epsilon and give
    no complex parts, unlike the square root of AB that is often used.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"embeddings of one width are wanted, not {a.mean.shape[0]} and {b.mean.shape[0]}")
    values, vectors = np.linalg.eigh(a.covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))  # A^1/2 up to a rotation, which changes no eigenvalue
    cross = np.linalg.eigvalsh(root.T @ b.covariance @ root)
    distance = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance) + np.trace(b.covariance)
    return max(0.0, float(distance - 2 * np.sqrt(np.maximum(cross, 0)).sum()))


def fad(reference: Embeddings, candidate: Embeddings) -> float:
    """Fréchet distance of embeddings [N, D] and [M, D] (Kilgour et al. 2019).

    Biased upwards by about a constant over N: give N with it, and compare at equal N only.
    """
    return frechet_distance(gaussian(reference), gaussian(candidate))


def fad_infinity(
    reference: Embeddings, candidate: Embeddings, steps: int = EXTRAPOLATION_STEPS, seed: int = 0
) -> Extrapolation:
    """The distance extrapolated to N -> infinity by a line over 1/N (Chong and Forsyth 2020, Gui et al. 2024).

    ``steps`` subsets of both sides, from a quarter of the embeddings to all, evenly spaced in 1/N. When
    both sides are equally many they are taken as pairs of one clip and drawn together. The line is drawn
    through the embeddings of the candidate; ValueError below eight of them. May fall below 0.
    """
    total = len(candidate)
    if min(total, len(reference)) < 8 or steps < 2:
        raise ValueError(f"an extrapolation wants eight embeddings and two steps or more, not {total}")
    rng = np.random.default_rng(seed)
    shares = 1 / np.linspace(1, 1 / SMALLEST_SHARE, steps)
    counts, distances = [], []
    for share in shares:
        taken = rng.permutation(total)[: max(2, round(share * total))]
        paired = len(reference) == total
        other = taken if paired else rng.permutation(len(reference))[: max(2, round(share * len(reference)))]
        counts.append(len(taken))
        distances.append(fad(reference[other], candidate[taken]))
    return line(1 / np.array(counts), np.array(distances))


def line(x: NDArray[np.float64], y: NDArray[np.float64]) -> Extrapolation:
    """Least squares: intercept, slope, R squared (1 when y does not vary)."""
    slope, intercept = np.polyfit(x, y, 1)
    rest, spread = np.sum((y - intercept - slope * x) ** 2), np.sum((y - y.mean()) ** 2)
    return Extrapolation(float(intercept), float(slope), float(1 - rest / spread) if spread > 0 else 1.0)
