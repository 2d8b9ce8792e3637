"""What a clip is made of, whatever is to be played with it: sounds that depend on its place alone."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bandmate.audio.loudness import normalise_loudness
from bandmate.audio.mixing import BOOST_DB, TARGET_LUFS
from bandmate.data.render import load_track
from bandmate.data.stems import Stem, Track
from bandmate.instruments import INSTRUMENTS, lookup
from bandmate.sweep.clip_folder import Pcm, Row, read_sound
from bandmate.sweep.clips import HOP, Place, accompaniment_places, crop, cut_clip, split_paths
from bandmate.sweep.pairing import OtherSongs

PLACE_KEYS = (
    "clip", "song", "cluster", "track", "split", "start", "frames", "n_in", "members", "instrument", "target", "stems",
    "draw", "gain_db", "equal_lufs", "random",
)  # fmt: skip
PEAK = 0.99  # no sound of a clip is louder
STEM_PEAK = 0.5  # nor a true stem than this: what is played may be 6 dB louder


@dataclasses.dataclass(frozen=True)
class PlacesConfig:
    """Which clips: ``frames`` each, the mixture going on for ``post`` more; at most ``most`` stems in it."""

    split: str = "test"
    frames: int = 500
    post: int = 225
    most: int | None = 6
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Material:
    """One clip before anything is played. ``mixture`` [S'] float32 is what the file ``input`` holds, and goes on.

    track: what it was cut from; None where only what was heard of it is kept.
    """

    row: Row
    track: Track | None
    place: Place
    mixture: NDArray[np.float32]
    target: Pcm  # [S]
    sounds: dict[str, Pcm]  # input, input_equal, target, random: [S]; empty where another folder has them

    @property
    def instrument(self) -> int:
        return lookup(self.row["instrument"])

    @property
    def clip(self) -> str:
        return self.row["clip"]

    def slim(self, target: bool) -> "Material":
        """The same without mixture and track, to be kept in memory; the target stays if it is wanted."""
        kept = self.target if target else self.target[:0]
        return dataclasses.replace(self, track=None, mixture=self.mixture[:0], target=kept)


Todo = tuple[str, Track, Place]  # clip id, its track, where in it


def todo(
    folder: Path, config: PlacesConfig, known: dict[str, Row], done: Callable[[str], bool]
) -> Iterator[Todo]:
    """The clips that are not ``done``, without end: as the ``known`` rows say, then by further draws."""
    tracks, number, draw = {path.stem: path for path in split_paths(folder, config.split)}, 0, 0
    while f"{number:05d}" in known:
        clip = f"{number:05d}"
        place = place_of(known[clip])
        if place.track not in tracks:
            raise ValueError(f"clip {clip} is of track {place.track}, which {folder} does not hold")
        if not done(clip):
            yield clip, load_track(tracks[place.track]), place
        number, draw = number + 1, place.draw + 1
    c = config
    for track, place in accompaniment_places(folder, c.split, c.frames, c.post, c.seed, draw, c.most):
        yield f"{number:05d}", track, place
        number += 1


def place_of(row: Row) -> Place:
    """The place that a row tells of."""
    return Place(row["track"], row["start"], row["frames"], row["target"], tuple(row["stems"]), row["draw"])


def make(clip: str, track: Track, place: Place, config: PlacesConfig, others: OtherSongs) -> Material:
    """Cuts and scales the sounds of a clip. One gain for all of it, so that levels stay as they were to each other."""
    cut = cut_clip(track, place, config.post)
    samples = place.frames * HOP
    stranger = others.stem(track, place)
    loudest = [peak(cut.mixture) / PEAK, peak(cut.target) / STEM_PEAK, peak(stranger.audio) / STEM_PEAK]
    gain_db = -round(20 * math.log10(max(1.0, *loudest)), 4) + 0.0  # no minus zero
    gain = amplitude(gain_db)
    equal, lufs = equal_loudness([stem.audio for stem in members_of(track, place)], track.sample_rate)
    mixture = to_pcm(cut.mixture * gain)
    sounds = {
        "input": mixture[:samples],
        "input_equal": to_pcm(equal),
        "target": to_pcm(cut.target * gain),
        "random": to_pcm(stranger.audio * gain),
    }
    row = {
        "clip": clip,
        "song": track.song,
        "cluster": track.cluster,
        "track": track.id,
        "split": track.split,
        "start": place.start,
        "frames": place.frames,
        "n_in": len(place.members),
        "members": [INSTRUMENTS[track.instruments[stem]] for stem in place.members],
        "instrument": INSTRUMENTS[cut.instrument],
        "target": place.target,
        "stems": list(place.members),
        "draw": place.draw,
        "gain_db": gain_db,
        "equal_lufs": round(lufs, 4),
        "random": {
            "song": stranger.song,
            "track": stranger.track,
            "start": stranger.start,
            "instrument": INSTRUMENTS[stranger.instrument or 0],
        },
    }
    return Material(row, track, place, from_pcm(mixture), sounds["target"], sounds)


def like(other: Path, row: Row, track: Track, place: Place, config: PlacesConfig) -> Material:
    """A clip as another folder has it. ValueError when that was made from other tracks than these."""
    cut, gain = cut_clip(track, place, config.post), amplitude(row["gain_db"])
    mixture = to_pcm(cut.mixture * gain)
    theirs = read_sound(other, "input", row["clip"])
    ours = mixture[: place.frames * HOP]
    if not np.array_equal(theirs, ours):
        raise ValueError(
            f"clip {row['clip']} of {other} is not what the rendered tracks hold there: they differ"
        )
    kept = {name: row[name] for name in PLACE_KEYS if name in row}  # early ones tell no cluster
    return Material(kept, track, place, from_pcm(mixture), to_pcm(cut.target * gain), {})


def members_of(track: Track, place: Place) -> list[Stem]:
    piece = crop(track, place.start * HOP, place.frames * HOP)
    return [piece.stems[stem] for stem in place.members]


def equal_loudness(stems: list[NDArray[np.float32]], rate: int) -> tuple[NDArray[np.float32], float]:
    """Stems at equal loudness, summed (paper A.7), and the LUFS of each: 5 dB below -18, less where the sum would clip.

    Silent stems stay silent.
    """
    level = TARGET_LUFS - BOOST_DB
    total = np.stack([normalise_loudness(stem, rate, level) for stem in stems]).sum(axis=0, dtype=np.float32)
    gain = 1 / max(1.0, peak(total) / PEAK)
    return total * np.float32(gain), level + 20 * math.log10(gain)


def amplitude(db: float) -> np.float32:
    return np.float32(10 ** (db / 20))


def peak(audio: NDArray[np.float32]) -> float:
    return float(np.abs(audio).max(initial=0.0))


def to_pcm(audio: NDArray[np.floating]) -> Pcm:
    """[S] in [-1, 1) to 16 bits; what is louder is clipped."""
    return np.clip(np.round(audio * 32768.0), -32768, 32767).astype(np.int16)


def from_pcm(samples: Pcm) -> NDArray[np.float32]:
    return samples.astype(np.float32) / np.float32(32768)
