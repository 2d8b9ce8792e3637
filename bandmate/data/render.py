"""Render MIDI songs to tracks on disk: what `bandmate prepare midi` does.

Layout: <out>/<split>/<song>__rNN.npy (int16 [stems, S], mono 32 kHz) and .json (everything else);
<out>/failed.json says which songs of which source could not be rendered and why.
"""

import json
import sys
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from bandmate.data import pack
from bandmate.data.files import replacing
from bandmate.data.midi import Song, load_mido, read_midi
from bandmate.data.parallel import shared_out
from bandmate.data.rendition import RenditionConfig, draw_rendition, render
from bandmate.data.soundfonts import find_soundfonts, load_tinysoundfont
from bandmate.data.stems import LazyTrack, Stem, Track
from bandmate.instruments import lookup

FAILED = "failed.json"
PACK = "the bundled pack"  # its name in failed.json, where own songs have their folder's


@dataclass(frozen=True)
class Job:
    """One rendition of one song, to be written under `out`."""

    folder: Path
    out: Path
    entry: pack.Entry
    index: int
    seed: int
    soundfonts: tuple[Path, ...]
    config: RenditionConfig

    @property
    def stem(self) -> Path:
        return self.out / self.entry.split / f"{self.entry.slug}__r{self.index:02d}"

    @property
    def settings(self) -> dict[str, Any]:
        """What the track's JSON tells of how it was asked for: a run that goes on must ask for the same."""
        return {"seconds": self.config.seconds, "seed": self.seed}


def make_jobs(
    folder: Path,
    out: Path,
    entries: Iterable[pack.Entry],
    soundfonts: tuple[Path, ...],
    renditions: dict[str, int],
    seed: int = 0,
    config: RenditionConfig | None = None,
) -> list[Job]:
    """Jobs by rendition, then valid, test, train: whatever part of them is done is already broad."""
    jobs = [
        Job(folder, out, entry, index, seed, soundfonts, config or RenditionConfig())
        for entry in entries
        for index in range(renditions.get(entry.split, 0))
    ]
    return sorted(jobs, key=lambda job: (job.index, pack.SPLITS.index(job.entry.split), job.entry.slug))


@lru_cache(maxsize=4)
def _song(path: Path, name: str) -> Song:
    return read_midi(path, name)


def run_job(job: Job) -> str | None:
    """Render and write one track; why the song cannot be rendered, or None."""
    try:
        song = _song(job.folder / job.entry.path, job.entry.slug)
        rendition = draw_rendition(song, job.index, job.seed, job.soundfonts, job.config)
        track = render(song, rendition, job.soundfonts, job.config)
    except ValueError as error:
        return str(error)
    meta = track.meta | {"settings": job.settings}
    save_track(replace(track, cluster=job.entry.cluster, split=job.entry.split, meta=meta), job.stem)
    return None


def save_track(track: Track, stem: Path) -> None:
    """Write `<stem>.npy`, then `<stem>.json`, each completely: a track is there when its JSON is."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    header = {"descr": "<i2", "fortran_order": False, "shape": (len(track.stems), track.samples)}
    with replacing(stem.with_name(stem.name + ".npy")) as path, path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for each in track.stems:  # one by one: a long track with many stems fills the memory
            file.write(np.round(each.audio * 32767).astype("<i2").tobytes())
    record = {"id": track.id, "song": track.song, "cluster": track.cluster, "split": track.split}
    record |= {"sample_rate": track.sample_rate, "samples": track.samples} | track.meta
    with replacing(stem.with_name(stem.name + ".json")) as path:
        path.write_text(json.dumps(record, separators=(",", ":")), encoding="utf-8")


def load_track(json_path: Path) -> Track:
    """Read a rendered track back (float32 stems)."""
    record = _record(json_path)
    try:
        samples = np.load(json_path.with_suffix(".npy"))
    except (OSError, ValueError, EOFError) as error:
        raise _incomplete(json_path, error) from None
    names = record.get("names") or [sound["soundfont"] for sound in record["rendition"]["sounds"]]
    stems = tuple(
        Stem(row.astype(np.float32) / 32767, lookup(kind), name)
        for row, kind, name in zip(samples, record["classes"], names, strict=True)
    )
    return Track(
        record["id"], record["song"], record["cluster"], record["split"], stems, record["sample_rate"], record
    )


def _record(json_path: Path) -> dict[str, Any]:
    """The JSON of a track. ValueError when it cannot be read."""
    try:
        return dict(json.loads(json_path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _incomplete(json_path, error) from None


def _incomplete(json_path: Path, error: Exception) -> ValueError:
    return ValueError(f"{json_path} is not a complete rendered track ({error}); delete it and render again")


def rendered_tracks(out: Path) -> list[Path]:
    """Sorted JSON paths of all finished tracks under a folder. FileNotFoundError when there are none."""
    found = sorted(path for split in pack.SPLITS for path in (out / split).glob("*.json"))
    if not found:
        raise FileNotFoundError(
            f"no rendered tracks under {out}; make some with bandmate prepare midi, or of a data set with --as tracks"
        )
    return found


def lazy_tracks(out: Path) -> list[LazyTrack]:
    """All finished tracks under a folder, to be loaded when wanted."""
    return [LazyTrack(path.stem, partial(load_track, path)) for path in rendered_tracks(out)]


def extent_of(out: Path) -> tuple[float, float]:
    """Mean seconds and mean number of stems of the finished tracks under a folder, from a hundred of them."""
    found = rendered_tracks(out)
    records = [json.loads(path.read_text(encoding="utf-8")) for path in found[:: len(found) // 100 + 1]]
    seconds = float(np.mean([record["samples"] / record["sample_rate"] for record in records]))
    return seconds, float(np.mean([len(record["classes"]) for record in records]))


def unfinished(jobs: Iterable[Job]) -> list[Job]:
    """Those whose tracks are not there yet. ValueError when one is there that was rendered with other settings."""
    todo = []
    for job in jobs:
        path = job.stem.with_name(job.stem.name + ".json")
        if path.exists():
            refuse_other_settings(path, job.settings)
        else:
            todo.append(job)
    return todo


def refuse_other_settings(json_path: Path, wanted: Mapping[str, Any]) -> None:
    """ValueError when a track was made with other settings; what its JSON does not tell is unknown, and passes."""
    record = _record(json_path)
    there = {"seed": record["rendition"]["seed"]} if "seed" in record.get("rendition", {}) else {}
    there |= record.get("settings", {})
    for name in sorted(there.keys() & wanted.keys()):
        if there[name] != wanted[name]:
            raise ValueError(
                f"{json_path} was made with another --{name} ({_told(there[name])}, not {_told(wanted[name])}): "
                "choose a new --out or delete what is there"
            )


def _told(value: float | None) -> str:
    return "none" if value is None else f"{value:.15g}"


def run_jobs(jobs: Sequence[Job], workers: int = 1) -> Generator[tuple[Job, str | None], None, None]:
    """Each job with why its song could not be rendered, or None, as they end: in what order depends on the workers."""
    return shared_out(run_job, jobs, workers)


def render_songs(
    out: Path,
    songs: Path | None = None,
    renditions: int = 8,
    seconds: float = 40.0,
    seed: int = 0,
    workers: int = 1,
) -> dict[str, str]:
    """Render a folder of MIDI files, or the bundled pack, into `out`: what is not there yet.

    Songs for training get so many `renditions`, the others two at most; `seconds` is the length of an excerpt.
    Returns {song: why it could not be rendered}, which is in failed.json, too.
    """
    load_mido()  # what is not installed is told once, and not of every song
    load_tinysoundfont()
    soundfonts = find_soundfonts()
    folder, entries, failed = _opened(songs, out / "midi")
    counts = {split: renditions if split == "train" else min(2, renditions) for split in pack.SPLITS}
    jobs = make_jobs(folder, out, entries, soundfonts, counts, seed, RenditionConfig(seconds=seconds))
    todo = unfinished(jobs)
    fonts = ", ".join(file.name for file in soundfonts)
    print(f"{len(jobs)} renditions of {len(entries)} songs with {fonts}, {len(todo)} to do", flush=True)
    failed |= _run_all(todo, workers, len(failed))
    write_failed(out, str(songs.absolute()) if songs else PACK, failed)
    for song, reason in sorted(failed.items()):
        print(f"failed: {song}: {reason}", file=sys.stderr)
    return failed


def _opened(songs: Path | None, cache: Path) -> tuple[Path, list[pack.Entry], dict[str, str]]:
    """Folder and entries of own songs or of the bundled pack, and {song: why it could not be read}."""
    if songs is None:
        return pack.unpack(pack.ARCHIVE, cache), pack.read_split(), {}
    return songs, *pack.build_split(songs)


def _run_all(jobs: Sequence[Job], workers: int, failures: int) -> dict[str, str]:
    """Run the jobs and tell how far they are; {song#rendition: why it failed}. `failures` were there before."""
    failed: dict[str, str] = {}
    began = time.monotonic()
    with closing(run_jobs(jobs, workers)) as outcomes:
        for done, (job, reason) in enumerate(outcomes, 1):
            if reason:
                failed[f"{job.entry.path}#{job.index}"] = reason
            if done % 20 == 0 or done == len(jobs):
                took, lost = time.monotonic() - began, failures + len(failed)
                print(f"{done} rendered in {took:.0f} s, {lost} failed ({job.stem.name})", flush=True)
    return failed


def write_failed(out: Path, source: str, failed: dict[str, str]) -> None:
    """Set down in failed.json what failed of one source, beside what it says of the others: {source: {song: why}}."""
    file = out / FAILED
    told: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError):  # not there, or no longer ours
        told = dict(json.loads(file.read_text(encoding="utf-8")))
    told = {name: reasons for name, reasons in (told | {source: failed}).items() if reasons}
    out.mkdir(parents=True, exist_ok=True)
    with replacing(file) as path:
        path.write_text(json.dumps(told, indent=1, sort_keys=True), encoding="utf-8")
