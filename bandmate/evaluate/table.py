"""Clips' numbers to rows: means with intervals over songs, normalised between random pairing and truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandmate.evaluate.coherence import MODES
from bandmate.evaluate.fad import combined, fad, fad_infinity, frechet_distance, moments
from bandmate.evaluate.intervals import DRAWS, bootstrap, resampled, song_means
from bandmate.evaluate.scores import METRICS

FAD_DRAWS = 50
NORMALISED = {**{f"coherence_{mode}": f"nc_{mode}" for mode in MODES}, "beat_f1": "nb"}

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One system or anchor: METRICS of every clip for each seed, its embeddings, and what to call it."""

    name: str
    kind: str
    values: Values  # [seeds, clips, METRICS]
    embeddings: tuple[tuple[Values, NDArray[np.intp]], ...]  # per seed: [N, D] and the clip of each
    about: dict[str, Any]


def over_seeds(values: Values) -> Values:
    """[seeds, ...] -> mean over the seeds that have a number; NaN where none has."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    return np.where(known, values, 0).sum(axis=0) / np.where(count > 0, count, np.nan)


def mean_over_songs(values: Values, songs: Sequence[str]) -> float:
    """Mean of the songs' means; NaN where there is no number at all."""
    means = song_means(values, songs)
    return float(means.mean()) if len(means) else float("nan")


def normalised(
    values: Values, random: Values, truth: Values, songs: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> dict[str, float] | None:
    """(values - random) / (truth - random) of means over songs, with its 95 % percentile interval.

    All [C], one per clip; the three are resampled together, as they are of the same songs. None when the
    interval of truth - random holds 0, when it has none, or when a side has no number: a ratio over what
    may be nothing says nothing.
    """
    known = ~np.isnan(values) & ~np.isnan(random) & ~np.isnan(truth)
    song = np.asarray(songs)[known]
    means = np.stack([song_means(side[known], song) for side in (values, random, truth)])
    if means.shape[1] < 2:
        return None
    drawn = means[:, resampled(means.shape[1], draws, seed)].mean(axis=2)  # [3, draws]
    gap = drawn[2] - drawn[1]
    low, high = np.percentile(gap, [2.5, 97.5])
    if low <= 0 <= high:
        return None
    value, zero, one = means.mean(axis=1)
    bounds = np.percentile((drawn[0] - drawn[1]) / gap, [2.5, 97.5])
    return {"mean": float((value - zero) / (one - zero)), "low": float(bounds[0]), "high": float(bounds[1])}


def frechet(
    row: Row, reference: Row, songs: Sequence[str], infinity: bool, draws: int = FAD_DRAWS, seed: int = 0
) -> dict[str, Any] | None:
    """Fréchet distance to the true stems, mean over seeds; None with fewer than two embeddings.

    The interval is the distance -+ 1.96 standard deviations of a bootstrap over songs: percentiles of the
    draws would lie too high, for a draw repeats songs and the bias grows as fewer differ.
    """
    truth, owner = reference.embeddings[0]
    if len(truth) < 2:
        return None
    sides = [values for values, _ in row.embeddings]
    told: dict[str, Any] = {
        "mean": float(np.mean([fad(truth, each) for each in sides])),
        "embeddings": len(sides[0]),
        "low": float("nan"),
        "high": float("nan"),
    }
    deviation = spread(truth, sides, np.asarray(songs)[owner], draws, seed)
    if np.isfinite(deviation):
        told |= {"low": max(0.0, told["mean"] - 1.96 * deviation), "high": told["mean"] + 1.96 * deviation}
    if infinity and len(truth) >= 8:
        told["infinity"] = float(np.mean([fad_infinity(truth, each, seed=seed).distance for each in sides]))
    return told


def spread(truth: Values, sides: Sequence[Values], song: NDArray, draws: int, seed: int) -> float:
    """Standard deviation of the distance when songs are drawn with replacement; NaN below two songs."""
    names, index = np.unique(song, return_inverse=True)
    if draws < 2 or len(names) < 2:
        return float("nan")
    reference, *others = [(moments(each, index, len(names)), each.mean(axis=0)) for each in (truth, *sides)]
    distances = []
    for drawn in resampled(len(names), draws, seed):
        times = np.bincount(drawn, minlength=len(names))
        goal = combined(reference[0], times, reference[1])
        played = [combined(each, times, centre) for each, centre in others]
        distances.append(np.mean([frechet_distance(goal, each) for each in played]))
    return float(np.std(distances, ddof=1))


def table(
    rows: Sequence[Row],
    songs: Sequence[str],
    chosen: NDArray[np.intp],
    infinity: bool = False,
    fad_draws: int | None = FAD_DRAWS,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One dictionary per row over the ``chosen`` clips. fad_draws: None for no Fréchet distance at all.

    The rows "ground truth" and, for NC and NB, "random pairing" must be among them, or nothing is normalised.
    """
    rows = [subset(row, chosen) for row in rows]
    songs = [songs[index] for index in chosen]
    anchors = {row.name: row for row in rows if row.kind == "anchor"}
    truth, random = anchors.get("ground truth"), anchors.get("random pairing")
    result = []
    for row in rows:
        told: dict[str, Any] = {
            "system": row.name,
            "kind": row.kind,
            "seeds": len(row.values),
            "clips": len(chosen),
            **row.about,
        }
        values = over_seeds(row.values)
        for column, metric in enumerate(METRICS):
            told[metric] = bootstrap(values[:, column], songs, seed=seed)._asdict()
            told[metric]["by_seed"] = [mean_over_songs(each[:, column], songs) for each in row.values]
            if metric in NORMALISED and truth and random:
                zero, one = (over_seeds(side.values)[:, column] for side in (random, truth))
                told[NORMALISED[metric]] = normalised(values[:, column], zero, one, songs, seed=seed)
        if fad_draws is not None:
            told["fad"] = frechet(row, truth, songs, infinity, fad_draws, seed) if truth else None
        result.append(told)
    return result


def subset(row: Row, chosen: NDArray[np.intp]) -> Row:
    """The row of some of its clips, renumbered."""
    place = np.full(row.values.shape[1], -1)
    place[chosen] = np.arange(len(chosen))
    kept = []
    for values, owner in row.embeddings:
        mine = place[owner] >= 0
        kept.append((values[mine], place[owner[mine]]))
    return Row(row.name, row.kind, row.values[:, chosen], tuple(kept), row.about)
