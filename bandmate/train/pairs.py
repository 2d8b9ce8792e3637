"""Batches for the coherence encoder: mixtures, their true stems, and stems that are wrong in one way each.

Everything is cut from the spectra of :mod:`bandmate.train.spectra`; the two sides of a pair are disguised apart from each
other, so that neither the room, the level nor the codec tells which belong together.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

from bandmate.data.windows import valid_starts
from bandmate.instruments import PERCUSSIVE
from bandmate.perceive.two_windows import BANDS, FRAMES, SPARE, joined
from bandmate.train.spectra import LOWEST_DB, STEP_DB

WRONG = ("shifted", "elsewhere", "transposed")  # kinds of stems of the same song that do not belong
STRETCH = 1.25  # windows are played up to so much faster or slower
UNLIKE_DB = 3.0  # mean difference below which a wrong stem cannot be told from the true one


class Pairs(NamedTuple):
    """Features [B, 2, 64, 250] of mixtures and true stems, [3, B, 2, 64, 250] of the wrong ones (order of WRONG).

    harmonic, percussive: bool [3, B], where a wrong stem differs enough in that half to count as wrong there.
    group: [B], equal for pairs whose stems are of one class.
    """

    mix: Tensor
    stem: Tensor
    wrong: Tensor
    harmonic: Tensor
    percussive: Tensor
    group: Tensor


@dataclass(frozen=True)
class Place:
    """One window: a track's mixture and stem rows, where it and where the wrong ones begin, how long all are."""

    track: int
    mixture: int
    stem: int
    start: int
    shifted: int
    elsewhere: int
    span: int = FRAMES  # frames that are brought to the length of a chunk: other than FRAMES, another tempo


@dataclass(frozen=True)
class Entry:
    """One track's file and what it holds of each class: class -> [(row of the mixture, row of the stem)]."""

    path: Path
    song: str
    beat: float
    pairs: dict[int, list[tuple[int, int]]]


def read_entry(path: Path) -> Entry:
    with safe_open(path, "numpy") as file:
        about = json.loads(file.metadata()["track"])
    rows = {stem: len(about["members"]) + row for row, stem in enumerate(about["stems"])}
    classes = dict(zip(about["stems"], about["classes"], strict=True))
    pairs: dict[int, list[tuple[int, int]]] = {}
    for mixture, targets in enumerate(about["targets"]):
        for stem in targets:
            pairs.setdefault(classes[stem], []).append((mixture, rows[stem]))
    return Entry(path, about["cluster"], about["beat"], pairs)


class PairStore:
    """The spectra of a split. ``draw`` is a pure function of its key."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(Path(folder).glob("*.safetensors"))
        if not paths:
            raise FileNotFoundError(f"no spectra of tracks in {folder}")
        self.entries = [read_entry(path) for path in paths]
        self.classes: dict[int, dict[str, list[int]]] = {}  # class -> song -> tracks
        for index, entry in enumerate(self.entries):
            for instrument in entry.pairs:
                self.classes.setdefault(instrument, {}).setdefault(entry.song, []).append(index)

    def draw(
        self,
        batch: int,
        groups: int,
        key: tuple[int, ...],
        disguised: bool = True,
        without: tuple[int, ...] = (),
    ) -> Pairs:
        """``groups`` sets of ``batch / groups`` pairs; the stems of a set are of one class, each of another song.

        without: classes that are left out.
        """
        rng = np.random.default_rng(key)
        common = sorted(set(self.classes) - set(without))
        chances = np.sqrt([len(self.classes[c]) for c in common])
        chosen = rng.choice(common, groups, replace=False, p=chances / chances.sum())
        found: list[tuple[Place, int]] = []
        for instrument in chosen:
            found += [
                (place, int(instrument)) for place in self.places(int(instrument), batch // groups, rng)
            ]
        rows = [self.cut(place, instrument, rng, disguised) for place, instrument in found]
        mix, stem, wrong, harmonic, percussive = (torch.stack(part) for part in zip(*rows, strict=True))
        group = torch.tensor([instrument for _, instrument in found])
        return Pairs(mix, stem, wrong.transpose(0, 1), harmonic.T, percussive.T, group)

    def places(
        self, instrument: int, count: int, rng: np.random.Generator, stretch: float = 1.0
    ) -> list[Place]:
        """At most ``count`` windows in which a stem of the class and its mixture sound, each of another song.

        stretch: by how much at most they are longer or shorter than a chunk, as a factor.
        """
        songs = sorted(self.classes[instrument])
        found = []
        for song in rng.permutation(songs):
            tracks = self.classes[instrument][str(song)]
            span = even(FRAMES * stretch ** rng.uniform(-1, 1))
            place = self.place(int(rng.choice(tracks)), instrument, span, rng)
            if place is not None:
                found.append(place)
            if len(found) == count:
                break
        return found

    def place(self, track: int, instrument: int, span: int, rng: np.random.Generator) -> Place | None:
        """A window of a track, or None where the two hardly sound together."""
        entry = self.entries[track]
        mixture, stem = entry.pairs[instrument][rng.integers(len(entry.pairs[instrument]))]
        with safe_open(entry.path, "numpy") as file:
            active = file.get_tensor("active").astype(bool)
        starts = valid_starts(active[mixture], active[stem], span)
        if not starts.size:
            return None
        start = even(rng.choice(starts))
        last = active.shape[1] - span
        shifted = start + even(rng.choice([-1, 1]) * draw_shift(rng) * (entry.beat or 25.0))
        sounding = valid_starts(active[stem], active[stem], span)
        elsewhere = draw_elsewhere(start, 4 * (entry.beat or 25.0), sounding, rng)
        return Place(track, mixture, stem, start, reflect(shifted, start, last), elsewhere, span)

    def cut(
        self, place: Place, instrument: int, rng: np.random.Generator, disguised: bool
    ) -> tuple[Tensor, ...]:
        """Mixture, stem, wrong stems, and which of them differ in the harmonic and in the percussive half."""
        spread = int(rng.integers(-3, 4)) if disguised else 0  # whole semitones of both sides
        step = int(rng.choice([1, 1, 2, 3]) * rng.choice([-1, 1])) if disguised else int(rng.choice([-1, 1]))
        with safe_open(self.entries[place.track].path, "numpy") as file:
            mix = window(file, place.mixture, place.start, place.span)
            stem, shifted, elsewhere = (
                window(file, place.stem, start, place.span)
                for start in (place.start, place.shifted, place.elsewhere)
            )
        plain = joined(*stem)
        wrong = [(joined(*part, moved=0), part, 0) for part in (shifted, elsewhere)]
        wrong.append((joined(*stem, moved=step), stem, step))
        unlike = [(clear - plain).abs().mean(dim=(1, 2)) > UNLIKE_DB for clear, _, _ in wrong]
        unlike[2] &= instrument != PERCUSSIVE
        dress = disguise if disguised else undisguised
        differs = torch.stack(unlike)
        return (
            joined(*dress(mix, rng), moved=spread),
            joined(*dress(stem, rng), moved=spread),
            torch.stack([joined(*dress(part, rng), moved=spread + moved) for _, part, moved in wrong]),
            differs[:, 0],
            differs[:, 1],
        )


def even(frames: float) -> int:
    """The even number of frames nearest to ``frames``, or below: tones have one frame for two."""
    return round(float(frames) / 2) * 2


def draw_shift(rng: np.random.Generator) -> float:
    """Beats by which a stem comes too early or too late."""
    return float(rng.choice([0.5, 1.0, 1.5, rng.uniform(0.25, 0.75)], p=[0.6, 0.1, 0.1, 0.2]))


def draw_elsewhere(start: int, bar: float, starts: NDArray[np.intp], rng: np.random.Generator) -> int:
    """Another bar, on the same beat of it, in which the stem sounds; ``start`` itself where there is none."""
    bars = np.unique(np.round((starts - start) / bar))
    bars = bars[bars != 0]
    places = [even(start + count * bar) for count in bars]
    places = [place for place in places if 0 <= place <= starts[-1]]
    return int(rng.choice(places)) if places else start


def reflect(place: int, start: int, last: int) -> int:
    """A place beyond the track's ends moves to the other side of ``start``; ``start`` itself where that fails, too."""
    for candidate in (place, 2 * start - place):
        if 0 <= candidate <= last:
            return candidate
    return start


Levels = tuple[Tensor, Tensor]


def window(file: Any, row: int, start: int, span: int = FRAMES) -> Levels:
    """dB of ``span`` frames of one sound, brought to 5 s: tones [76, 125], strokes [64, 250]."""
    tones = file.get_slice("tones")[row : row + 1, :, start // 2 : (start + span) // 2]
    strokes = file.get_slice("strokes")[row : row + 1, :, start : start + span]
    levels = decoded(tones), decoded(strokes)
    if span != FRAMES:
        levels = (
            F.interpolate(levels[0], FRAMES // 2, mode="linear"),
            F.interpolate(levels[1], FRAMES, mode="linear"),
        )
    return levels[0][0], levels[1][0]


def decoded(level: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(level.astype(np.float32) * STEP_DB + LOWEST_DB)


def undisguised(levels: Levels, rng: np.random.Generator) -> Levels:
    return levels


def disguise(levels: Levels, rng: np.random.Generator) -> Levels:
    """Another equaliser, bandwidth, noise floor, blur and grain: what records, rooms and codecs do to a sound."""
    tones, strokes = levels
    tones = tones + curve(len(tones), rng)
    strokes = strokes + curve(len(strokes), rng)
    if rng.random() < 0.25:
        strokes[int(rng.integers(BANDS // 2, BANDS)) :] = LOWEST_DB
        tones[int(rng.integers(BANDS // 2, BANDS)) + 2 * SPARE :] = LOWEST_DB
    if rng.random() < 0.15:
        tones[: int(rng.integers(0, BANDS // 4)) + SPARE] = LOWEST_DB
    return rough(tones, rng), rough(strokes, rng)


def curve(bands: int, rng: np.random.Generator) -> Tensor:
    """A smooth equaliser in dB [bands, 1]."""
    place = np.linspace(0, 1, bands)
    shape = rng.normal(0, 5) * (place - 0.5)
    for waves in (1, 2, 3):
        shape = shape + rng.normal(0, 3 / waves) * np.cos(np.pi * waves * place + rng.uniform(0, 2 * np.pi))
    return torch.from_numpy(shape.astype(np.float32))[:, None]


def rough(level: Tensor, rng: np.random.Generator) -> Tensor:
    """dB [F, T] with a noise floor, a blur in time or band, grain and other dynamics, each now and then."""
    top = float(level.max())
    if rng.random() < 0.4:
        floor = top - float(rng.uniform(35, 75))
        level = torch.logaddexp(level * 0.23, noise(level, rng) * 0.23 + floor * 0.23) / 0.23  # powers add
    if rng.random() < 0.2:
        level = F.avg_pool1d(level[None], 3, 1, 1)[0]
    if rng.random() < 0.1:
        level = F.avg_pool1d(level.T[None], 3, 1, 1)[0].T
    if rng.random() < 0.3:
        level = level + noise(level, rng)
    if rng.random() < 0.3:
        level = top + (level - top) * float(rng.uniform(0.75, 1.3))
    return level


def noise(level: Tensor, rng: np.random.Generator) -> Tensor:
    """Grain of 2 dB, the same shape."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    return 2 * torch.randn(level.shape, generator=generator)
