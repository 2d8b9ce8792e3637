"""What does not belong: stems and mixtures of other songs, each drawn by (seed, draw) alone."""

import dataclasses
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bandmate.audio.loudness import activity
from bandmate.data.render import load_track
from bandmate.data.stems import Track
from bandmate.data.windows import playable, valid_starts
from bandmate.instruments import lookup
from bandmate.sweep.clips import HOP, Place, cut_clip, draw_place, split_paths

RANDOM_STREAM, SHUFFLE_STREAM = 0x7261, 0x7368  # sets these draws apart from those of the places


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is known of a rendered track without reading its audio."""

    path: Path
    cluster: str
    instruments: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Stranger:
    """Audio [S] of another song, and where it is from. ``instrument``: class of a stem; None for a mixture."""

    audio: NDArray[np.float32]
    song: str
    track: str
    start: int
    instrument: int | None


class OtherSongs:
    """The tracks of a split, to be asked for something of a song that is not the given one."""

    def __init__(self, folder: Path, split: str, seed: int) -> None:
        self.seed = seed
        self.entries = tuple(read_entry(path) for path in split_paths(folder, split))

    def stem(self, track: Track, place: Place) -> Stranger:
        """A random pairing: a true stem of the target's class from another song, sounding in half of the frames.

        Of any class where no other song has one of this. ValueError when there is no other song at all.
        """
        kind = track.instruments[place.target]
        rng = np.random.default_rng([RANDOM_STREAM, self.seed, place.draw])
        others = self.others(track, rng)
        alike = [(entry, kind) for entry in others if kind in entry.instruments]
        for entry, wanted in [*alike, *((entry, None) for entry in others)]:
            found = sounding_stem(entry, wanted, place.frames, rng)
            if found:
                return found
        raise ValueError("a random pairing needs a second song in the split with a stem that sounds")

    def mixture(self, track: Track, place: Place, post: int, most: int | None) -> Stranger:
        """A mixture of another song, drawn as that of a clip. ValueError when there is none."""
        rng = np.random.default_rng([SHUFFLE_STREAM, self.seed, place.draw])
        for entry in self.others(track, rng):
            other = load_track(entry.path)
            draw = int(rng.integers(2**31))
            there = draw_place(other, place.frames, post, self.seed, draw, most)
            if there is not None:
                audio = cut_clip(other, there, post).mixture
                return Stranger(audio, other.song, other.id, there.start, None)
        raise ValueError("shuffled inputs need a second song in the split that is long enough")

    def others(self, track: Track, rng: np.random.Generator) -> list[Entry]:
        """Tracks of other clusters in random order."""
        others = [entry for entry in self.entries if entry.cluster != track.cluster]
        return [others[index] for index in rng.permutation(len(others))]


def read_entry(path: Path) -> Entry:
    """ValueError for a record that is damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Entry(path, record["cluster"], tuple(lookup(name) for name in record["classes"]))
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is not a complete rendered track ({error}); delete it and render again"
        ) from None


def sounding_stem(entry: Entry, wanted: int | None, frames: int, rng: np.random.Generator) -> Stranger | None:
    """A random place in a random stem of that class (None: any but vocals), if one sounds in half of the frames."""
    track = load_track(entry.path)
    for stem in rng.permutation(playable(track.instruments)):
        kind = track.instruments[stem]
        if wanted is not None and kind != wanted:
            continue
        active = activity(track.stems[stem].audio[: track.samples // HOP * HOP], track.sample_rate)
        starts = valid_starts(active, active, frames)
        if starts.size:
            start = int(rng.choice(starts))
            audio = track.stems[stem].audio[start * HOP : (start + frames) * HOP]
            return Stranger(audio, track.song, track.id, start, kind)
    return None
