"""Excerpts of rendered songs to measure on: spread evenly over the songs of a split, by a seed alone."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bandmate.audio.loudness import activity
from bandmate.data.render import load_track, rendered_tracks
from bandmate.data.stems import Track
from bandmate.data.windows import Window, cut, draw_window

HOP = 640  # samples per frame
TRIES = 12  # excerpts of a track that are looked at before it is given up
SOLO_SOUNDS = 0.25  # least part of its frames in which a stem sounds by itself
SLACK = 100  # frames more than a window needs, so that it can be laid where both sides sound


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a clip lies: frames [start, start + frames) of a track, stem ``target`` over the sum of ``members``."""

    track: str
    start: int
    frames: int
    target: int
    members: tuple[int, ...]
    draw: int = 0  # which draw of the seed found it


@dataclasses.dataclass(frozen=True)
class Clip:
    """A target stem and the mixture of others that it goes with; both begin at the same instant.

    The mixture is longer than the target where the model hears ahead: mixture [S'], target [S]. song: near duplicates
    are one.
    """

    song: str
    instrument: int
    mixture: NDArray[np.float32]
    target: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """One sound by itself, [S]: a stem of class ``instrument``, or a whole mix where that is None; ``song`` as a clip's."""

    song: str
    instrument: int | None
    audio: NDArray[np.float32]


def split_paths(folder: Path, split: str) -> list[Path]:
    """Rendered tracks of a split: the first renditions of all songs, then the second ones, and so on."""
    found = rendered_tracks(folder)
    paths = [path for path in found if path.parent.name == split]
    if not paths:
        there = ", ".join(sorted({path.parent.name for path in found}))
        raise ValueError(f"{folder} holds no rendered tracks of the split {split!r}; there are: {there}")
    return sorted(paths, key=lambda path: (path.stem.rpartition("__")[2], path.stem))


def crop(track: Track, start: int, samples: int) -> Track:
    """The track from sample ``start`` on."""
    stems = (dataclasses.replace(stem, audio=stem.audio[start : start + samples]) for stem in track.stems)
    return dataclasses.replace(track, stems=tuple(stems))


def crops(
    track: Track, samples: int, rng: np.random.Generator
) -> Iterator[tuple[int, Track, NDArray[np.bool_]]]:
    """Random excerpts of a track (all of it if it is shorter): first frame, excerpt, its activity [stems, T]."""
    samples = min(samples, track.samples // HOP * HOP)
    for _ in range(TRIES):
        first = int(rng.integers((track.samples - samples) // HOP + 1))
        piece = crop(track, first * HOP, samples)
        yield first, piece, activity(piece.audio, piece.sample_rate)


def accompaniment_clips(
    folder: Path, split: str, count: int, frames: int, post: int, seed: int = 0
) -> Iterator[Clip]:
    """``count`` clips of ``frames`` frames whose mixture goes on for ``post`` more; see :func:`accompaniment_places`."""
    for track, place in itertools.islice(accompaniment_places(folder, split, frames, post, seed), count):
        yield cut_clip(track, place, post)


def accompaniment_places(
    folder: Path, split: str, frames: int, post: int, seed: int = 0, first: int = 0, most: int | None = None
) -> Iterator[tuple[Track, Place]]:
    """Tracks of a split in turn, without end, each with a place for a clip in it.

    Both sides sound in half of the frames or more (see bandmate.data.windows); ``most`` limits the number of
    stems in the mixture. Tracks without such a place are left out. ``first`` goes on at that draw. Ends, or
    raises ValueError when nothing at all was found, after TRIES rounds through the split without a place.
    """
    paths = split_paths(folder, split)
    vain, found = 0, first > 0
    for draw in itertools.count(first):
        track = load_track(paths[draw % len(paths)])
        place = draw_place(track, frames, post, seed, draw, most)
        vain = 0 if place else vain + 1
        if place:
            found = True
            yield track, place
        elif vain >= len(paths) * (TRIES if found else 1):
            break
    if not found:
        raise ValueError(
            f"no track of the split {split!r} has {(frames + post) / 50:g} s in which a stem and others sound"
        )


def draw_place(
    track: Track, frames: int, post: int, seed: int, draw: int, most: int | None = None
) -> Place | None:
    """A place in the track by (seed, draw), or None."""
    rng = np.random.default_rng([seed, draw])
    for attempt, (first, piece, active) in enumerate(crops(track, (frames + post + SLACK) * HOP, rng)):
        window = draw_window(active, piece.instruments, frames, seed, draw * TRIES + attempt, 0, post)
        if window is not None and (most is None or len(window.members) <= most):
            return Place(track.id, first + window.start, frames, window.target, window.members, draw)
    return None


def cut_clip(track: Track, place: Place, post: int) -> Clip:
    """The audio at a place, the mixture going on for ``post`` frames."""
    piece = crop(track, place.start * HOP, (place.frames + post) * HOP)
    mixture, target = cut(piece, Window(place.target, place.members, 0, place.frames), HOP, 0, post)
    return Clip(track.cluster, piece.instruments[place.target], mixture, target)


def solo_excerpts(
    folder: Path,
    split: str,
    songs: int,
    frames: int,
    stems: int,
    favoured: tuple[int, ...] = (),
    seed: int = 0,
) -> Iterator[tuple[str, list[Excerpt]]]:
    """Of each track in turn, ``songs`` of them: its id, its mix, and ``stems`` of its stems, all at the same place.

    A track in which nothing sounds has no excerpts. Stems sound in a quarter of the frames or more. Their classes are
    kept even, the ``favoured`` ones at three times the others.
    """
    taken: dict[int, float] = {}
    for index, path in enumerate(split_paths(folder, split)[:songs]):
        rng = np.random.default_rng([seed, index])
        track = load_track(path)
        found = first_sounding(track, frames * HOP, rng)
        if found is None:
            yield track.id, []
            continue
        piece, sounding = found
        excerpts = [Excerpt(track.cluster, None, piece.mix)]
        for _ in range(min(stems, len(sounding))):
            often = np.array([taken.get(piece.instruments[stem], 0.0) for stem in sounding])
            stem = int(rng.choice(sounding[often == often.min()]))
            sounding = sounding[sounding != stem]
            kind = piece.instruments[stem]
            taken[kind] = taken.get(kind, 0.0) + (1 / 3 if kind in favoured else 1)
            excerpts.append(Excerpt(track.cluster, kind, piece.stems[stem].audio))
        yield track.id, excerpts


def first_sounding(
    track: Track, samples: int, rng: np.random.Generator
) -> tuple[Track, NDArray[np.intp]] | None:
    """A random excerpt in which a stem or more sound in a quarter of the frames, and which stems."""
    for _, piece, active in crops(track, samples, rng):
        sounding = np.flatnonzero(active.mean(axis=1) >= SOLO_SOUNDS)
        if len(sounding):
            return piece, sounding
    return None
