"""The folder of a study, complete in itself:

study.json   systems, clips, lists of trials, right answers of the headphone check: never shown to a listener
audio/       the sounds under names that tell nothing
answers.jsonl  what was answered, as long as it is served

"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from bandmate.sweep.listening_study.design import Trial

FORMAT = 1
TYPES = {"flac": "audio/flac", "wav": "audio/wav", "mp3": "audio/mpeg"}


@dataclasses.dataclass(frozen=True)
class Clip:
    """One input and what each system made of it: names of sounds. ``instrument``: what to listen for."""

    clip: str
    song: str
    instrument: str
    n_in: int
    input: str
    sounds: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Tones:
    """One task of the headphone check: its sound, and which of its tones (1, 2, 3) is the softest."""

    sound: str
    softest: int


@dataclasses.dataclass(frozen=True)
class Study:
    """What study.json holds. ``listen``: seconds of A and of B to be heard before an answer. ``sound``: file type."""

    id: str
    title: str
    systems: tuple[str, ...]
    about: tuple[dict[str, Any], ...]
    clips: tuple[Clip, ...]
    lists: tuple[tuple[Trial, ...], ...]
    check: tuple[Tones, ...]
    listen: float
    seconds: float
    sound: str
    seed: int

    def trials(self) -> dict[str, Trial]:
        return {trial.id: trial for each in self.lists for trial in each}

    def sounds(self) -> set[str]:
        """The names of all sounds."""
        own = {name for clip in self.clips for name in (clip.input, *clip.sounds)}
        return own | {each.sound for each in self.check}


def sound_path(folder: Path, study: Study, name: str) -> Path:
    return folder / "audio" / f"{name}.{study.sound}"


def to_json(study: Study) -> str:
    """One line per list and clip, for a study is to be read by people, too."""
    content = {"format": FORMAT, **dataclasses.asdict(study)}
    lines = []
    for key, value in content.items():
        if isinstance(value, tuple) and value and not isinstance(value[0], str):
            inner = ",\n".join(f"  {json.dumps(each)}" for each in value)
            lines.append(f' "{key}": [\n{inner}\n ]')
        else:
            lines.append(f' "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def load_study(folder: Path) -> Study:
    """FileNotFoundError for a folder that is no study, ValueError for one that is damaged or of another version."""
    file = folder / "study.json"
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: check the name")
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no study.json: it was not made by bandmate study build")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError(content)
        content["clips"] = tuple(
            Clip(**each | {"sounds": tuple(each["sounds"])}) for each in content["clips"]
        )
        content["lists"] = tuple(tuple(Trial(*trial) for trial in each) for each in content["lists"])
        content["check"] = tuple(Tones(**each) for each in content["check"])
        study = Study(**content | {key: tuple(content[key]) for key in ("systems", "about")})
        check(study)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise ValueError(f"{file} is damaged or of another version: build the study anew") from None
    return study


def check(study: Study) -> None:
    """ValueError unless all that the trials point at is there."""
    inside = all(
        0 <= trial.clip < len(study.clips) and {trial.a, trial.b} <= set(range(len(study.systems)))
        for trial in study.trials().values()
    )
    whole = all(len(clip.sounds) == len(study.systems) for clip in study.clips)
    if not (inside and whole and study.lists and all(study.lists) and study.sound in TYPES):
        raise ValueError("trials and sounds do not belong together")


def missing_sounds(folder: Path, study: Study) -> list[str]:
    return sorted(name for name in study.sounds() if not sound_path(folder, study, name).is_file())
