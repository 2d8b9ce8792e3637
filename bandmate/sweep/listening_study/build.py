"""Folders of ``bandmate generate`` to the folder of a study: the clips that all systems played, mixed as in paper A.7."""

import dataclasses
import hashlib
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandmate.audio.io import AudioWriter
from bandmate.audio.loudness import lufs, normalise_loudness
from bandmate.audio.mixing import TARGET_LUFS, below_peak, mix_over
from bandmate.evaluate.folders import about, named, read_rows, same_sound
from bandmate.sweep.clip_folder import RATE, SOUNDS, Row, read_sound
from bandmate.sweep.listening_study.design import draw_lists
from bandmate.sweep.listening_study.study import TYPES, Clip, Study, to_json
from bandmate.sweep.listening_study.tones import write_check

TRUTH, RANDOM = "Ground Truth", "Random Pairing"
SUBTYPES = {"flac": "PCM_16", "wav": "PCM_16", "mp3": None}
Tell = Callable[[float], None]
Sound = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Source:
    """One system: a folder of ``bandmate generate``, and which of its sounds."""

    name: str
    folder: Path
    sound: str = "prediction"


@dataclasses.dataclass(frozen=True)
class BuildConfig:
    """``clips`` clips of at most ``max_inputs`` input stems; ``lists`` lists of ``trials`` trials.

    listen: seconds of each of A and B to be heard before an answer. check: ask for headphones first.
    """

    clips: int = 42
    trials: int = 21
    lists: int = 24
    max_inputs: int = 6
    listen: float = 3.0
    check: bool = True
    sound: str = "flac"
    title: str = "Which accompaniment fits better?"
    seed: int = 0


def sources_of(given: Sequence[str], anchors: bool = True) -> tuple[Source, ...]:
    """["name=folder", "folder/target_codec"] -> systems; with ``anchors`` between ground truth and random pairing.

    A folder's own name names it; one of its sounds may be given instead of the prediction. The anchors are
    taken from the first folder. ValueError for names that are there twice, or for fewer than two systems.
    """
    systems = []
    for each in given:
        name, sign, text = each.rpartition("=")
        if not text or (sign and not name.strip()):
            raise ValueError(f"{each!r} is no system: write NAME=FOLDER")
        path = Path(text)
        is_sound = path.name in SOUNDS and not (path / "clips.jsonl").exists()
        folder, sound = (path.parent, path.name) if is_sound else (path, "prediction")
        systems.append(Source(name.strip() or path.resolve().name, folder, sound))
    if anchors and systems:
        first = systems[0].folder
        systems = [Source(TRUTH, first, "target"), *systems, Source(RANDOM, first, "random")]
    twice = [name for name, times in Counter(each.name.casefold() for each in systems).items() if times > 1]
    if twice:
        raise ValueError(f"two systems are called {twice[0]!r}: name them, as in other=FOLDER")
    if len(systems) < 2:
        raise ValueError("a study compares two systems or more: give NAME=FOLDER for each")
    return tuple(systems)


def build(
    sources: Sequence[Source], out: Path, config: BuildConfig, tell: Tell = lambda share: None
) -> tuple[Study, list[str]]:
    """Writes the study and returns it, with notes on what was met. ``out`` appears complete or not at all.

    Raises ValueError when the folders do not match or hold fewer clips than wanted, FileNotFoundError for
    folders and sounds that are missing.
    """
    check_config(config)
    check_out(out)
    rows = {each.folder: read_rows(each.folder) for each in sources}
    chosen = choose(rows, config)
    check_same(list(rows), [row["clip"] for row in chosen])
    notes: list[str] = []
    with appearing(out) as part:
        (part / "audio").mkdir()
        clips = []
        for number, row in enumerate(chosen):
            clips.append(write_clip(part, row, sources, config, notes))
            tell((number + 1) / len(chosen))
        study = Study(
            id=fingerprint(part / "audio", config),
            title=config.title,
            systems=tuple(each.name for each in sources),
            about=tuple(told_of(each, rows[each.folder], chosen[0]["clip"]) for each in sources),
            clips=tuple(clips),
            lists=tuple(
                map(tuple, draw_lists(len(sources), len(clips), config.trials, config.lists, config.seed))
            ),
            check=tuple(write_check(part / "audio", config.sound, config.seed)) if config.check else (),
            listen=config.listen,
            seconds=chosen[0]["frames"] / 50,
            sound=config.sound,
            seed=config.seed,
        )
        (part / "study.json").write_text(to_json(study), encoding="utf-8")
    return study, notes


def check_config(config: BuildConfig) -> None:
    for name, least, most in (
        ("clips", 1, 9999), ("trials", 1, 999), ("lists", 1, 999), ("max_inputs", 1, 1000), ("listen", 0, 600),
        ("seed", 0, 2**63 - 1),
    ):  # fmt: skip
        if not least <= getattr(config, name) <= most:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} {getattr(config, name):g} is out of range: give {least} to {most}")
    if config.sound not in TYPES:
        raise ValueError(f"--sound {config.sound!r} is none of {', '.join(TYPES)}")


def check_out(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} is there already: give a new folder, answers belong to one study")
    if not out.resolve().parent.is_dir():
        raise ValueError(f"cannot write {out}: there is no folder {out.parent}, create it first")


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its name if the block ends well, else vanishes."""
    part = out.resolve().parent / f".{out.name}.{os.getpid()}.{secrets.token_hex(3)}.part"
    part.mkdir()
    try:
        yield part
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def choose(rows: Mapping[Path, Mapping[str, Row]], config: BuildConfig) -> list[Row]:
    """Clips that all folders have, with few enough inputs; drawn at random, songs with fewer clips chosen first."""
    first = next(iter(rows.values()))
    shared = sorted(set(first).intersection(*rows.values()))
    fit = [first[clip] for clip in shared if 1 <= number_in(first[clip]) <= config.max_inputs]
    if len(fit) < config.clips:
        raise ValueError(
            f"the folders share {len(shared)} clips, {len(fit)} of them with 1 to {config.max_inputs} inputs: "
            f"ask for so many with --clips {len(fit)}, or generate more"
            if fit
            else f"the folders share {len(shared)} clips, none of them with 1 to {config.max_inputs} inputs"
        )
    lot = np.random.default_rng([config.seed, len(fit)]).permutation(len(fit))
    taken: Counter[str] = Counter()
    ranked: list[tuple[int, int, Row]] = []
    for index in lot:
        ranked.append((taken[str(fit[index]["song"])], len(ranked), fit[index]))
        taken[str(fit[index]["song"])] += 1
    chosen = [row for _, _, row in sorted(ranked, key=lambda each: each[:2])[: config.clips]]
    lengths = {int(row["frames"]) for row in chosen}
    if len(lengths) > 1:
        raise ValueError(
            f"clips are {min(lengths) / 50:g} to {max(lengths) / 50:g} s long: give clips of one length"
        )
    return chosen


def number_in(row: Row) -> int:
    """How many stems the input has; ValueError where the row does not tell."""
    if not isinstance(row.get("n_in"), int) or "equal_lufs" not in row or "frames" not in row:
        raise ValueError(
            f"clip {row['clip']} does not tell n_in, frames and equal_lufs: generate the folder with this version"
        )
    return row["n_in"]


def check_same(folders: Sequence[Path], clips: Sequence[str]) -> None:
    """ValueError unless the chosen clips are the same places of the same songs in all folders."""
    first, *others = folders
    for folder in others:
        for role in ("input_equal", "target"):
            mine, theirs = ([each / role / f"{clip}.flac" for clip in clips] for each in (first, folder))
            for path in (*mine, *theirs):
                if not path.is_file():
                    raise FileNotFoundError(
                        f"{path} is missing: run bandmate generate again to complete the folder"
                    )
            different = [clip for clip, a, b in zip(clips, mine, theirs, strict=True) if not same_sound(a, b)]
            if different:
                raise ValueError(
                    f"{first} and {folder} hold different clips: {role} of {len(different)} of {len(clips)} differs: "
                    f"{named(different)}; generate one --like the other"
                )


def told_of(source: Source, rows: Mapping[str, Row], clip: str) -> dict[str, Any]:
    """Which sound it is and, where a model played, what its folder tells of it."""
    told = about(rows, [clip]) if source.sound == "prediction" else {}
    return {"sound": source.sound, **told}


def write_clip(
    part: Path, row: Row, sources: Sequence[Source], config: BuildConfig, notes: list[str]
) -> Clip:
    """Mixes one clip with each system, all turned down by one gain where one would clip, and writes them."""
    clip = row["clip"]
    equal = floats(read_sound(sources[0].folder, "input_equal", clip))
    versions = [normalise_loudness(equal, RATE, TARGET_LUFS)]
    for each in sources:
        played = floats(read_sound(each.folder, each.sound, clip))
        if len(played) != len(equal):
            raise ValueError(
                f"{each.folder / each.sound / clip}.flac has {len(played)} samples, its input {len(equal)}: "
                "generate the folder anew"
            )
        if not np.isfinite(lufs(played, RATE)):
            notes.append(f"{each.name} is silent in clip {clip}: the input alone is heard.")
        versions.append(mix_over(equal, row["equal_lufs"], played, RATE))
    names = [opaque(config.seed, clip, place) for place in range(len(versions))]
    for name, audio in zip(names, below_peak(versions), strict=True):
        with AudioWriter(part / "audio" / f"{name}.{config.sound}", RATE, SUBTYPES[config.sound]) as writer:
            writer.write(audio)
    return Clip(clip, str(row["song"]), str(row["instrument"]), row["n_in"], names[0], tuple(names[1:]))


def fingerprint(folder: Path, config: BuildConfig) -> str:
    """Tells studies apart: of the settings and of every sound."""
    told = hashlib.sha256(repr(config).encode())
    for path in sorted(folder.iterdir()):
        told.update(path.read_bytes())
    return told.hexdigest()[:12]


def opaque(seed: int, clip: str, place: int) -> str:
    """A name that tells nothing about the system."""
    return hashlib.sha256(f"{seed} {clip} {place}".encode()).hexdigest()[:16]


def floats(samples: NDArray[np.int16]) -> Sound:
    return samples.astype(np.float32) / np.float32(32768)
