"""Endless band music: songs drawn from written-down distributions, arranged by MMA, as MIDI files.

A song is a form of sections; each has a progression of chords in a key and, perhaps, a melody. Drums, bass, keys, guitars
and strings come from the grooves of MMA (Musical MIDI Accompaniment, GPL, run as an external program: its output is
ours). Every song is a pure function of (seed, index).
"""

import dataclasses
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bandmate.data import pack
from bandmate.data.files import replacing

SHARPS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)


class Groove(NamedTuple):
    """A groove of MMA's library: section name -> variant, beats in a bar, range of tempi (beats per minute)."""

    intro: str
    verse: str
    chorus: str
    bridge: str
    end: str
    beats: int
    tempo: tuple[int, int]


def groove(
    name: str, tempo: tuple[int, int], verse: str = "", chorus: str = "Plus", beats: int = 4
) -> Groove:
    """The usual names of MMA's library: an intro, an end, and variants by suffix."""
    return Groove(
        name + "Intro",
        name + verse,
        name + chorus,
        name + (chorus or "") if verse else name,
        name + "End",
        beats,
        tempo,
    )


class Style(NamedTuple):
    """share of songs, chords (kinds of seventh), probability of a chord change in mid-bar, and its grooves."""

    share: float
    sevenths: float
    split: float
    minor: float
    grooves: tuple[Groove, ...]


STYLES: dict[str, Style] = {
    "pop": Style(0.26, 0.12, 0.12, 0.35, (
        groove("8Beat", (84, 132), "", "Plus"), groove("8Beat", (84, 132), "1", "1Plus"),
        groove("8Beat", (90, 132), "Sus", "SusPlus"), groove("PopBallad", (66, 96), "", "Plus"),
        groove("PopBallad", (66, 96), "1", "2Sus"), groove("R&B", (76, 112), "", "Plus"),
        groove("R&B", (76, 112), "Sus", "SusPlus"),
    )),
    "rock": Style(0.24, 0.06, 0.1, 0.4, (
        groove("SoftRock", (88, 138), "", "1"), groove("SoftRock", (88, 138), "Sus", "2Sus"),
        groove("BasicRock", (100, 160), "", "4"), groove("BasicRock", (100, 160), "Sus", "4Sus"),
        groove("RockBallad", (60, 92), "", "1"), groove("FolkRock", (96, 140), "", "Plus"),
    )),
    "folk": Style(0.16, 0.05, 0.1, 0.25, (
        groove("Folk", (84, 132), "", ""), groove("FolkRock", (96, 140), "Sus", "SusPlus"),
        groove("CountrySwing", (100, 160), "", ""), groove("CountryWaltz", (88, 140), "", "", 3),
        groove("Waltz", (90, 160), "", "", 3),
    )),
    "jazz": Style(0.16, 0.9, 0.3, 0.35, (
        groove("Swing", (100, 190), "", "Plus"), groove("Swing", (100, 190), "Walk", "WalkPlus"),
        groove("JazzWaltz", (100, 170), "", "1", 3), groove("BossaNova", (100, 150), "Sus", "Plus"),
        groove("SlowJazz", (60, 90), "", ""),
    )),
    "blues": Style(0.08, 0.8, 0.05, 0.1, (
        groove("Blues", (70, 130), "", ""), groove("FastBlues", (120, 170), "", "")._replace(intro="BluesIntro"),
    )),
    "latin": Style(0.1, 0.4, 0.15, 0.45, (
        groove("Samba", (88, 130), "", "Plus"), groove("Rhumba", (96, 140), "", ""), groove("Beguine", (96, 140), "", ""),
        groove("ChaCha", (104, 132), "", ""), groove("Merengue", (110, 140), "", ""),
    )),
}  # fmt: skip

# Degree (from 0) -> what follows it, in shares: common-practice functions with the loops of popular music. The cadence
# (the last chord of a phrase) is drawn apart.
NEXT: dict[str, dict[int, dict[int, float]]] = {
    "major": {
        0: {3: 0.3, 4: 0.25, 5: 0.2, 1: 0.12, 2: 0.08, 0: 0.05}, 1: {4: 0.65, 3: 0.2, 0: 0.15}, 2: {5: 0.5, 3: 0.4, 1: 0.1},
        3: {0: 0.35, 4: 0.4, 1: 0.1, 5: 0.15}, 4: {0: 0.5, 5: 0.25, 3: 0.25}, 5: {3: 0.45, 1: 0.2, 4: 0.25, 2: 0.1},
    },
    "minor": {
        0: {5: 0.3, 3: 0.25, 6: 0.25, 4: 0.15, 2: 0.05}, 2: {6: 0.4, 5: 0.35, 3: 0.25},
        3: {0: 0.3, 4: 0.3, 6: 0.25, 5: 0.15}, 4: {0: 0.75, 5: 0.25},
        5: {6: 0.45, 2: 0.25, 3: 0.2, 4: 0.1}, 6: {0: 0.4, 2: 0.35, 5: 0.25},
    },
}  # fmt: skip
CADENCES = {"major": {4: 0.55, 0: 0.25, 3: 0.2}, "minor": {4: 0.45, 6: 0.35, 0: 0.2}}
TWELVE_BARS = (0, 0, 0, 0, 3, 3, 0, 0, 4, 3, 0, 4)
FORMS = ("IVVCVCBCE", "IVCVCCE", "IVVBVE", "IVCVCBCCE", "IVVVE")
QUALITY = {"major": ("", "m", "m", "", "", "m", "dim"), "minor": ("m", "dim", "", "m", "", "", "")}
SEVENTH = {"": "M7", "m": "m7", "dim": "m7b5"}
LEADS = (
    0,
    4,
    11,
    12,
    21,
    22,
    24,
    26,
    27,
    29,
    40,
    41,
    56,
    57,
    60,
    64,
    65,
    66,
    68,
    71,
    73,
    75,
    80,
    81,
    82,
)  # GM programs
PADS = (48, 49, 50, 51, 16, 18, 19, 88, 89, 91, 61)


class Bar(NamedTuple):
    """Chords, evenly spread over the bar, as (root above the key, quality); the melody in MMA's notation, or nothing."""

    chords: tuple[tuple[int, str], ...]
    melody: str = ""


@dataclasses.dataclass(frozen=True)
class BandSong:
    """A drawn song: what the arranger is told."""

    name: str
    style: str
    mode: str
    key: int  # pitch class of the tonic
    tempo: float
    drift: tuple[float, ...]  # factor on the tempo that each section moves to
    groove: Groove
    sections: tuple[tuple[str, tuple[Bar, ...]], ...]  # letter of the form, bars
    lead: int  # GM program of the melody
    pad: int | None  # GM program of held chords, or none
    loose_ms: int  # humanised timing
    loose_volume: int  # percent
    seed: int

    @property
    def bars(self) -> int:
        return sum(len(bars) for _, bars in self.sections)


def draw_song(seed: int, index: int) -> BandSong:
    """Song number `index` of a seed."""
    rng = np.random.default_rng([seed, index, 0x6261])
    names = list(STYLES)
    style = names[int(rng.choice(len(names), p=[STYLES[name].share for name in names]))]
    feel = STYLES[style]
    chosen = feel.grooves[int(rng.integers(len(feel.grooves)))]
    mode = "minor" if rng.random() < feel.minor else "major"
    form = FORMS[int(rng.integers(len(FORMS)))]
    blues = style == "blues" and rng.random() < 0.7
    parts = {letter: draw_part(rng, feel, mode, letter, chosen.beats, blues) for letter in sorted(set(form))}
    sections = tuple((letter, parts[letter]) for letter in form)
    steady = rng.random() < 0.6
    return BandSong(
        name=f"band-{seed:03d}-{index:05d}", style=style, mode=mode, key=int(rng.integers(12)),
        tempo=round(float(rng.uniform(*chosen.tempo)), 1),
        drift=tuple(1.0 if steady else float(np.exp(rng.normal(0, 0.03))) for _ in form), groove=chosen, sections=sections,
        lead=int(rng.choice(LEADS)), pad=int(rng.choice(PADS)) if rng.random() < 0.5 else None,
        loose_ms=int(rng.integers(0, 14)), loose_volume=int(rng.integers(4, 20)), seed=int(rng.integers(2**31)),
    )  # fmt: skip


def draw_part(
    rng: np.random.Generator, feel: Style, mode: str, letter: str, beats: int, blues: bool
) -> tuple[Bar, ...]:
    """The bars of one section: 2 or 4 of intro, 2 of end, else a phrase of 4 or 8 bars, twice with another cadence."""
    if letter in "IE":
        length = 2 if letter == "E" else int(rng.choice([2, 4]))
        degrees = [0] * length
    elif blues:
        degrees = list(TWELVE_BARS)
    else:
        half = draw_phrase(rng, mode, int(rng.choice([4, 8], p=[0.75, 0.25])))
        degrees = [*half[:-1], draw(rng, CADENCES[mode]), *half[:-1], 4 if letter == "B" else half[-1]]
    bars = [draw_chords(rng, feel, mode, degree) for degree in degrees]
    sung = letter in "VCB" and rng.random() < 0.6
    melodies = draw_melody(rng, mode, bars, beats) if sung else [""] * len(bars)
    return tuple(Bar(chords, melody) for chords, melody in zip(bars, melodies, strict=True))


def draw(rng: np.random.Generator, shares: dict[int, float]) -> int:
    weights = np.array(list(shares.values()))
    return list(shares)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def draw_phrase(rng: np.random.Generator, mode: str, length: int) -> list[int]:
    """Degrees, one per bar, from the tonic (four in five) on."""
    degrees = [0 if rng.random() < 0.8 else draw(rng, NEXT[mode][0])]
    while len(degrees) < length:
        degrees.append(draw(rng, NEXT[mode].get(degrees[-1], NEXT[mode][0])))
    return degrees


def draw_chords(rng: np.random.Generator, feel: Style, mode: str, degree: int) -> tuple[tuple[int, str], ...]:
    """One chord, or two in a bar."""
    degrees = [degree]
    if rng.random() < feel.split:
        degrees.append(draw(rng, NEXT[mode].get(degree, NEXT[mode][0])))
    return tuple(chord_of(rng, feel, mode, each) for each in degrees)


def chord_of(rng: np.random.Generator, feel: Style, mode: str, degree: int) -> tuple[int, str]:
    """Root above the tonic and quality; the dominant is major in minor keys too."""
    root = (MAJOR if mode == "major" else MINOR)[degree]
    quality = QUALITY[mode][degree]
    if rng.random() >= feel.sevenths:
        return root, quality if rng.random() > 0.06 or quality else "sus4"
    return root, "7" if degree == 4 or feel.minor < 0.2 else SEVENTH[quality]


def draw_melody(
    rng: np.random.Generator, mode: str, bars: list[tuple[tuple[int, str], ...]], beats: int
) -> list[str]:
    """A line in MMA's notation per bar: a two-bar rhythm that returns, chord tones on the beat, steps between them."""
    motif = [draw_rhythm(rng, beats) for _ in range(2)]
    scale = MAJOR if mode == "major" else MINOR
    place, lines = int(rng.integers(7, 12)), []
    for number, chords in enumerate(bars):
        rhythm = motif[number % 2] if rng.random() < 0.75 else draw_rhythm(rng, beats)
        notes: list[tuple[int, int | None]] = []
        at = 0
        for length, sounds in rhythm:
            if sounds:
                root = chords[min(len(chords) - 1, at * len(chords) // (2 * beats))][0]
                place = move(rng, place, root, scale, strong=at % 2 == 0)
                notes.append((length, 12 * (place // 7) + scale[place % 7]))
            else:
                notes.append((length, None))
            at += length
        lines.append(" ".join(f"{LENGTHS[length]}{{{pitch}}}" for length, pitch in notes))
    return lines


LENGTHS = {1: "8", 2: "4", 3: "4.", 4: "2", 6: "2."}  # eighths -> MMA's names of note values


def draw_rhythm(rng: np.random.Generator, beats: int) -> list[tuple[int, bool]]:
    """(eighths, whether it sounds) that fill a bar."""
    left, rhythm = 2 * beats, []
    while left:
        fitting = [length for length in LENGTHS if length <= left]
        weights = np.array([{1: 0.4, 2: 0.32, 3: 0.12, 4: 0.12, 6: 0.04}[length] for length in fitting])
        length = int(rng.choice(fitting, p=weights / weights.sum()))
        rhythm.append((length, bool(rng.random() < 0.82)))
        left -= length
    return rhythm


def move(rng: np.random.Generator, place: int, root: int, scale: tuple[int, ...], strong: bool) -> int:
    """The next scale degree: within a seventh of the middle; on the beat pulled to a tone of the chord."""
    place += int(rng.choice([-2, -1, 0, 1, 2, 3, -3], p=[0.14, 0.26, 0.12, 0.26, 0.14, 0.04, 0.04]))
    place = min(15, max(4, place))
    if strong and rng.random() < 0.85:
        degree = scale.index(root) if root in scale else 0
        tones = [t for t in range(place - 3, place + 4) if (t - degree) % 7 in (0, 2, 4)]
        place = min(tones, key=lambda tone: abs(tone - place))
    return place


def as_mma(song: BandSong) -> str:
    """The song as a program for MMA."""
    lines = [f"RndSeed {song.seed}", f"Tempo {song.tempo}", f"Time {song.groove.beats}"]
    names = {
        "I": song.groove.intro,
        "V": song.groove.verse,
        "C": song.groove.chorus,
        "B": song.groove.bridge,
        "E": song.groove.end,
    }
    number = 0
    for (letter, bars), drift in zip(song.sections, song.drift, strict=True):
        lines += [f"Groove {names[letter]}", *section_settings(song, letter)]
        if drift != 1.0:
            lines.append(f"Tempo {song.tempo * drift:.1f} {len(bars)}")
        for bar in bars:
            number += 1
            melody = f" {{{spelled(bar.melody, song.key)}}}" if bar.melody else ""
            lines.append(f"{number} {chord_line(bar, song)}{melody}")
    return "\n".join(lines) + "\n"


def section_settings(song: BandSong, letter: str) -> list[str]:
    """What a groove resets: looseness, the melody's instrument, held chords."""
    lines = [f"AllTracks RVolume {song.loose_volume}", f"AllTracks RTime {song.loose_ms}"]
    lines += [
        "AutoSoloTracks Solo",
        f"Solo Voice {song.lead}",
        "Solo Octave 5",
        f"Solo RTime {song.loose_ms}",
    ]
    if song.pad is not None and letter in "CB":
        lines += [f"Chord-Held Voice {song.pad}", "Chord-Held Octave 4", "Chord-Held Articulate 98",
                  "Chord-Held Sequence {1 1 70}"]  # fmt: skip
    return lines


def chord_line(bar: Bar, song: BandSong) -> str:
    """`C / G /`: names of the chords on the beats where they begin."""
    slots = ["/"] * song.groove.beats
    for number, (root, quality) in enumerate(bar.chords):
        slots[number * song.groove.beats // len(bar.chords)] = SHARPS[(root + song.key) % 12] + quality
    return " ".join(slots)


def spelled(melody: str, key: int) -> str:
    """`4{7} 8{None}` as MMA's `4g;8r;`."""
    notes = []
    for part in melody.split():
        length, _, pitch = part.rstrip("}").partition("{")
        notes.append(length + ("r" if pitch == "None" else pitch_name(int(pitch) + key)))
    return ";".join(notes) + ";"


def pitch_name(semitones: int) -> str:
    """Semitones above the C of the track's octave -> letter, accidental, octave marks."""
    octave, pitch = divmod(semitones, 12)
    name = ("c", "c#", "d", "e&", "e", "f", "f#", "g", "a&", "a", "b&", "b")[pitch]
    return name + "+" * max(0, octave - 1) + "-" * max(0, 1 - octave)


def compile_song(song: BandSong, folder: Path) -> Path:
    """Arranges a song: writes <folder>/<name>.mid by way of MMA.

    Raises FileNotFoundError without MMA, ValueError with MMA's own words when it refuses the song.
    """
    program = shutil.which("mma")
    if program is None:
        raise FileNotFoundError(
            "MMA is not installed: on Debian, apt-get install mma; else see mellowood.ca/mma"
        )
    target = folder / f"{song.name}.mid"
    with (
        tempfile.TemporaryDirectory() as scratch
    ):  # MMA writes its file names into the song: they must not vary
        Path(scratch, "song.mma").write_text(as_mma(song), encoding="utf-8")
        command = [program, "-f", "song.mid", "song.mma"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=scratch)
        if done.returncode or not Path(scratch, "song.mid").is_file():
            raise ValueError(f"MMA cannot arrange {song.name}: {' '.join(done.stdout.split()[-30:])}")
        with replacing(target) as path:
            shutil.copyfile(Path(scratch, "song.mid"), path)
    return target


def write_songs(folder: Path, count: int, seed: int = 0) -> Iterator[Path]:
    """Songs 0 ... count - 1 of a seed in a folder, those already there left as they are; yields each path.

    ``split.csv`` beside them puts all into train: validation and test are for music that people wrote.
    """
    folder.mkdir(parents=True, exist_ok=True)
    songs = [draw_song(seed, index) for index in range(count)]
    names = sorted({path.stem for path in folder.glob("band-*.mid")} | {song.name for song in songs})
    entries = [pack.Entry(f"{name}.mid", name, name, "train") for name in names]
    with replacing(folder / pack.OWN_SPLIT) as path:
        path.write_text(pack.split_csv(entries), encoding="utf-8")
    for song in songs:
        target = folder / f"{song.name}.mid"
        yield target if target.is_file() else compile_song(song, folder)
