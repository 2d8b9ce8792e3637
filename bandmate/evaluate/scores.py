"""Every clip's numbers for one system or anchor, of the whole clip or one of its halves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandmate.evaluate.agreement import Features, agreement
from bandmate.evaluate.beat import beat_f1, between
from bandmate.evaluate.coherence import CHUNK, HOP, MODES, coherence, pair_scores, silence_floor
from bandmate.evaluate.coherence import RATE as CHUNK_RATE
from bandmate.evaluate.features import RATE, Record, described

PARTS = ("whole", "first half", "second half")
METRICS = (*(f"coherence_{mode}" for mode in MODES), "beat_f1", "level", "silent", "chroma", "onset_f1")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Played:
    """One row of the table before it is one: what was heard of it, by clip, for each seed."""

    name: str
    kind: str  # anchor, or the kind of a system
    takes: tuple[tuple[Record, ...], ...]  # [seeds][clips]
    about: dict[str, Any]


def chunk_scores(network: Any, mixes: Sequence[Record], stems: Sequence[Record]) -> dict[str, list[Values]]:
    """Mode -> [clips] arrays of scores [N] of each mix with its stem."""
    counts = [len(mix["coherence.sounding"]) for mix in mixes]
    bounds = np.cumsum(counts)[:-1]
    result: dict[str, list[Values]] = {}
    for mode in MODES:
        a, b = (np.concatenate([record[f"coherence.{mode}"] for record in side]) for side in (mixes, stems))
        result[mode] = np.split(pair_scores(network, a, b), bounds)
    return result


def floors(
    scores: dict[str, list[Values]], mixes: Sequence[Record], stems: Sequence[Record]
) -> dict[str, float]:
    """Mode -> what silence scores at most, from a random pairing; of all chunks if none of it sounds."""
    both = np.concatenate([both_sound(mix, stem) for mix, stem in zip(mixes, stems, strict=True)])
    result = {}
    for mode, each in scores.items():
        values = np.concatenate(each)
        result[mode] = silence_floor(values[both] if both.any() else values)
    return result


def both_sound(mix: Record, stem: Record) -> NDArray[np.bool_]:
    return mix["coherence.sounding"] & stem["coherence.sounding"]


def clip_scores(
    mix: Record,
    truth: Record,
    played: Record,
    scores: dict[str, Values],
    floor: dict[str, float],
    tuned: bool,
    part: str = "whole",
) -> list[float]:
    """METRICS of one clip; NaN where one cannot be told. ``tuned``: False for drums, which have no chroma."""
    start, end = span(mix, part)
    chosen = within(len(mix["coherence.sounding"]), CHUNK / CHUNK_RATE, HOP / CHUNK_RATE, start, end)
    coherences = [
        coherence(
            scores[mode][chosen],
            played["coherence.sounding"][chosen],
            mix["coherence.sounding"][chosen],
            floor[mode],
        )
        for mode in MODES
    ]
    beat = beat_f1(between(mix["beats.seconds"], start, end), between(played["beats.seconds"], start, end))
    active = frames(played["sound.active"], 50, start, end)
    chroma, onset_f1 = agreed(part_of(mix, start, end), part_of(played, start, end), bool(active.any()))
    return [
        *coherences,
        beat,
        level(truth, played, part),
        1 - float(active.mean()) if len(active) else float("nan"),
        chroma if tuned else float("nan"),
        onset_f1,
    ]


def take_scores(
    mixes: Sequence[Record],
    truth: Sequence[Record],
    take: Sequence[Record],
    scores: dict[str, list[Values]],
    floor: dict[str, float],
    tuned: Sequence[bool],
    part: str,
) -> Values:
    """METRICS of every clip of one take: [clips, METRICS]."""
    return np.array(
        [
            clip_scores(
                mixes[index],
                truth[index],
                record,
                {mode: each[index] for mode, each in scores.items()},
                floor,
                tuned[index],
                part,
            )
            for index, record in enumerate(take)
        ]
    )


def span(record: Record, part: str) -> tuple[float, float]:
    """Seconds from where to where a part goes; the whole has no end, so that a last beat counts."""
    seconds = float(record["sound.samples"]) / RATE
    return {"whole": (0.0, np.inf), "first half": (0.0, seconds / 2), "second half": (seconds / 2, np.inf)}[
        part
    ]


def within(count: int, length: float, step: float, start: float, end: float) -> NDArray[np.bool_]:
    """Which of ``count`` spans of ``length`` seconds, one each ``step``, lie in [start, end]."""
    begin = np.arange(count) * step
    return (begin >= start - 1e-6) & (begin + length <= end + 1e-6)


def frames(values: NDArray, rate: int, start: float, end: float) -> NDArray:
    """Values at ``rate`` per second, cut to [start, end) seconds."""
    return values[round(start * rate) : None if np.isinf(end) else round(end * rate)]


def part_of(record: Record, start: float, end: float) -> Features:
    onsets, strength, chroma, sounding = described(record)
    return Features(
        onsets[(onsets >= start) & (onsets < end)] - start,
        frames(strength, 50, start, end),
        frames(chroma, 5, start, end),
        frames(sounding, 5, start, end),
    )


def agreed(mix: Features, played: Features, sounds: bool) -> tuple[float, float]:
    """Chroma cosine and onset F1 with the mix.

    Where the mix has something to agree with, silence agrees with nothing: 0, not left out. What sounds without an
    attack, as a pad does, has no onsets to be judged by.
    """
    told = agreement(mix, played)
    if sounds:
        return told.chroma, told.onset_f1
    return 0.0 if mix.sounding.any() else told.chroma, 0.0 if len(mix.onsets) else told.onset_f1


def level(truth: Record, played: Record, part: str) -> float:
    """RMS level of what was played minus that of the true stem, dB; NaN where one of them is silent."""
    parts = {"whole": slice(0, 2), "first half": slice(0, 1), "second half": slice(1, 2)}[part]
    a, b = (float(record["sound.power"][parts].mean()) for record in (played, truth))
    sounding = (frames(record["sound.active"], 50, *span(record, part)).any() for record in (played, truth))
    return 10 * float(np.log10(a / b)) if all(sounding) and min(a, b) > 0 else float("nan")


def halves(record: Record, count: int, length: float, step: float) -> tuple[NDArray, NDArray]:
    """Which of ``count`` spans lie in each half of a clip: the first ones and the last ones, as many of either.

    A distance depends on how many embeddings it is of, and a span that lies across the middle would make them uneven.
    """
    first, second = (np.flatnonzero(within(count, length, step, *span(record, part))) for part in PARTS[1:])
    fewer = min(len(first), len(second))
    return first[:fewer], second[len(second) - fewer :]


def embeddings(
    records: Sequence[Record], length: float, step: float, part: str
) -> tuple[Values, NDArray[np.intp]]:
    """All embeddings [N, D] of a part of the clips, and the clip of each [N]. Both halves of a clip have as many."""
    values, owner = [], []
    for index, record in enumerate(records):
        each = record["embedding.values"]
        if part != "whole":
            first, second = halves(record, len(each), length, step)
            each = each[first if part == "first half" else second]
        values.append(each)
        owner.append(np.full(len(each), index))
    return np.concatenate(values).astype(np.float64), np.concatenate(owner)
