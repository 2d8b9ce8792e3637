"""Small data sets in the real layouts, with the traps of each: a second of sound per stem."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

RATE = 44100


def sound(seed: int, seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """[S] or [S, C]: a tone of its own with some noise."""
    time = np.arange(round(seconds * rate)) / rate
    tone = 0.1 * np.sin(2 * np.pi * (200 + 37 * seed) * time)
    tone += 0.01 * np.random.default_rng(seed).normal(size=time.size)
    return tone if channels == 1 else np.stack([tone] * channels, axis=1)


def write(file: Path, seed: int = 0, seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, sound(seed, seconds, rate, channels), rate)
    return file


def damage(file: Path) -> Path:
    """Another byte in the middle."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x55
    file.write_bytes(data)
    return file


def cut(file: Path) -> Path:
    """The first two thirds."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    return file


def forget_length(file: Path) -> Path:
    """A FLAC file as an encoder leaves it in a pipe: its head knows neither its length nor its checksum."""
    data = bytearray(file.read_bytes())
    data[21] &= 0xF0
    data[22:42] = bytes(20)
    file.write_bytes(data)
    return file


def slakh_stem(program: int, **more: Any) -> dict[str, Any]:
    return {
        "program_num": program,
        "is_drum": program == 128,
        "audio_rendered": True,
        "inst_class": "?",
        **more,
    }


def slakh_track(
    folder: Path, programs: tuple[int, ...] = (128, 33, 0), uuid: str = "", seconds: float = 1.0
) -> Path:
    """A track of Slakh with one FLAC per program, S00 upwards."""
    stems = {f"S{number:02d}": slakh_stem(program) for number, program in enumerate(programs)}
    for number, name in enumerate(stems):
        write(folder / "stems" / f"{name}.flac", seed=number + len(folder.name), seconds=seconds)
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"UUID": uuid or folder.name, "stems": stems}))
    return folder


def slakh_redux(root: Path) -> Path:
    """Each official folder with a track, and `omitted`."""
    for number, split in enumerate(("train", "validation", "test", "omitted"), 1):
        slakh_track(root / split / f"Track{number:05d}")
    return root


def musdb(root: Path) -> Path:
    for split, song in (
        ("train", "Ann - One"),
        ("train", "Leaf - Summerghost"),
        ("test", "Bö & Co - Zwei (2)"),
    ):
        for number, stem in enumerate(("drums", "bass", "other", "vocals", "mixture")):
            write(root / split / song / f"{stem}.wav", number, channels=2)
    return root


def moises_song(folder: Path, about: dict[str, list[tuple[str, str]]], artist: str = "Ann") -> Path:
    """about: stem -> [(file id, what it is)]."""
    stems = []
    for stem, tracks in about.items():
        listed = [
            {"id": name, "trackType": kind, "extension": "wav", "has_bleed": False} for name, kind in tracks
        ]
        stems.append({"id": stem, "stemName": stem, "tracks": listed})
        for name, _ in tracks:
            write(folder / stem / f"{name}.wav", len(name), channels=2)
    (folder / "data.json").write_text(
        json.dumps({"song": "One", "artist": artist, "genre": "pop", "stems": stems})
    )
    return folder


def cocochorales_track(
    folder: Path, names: tuple[str, ...] = ("violin", "violin", "viola", "cello"), midi: int = 7
) -> Path:
    for voice, name in enumerate(names):
        write(folder / "stems_audio" / f"{voice}_{name}.wav", voice, rate=16000)
    write(folder / "mix.wav", rate=16000)
    (folder / "metadata.yaml").write_text(
        f"ensemble: string\nmidi_file: {midi}.mid\npitch_correction_amount:\n  0:\n  - 0.5\n"
    )
    return folder
