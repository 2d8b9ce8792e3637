"""The 18 instrument classes that a model can be asked to play."""

import difflib

INSTRUMENTS: tuple[str, ...] = (
    "Piano",
    "Chromatic Percussion",
    "Organ",
    "Guitar",
    "Bass",
    "Strings",
    "Ensemble",
    "Brass",
    "Reed",
    "Pipe",
    "Synth Lead",
    "Synth Pad",
    "Synth Effects",
    "Ethnic",
    "Percussive",
    "Sound Effects",
    "Vocal",
    "Unknown",
)

# What people type, and the class they mean: for suggestions only.
_MEANT = {
    "drum": "percussive",
    "drums": "percussive",
    "flute": "pipe",
    "keys": "piano",
    "sax": "reed",
    "saxophone": "reed",
    "trumpet": "brass",
    "violin": "strings",
    "voice": "vocal",
}

DRUMS_PROGRAM = 128
VOCAL_PROGRAMS = (52, 53, 54)  # Choir Aahs, Voice Oohs, Synth Voice
PERCUSSIVE = INSTRUMENTS.index("Percussive")
BASS = INSTRUMENTS.index("Bass")
VOCAL = INSTRUMENTS.index("Vocal")
UNKNOWN = INSTRUMENTS.index("Unknown")


def from_program(program: int) -> int:
    """Class id of a General MIDI program (0..127; 128 = drums).

    The classes are the GM families of eight programs, but for the three choirs, which are Vocal, and the
    drums, which join the family Percussive. Raises ValueError outside 0..128.
    """
    if not 0 <= program <= DRUMS_PROGRAM:
        raise ValueError(f"a MIDI program is a number from 0 to 128 (128 = drums), not {program}")
    if program == DRUMS_PROGRAM:
        return PERCUSSIVE
    return VOCAL if program in VOCAL_PROGRAMS else program // 8


def lookup(name: str) -> int:
    """Class id of a class name, case and outer blanks ignored; ValueError naming the nearest match."""
    names = {each.lower(): index for index, each in enumerate(INSTRUMENTS)}
    wanted = " ".join(name.lower().split())
    if wanted in names:
        return names[wanted]
    near = [_MEANT[wanted]] if wanted in _MEANT else difflib.get_close_matches(wanted, names, 1, cutoff=0.0)
    raise ValueError(
        f"unknown instrument {name!r}; did you mean {INSTRUMENTS[names[near[0]]]!r}? "
        f"The classes are: {', '.join(INSTRUMENTS)}"
    )
