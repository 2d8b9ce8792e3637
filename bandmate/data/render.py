"""Render MIDI songs to tracks on disk: `python -m bandmate.data.render --out FOLDER --cache FOLDER`.

Layout: <out>/<split>/<song>__rNN.npy (int16 [stems, S], mono 32 kHz) and .json (everything else);
<out>/failed.json says which songs could not be rendered and why.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from bandmate.data import pack
from bandmate.data.files import replacing
from bandmate.data.midi import Song, load_mido, read_midi
from bandmate.data.rendition import RenditionConfig, draw_rendition, render
from bandmate.data.soundfonts import find_soundfonts, load_tinysoundfont
from bandmate.data.stems import LazyTrack, Stem, Track
from bandmate.instruments import lookup


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


def run_job(job: Job) -> tuple[Job, str | None]:
    """Render and write one track; (job, None), or (job, reason) when the song cannot be rendered."""
    try:
        song = _song(job.folder / job.entry.path, job.entry.slug)
        rendition = draw_rendition(song, job.index, job.seed, job.soundfonts, job.config)
        track = render(song, rendition, job.soundfonts, job.config)
    except ValueError as error:
        return job, str(error)
    save_track(replace(track, cluster=job.entry.cluster, split=job.entry.split), job.stem)
    return job, None


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
    try:
        record = json.loads(json_path.read_text(encoding="utf-8"))
        samples = np.load(json_path.with_suffix(".npy"))
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"{json_path} is not a complete rendered track ({error}); delete it and render again"
        ) from None
    names = record.get("names") or [sound["soundfont"] for sound in record["rendition"]["sounds"]]
    stems = tuple(
        Stem(row.astype(np.float32) / 32767, lookup(kind), name)
        for row, kind, name in zip(samples, record["classes"], names, strict=True)
    )
    return Track(
        record["id"], record["song"], record["cluster"], record["split"], stems, record["sample_rate"], record
    )


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


def run_jobs(jobs: list[Job], workers: int = 1) -> Iterator[tuple[Job, str | None]]:
    """Run what is not yet there; yields as jobs end (their order may differ with several workers)."""
    todo = [job for job in jobs if not job.stem.with_name(job.stem.name + ".json").exists()]
    if workers <= 1:
        yield from map(run_job, todo)
        return
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(run_job, todo)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bandmate.data.render", description=(__doc__ or "").split(":")[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the rendered tracks")
    parser.add_argument(
        "--cache", type=Path, required=True, help="folder in which the bundled pack is unpacked"
    )
    parser.add_argument(
        "--midi", type=Path, help="a folder of your own MIDI files (default: the bundled pack)"
    )
    parser.add_argument("--train-renditions", type=int, default=6)
    parser.add_argument("--eval-renditions", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    load_mido()  # what is not installed is told once, and not of every song
    load_tinysoundfont()
    soundfonts = find_soundfonts()
    failed: dict[str, str] = {}
    if args.midi:
        folder = args.midi
        entries, failed = pack.build_split(folder)
    else:
        folder, entries = pack.unpack(pack.ARCHIVE, args.cache), pack.read_split()
    counts = {"train": args.train_renditions, "valid": args.eval_renditions, "test": args.eval_renditions}
    config = RenditionConfig(seconds=args.seconds)
    jobs = make_jobs(folder, args.out, entries, soundfonts, counts, args.seed, config)
    print(
        f"{len(jobs)} renditions of {len(entries)} songs with {', '.join(f.name for f in soundfonts)}",
        flush=True,
    )
    began = time.monotonic()
    for done, (job, reason) in enumerate(run_jobs(jobs, args.workers), 1):
        if reason:
            failed[f"{job.entry.path}#{job.index}"] = reason
        if done % 20 == 0 or done == len(jobs):
            took = time.monotonic() - began
            print(f"{done} rendered in {took:.0f} s, {len(failed)} failed ({job.stem.name})", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    with replacing(args.out / "failed.json") as path:
        path.write_text(json.dumps(failed, indent=1, sort_keys=True), encoding="utf-8")
    for song, reason in sorted(failed.items()):
        print(f"failed: {song}: {reason}", file=sys.stderr)


if __name__ == "__main__":
    main()
