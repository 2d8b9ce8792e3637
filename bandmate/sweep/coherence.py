"""Does a coherence network tell the true stem from a wrong one, on unseen songs: what its scores are worth.

Wrong stems are made from sound, not from features: the same class from another song, the true stem half a beat early or
late, the true stem a semitone up or down.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from bandmate.data.stems import Track
from bandmate.evaluate.intervals import bootstrap
from bandmate.instruments import INSTRUMENTS, PERCUSSIVE
from bandmate.perceive.hpss import CHUNK, MODES, RATE
from bandmate.sweep.clips import HOP, Place, accompaniment_places
from bandmate.sweep.tables import plain, table

FRAMES = 250  # 5 s, one chunk
SOUNDS = ("true", "shifted", "semitone", "vocoder")
ROWS = {
    "other": "same class, another song",
    "shifted": "half a beat early or late",
    "semitone": "a semitone up or down",
    "semitone, same vocoder": "the same, the true stem through the vocoder too",
}
GROUPS = ("all", "drums", "others")


@dataclass(frozen=True)
class RankingConfig:
    """``clips`` windows of 5 s, spread over the songs."""

    clips: int = 256
    seed: int = 0


class Case(NamedTuple):
    """One window at 16 kHz: the mix, the true stem, wrong ones made of it (NaN where there is none); [80 000] each."""

    song: str
    instrument: int
    sounds: dict[str, NDArray[np.float32]]


def measure(
    network: Any,
    folder: Path,
    split: str,
    config: RankingConfig,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Share of clips whose true stem scores above each wrong one, by mode and by group of instruments."""
    songs, instruments = [], []
    embedded: dict[str, dict[str, list[Tensor]]] = {mode: {} for mode in MODES}
    places = accompaniment_places(folder, split, FRAMES, 0, config.seed)
    for done, (track, place) in enumerate(itertools.islice(places, config.clips), 1):
        case = make_case(track, place, np.random.default_rng([config.seed, done]))
        songs.append(case.song)
        instruments.append(case.instrument)
        for mode, vectors in embed(network, case.sounds).items():
            for name, vector in vectors.items():
                embedded[mode].setdefault(name, []).append(vector)
        if progress:
            progress(done / config.clips)
    won = {mode: compare(network, vectors, songs, instruments) for mode, vectors in embedded.items()}
    return {
        "clips": len(songs),
        "songs": len(set(songs)),
        "classes": {INSTRUMENTS[i]: instruments.count(i) for i in sorted(set(instruments))},
        "rows": [summary(won, name, group, songs, instruments) for name in ROWS for group in GROUPS],
    }


def make_case(track: Track, place: Place, rng: np.random.Generator) -> Case:
    """The sounds of one place. Half beats are of the track's own tempo; without beats there is no shifted stem."""
    start, rate = place.start * HOP, track.sample_rate
    length = place.frames * HOP
    stem = track.stems[place.target]
    sign = int(rng.choice([-1, 1]))
    true = at_16k(stem.audio[start : start + length], rate)
    up = transposed(true, sign)
    sounds = {
        "mix": at_16k(track.submix(place.members)[start : start + length], rate),
        "true": true,
        "shifted": shifted(stem.audio, start, length, sign * half_beat(track, rate), rate),
        "semitone": up,
        "vocoder": transposed(up, -sign),
    }
    return Case(track.cluster, stem.instrument, sounds)


def half_beat(track: Track, rate: int) -> int:
    """Samples of half a beat; 0 where the beats are not known."""
    beats = np.asarray(track.meta.get("beats", []), dtype=float)
    return round(float(np.median(np.diff(beats))) / 2 * rate) if len(beats) > 2 else 0


def shifted(
    audio: NDArray[np.float32], start: int, length: int, shift: int, rate: int
) -> NDArray[np.float32]:
    """The stem from ``shift`` samples later on, or as much earlier where the track ends; NaN for no shift."""
    for place in (start + shift, start - shift):
        if shift and 0 <= place <= len(audio) - length:
            return at_16k(audio[place : place + length], rate)
    return np.full(CHUNK, np.nan, dtype=np.float32)


def at_16k(audio: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Resampled and brought to 5 s to the sample."""
    sound = audio if rate == RATE else soxr.resample(audio, rate, RATE)
    return np.pad(sound[:CHUNK], (0, max(0, CHUNK - len(sound)))).astype(np.float32)


def transposed(audio: NDArray[np.float32], semitones: int) -> NDArray[np.float32]:
    """Moved in pitch at the same tempo: librosa's phase vocoder and a resampling."""
    try:
        import librosa
    except ModuleNotFoundError:
        raise ValueError(
            "librosa is not installed, and it moves the pitch: pip install 'bandmate[eval]'"
        ) from None
    return librosa.effects.pitch_shift(audio, sr=RATE, n_steps=semitones, res_type="soxr_hq").astype(
        np.float32
    )


def embed(network: Any, sounds: dict[str, NDArray[np.float32]]) -> dict[str, dict[str, Tensor]]:
    """mode -> name of the sound -> embedding [D]; NaN for a sound that is not there."""
    there = {name: sound for name, sound in sounds.items() if np.isfinite(sound).all()}
    with torch.inference_mode():
        features = network.features(torch.from_numpy(np.stack(list(there.values()))))
        made = {mode: network.embed(features, mode) for mode in MODES}
    nothing = torch.full_like(made["both"][0], torch.nan)
    return {
        mode: dict.fromkeys(sounds, nothing) | dict(zip(there, vectors, strict=True))
        for mode, vectors in made.items()
    }


def compare(
    network: Any, vectors: dict[str, list[Tensor]], songs: list[str], instruments: list[int]
) -> dict[str, NDArray[np.float64]]:
    """Share of the wrong stems of each kind that each clip's true stem beats [N]; a draw is half, NaN for none."""
    stacked = {name: torch.stack(each) for name, each in vectors.items()}
    with torch.inference_mode():
        square = network.similarity(stacked["mix"], stacked["true"]).double().numpy()
        own = {
            name: network.similarity(stacked["mix"], stacked[name]).diagonal().double().numpy()
            for name in SOUNDS
        }
    song, kind = np.asarray(songs), np.asarray(instruments)
    rivals = (song[:, None] != song[None]) & (kind[:, None] == kind[None])
    beaten = np.where(rivals, above(own["true"][:, None], square), np.nan)
    counts = rivals.sum(axis=1)
    return {
        "other": np.where(counts > 0, np.nansum(beaten, axis=1) / np.maximum(counts, 1), np.nan),
        "shifted": above(own["true"], own["shifted"]),
        "semitone": above(own["true"], own["semitone"]),
        "semitone, same vocoder": above(own["vocoder"], own["semitone"]),
    }


def above(true: NDArray[np.float64], wrong: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where the true one scores higher, 0.5 for a draw, NaN where there is no wrong one."""
    return np.where(np.isnan(wrong), np.nan, (true > wrong) + 0.5 * (true == wrong))


def summary(
    won: dict[str, dict[str, NDArray[np.float64]]],
    name: str,
    group: str,
    songs: list[str],
    instruments: list[int],
) -> dict[str, Any]:
    """One row: mean over songs with its 95 % interval for each mode."""
    drums = np.asarray(instruments) == PERCUSSIVE
    chosen = {"all": np.ones_like(drums), "drums": drums, "others": ~drums}[group]
    cells = {
        mode: bootstrap(np.where(chosen, kinds[name], np.nan), songs)._asdict() for mode, kinds in won.items()
    }
    return {"wrong": name, "group": group, **cells}


def markdown(report: dict[str, Any]) -> str:
    """The table under what it is of."""
    lines = [["the true stem above", "of", *MODES, "clips"]]
    for row in report["rows"]:
        cells = [plain(row[mode], 3) for mode in MODES]
        lines.append([ROWS[row["wrong"]], row["group"], *cells, str(row["both"]["values"])])
    head = (
        f"{report['clips']} clips of 5 s of {report['songs']} songs. Share of wrong stems that score below the true "
        "one, 95 % intervals over songs; 0.5 is chance."
    )
    return f"{head}\n\n{table(lines)}\n"
