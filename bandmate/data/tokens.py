"""Reading the prepared store: training examples and their controls, each a pure function of a seed."""

import zlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from bandmate.data.layout import CODEBOOK, SETTINGS, Entry, TrackArrays, read_entry, read_settings
from bandmate.data.prepare import write_store
from bandmate.data.windows import TRIES, playable, valid_starts
from bandmate.instruments import INSTRUMENTS

__all__ = ["Example", "TokenStore", "write_store"]

CONTROLS = 16  # mixtures of other songs among which the one of nearest activity is taken
CONTROL_STREAM = 0x6C67  # sets these draws apart from those of the windows


@dataclass(frozen=True)
class Example:
    """One training example: x in frames [start - pre, start + T + post), y in [start, start + T).

    `control` is True when x comes from another song (see TokenStore.control); x_song names the song of x.
    """

    x_codes: NDArray[np.int16] | None  # [K, Tx]
    x_features: NDArray[np.uint8] | None  # [Tx, F]
    y: NDArray[np.int16]  # [K, Ty]
    instrument: int
    track: str
    song: str
    cluster: str
    split: str
    start: int
    target: int  # stem of the track
    members: tuple[int, ...]  # stems of the submix
    x_activity: float  # part of the frames of x that sound
    x_song: str
    control: bool = False


class TokenStore:
    """A prepared store, memory-mapped. `split` keeps the tracks of one split; order is that of the ids.

    Raises FileNotFoundError without a store at `path`, ValueError for one that is damaged.
    """

    def __init__(self, path: str | Path, split: str | None = None) -> None:
        self.path = Path(path)
        self.config = read_settings(self.path)
        files = sorted(file for file in self.path.glob("*.json") if file.name != SETTINGS)
        entries = (read_entry(file) for file in files)
        self.entries = tuple(entry for entry in entries if split in (None, entry.split))
        self._maps: dict[str, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def __getstate__(self) -> dict[str, Any]:  # maps are reopened where the store is sent
        return self.__dict__ | {"_maps": {}}

    def of_split(self, split: str) -> "TokenStore":
        """The same store with the tracks of one split only."""
        return TokenStore(self.path, split)

    @cached_property
    def songs(self) -> tuple[str, ...]:
        return tuple(sorted({entry.song for entry in self.entries}))

    def codebook(self) -> NDArray[np.float32]:
        """What the codes stand for, [K, V, D]: the codec's table, whose rows summed over levels are its latent.

        FileNotFoundError for a store without it (made by an early version), ValueError for a damaged one.
        """
        file = self.path / CODEBOOK
        if not file.is_file():
            raise FileNotFoundError(
                f"there is no {file}; run `bandmate prepare` on this store again, with the same codec, to add it"
            )
        try:
            return load_file(file)["codebook"]
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{file} is damaged ({error}); delete it and prepare the store again") from None

    def stats(self) -> dict[str, Any]:
        """Tracks, songs, hours, bytes, stems per class, tracks per split."""
        stems = Counter(INSTRUMENTS[i] for entry in self.entries for i in entry.instruments)
        return {
            "tracks": len(self),
            "songs": len(self.songs),
            "hours": sum(entry.frames for entry in self.entries) / self.config.frame_rate / 3600,
            "bytes": sum(entry.bytes for entry in self.entries),
            "submixes": sum(len(entry.submixes) for entry in self.entries),
            "splits": dict(Counter(entry.split for entry in self.entries)),
            "stems": dict(stems.most_common()),
        }

    def arrays(self, entry: Entry) -> TrackArrays:
        """The mapped arrays of a track."""
        if entry.id not in self._maps:
            self._maps[entry.id] = np.memmap(self.path / f"{entry.id}.bin", dtype=np.uint8, mode="r")
        return TrackArrays(self._maps[entry.id], entry, self.config)

    def window(
        self, seed: int, index: int, frames: int, pre: int = 0, post: int = 0, instrument: int | None = None
    ) -> Example:
        """Draw example `index`, by its arguments alone: track, submix, target from its complement, start.

        y spans `frames` frames; x reaches `pre` frames further back and `post` further on (negative: less).
        Both sound in half of y's frames or more. `instrument` restricts the target to one class.
        Raises ValueError when no window is found, as when all tracks are shorter than pre + frames + post.
        """
        if not self.entries:
            raise ValueError(f"the store at {self.path} holds no tracks of this split")
        rng = np.random.default_rng([seed, index])
        for _ in range(TRIES):
            entry = self.entries[int(rng.integers(len(self.entries)))]
            example = self._draw(entry, rng, frames, pre, post, instrument)
            if example is not None:
                return example
        raise ValueError(
            f"no window of {pre} + {frames} + {post} frames with both sides sounding was found in {self.path}"
        )

    def _draw(
        self, entry: Entry, rng: np.random.Generator, frames: int, pre: int, post: int, instrument: int | None
    ) -> Example | None:
        submix = int(rng.integers(len(entry.submixes)))
        left = [stem for stem in playable(entry.instruments) if stem not in entry.submixes[submix]]
        if instrument is not None:
            left = [stem for stem in left if entry.instruments[stem] == instrument]
        if not left:
            return None
        target = left[int(rng.integers(len(left)))]
        arrays = self.arrays(entry)
        starts = valid_starts(arrays.heard(submix), arrays.active(target), frames, pre, post)
        if not starts.size:
            return None
        start = int(starts[int(rng.integers(starts.size))])
        return self.example(entry, submix, target, start, frames, pre, post)

    def example(
        self, entry: Entry, submix: int, target: int, start: int, frames: int, pre: int = 0, post: int = 0
    ) -> Example:
        """The example at a known place. ValueError if x or y reaches beyond the track."""
        first, stop = start - pre, start + frames + post
        if min(first, start) < 0 or max(stop, start + frames) > entry.frames or stop <= first:
            raise ValueError(
                f"frames {first} to {stop} are not inside track {entry.id!r} of {entry.frames} frames"
            )
        arrays = self.arrays(entry)
        return Example(
            x_codes=arrays.submix_codes(submix, first, stop) if self.config.submix_codes else None,
            x_features=arrays.features(submix, first, stop) if self.config.features else None,
            y=arrays.stem_codes(target, start, start + frames),
            instrument=entry.instruments[target],
            track=entry.id,
            song=entry.song,
            cluster=entry.cluster,
            split=entry.split,
            start=start,
            target=target,
            members=entry.submixes[submix],
            x_activity=float(arrays.heard(submix)[first:stop].mean()),
            x_song=entry.song,
        )

    def control(self, example: Example, seed: int) -> Example:
        """The same example with x from a song of another cluster that sounds about as much of the time.

        Of CONTROLS random submixes, each at its best place, the one whose part of sounding frames is nearest;
        a function of (seed, example) alone. What y gains from its own x over this one is due to listening.
        """
        length = _x_length(example)
        others = [e for e in self.entries if e.cluster != example.cluster and e.frames >= length]
        if not others:
            raise ValueError("a control needs a second song in the store that is long enough")
        rng = np.random.default_rng([CONTROL_STREAM, seed, zlib.crc32(example.track.encode()), example.start])
        best: tuple[float, Entry, int, int] | None = None
        for _ in range(CONTROLS):
            entry = others[int(rng.integers(len(others)))]
            submix = int(rng.integers(len(entry.submixes)))
            total = np.concatenate([[0], np.cumsum(self.arrays(entry).heard(submix), dtype=np.int32)])
            distance = np.abs((total[length:] - total[:-length]) / length - example.x_activity)
            nearest = np.flatnonzero(distance <= distance.min() + 1e-9)
            start = int(nearest[int(rng.integers(nearest.size))])
            if best is None or distance[start] < best[0]:
                best = (float(distance[start]), entry, submix, start)
        assert best is not None
        return self._with_x(example, *best[1:], length)

    def _with_x(self, example: Example, entry: Entry, submix: int, start: int, length: int) -> Example:
        other = self.example(entry, submix, 0, start, length)
        return replace(
            example,
            x_codes=other.x_codes,
            x_features=other.x_features,
            x_activity=other.x_activity,
            x_song=entry.song,
            control=True,
        )


def _x_length(example: Example) -> int:
    if example.x_features is not None:
        return len(example.x_features)
    assert example.x_codes is not None
    return example.x_codes.shape[1]
