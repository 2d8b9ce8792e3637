"""A data set of stems as a folder of tracks, laid out as rendered ones are: what measuring reads.

<out>/<split>/<track>__r00.npy (int16 [stems, S], mono, 32 kHz), then .json beside it: see `bandmate.data.render`. So
`bandmate generate`, `sweep` and `evaluate` take Slakh for what it is: songs, one rendition of each.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bandmate.data.layout import SETTINGS
from bandmate.data.pack import SPLITS
from bandmate.data.prepare import list_left_out, sweep_up
from bandmate.data.render import refuse_other_settings, save_track
from bandmate.data.stems import LazyTrack, Track
from bandmate.data.windows import draw_submix
from bandmate.instruments import INSTRUMENTS

RENDITION = "__r00"  # ends the name of a song's first rendition; of a recorded song there is one


@dataclass(frozen=True)
class TrackFolder:
    """A folder of tracks being written: one job for each track, complete or absent.

    `seconds` is how much the tracks were shortened to, None for whole ones: it is told in their JSON.
    """

    path: Path
    seconds: float | None = None

    def claim(self) -> None:
        """Make the folder; sweep up what a kill left behind. ValueError when it is a prepared store."""
        if (self.path / SETTINGS).exists():
            raise ValueError(f"{self.path} is a prepared store: choose a new folder for the tracks")
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in (self.path, *(self.path / split for split in SPLITS)):
            sweep_up(folder)

    def unfinished(self, tracks: Sequence[LazyTrack]) -> list[LazyTrack]:
        """Those that are not there whole, in any split. ValueError for one that is there with other `seconds`."""
        return [track for track in tracks if not self._holds(track.id)]

    def _holds(self, name: str) -> bool:
        there = [place for place in self.places(name) if is_whole(place)]
        for place in there:
            refuse_other_settings(place, {"seconds": self.seconds})
        return bool(there)

    def places(self, name: str) -> list[Path]:
        """Where the JSON of a track may be: its split is known when it is read."""
        return [self.path / split / f"{name}{RENDITION}.json" for split in SPLITS]

    def run(self, track: LazyTrack) -> str | None:
        """One track from its files to the folder; why it was left out, or None. Refuses what a store refuses."""
        left_out: list[str] = []
        try:
            loaded = track.load()
            left_out = loaded.meta.get("left_out", [])
            draw_submix(loaded.instruments, np.random.default_rng(0))
        except ValueError as error:
            return "; ".join([str(error), *left_out])
        made = as_rendition(loaded)
        made = replace(made, meta=made.meta | {"settings": {"seconds": self.seconds}})
        save_track(made, self.path / made.split / made.id)
        return None

    def records(self) -> Iterator[dict[str, Any]]:
        """What the JSON of each finished track holds."""
        for split in SPLITS:
            for file in sorted((self.path / split).glob("*.json")):
                yield json.loads(file.read_text(encoding="utf-8"))

    def write_left_out(self, failed: dict[str, str]) -> list[str]:
        """Tell in `left_out.jsonl` which tracks {id: why} and which stems were left out; the same as lines."""
        there = ((record["id"].removesuffix(RENDITION), record) for record in self.records())
        rows = [(name, reason) for name, record in there for reason in record.get("left_out", ())]
        return list_left_out(self.path, [*failed.items(), *(row for row in rows if row[0] not in failed)])

    def stats(self) -> dict[str, Any]:
        """Tracks, hours, bytes of audio, tracks per split, stems per class; no tracks, no splits."""
        records = list(self.records())
        return {
            "tracks": len(records),
            "hours": sum(record["samples"] / record["sample_rate"] for record in records) / 3600,
            "bytes": sum(2 * record["samples"] * len(record["classes"]) for record in records),
            "splits": dict(Counter(record["split"] for record in records)),
            "stems": dict(Counter(name for record in records for name in record["classes"]).most_common()),
        }


def as_rendition(track: Track) -> Track:
    """The track under the name of a rendition. All stems alike are turned down where one has more than 16 bits hold."""
    peak = max(float(np.abs(stem.audio).max(initial=0.0)) for stem in track.stems)
    stems, gain = track.stems, 1 / max(1.0, peak)
    if gain < 1:
        stems = tuple(replace(stem, audio=stem.audio * np.float32(gain)) for stem in stems)
    about = {
        "classes": [INSTRUMENTS[stem.instrument] for stem in stems],
        "names": [stem.name for stem in stems],
        "gain": gain,
    }
    return replace(track, id=track.id + RENDITION, stems=stems, meta=about | track.meta)


def is_whole(json_path: Path) -> bool:
    """Whether a track is there, its JSON readable and its stems as many and as long as that says."""
    try:
        record = json.loads(json_path.read_text(encoding="utf-8"))
        samples = np.load(json_path.with_suffix(".npy"), mmap_mode="r")
        return samples.dtype == np.int16 and samples.shape == (len(record["classes"]), record["samples"])
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return False
