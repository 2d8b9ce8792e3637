"""SoundFonts: where they lie, and playing one part with one of them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandmate.data.midi import BEND, Control, Note

DEBIAN = (
    ("timgm6mb-soundfont", "/usr/share/sounds/sf2/TimGM6mb.sf2"),
    ("fluidr3mono-gm-soundfont", "/usr/share/sounds/sf3/FluidR3Mono_GM.sf3"),
    ("musescore-general-soundfont-small", "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3"),
)
KITS = (0, 8, 16, 24, 25, 32, 40)  # drum kits proper; orchestra and marching sets hold other keys
GRID = 16  # events start on a grid of 0.5 ms at 32 kHz: fewer, longer calls into the synthesiser


def find_soundfonts() -> tuple[Path, ...]:
    """SoundFonts of $BANDMATE_SOUNDFONTS (files or folders, ':' between), else the Debian packages' files.

    Raises FileNotFoundError naming the packages when there is none.
    """
    asked = os.environ.get("BANDMATE_SOUNDFONTS", "")
    if asked:
        found = [file for entry in asked.split(os.pathsep) if entry for file in _fonts_at(Path(entry))]
        if not found:
            raise FileNotFoundError(f"BANDMATE_SOUNDFONTS={asked!r} names no .sf2 or .sf3 file")
        return tuple(found)
    found = [Path(path) for _, path in DEBIAN if Path(path).is_file()]
    if not found:
        packages = ", ".join(package for package, _ in DEBIAN)
        raise FileNotFoundError(
            f"no SoundFont found: install one of the Debian packages {packages}, "
            "or name files in $BANDMATE_SOUNDFONTS"
        )
    return tuple(found)


def _fonts_at(path: Path) -> list[Path]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [file for file in files if file.suffix.lower() in (".sf2", ".sf3") and file.is_file()]


def load_tinysoundfont() -> Any:
    """The module tinysoundfont, imported when wanted. ValueError when it is not installed."""
    try:
        import tinysoundfont
    except ModuleNotFoundError as missing:
        raise ValueError(
            f"{missing.name} is not installed, and it plays SoundFonts: pip install 'bandmate[midi]', "
            "then pip install --no-deps tinysoundfont"
        ) from None
    return tinysoundfont


@dataclass(frozen=True)
class Voice:
    """What plays a part: program 0..127, or for drums the kit number."""

    program: int
    drums: bool = False


class Player:
    """One loaded SoundFont. `play` starts from the same state each time, so its output is a pure function.

    Loading takes 0.02 s (TimGM6mb) to 3 s (sf3 files), so a loaded font is kept; `play` first silences the
    synthesiser, runs it until it is, and sets every controller back. That this equals a fresh synthesiser bit
    for bit is tested.
    """

    def __init__(self, path: Path, sample_rate: int = 32000) -> None:
        tinysoundfont = load_tinysoundfont()
        self.sample_rate = sample_rate
        self._synth = tinysoundfont.Synth(samplerate=sample_rate)
        try:
            self._font = self._synth.sfload(str(path))
        except Exception as error:  # the library raises bare RuntimeErrors of several kinds
            raise ValueError(f"{path} is not a readable SoundFont ({error})") from None

    def kits(self) -> tuple[int, ...]:
        """The drum kits that this font has, of those in KITS."""
        names = {kit: self._synth.sfpreset_name(self._font, 128, kit) for kit in KITS}
        return tuple(kit for kit, name in names.items() if name) or (0,)

    def _reset(self, voice: Voice) -> None:
        synth: Any = self._synth
        synth.sounds_off(0)
        while np.any(self._generate(GRID * 200)):
            pass
        synth.control_change(0, 121, 0)
        synth.program_select(0, self._font, 0, voice.program, voice.drums)
        synth.pitchbend_range(0, 2.0)
        synth.set_tuning(0, 0.0)
        for number, value in ((64, 0), (7, 100), (11, 127), (10, 64), (101, 127), (100, 127)):
            synth.control_change(0, number, value)
        synth.pitchbend(0, 8192)

    def _generate(self, samples: int) -> NDArray[np.float32]:
        return np.frombuffer(self._synth.generate(samples), dtype=np.float32)

    def play(
        self, notes: Sequence[Note], controls: Sequence[Control], seconds: float, voice: Voice
    ) -> NDArray[np.float32]:
        """Render to mono [S], S = round(seconds * rate). Before 0, controls count and notes do not."""
        self._reset(voice)
        total = round(seconds * self.sample_rate)
        out = np.zeros((total, 2), dtype=np.float32)
        now = 0
        for at, _, event in self._schedule(notes, controls, total):
            if at > now:
                out[now:at] = self._generate(at - now).reshape(-1, 2)
                now = at
            self._apply(event)
        out[now:] = self._generate(total - now).reshape(-1, 2)
        return out.mean(axis=1)

    def _schedule(
        self, notes: Sequence[Note], controls: Sequence[Control], total: int
    ) -> list[tuple[int, int, tuple[int, ...]]]:
        """(sample, rank, event) in playing order: at one instant note-offs, then controls, then note-ons."""
        events: list[tuple[int, int, tuple[int, ...]]] = [
            (self._sample(max(0.0, control.time)), 1, (control.number, control.value)) for control in controls
        ]
        for note in notes:
            if note.onset >= 0:
                on = self._sample(note.onset)
                events.append((on, 2, (note.key, note.velocity, 1)))
                events.append((max(self._sample(note.offset), on + GRID), 0, (note.key, 0, 0)))
        return sorted((event for event in events if event[0] < total), key=lambda event: event[:2])

    def _sample(self, seconds: float) -> int:
        return round(seconds * self.sample_rate / GRID) * GRID

    def _apply(self, event: tuple[int, ...]) -> None:
        if len(event) == 3:
            key, velocity, on = event
            if on:
                self._synth.noteon(0, key, velocity)
            else:
                self._synth.noteoff(0, key)
        elif event[0] == BEND:
            self._synth.pitchbend(0, event[1] + 8192)
        else:
            self._synth.control_change(0, *event)


@lru_cache(maxsize=8)
def load_player(path: Path, sample_rate: int = 32000) -> Player:
    """The player of a font, loaded once per process."""
    if not path.is_file():
        raise FileNotFoundError(f"no SoundFont at {path}")
    return Player(path, sample_rate)
