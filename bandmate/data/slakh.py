"""Slakh2100: the original, the redux split and babyslakh, as they are unpacked.

    <root>/{train,validation,test,omitted}/TrackNNNNN/metadata.yaml  stems/SNN.flac   (full sets)
    <root>/TrackNNNNN/metadata.yaml  stems/SNN.wav                                     (babyslakh: tracks 1 to 20)

What its metadata says is not always so: a stem that is listed may have no file, `audio_rendered` may be false though
the file is there, `audio_dir` differs between the sets. So the files decide, and they lie in `stems/`. Drums have
program 128. Choirs are classed as strings by name, hence classes follow the program. The folder `omitted` of the redux
set holds tracks whose MIDI occurs elsewhere too: it is never read.
"""

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import yaml

from bandmate.data.stem_files import Listing, StemFiles, TrackFiles, folder, numbered
from bandmate.instruments import DRUMS_PROGRAM, INSTRUMENTS, UNKNOWN, from_program, lookup

SPLITS = {"train": "train", "validation": "valid", "test": "test"}
TRAIN, VALIDATION = 1500, 1875  # last track number of the original train and validation sets
SUFFIXES = (".flac", ".wav")
# Names of Slakh's own that are no class of ours; used only where a stem has no program.
CLASSES = {"drums": "percussive", "strings (continued)": "ensemble"}


def read(root: Path) -> Listing:
    """All tracks but the omitted ones, in the official split. FileNotFoundError when there are none."""
    places = [
        (path, SPLITS[name]) for name in SPLITS for path in sorted((folder(root) / name).glob("Track*"))
    ]
    places += [(path, split_by_number(path.name)) for path in sorted(root.glob("Track*"))]
    places = [(path, split) for path, split in places if path.is_dir()]
    if not places:
        raise FileNotFoundError(
            f"{root} holds no Slakh tracks: give the folder with train/, validation/ and test/, "
            "or, for babyslakh, with Track00001/"
        )
    tracks, left_out = [], {}
    for path, split in places:
        try:
            tracks.append(track(path, split))
        except ValueError as error:
            left_out[path.name] = str(error)
    return Listing(numbered(tracks), left_out, _shared_songs(tracks))


def split_by_number(name: str) -> str:
    """The original split of a track where no folder tells it, as in babyslakh."""
    number = re.fullmatch(r"Track(\d+)", name)
    if number is None or int(number[1]) <= TRAIN:
        return "train"
    return "valid" if int(number[1]) <= VALIDATION else "test"


def track(path: Path, split: str) -> TrackFiles:
    """The stems that have a file. ValueError for metadata that is missing or broken, or when no stem has one."""
    metadata = read_metadata(path / "metadata.yaml")
    stems, left_out = [], []
    for name, about in sorted(metadata["stems"].items()):
        files = [path / "stems" / f"{name}{suffix}" for suffix in SUFFIXES]
        there = [file for file in files if file.is_file()]
        if there:
            stems.append(StemFiles(str(name), instrument(about), (there[0],)))
        else:
            left_out.append(f"{path / 'stems' / str(name)} is listed in metadata.yaml, but has no file")
    if not stems:
        raise ValueError(
            f"{path} has no stems: none of those in metadata.yaml has a file in {path / 'stems'}"
        )
    # one MIDI file, one cluster: the original set holds several renderings of some
    cluster = str(metadata.get("UUID") or path.name)
    return TrackFiles(path.name, path.name, cluster, split, tuple(stems), tuple(left_out))


def read_metadata(file: Path) -> dict[str, Any]:
    """metadata.yaml with a mapping of stems. ValueError that names the file."""
    try:
        metadata = yaml.load(file.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ValueError(f"{file} cannot be read: {reason}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is broken YAML: {' '.join(str(error).split())}") from None
    stems = metadata.get("stems") if isinstance(metadata, dict) else None
    if not isinstance(stems, dict) or not all(isinstance(about, dict) for about in stems.values()):
        raise ValueError(f"{file} lists no stems")
    return metadata


def instrument(about: dict[str, Any]) -> int:
    """Class id of a stem, by its program; by the name of its class where the program is missing or nonsense."""
    if about.get("is_drum") is True:
        return from_program(DRUMS_PROGRAM)
    try:
        return from_program(int(about.get("program_num", -1)))
    except (TypeError, ValueError):
        name = str(about.get("inst_class", "")).lower()
    name = CLASSES.get(name, name)
    return lookup(name) if name in (each.lower() for each in INSTRUMENTS) else UNKNOWN


def _shared_songs(tracks: list[TrackFiles]) -> tuple[str, ...]:
    """A warning when one MIDI file was rendered into several splits, as in the original set."""
    splits = defaultdict(set)
    for each in tracks:
        splits[each.cluster].add(each.split)
    counts = Counter(each.split for each in tracks if len(splits[each.cluster]) > 1)
    if not counts:
        return ()
    told = ", ".join(f"{count} of {split}" for split, count in sorted(counts.items()))
    return (f"tracks whose MIDI file occurs in another split too: {told}; the redux split has none",)
