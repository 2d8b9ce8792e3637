"""CocoChorales: <root>/main_dataset/{train,valid,test}/<ensemble>_trackNNNNNN/stems_audio/<voice>_<instrument>.wav.

Four voices of 16 kHz mono each, of one of 13 instruments; `mix.wav` is not read. `root` may be any folder above
the tracks, however the archives were unpacked. The number of a track tells its split.
"""

import re
from pathlib import Path

from bandmate.data.stem_files import Listing, StemFiles, TrackFiles, folder, numbered
from bandmate.instruments import from_program

PROGRAMS = {
    "violin": 40, "viola": 41, "cello": 42, "double_bass": 43, "contrabass": 43, "flute": 73, "oboe": 68,
    "clarinet": 71, "saxophone": 65, "bassoon": 70, "trumpet": 56, "horn": 60, "trombone": 57, "tuba": 58,
}  # fmt: skip
TRAIN, VALID = 192_000, 216_000  # last number of the train and valid sets
DEPTH = 4  # folders that may lie between root and a track
HEAD = 400  # characters of metadata.yaml that hold the name of the MIDI file; the rest is long


def read(root: Path) -> Listing:
    """All tracks. FileNotFoundError when there are none."""
    folder(root)
    patterns = ["/".join(["*"] * depth + ["*_track[0-9]*"]) for depth in range(DEPTH)]
    found = [path for pattern in patterns for path in sorted(root.glob(pattern)) if path.is_dir()]
    found = [path for path in found if not {"note_expression", "synthesis_parameters"} & set(path.parts)]
    if not found:
        raise FileNotFoundError(f"{root} holds no CocoChorales tracks such as string_track000001/")
    tracks, left_out = [], {}
    for path in found:
        try:
            tracks.append(track(path))
        except ValueError as error:
            left_out[path.name] = str(error)
    return Listing(numbered(tracks), left_out)


def track(path: Path) -> TrackFiles:
    """One chorale. ValueError when it has no stems or an instrument that is not of the 13."""
    files = sorted((path / "stems_audio").glob("*.wav"))
    if not files:
        raise ValueError(f"{path / 'stems_audio'} holds no WAV files")
    stems = tuple(StemFiles(file.stem, instrument(file), (file,)) for file in files)
    return TrackFiles(path.name, path.name, midi_file(path) or path.name, split(path.name), stems)


def split(name: str) -> str:
    number = int(re.sub(r".*_track0*(\d+)$", r"\1", name)) if re.fullmatch(r".*_track\d+", name) else 0
    return "train" if number <= TRAIN else "valid" if number <= VALID else "test"


def instrument(file: Path) -> int:
    """Class id by the file's name, as in "2_double_bass.wav"."""
    name = re.sub(r"^\d+_", "", file.stem).lower().replace(" ", "_")
    if name not in PROGRAMS:
        raise ValueError(f"{file}: {name!r} is none of {', '.join(PROGRAMS)}")
    return from_program(PROGRAMS[name])


def midi_file(path: Path) -> str | None:
    """The MIDI file that was played, where the track tells it: near duplicates share one."""
    try:
        with (path / "metadata.yaml").open(encoding="utf-8", errors="replace") as file:
            found = re.search(r"^midi_file:\s*([\w.-]+)", file.read(HEAD), re.MULTILINE)
    except OSError:
        return None
    return found[1] if found else None
