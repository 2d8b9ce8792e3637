"""What is heard of a sound, once: levels, onsets, chroma, beats and embeddings, kept on disk by content."""

import hashlib
import os
import secrets
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bandmate.audio.io import open_audio
from bandmate.audio.loudness import activity
from bandmate.audio.resample import StreamResampler
from bandmate.evaluate.agreement import Audio, Features, describe
from bandmate.evaluate.coherence import embed, sounding_chunks
from bandmate.evaluate.networks import Listener

RATE = 32_000
# Raise one when the code changes that makes this kind of record: what is on disk is then heard anew.
VERSIONS = {"sound": "1", "coherence": "1", "beats": "1", "embedding": "1"}
KINDS = tuple(VERSIONS)

Record = dict[str, NDArray]  # "kind.name" -> array
MakeListener = Callable[[], Listener]


@dataclass(frozen=True)
class Job:
    """One sound to hear: the first ``samples`` (at 32 kHz) of a file, or as much silence."""

    path: Path | None
    samples: int

    def key(self) -> str:
        """The content: equal for equal files, whatever they are called."""
        if self.path is None:
            return f"silence-{self.samples}"
        digest = hashlib.blake2b(self.path.read_bytes(), digest_size=16).hexdigest()
        return f"{digest}-{self.samples}"


class Heard(NamedTuple):
    """The records by content, and which content each job has."""

    records: dict[str, Record]
    keys: dict[Job, str]

    def __call__(self, job: Job) -> Record:
        return self.records[self.keys[job]]


@dataclass(frozen=True)
class Cache:
    """Records on disk, one file per content, kind and version of what listened; None keeps nothing."""

    folder: Path | None

    def path(self, key: str, kind: str, version: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / f"{key}.{kind}-{version}.npz"

    def get(self, key: str, kind: str, version: str) -> Record | None:
        """The record, or None where there is none or where it is damaged."""
        if self.folder is None:
            return None
        try:
            with self.path(key, kind, version).open("rb") as file, np.load(file) as stored:
                return dict(stored)
        except (FileNotFoundError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, key: str, kind: str, version: str, record: Record) -> None:
        """Written under another name and renamed: never half there."""
        if self.folder is None:
            return
        path = self.path(key, kind, version)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            with part.open("wb") as file:
                np.savez(file, **record)  # type: ignore[arg-type]  # its stub takes no array by keyword
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def hear_all(
    jobs: Iterable[Job],
    make_listener: MakeListener,
    workers: int = 1,
    cache: Path | None = None,
    tell: Callable[[float], None] | None = None,
) -> Heard:
    """The records of all jobs; equal contents are heard once. With several workers, in processes of their own.

    Raises ValueError for a file that cannot be read.
    """
    keys = {job: job.key() for job in dict.fromkeys(jobs)}
    first = {key: job for job, key in reversed(keys.items())}
    records: dict[str, Record] = {}
    run = in_processes if workers > 1 and len(first) > 1 else one_by_one
    for key, record in run(first, make_listener, min(workers, len(first)), Cache(cache)):
        records[key] = record
        if tell:
            tell(len(records) / len(first))
    return Heard(records, keys)


def one_by_one(
    jobs: dict[str, Job], make_listener: MakeListener, workers: int, cache: Cache
) -> Iterable[tuple[str, Record]]:
    listener = make_listener()
    for key, job in jobs.items():
        yield key, hear(key, job, listener, cache)


def in_processes(
    jobs: dict[str, Job], make_listener: MakeListener, workers: int, cache: Cache
) -> Iterable[tuple[str, Record]]:
    """Fresh processes, as a fork of one with threads may hang; each loads the networks once."""
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (make_listener, cache))
    try:
        waiting = {pool.submit(_work, key, job): key for key, job in jobs.items()}
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    except BrokenProcessPool:
        raise OSError("a listening process died, maybe for want of memory: use fewer --workers") from None
    finally:
        pool.shutdown(cancel_futures=True)


_state: tuple[Listener, Cache] | None = None  # of a worker process


def _begin(make_listener: MakeListener, cache: Cache) -> None:
    import torch

    global _state
    torch.set_num_threads(1)
    _state = make_listener(), cache


def _work(key: str, job: Job) -> Record:
    assert _state is not None
    return hear(key, job, *_state)


def hear(key: str, job: Job, listener: Listener, cache: Cache) -> Record:
    """All kinds of one sound, each from the cache where it is there."""
    versions = versions_of(listener)
    parts = {kind: cache.get(key, kind, version) for kind, version in versions.items()}
    absent = [kind for kind, part in parts.items() if part is None]
    if absent:
        audio, bad = read(job)
        for kind in absent:
            part = parts[kind] = listen(kind, audio, bad, listener)
            cache.put(key, kind, versions[kind], part)
    return {f"{kind}.{name}": value for kind, part in parts.items() if part for name, value in part.items()}


def versions_of(listener: Listener) -> dict[str, str]:
    """Kind -> version of the code that makes its records, and of the network that listens where one does."""
    heard_by = dict(zip(KINDS[1:], listener.versions, strict=True))
    return {kind: f"{code}-{heard_by[kind]}" if kind in heard_by else code for kind, code in VERSIONS.items()}


def read(job: Job) -> tuple[NDArray[np.float32], int]:
    """Audio [samples] at 32 kHz, and how many NaN or infinite samples were read as 0."""
    if job.path is None:
        return np.zeros(job.samples, np.float32), 0
    with open_audio(job.path) as reader:
        resampler = StreamResampler(reader.rate, RATE)
        blocks = [resampler.push(block) for block in reader.blocks()]
        audio = np.concatenate([*blocks, resampler.flush()])[: job.samples]
        if len(audio) < job.samples:
            raise ValueError(
                f"{job.path} is damaged: it ends after {len(audio) / RATE:.2f} of {job.samples / RATE:.2f} s"
            )
        return audio, reader.bad_samples


def listen(kind: str, audio: NDArray[np.float32], bad: int, listener: Listener) -> Record:
    if kind == "sound":
        return sound(audio, bad)
    if kind == "coherence":
        embedded = embed(listener.coherence.call, audio, RATE)
        return {**embedded, "sounding": sounding_chunks(audio, RATE, len(embedded["both"]))}
    if kind == "beats":
        return {"seconds": listener.beats.call(audio, RATE) if activity(audio).any() else np.zeros(0)}
    return {"values": np.asarray(listener.embedding.call(audio, RATE), dtype=np.float32)}


def sound(audio: Audio, bad: int) -> Record:
    """Levels, activity, onsets and chroma: everything that needs no network."""
    half = len(audio) // 2
    power = [
        float(np.mean(np.square(part, dtype=np.float64))) if len(part) else 0.0
        for part in (audio[:half], audio[half:])
    ]
    features = describe(audio, RATE)
    return {
        "bad": np.array(bad),
        "samples": np.array(len(audio)),
        "power": np.array(power),
        "active": activity(audio, RATE),
        "onsets": features.onsets,
        "strength": features.strength.astype(np.float32),
        "chroma": features.chroma.astype(np.float32),
        "sounding": features.sounding,
    }


def described(record: Record) -> Features:
    """The features of bandmate.evaluate.agreement from a record."""
    return Features(*(record[f"sound.{name}"] for name in Features._fields))


def all_jobs(files: Sequence[dict[str, Path]], samples: dict[str, int]) -> list[Job]:
    """One job for each file of each clip, and silence as long as each clip."""
    jobs = [Job(paths[clip], length) for paths in files for clip, length in samples.items()]
    return jobs + [Job(None, length) for length in sorted(set(samples.values()))]
