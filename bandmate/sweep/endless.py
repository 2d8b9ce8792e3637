"""Half an hour and more of one song: its renditions one after the other, again and again, joined by cross-fades."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bandmate.data.render import load_track
from bandmate.data.windows import playable
from bandmate.instruments import INSTRUMENTS
from bandmate.sweep.clips import HOP, split_paths
from bandmate.sweep.pairing import Entry, read_entry

FADE = 25  # frames: half a second, equal power
SHORTEST = 4 * FADE  # frames of a rendition that is worth joining

Pair = NDArray[np.float32]  # [2, S]: mixture and true stem


@dataclass(frozen=True)
class Source:
    """A song of which one class is to be played: its renditions that have it."""

    song: str
    instrument: int
    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        return f"{self.song}, {INSTRUMENTS[self.instrument]}"


def draw_sources(folder: Path, split: str, count: int, seed: int = 0) -> list[Source]:
    """``count`` songs of a split, no near duplicates, and what is to be played in each, by a seed.

    ValueError when there are fewer.
    """
    songs: dict[str, list[Entry]] = {}
    for path in split_paths(folder, split):
        songs.setdefault(path.stem.rpartition("__")[0], []).append(read_entry(path))
    rng, found = np.random.default_rng([0x656E, seed]), []
    taken: set[str] = set()
    for song in np.array(sorted(songs))[rng.permutation(len(songs))]:
        entries = [entry for entry in songs[song] if len(entry.instruments) > 1]
        classes = [{entry.instruments[stem] for stem in playable(entry.instruments)} for entry in entries]
        common = sorted(set.intersection(*classes)) if classes else []
        if common and entries[0].cluster not in taken:
            taken.add(entries[0].cluster)
            kind = int(rng.choice(common))
            found.append(Source(str(song), kind, tuple(entry.path for entry in entries)))
        if len(found) == count:
            return found
    raise ValueError(
        f"the split {split!r} of {folder} has {len(found)} songs with a stem to play, not {count}: ask for fewer"
    )


def pieces(source: Source) -> Iterator[Pair]:
    """Renditions in turn without end, whole frames, each turned down where its mixture would clip."""
    while True:
        found = 0
        for path in source.paths:
            track = load_track(path)
            frames = track.samples // HOP
            if frames < SHORTEST:
                continue
            found += 1
            target = track.instruments.index(source.instrument)
            others = tuple(index for index in range(len(track.stems)) if index != target)
            pair = np.stack([track.submix(others), track.stems[target].audio])[:, : frames * HOP]
            yield pair * np.float32(0.99 / max(0.99, float(np.abs(pair).max())))
        if not found:
            raise ValueError(
                f"the renditions of {source.song} are shorter than {SHORTEST / 50:g} s: nothing to join"
            )


class Endless:
    """What :func:`pieces` gives as one stream."""

    def __init__(self, source: Source) -> None:
        self._pieces = pieces(source)
        self._ready = next(self._pieces)

    def read(self, frames: int) -> Pair:
        """The next ``frames`` frames [2, frames * 640]."""
        wanted = frames * HOP
        while self._ready.shape[1] < wanted + FADE * HOP:
            self._ready = joined(self._ready, next(self._pieces), FADE * HOP)
        block, self._ready = self._ready[:, :wanted], self._ready[:, wanted:]
        return block


def joined(a: Pair, b: Pair, samples: int) -> Pair:
    """a, then b, over one another for ``samples`` samples."""
    angle = np.linspace(0, np.pi / 2, samples, dtype=np.float32)
    middle = a[:, -samples:] * np.cos(angle) + b[:, :samples] * np.sin(angle)
    return np.concatenate([a[:, :-samples], middle, b[:, samples:]], axis=1)
