"""MoisesDB: <root>/<provider>/<song id>/data.json and <stem name>/<file id>.<extension>, 44.1 kHz.

data.json lists stems ("guitar", "other_keys"), each with its files and what they are ("acoustic guitar"). The files of
one stem that are of one class are summed to one stem: the microphones of a drum kit are no parts to play alone.
Click tracks are no music and are dropped. The data set has no split of its own: songs are split by artist.
"""

import json
from pathlib import Path
from typing import Any

from bandmate.data.stem_files import Listing, StemFiles, TrackFiles, folder, numbered, slug, split_of
from bandmate.instruments import INSTRUMENTS, UNKNOWN

# stem -> class of its files; words in what a file is -> class of that file. The first that fits holds.
STEMS = {
    "vocals": "Vocal", "bass": "Bass", "drums": "Percussive", "percussion": "Percussive", "guitar": "Guitar",
    "other_plucked": "Ethnic", "piano": "Piano", "other_keys": "Piano", "bowed_strings": "Strings",
}  # fmt: skip
FILES = {
    "bassoon": "Reed", "tuba": "Brass", "pitched percussion": "Chromatic Percussion", "fx/processed": "Sound Effects",
    "organ": "Organ", "synth pad": "Synth Pad", "synth lead": "Synth Lead", "section": "Ensemble", "brass": "Brass",
    "flutes": "Pipe", "reeds": "Reed",
}  # fmt: skip
CLICK = "click"


def read(root: Path) -> Listing:
    """All songs. FileNotFoundError when there are none."""
    files = sorted(folder(root).glob("*/data.json")) + sorted(root.glob("*/*/data.json"))
    if not files:
        raise FileNotFoundError(f"{root} holds no MoisesDB songs: give the folder that holds moisesdb_v0.1/")
    tracks, left_out = [], {}
    for file in files:
        try:
            tracks.append(track(file))
        except ValueError as error:
            left_out[slug(file.parent.name)] = str(error)
    return Listing(numbered(tracks), left_out)


def track(file: Path) -> TrackFiles:
    """The song that a data.json describes. ValueError when that is broken or lists no file that exists."""
    about = _read(file)
    groups: dict[tuple[str, int], list[Path]] = {}
    left_out = []
    for stem in about["stems"]:
        name = str(stem.get("stemName", "other"))
        for each in stem.get("tracks", ()):
            audio = file.parent / name / f"{each.get('id')}.{each.get('extension', 'wav')}"
            kind = str(each.get("trackType", "")).lower()
            if CLICK in kind:
                continue
            if audio.is_file():
                groups.setdefault((name, instrument(name, kind)), []).append(audio)
            else:
                left_out.append(f"{audio} is listed in data.json, but is missing")
    if not groups:
        raise ValueError(f"{file} lists no file that exists")
    stems = tuple(StemFiles(name, number, tuple(files)) for (name, number), files in groups.items())
    artist = slug(str(about.get("artist") or file.parent.name))
    song = slug(str(about.get("artist", "")), str(about.get("song", "")), file.parent.name[:8])
    return TrackFiles(slug(file.parent.name), song, artist, split_of(artist), stems, tuple(left_out))


def _read(file: Path) -> dict[str, Any]:
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    stems = about.get("stems") if isinstance(about, dict) else None
    if not isinstance(stems, list) or not all(isinstance(stem, dict) for stem in stems):
        raise ValueError(f"{file} lists no stems")
    return about


def instrument(stem: str, kind: str) -> int:
    """Class id of a file by what it is ("synth pad"), else by its stem ("other_keys")."""
    name = next((name for words, name in FILES.items() if words in kind), STEMS.get(stem))
    return INSTRUMENTS.index(name) if name else UNKNOWN
