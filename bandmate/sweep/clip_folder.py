"""The folder that ``bandmate generate`` writes and that is measured and listened to: one row and six sounds per clip.

    settings.json  clips.jsonl  input/00000.flac  input_equal/  target/  prediction/  target_codec/  random/

A clip is there when its row is; rows are written after the sounds, and a file appears complete or not at all.
"""

import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from bandmate.data.files import replacing

FORMAT = 1
RATE = 32_000
SHARED = ("input", "input_equal", "target", "random")  # depend on the place only, not on the model
OWN = ("prediction", "target_codec")  # target_codec depends on the place and the codec
SOUNDS = (*SHARED, *OWN)

Row = dict[str, Any]
Pcm = NDArray[np.int16]


class ClipFolder:
    """A folder to be filled, or filled in part by an earlier run with the same settings."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """ValueError when something else lies there, or when the earlier run was of other settings."""
        self.path = path
        check_settings(path, settings)
        path.mkdir(parents=True, exist_ok=True)
        for name in SOUNDS:
            (path / name).mkdir(exist_ok=True)
            for left in (path / name).glob(".*.tmp"):  # of a run that was killed
                left.unlink()
        with replacing(path / "settings.json") as file:
            file.write_text(json.dumps(dict(settings), indent=1) + "\n", encoding="utf-8")
        self.rows = {row["clip"]: row for row in read_rows(path)} if (path / "clips.jsonl").exists() else {}

    def is_done(self, clip: str) -> bool:
        """Whether the clip has its row and all its sounds."""
        return clip in self.rows and all(self.sound(name, clip).is_file() for name in SOUNDS)

    def sound(self, name: str, clip: str) -> Path:
        return self.path / name / f"{clip}.flac"

    def write(self, clip: str, name: str, samples: Pcm) -> None:
        """One sound, mono PCM16 [S]."""
        content = io.BytesIO()  # by way of memory, so that a full disk is told as such
        soundfile.write(content, samples, RATE, format="FLAC", subtype="PCM_16")
        with replacing(self.sound(name, clip)) as file:
            file.write_bytes(content.getvalue())

    def share(self, clip: str, name: str, other: Path) -> None:
        """One sound as another folder has it: a hard link, or a copy where links cannot be."""
        with replacing(self.sound(name, clip)) as file:
            source = other / name / f"{clip}.flac"
            try:
                os.link(source, file)
            except FileNotFoundError:
                raise FileNotFoundError(f"{source} is missing: {other} is not complete") from None
            except OSError:
                shutil.copyfile(source, file)

    def add(self, rows: Sequence[Row]) -> None:
        """Rows of clips whose sounds are written."""
        self.rows |= {row["clip"]: row for row in rows}
        text = "".join(json.dumps(self.rows[clip]) + "\n" for clip in sorted(self.rows))
        with replacing(self.path / "clips.jsonl") as file:
            file.write_text(text, encoding="utf-8")


def check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Refuses a folder that holds something else."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"--out {path} is a file: give a folder")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not (path / "settings.json").is_file():
        raise ValueError(f"--out {path} holds something else: give an empty or a new folder")
    if not (path / "clips.jsonl").exists() and not any(path.glob("*/*.flac")):
        return  # an attempt that ended before its first sound
    earlier = {"precision": "fp32", "codec": settings.get("codec")} | read_settings(
        path
    )  # not told in early ones
    for name, value in dict(settings).items():
        if earlier.get(name) != value:
            raise ValueError(
                f"{path} was begun with {name} = {earlier.get(name)!r}, not {value!r}: give another --out, "
                "or the settings it was begun with"
            )


def read_settings(path: Path) -> dict[str, Any]:
    """FileNotFoundError or ValueError for a folder that bandmate generate did not make."""
    file = path / "settings.json"
    if not file.is_file():
        raise FileNotFoundError(f"{path} holds no settings.json: it was not made by bandmate generate")
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        settings = None
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise ValueError(f"{file} is damaged or of another version: make the folder anew")
    return settings


def read_rows(path: Path) -> list[Row]:
    """The rows of a folder by clip. FileNotFoundError without clips.jsonl, ValueError for a damaged one."""
    file = path / "clips.jsonl"
    if not file.is_file():
        raise FileNotFoundError(f"{path} holds no clips.jsonl: it was not made by bandmate generate")
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            rows.append(json.loads(line))
            rows[-1]["clip"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{file}, line {number} is damaged: make the folder anew") from None
    return sorted(rows, key=lambda row: row["clip"])


def read_sound(path: Path, name: str, clip: str) -> Pcm:
    """One sound [S] int16. ValueError or FileNotFoundError that names the file."""
    file = path / name / f"{clip}.flac"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {path} is not complete")
    try:
        return soundfile.read(file, dtype="int16")[0]
    except soundfile.SoundFileError as error:
        raise ValueError(f"{file} is damaged ({error})") from None
