"""Folders of clips: what ``bandmate generate`` writes, or plain folders whose file names match.

Nothing is left out in silence: a clip that misses a file, a file that belongs to no clip and systems that
were given different clips are refused, with the number of clips and their names.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile

from bandmate.audio.io import read_audio
from bandmate.spec import FRAME_RATE

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")
NEEDED, CODEC = ("input", "target"), "target_codec"
NAMED = 5  # clips that a message names; the rest is counted
RATE = 32_000  # Hz at which everything is heard
ALIKE = ("model", "t_f", "k", "sampling", "null_input", "shuffle_input")  # in all seeds of a system

Files = dict[str, Path]  # clip id -> file
Folders = dict[str, tuple[Path, ...]]  # system -> its folders, one per seed


@dataclass(frozen=True)
class Clip:
    """One excerpt. Intervals are drawn over songs, of which near duplicates are one; drums have no chroma, hence the
    instrument's name.
    """

    id: str
    song: str
    instrument: str


@dataclass(frozen=True)
class System:
    """What one system played: the files of each seed, and what its folder tells of the model."""

    name: str
    takes: tuple[Files, ...]
    about: dict[str, Any] = field(default_factory=dict)
    kind: str = "system"  # or "unconditional" (null input), "shuffled" (another song's input)


@dataclass(frozen=True)
class Material:
    """Clips, the files that all systems share (role -> clip -> file), the systems, and what is to be said."""

    clips: tuple[Clip, ...]
    shared: dict[str, Files]
    systems: tuple[System, ...]
    notes: tuple[str, ...] = ()


def named_folders(given: Sequence[str]) -> Folders:
    """["name=a,b", "c"] -> {"name": (a, b), "c": (c,)}: a folder without a name is called by its own."""
    systems: Folders = {}
    for each in given:
        name, sign, paths = each.rpartition("=")
        folders = tuple(Path(path) for path in paths.split(",") if path)
        if not folders or (sign and not name):
            raise ValueError(f"{each!r} is no system: write NAME=FOLDER or NAME=FOLDER,FOLDER")
        name = name or folders[0].resolve().name
        if name in systems:
            raise ValueError(f"two systems are called {name!r}: name them, as in other={paths}")
        systems[name] = folders
    return systems


def from_generate(folders: Folders, unconditional: Sequence[str] = (), common: bool = False) -> Material:
    """The material of folders with clips.jsonl. All systems must hold the same clips, unless ``common``.

    ValueError where the folders of a system are not seeds of one system.
    """
    check_given(unconditional, folders)
    paths = [path for each in folders.values() for path in each]
    rows = {path: read_rows(path) for path in paths}
    for name, each in folders.items():
        check_seeds(name, {path: rows[path] for path in each})
    ids, notes = agreed({str(path): rows[path] for path in paths}, common)
    clips = tuple(clip_of(rows[paths[0]][each], each) for each in ids)
    played = {path: role_files(path, "prediction", rows[path], ids) for path in paths}
    shared: dict[str, Files] = {}
    for role in (*NEEDED, "random"):
        found = {
            path: role_files(path, role, rows[path], ids)
            for path in paths
            if role in NEEDED or (path / role).is_dir()
        }
        if found:
            shared[role] = next(iter(found.values()))
            check_shared(role, found, ids)
        else:
            notes.append(
                f"No folder {role} in {paths[0]}: random pairing takes another song's target, of any instrument."
            )
    if "random" in shared:
        notes += of_another_class(rows[paths[0]], ids)
    shared |= codecs(folders, rows, ids)
    if CODEC not in shared:
        notes.append(f"No folder {CODEC} in {paths[0]}: no row for the codec-reconstructed ground truth.")
    for name, each in folders.items():
        notes += [note for path in each for note in not_finite(rows[path], ids, f"{name} ({path})")]
    systems = tuple(
        System(
            name,
            tuple(played[path] for path in each),
            about(rows[each[0]], ids),
            kind_of(rows[each[0]][ids[0]], name in unconditional),
        )
        for name, each in folders.items()
    )
    return Material(clips, shared, systems, tuple(notes))


def clip_of(row: Mapping[str, Any], clip: str) -> Clip:
    """As a row of bandmate generate tells of it; early rows know no cluster of near duplicates."""
    return Clip(clip, str(row.get("cluster") or row["song"]), str(row["instrument"]))


def from_plain(
    input: Path, target: Path, folders: Folders, unconditional: Sequence[str] = (), common: bool = False
) -> Material:
    """The material of plain folders; files belong together by their names without suffix."""
    check_given(unconditional, folders)
    paths = [path for each in folders.values() for path in each]
    found = {str(path): audio_files(path) for path in (input, target, *paths)}
    ids, notes = agreed(found, common)
    notes += [
        "Plain folders: each clip counts as a song of its own; intervals are too narrow where clips share one.",
        "No codec-reconstructed ground truth: plain folders have none.",
    ]
    shared = {"input": found[str(input)], "target": found[str(target)]}
    systems = tuple(
        System(name, tuple(found[str(path)] for path in each), {}, kind_of({}, name in unconditional))
        for name, each in folders.items()
    )
    return Material(tuple(Clip(each, each, "Unknown") for each in ids), shared, systems, tuple(notes))


def kind_of(row: Mapping[str, Any], unconditional: bool) -> str:
    """What input a system was given, as its clips say or the user does."""
    if unconditional or row.get("null_input"):
        return "unconditional"
    return "shuffled" if row.get("shuffle_input") else "system"


def not_finite(rows: Mapping[str, Mapping[str, Any]], ids: Sequence[str], name: str) -> list[str]:
    """A note on predictions in which bandmate generate met NaN or infinite samples and wrote 0."""
    bad = [each for each in ids if rows[each].get("not_finite")]
    return (
        [f"{name}: NaN or infinite samples, written as 0, in {len(bad)} of {len(ids)} clips: {named(bad)}."]
        if bad
        else []
    )


def of_another_class(rows: Mapping[str, Mapping[str, Any]], ids: Sequence[str]) -> list[str]:
    """A note on random pairings for which no other song had a stem of the target's class."""
    pairs = {each: (rows[each].get("random"), rows[each]["instrument"]) for each in ids}
    other = [each for each, (random, kind) in pairs.items() if random and random["instrument"] != kind]
    return [f"Random pairing of another class: {len(other)} of {len(ids)}: {named(other)}."] if other else []


def codecs(folders: Folders, rows: Mapping[Path, Mapping[str, Any]], ids: Sequence[str]) -> dict[str, Files]:
    """The ground truth through the codec of the first system, and of each system whose codec is another."""
    found: dict[str, Files] = {}
    for name, (path, *_) in folders.items():
        if not (path / CODEC).is_dir():
            continue
        files = role_files(path, CODEC, rows[path], ids)
        if not any(all(same_sound(files[each], known[each]) for each in ids) for known in found.values()):
            found[f"{CODEC} of {name}" if found else CODEC] = files
    return found


def check_given(unconditional: Sequence[str], folders: Folders) -> None:
    """ValueError for an unknown system, and for a folder that is given twice as seeds of one."""
    for name, each in folders.items():
        places = [path.resolve() for path in each]
        twice = [str(path) for path, place in zip(each, places, strict=True) if places.count(place) > 1]
        if twice:
            raise ValueError(
                f"{name} is given the same folder twice: {', '.join(twice)}; give each seed once"
            )
    for name in unconditional:
        if name not in folders:
            raise ValueError(
                f"--unconditional {name}: there is no such system; given are {', '.join(folders)}"
            )


def check_seeds(name: str, rows: Mapping[Path, Mapping[str, Mapping[str, Any]]]) -> None:
    """ValueError unless the folders of a system agree clip by clip in all that tells systems apart (ALIKE)."""
    (first, ours), *others = rows.items()
    for path, theirs in others:
        both = [(ours[clip], theirs[clip]) for clip in ours if clip in theirs]
        differ = [key for key in ALIKE if any((a.get(key) or None) != (b.get(key) or None) for a, b in both)]
        if differ:
            raise ValueError(
                f"{name} is not one system: {first} and {path} differ in {', '.join(differ)}; "
                "only seeds of one system are pooled, give the others names of their own"
            )


def read_rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Clip id -> row of folder/clips.jsonl."""
    path = folder / "clips.jsonl"
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: check the name")
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no clips.jsonl: give a folder written by bandmate generate, "
            "or plain folders by --input, --target and --prediction"
        )
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        row = parsed(line, f"{path}, line {number}")
        name = clip_id(row["clip"])
        if name in rows:
            raise ValueError(f"{path}, line {number}: clip {name} is there twice; remove one of the lines")
        rows[name] = row
    if not rows:
        raise ValueError(f"{path} lists no clip: run bandmate generate again")
    return rows


def parsed(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        raise ValueError(
            f"{where} is cut short or damaged: run bandmate generate again to complete it"
        ) from None
    absent = [key for key in ("clip", "song", "instrument") if not isinstance(row, dict) or key not in row]
    if absent:
        raise ValueError(f"{where} has no {absent[0]!r}: it was not written by bandmate generate")
    return row


def clip_id(value: Any) -> str:
    return f"{value:05d}" if isinstance(value, int) else str(value)


def about(rows: Mapping[str, Mapping[str, Any]], ids: Sequence[str]) -> dict[str, Any]:
    """What the first clip's row tells of the model that played; t_f and k in seconds."""
    row = rows[ids[0]]
    places = {key: row[key] / FRAME_RATE for key in ("t_f", "k") if row.get(key) is not None}
    return {key: row[key] for key in ("model", "sampling") if key in row} | places


def audio_files(folder: Path) -> Files:
    """Name without suffix -> audio file of a folder."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: check the name")
    files: Files = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in files:
            raise ValueError(f"{path} and {files[path.stem].name} are the same clip: remove one")
        files[path.stem] = path
    if not files:
        raise ValueError(f"{folder} holds no audio file ({', '.join(SUFFIXES)})")
    return files


def role_files(folder: Path, role: str, rows: Mapping[str, Any], ids: Sequence[str]) -> Files:
    """folder/role as clip -> file; ValueError where clips of clips.jsonl have none, or files have no clip."""
    files = audio_files(folder / role)
    missing, extra = sorted(set(rows) - set(files)), sorted(set(files) - set(rows))
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} of {len(rows)} clips have no {role}: {named(missing)}; "
            "run bandmate generate again to complete the folder"
        )
    if extra:
        raise ValueError(
            f"{folder / role} holds {len(extra)} files that clips.jsonl does not list: {named(extra)}; "
            "remove them, or generate into an empty folder"
        )
    return {each: files[each] for each in ids}


def agreed(found: Mapping[str, Mapping[str, Any]], common: bool) -> tuple[list[str], list[str]]:
    """The clips that all of the folders have, in order, and notes; ValueError where they differ."""
    union = sorted(set().union(*found.values()))
    shared = sorted(set(union).intersection(*found.values()))
    if len(shared) == len(union):
        return shared, []
    if not shared:
        raise ValueError(f"the folders have no clip in common: {', '.join(found)}")
    if common:
        left = sorted(set(union) - set(shared))
        return shared, [
            f"{len(left)} of {len(union)} clips are not in all folders and left out: {named(left)}."
        ]
    short = max(found, key=lambda path: len(set(union) - set(found[path])))
    missing = sorted(set(union) - set(found[short]))
    raise ValueError(
        f"the folders do not match: {short} lacks {len(missing)} of {len(union)} clips: {named(missing)}; "
        "give folders of the same clips, or --common to take what all have"
    )


def check_shared(role: str, found: Mapping[Path, Files], ids: Sequence[str]) -> None:
    """ValueError unless all folders hold the same sound in this role: clips are compared one by one."""
    (first, files), *others = found.items()
    for path, theirs in others:
        different = [each for each in ids if not same_sound(files[each], theirs[each])]
        if different:
            raise ValueError(
                f"{first} and {path} were made of different clips: {role} of {len(different)} of {len(ids)} "
                f"differs: {named(different)}; generate both with the same --seed and --clips"
            )


def same_sound(a: Path, b: Path) -> bool:
    if a.samefile(b) or (a.stat().st_size == b.stat().st_size and a.read_bytes() == b.read_bytes()):
        return True
    (first, rate), (second, other) = read_audio(a), read_audio(b)
    return rate == other and len(first) == len(second) and bool((first == second).all())


def lengths(material: Material, trim: bool) -> tuple[dict[str, int], list[str]]:
    """Clip -> samples at 32 kHz that are heard of all its files, and notes.

    ValueError where the files of a clip differ in length, unless ``trim``.
    """
    heard, different, resampled = {}, [], set()
    for clip in material.clips:
        sizes = []
        for path in files_of(material, clip.id):
            samples, rate = size(path)
            sizes.append((samples * RATE + rate // 2) // rate)
            if rate != RATE:
                resampled.add(clip.id)
        heard[clip.id] = min(sizes)
        if min(sizes) != max(sizes):
            different.append(f"{clip.id} ({min(sizes) / RATE:.2f} to {max(sizes) / RATE:.2f} s)")
    notes = []
    if different and not trim:
        raise ValueError(
            f"the files of {len(different)} of {len(material.clips)} clips differ in length: "
            f"{named(different)}; make them equally long, or cut them by --trim"
        )
    if different:
        notes.append(f"Cut to the shortest file of the clip: {len(different)} clips: {named(different)}.")
    if resampled:
        notes.append(
            f"Resampled to {RATE} Hz: files of {len(resampled)} of {len(material.clips)} clips: "
            f"{named(sorted(resampled))}."
        )
    return heard, notes


def files_of(material: Material, clip: str) -> Iterable[Path]:
    yield from (files[clip] for files in material.shared.values())
    yield from (files[clip] for system in material.systems for files in system.takes)


def size(path: Path) -> tuple[int, int]:
    """(samples, rate) as the file's head tells."""
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, TypeError):
        raise ValueError(f"cannot read {path} as audio: give a WAV, FLAC, OGG, MP3 or AIFF file") from None
    if info.frames < 1:
        raise ValueError(f"{path} holds no sound: it is 0 samples long")
    return info.frames, info.samplerate


def named(ids: Sequence[str]) -> str:
    """The first few, and how many more."""
    rest = len(ids) - NAMED
    return ", ".join(ids[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
