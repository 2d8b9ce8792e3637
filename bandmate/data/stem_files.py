"""Tracks that lie on disk as one audio file per stem: what every reader of a data set lists, and how it is read.

A reader only lists files, which is quick; audio is read when the track is wanted. What cannot be read is left out
and named, stem by stem, never silently.
"""

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from bandmate.audio.resample import StreamResampler
from bandmate.data.stems import LazyTrack, Stem, Track

RATE = 32000
AUDIO = (".wav", ".flac", ".aif", ".aiff", ".ogg", ".mp3")
VALID, TEST = 8, 12  # percent of the songs of a data set without a split of its own
SAMPLED = 200  # tracks whose headers are read to estimate the length of all
PCM_BYTES = {"PCM_16": 2, "PCM_24": 3}
BLOCK = 1 << 16  # samples that are read at a time
UNKNOWN = 2**63 - 1  # what libsndfile takes the length of a FLAC file from a pipe for


@dataclass(frozen=True)
class StemFiles:
    """One stem: the sum of its files, which are most often one."""

    name: str
    instrument: int
    files: tuple[Path, ...]

    def read(self) -> NDArray[np.float32]:
        """Mono [S] at 32 kHz; shorter files end in silence. ValueError that names a file which cannot be read."""
        return np.sum(of_one_length([read_stem(file) for file in self.files]), axis=0, dtype=np.float32)


@dataclass(frozen=True)
class TrackFiles:
    """A track of a data set as files. `left_out` tells what is missing from it already, with reasons."""

    id: str
    song: str
    cluster: str
    split: str
    stems: tuple[StemFiles, ...]
    left_out: tuple[str, ...] = ()

    def load(self) -> Track:
        """Read, resample and align the stems. Damaged ones are left out; ValueError when none remains."""
        stems, left_out = [], list(self.left_out)
        for stem in self.stems:
            try:
                stems.append((stem, stem.read()))
            except ValueError as error:
                left_out.append(str(error))
        if not stems:
            raise ValueError("; ".join(left_out) or f"track {self.id!r} has no stems")
        aligned = of_one_length([audio for _, audio in stems])
        return Track(
            self.id, self.song, self.cluster, self.split,
            tuple(Stem(audio, stem.instrument, stem.name) for (stem, _), audio in zip(stems, aligned)),
            RATE, {"left_out": left_out},
        )  # fmt: skip

    @property
    def seconds(self) -> float:
        """Length as the first header that knows it tells it; 0 when there is none."""
        for stem in self.stems:
            with suppress(soundfile.LibsndfileError, OSError):
                about = soundfile.info(stem.files[0])
                if about.frames < UNKNOWN:
                    return float(about.duration)
        return 0.0

    def lazy(self) -> LazyTrack:
        return LazyTrack(self.id, self.load)


@dataclass(frozen=True)
class Listing:
    """What a reader found: tracks, and those it had to leave out {track id: why}. `notes` are for people."""

    tracks: tuple[TrackFiles, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def mean_seconds(self) -> float:
        """Mean length of a track, from the headers of up to SAMPLED tracks, evenly spread; 0 when none knows it."""
        step = max(1, -(-len(self.tracks) // SAMPLED))
        known = [seconds for track in self.tracks[::step] if (seconds := track.seconds)]
        return float(np.mean(known or [0.0]))

    def mean_stems(self) -> float:
        return float(np.mean([len(track.stems) for track in self.tracks] or [0]))


def read_stem(path: Path) -> NDArray[np.float32]:
    """A file as mono float32 [S] at 32 kHz. ValueError that names it when it is missing, damaged or cut short.

    A FLAC file is checked against the MD5 sum of its samples that it carries (RFC 9639, section 8.2): the decoder
    itself plays on over a damaged block.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    try:
        with _Forward(path) as file:
            rate, frames, subtype = file.samplerate, file.frames, file.subtype
            whole = file.format == "FLAC" and subtype in PCM_BYTES
            samples = _all_samples(file, "int32" if whole else "float32")
    except (soundfile.LibsndfileError, OSError, MemoryError) as error:
        raise ValueError(f"{path} is damaged ({_plainly(error)})") from None
    if not len(samples) or len(samples) < frames < UNKNOWN or _is_cut_wav(path):
        raise ValueError(f"{path} is cut short: {len(samples)} samples are left")
    if whole and not _matches_md5(path, samples, PCM_BYTES[subtype]):
        raise ValueError(f"{path} is damaged: its samples do not match its checksum")
    mono = samples.mean(axis=1, dtype=np.float64) / (2.0**31 if whole else 1.0)
    if not np.isfinite(mono).all():
        raise ValueError(f"{path} holds samples that are no numbers")
    resampler = StreamResampler(rate, RATE)
    return np.concatenate([resampler.push(mono), resampler.flush()])


class _Forward(soundfile.SoundFile):
    """Reads from front to end only: SoundFile seeks after each read, which fails where the length is unknown."""

    def seekable(self) -> bool:
        return False


def _all_samples(file: soundfile.SoundFile, dtype: str) -> NDArray[Any]:
    """What is left of a file [S, C], however long it says it is."""
    blocks = [file.read(BLOCK, dtype=dtype, always_2d=True)]
    while len(blocks[-1]):
        blocks.append(file.read(BLOCK, dtype=dtype, always_2d=True))
    return np.concatenate(blocks)


def _plainly(error: Exception) -> str:
    return " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".") or type(error).__name__


def _matches_md5(path: Path, samples: NDArray[np.int32], width: int) -> bool:
    """samples [S, C], left-aligned in 32 bits, against the sum in the file's head; True where there is none."""
    with path.open("rb") as file:
        head = file.read(42)
    wanted = head[26:42]
    if head[:4] != b"fLaC" or not any(wanted):
        return True
    data = np.ascontiguousarray(samples).astype("<i4").view(np.uint8).reshape(-1, 4)[:, 4 - width :]
    return hashlib.md5(data.tobytes(), usedforsecurity=False).digest() == wanted


def _is_cut_wav(path: Path) -> bool:
    """Whether a WAV file is shorter than its head says; libsndfile reads what there is and stays silent."""
    with path.open("rb") as file:
        head = file.read(8)
    told = int.from_bytes(head[4:8], "little")
    streamed = told in (0, 0xFFFFFFFF)  # written to a pipe: the length was not known
    return head[:4] == b"RIFF" and not streamed and path.stat().st_size < told + 8


def of_one_length(parts: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """All filled up with silence to the longest: [S] each."""
    longest = max(map(len, parts))
    return [part if len(part) == longest else np.pad(part, (0, longest - len(part))) for part in parts]


def slug(*names: str) -> str:
    """Names as a part of a file name: ASCII letters, digits and hyphens. Raises ValueError when nothing is left."""
    plain = unicodedata.normalize("NFKD", "--".join(names)).encode("ascii", "ignore").decode()
    made = re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-")
    return made or f"x{zlib.crc32('--'.join(names).encode()):08x}"


def split_of(cluster: str) -> str:
    """train, valid or test for a data set without a split of its own: 80, 8, 12 %, by the cluster's name alone."""
    place = zlib.crc32(cluster.encode()) % 100
    return "valid" if place < VALID else "test" if place < VALID + TEST else "train"


def numbered(tracks: Iterable[TrackFiles]) -> tuple[TrackFiles, ...]:
    """Sorted by id. ValueError when two tracks have one id: they would overwrite each other."""
    ordered = tuple(sorted(tracks, key=lambda track: track.id))
    for one, other in pairwise(ordered):
        if one.id == other.id:
            files = [track.stems[0].files[0] for track in (one, other)]
            raise ValueError(f"two tracks are named {one.id!r} ({files[0]} and {files[1]}); rename one")
    return ordered


def folder(path: Path) -> Path:
    """The folder of a data set. FileNotFoundError or NotADirectoryError when it is none."""
    if not path.exists():
        raise FileNotFoundError(f"there is no folder {path}: give the data set's with --data")
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is a file: give the folder of the unpacked data set")
    return path
