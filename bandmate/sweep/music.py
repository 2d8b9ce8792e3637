"""Is it music: does what the model plays go with what it heard, better than with what it did not hear?"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bandmate.audio.loudness import activity
from bandmate.checkpoint import Bundle, sampling_for
from bandmate.evaluate.agreement import Agreement, Features, agreement, describe
from bandmate.evaluate.codec import level_difference
from bandmate.evaluate.intervals import Interval, bootstrap
from bandmate.generate import frames_needed, generate
from bandmate.instruments import INSTRUMENTS, PERCUSSIVE
from bandmate.model.sampling import Sampler
from bandmate.spec import FRAME_RATE, StreamSpec
from bandmate.sweep.clips import HOP, Clip, accompaniment_clips
from bandmate.sweep.tables import number, plain, seconds, signed, table

RATE = 32_000
CLOSE_DB = 12.0  # a level this near the target's is near
METRICS = {"chroma": "chroma cosine", "onset_f1": "onset F1", "strength": "onset strength correlation"}


@dataclasses.dataclass(frozen=True)
class MusicConfig:
    """``clips`` clips of ``frames`` frames.

    ``t_f`` and ``k`` in seconds; each input is set against ``shuffles`` others.
    """

    clips: int = 128
    t_f: tuple[float, ...] = (0.0, 1.0)
    k: float = 0.1
    frames: int = 250
    shuffles: int = 8
    batch: int = 32
    seed: int = 0

    @property
    def specs(self) -> list[StreamSpec]:
        return [StreamSpec.from_seconds(t_f, self.k) for t_f in self.t_f]

    @property
    def post(self) -> int:
        """Frames of input after the clip's end that the largest t_f needs."""
        return max(0, *(frames_needed(spec, self.frames) - self.frames for spec in self.specs))


Record = Callable[
    [StreamSpec, int, Clip, NDArray[np.float32]], None
]  # spec, index, clip, what was played [S]


def measure(
    bundle: Bundle,
    folder: Path,
    split: str,
    config: MusicConfig,
    progress: Callable[[float], None] | None = None,
    record: Record | None = None,
) -> dict[str, Any]:
    """The report. ``record`` is handed every output, as to write it to a file. ValueError for an offline model."""
    if not hasattr(bundle.model, "play"):
        raise ValueError(f"{bundle.name} hears whole clips only: this is measured of streaming models")
    clips = list(accompaniment_clips(folder, split, config.clips, config.frames, config.post, config.seed))
    others = shuffled_inputs([clip.song for clip in clips], config.shuffles, config.seed)
    samples = config.frames * HOP
    heard = [describe(clip.mixture[:samples]) for clip in clips]
    truth = [describe(clip.target) for clip in clips]
    played = []
    for index, spec in enumerate(config.specs):
        share = tell(progress, index, len(config.specs))
        played.append(play(bundle, clips, spec, config, share))
        if record:
            for position, (clip, sound) in enumerate(zip(clips, played[-1][1], strict=True)):
                record(spec, position, clip, sound)
    tuned = np.array([clip.instrument != PERCUSSIVE for clip in clips])
    songs = [clip.song for clip in clips]
    rows: list[dict[str, Any]] = [
        {"system": "true stem", "t_f": None} | agreements(truth, heard, others, songs, tuned)
    ]
    for spec, (codes, sounds) in zip(config.specs, played, strict=True):
        clean = [describe(np.nan_to_num(sound)) for sound in sounds]
        row: dict[str, Any] = {"system": "model", "t_f": spec.t_f_seconds} | agreements(
            clean, heard, others, songs, tuned
        )
        rows.append(row | health(sounds, codes, clips, bundle.codec.codes))
    return {
        "clips": len(clips),
        "songs": len(set(songs)),
        "seconds_per_clip": config.frames / FRAME_RATE,
        "k": config.specs[0].k_seconds,
        "sampling": bundle.card["sampling"],
        "seed": config.seed,
        "shuffles": len(others),
        "rows": rows,
    }


def tell(progress: Callable[[float], None] | None, part: int, parts: int) -> Callable[[float], None]:
    """Progress within one of several parts."""
    return lambda share: progress((part + share) / parts) if progress else None


def shuffled_inputs(songs: Sequence[str], count: int, seed: int = 0) -> NDArray[np.intp]:
    """Permutations [count', N] that give each clip one of another song; at most all there are.

    Clips lie on a circle song by song, songs in random order; turned by at least as many places as the
    longest song has, and by as many less than a full turn, none meets its own song. ValueError when one
    song has half the clips.
    """
    names, which, clips_of = np.unique(songs, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(seed)
    order = np.argsort(rng.permutation(len(names))[which], kind="stable")
    longest = int(clips_of.max())
    turns = np.arange(longest, len(songs) - longest + 1)
    if not len(turns):
        raise ValueError(
            "to shuffle inputs no song may have more than half of the clips: give more clips or more songs"
        )
    chosen = rng.choice(turns, min(count, len(turns)), replace=False)
    others = np.empty((len(chosen), len(songs)), dtype=np.intp)
    for row, turn in zip(others, chosen, strict=True):
        row[order] = np.roll(order, turn)
    return others


@torch.inference_mode()
def play(
    bundle: Bundle,
    clips: Sequence[Clip],
    spec: StreamSpec,
    config: MusicConfig,
    progress: Callable[[float], None],
) -> tuple[NDArray[np.int64], list[NDArray[np.float32]]]:
    """Codes [N, K, T] and audio [S] each, by the stream's own oracle.

    Clip i is player i, whatever the batch.
    """
    codes, sounds = [], []
    needed = max(1, frames_needed(spec, config.frames))
    for start in range(0, len(clips), config.batch):
        batch = clips[start : start + config.batch]
        players = tuple(range(start, start + len(batch)))
        sampler = Sampler(seed=config.seed, players=players, **sampling_for(bundle.card, spec.t_f_seconds))
        audio = torch.from_numpy(np.stack([clip.mixture[: needed * HOP] for clip in batch]))
        ids = [clip.instrument for clip in batch]
        emitted = generate(
            bundle.model, hear(bundle, audio), spec, sampler, ids, config.frames, levels=bundle.codec.levels
        )
        codes.append(emitted.numpy())
        sounds += list(bundle.codec.decode(emitted.clamp(0, bundle.codec.codes - 1)).numpy())
        progress((start + len(batch)) / len(clips))
    return np.concatenate(codes), sounds


def hear(bundle: Bundle, audio: Tensor) -> Tensor:
    """audio [B, n * 640] -> what the model hears of it."""
    if bundle.model.ears == "mel":
        return bundle.model.hear(audio, bundle.model.init_ears(len(audio)))[0]
    return bundle.codec.encode(audio).transpose(1, 2)


def agreements(
    played: Sequence[Features],
    heard: Sequence[Features],
    others: NDArray[np.intp],
    songs: Sequence[str],
    tuned: NDArray[np.bool_],
) -> dict[str, dict[str, dict[str, float]]]:
    """metric -> {true, shuffled, gain}: with the true input, with others', and the difference; intervals.

    Drums have no chroma (``tuned`` [N]). A clip counts where both can be told.
    """
    own = scores(played, heard, np.arange(len(heard)))
    other = np.stack([scores(played, heard, permutation) for permutation in others])
    for values in (own, other):
        values[..., ~tuned, Agreement._fields.index("chroma")] = np.nan
    known = ~np.isnan(other)
    mean = np.where(known, other, 0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    result = {}
    for column, metric in enumerate(Agreement._fields):
        both = np.isnan(own[:, column]) | np.isnan(mean[:, column])
        a, b = (np.where(both, np.nan, values[:, column]) for values in (own, mean))
        parts = {"true": a, "shuffled": b, "gain": a - b}
        result[metric] = {name: bootstrap(part, songs)._asdict() for name, part in parts.items()}
    return result


def scores(
    played: Sequence[Features], heard: Sequence[Features], permutation: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Agreement of each output with the input that the permutation gives it: [N, 3]."""
    return np.array(
        [agreement(heard[other], sound) for sound, other in zip(played, permutation, strict=True)]
    )


def health(
    sounds: Sequence[NDArray[np.float32]], codes: NDArray[np.int64], clips: Sequence[Clip], size: int
) -> dict[str, Any]:
    """Levels against the targets', silent outputs, and what must never occur: no numbers, no codes."""
    finite = [np.nan_to_num(sound) for sound in sounds]
    level = np.array(
        [level_difference(sound, clip.target) for sound, clip in zip(finite, clips, strict=True)]
    )
    songs = [clip.song for clip in clips]
    near = np.where(np.isnan(level), np.nan, np.abs(level) <= CLOSE_DB)
    by_class = {
        INSTRUMENTS[kind]: [i for i, c in enumerate(clips) if c.instrument == kind]
        for kind in {c.instrument for c in clips}
    }
    return {
        "level_db_median": float(np.nanmedian(level)),
        "level_within_12_db": bootstrap(near, songs)._asdict(),
        "silent": float(np.mean([not activity(sound).any() for sound in finite])),
        "bad_samples": int(sum((~np.isfinite(sound)).sum() for sound in sounds)),
        "no_codes": int(((codes < 0) | (codes >= size)).sum()),
        "level_db_by_class": {
            name: float(np.nanmedian(level[rows])) for name, rows in sorted(by_class.items())
        },
    }


def beats_shuffled(row: dict[str, Any]) -> dict[str, bool]:
    """Whether each agreement with the true input is above that with others', its interval excluding 0."""
    return {metric: Interval(**row[metric]["gain"]).above_zero for metric in METRICS}


def markdown(result: dict[str, Any]) -> str:
    """The tables of the report."""
    lines = [["", "t_f (s)", "agreement", "true input", "shuffled inputs", "difference", "clips"]]
    levels = [
        ["t_f (s)", "median level − target's (dB)", "within 12 dB", "silent", "bad samples", "no codes"]
    ]
    for row in result["rows"]:
        t_f = seconds(row["t_f"])
        for metric, title in METRICS.items():
            values = row[metric]
            cells = [
                plain(values["true"]),
                plain(values["shuffled"]),
                signed(values["gain"]),
                str(values["gain"]["values"]),
            ]
            lines.append([row["system"], t_f, title, *cells])
        if "silent" in row:
            counts = [str(row["bad_samples"]), str(row["no_codes"])]
            near = plain(row["level_within_12_db"], 2)
            levels.append(
                [t_f, number(row["level_db_median"], 1, sign=True), near, f"{row['silent']:.1%}", *counts]
            )
    text = (
        f"{result['clips']} clips of {result['seconds_per_clip']:g} s of {result['songs']} songs, "
        f"k = {result['k']:g} s; each with its own input and with {result['shuffles']} of other songs; "
        "95 % bootstrap intervals over songs."
    )
    return "\n\n".join([text, table(lines), table(levels)]) + "\n"
