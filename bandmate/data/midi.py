"""Standard MIDI files as parts: one per (channel, program), times in seconds, with controllers and beats."""

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bandmate.instruments import DRUMS_PROGRAM, from_program

if TYPE_CHECKING:
    import mido

DRUM_CHANNEL = 9
DEFAULT_TEMPO = 500_000  # microseconds per quarter note: what a file without tempo means


class Note(NamedTuple):
    onset: float  # seconds
    offset: float
    key: int
    velocity: int


class Control(NamedTuple):
    """A controller (number 0..119) or a pitch bend (`number` = BEND, value -8192..8191)."""

    time: float  # seconds
    number: int
    value: int


BEND = -1


@dataclass(frozen=True)
class Part:
    """The notes that one channel plays with one program, and every controller of that channel."""

    channel: int  # 16 * port + channel
    program: int  # 0..127, 128 = drums
    kit: int  # the program number of a drum channel, else 0
    notes: tuple[Note, ...]
    controls: tuple[Control, ...]

    @property
    def instrument(self) -> int:
        return from_program(self.program)

    def sounding(self, start: float, stop: float) -> float:
        """Summed note time within [start, stop), in seconds."""
        return sum(max(0.0, min(n.offset, stop) - max(n.onset, start)) for n in self.notes)


@dataclass(frozen=True)
class Song:
    """A parsed file. `beats` are times in seconds; `tempi` are (seconds, beats per minute)."""

    name: str
    parts: tuple[Part, ...]
    beats: tuple[float, ...]
    tempi: tuple[tuple[float, float], ...]
    start: float  # first note onset
    end: float  # last note offset

    def tempo_at(self, seconds: float) -> float:
        """Beats (quarter notes) per minute at a time."""
        return self.tempi[max(0, bisect_right([t for t, _ in self.tempi], seconds) - 1)][1]


class _Clock:
    """Ticks to seconds through the tempo map."""

    def __init__(self, changes: list[tuple[int, int]], ticks_per_beat: int) -> None:
        self.ticks, self.seconds, self.per_tick = [0], [0.0], [DEFAULT_TEMPO / 1e6 / ticks_per_beat]
        for tick, tempo in changes:
            now, rate = self(tick), tempo / 1e6 / ticks_per_beat
            if tick == self.ticks[-1]:
                self.per_tick[-1] = rate
            else:
                self.ticks.append(tick)
                self.seconds.append(now)
                self.per_tick.append(rate)
        self.tempi = tuple(
            (s, 60 / (r * ticks_per_beat)) for s, r in zip(self.seconds, self.per_tick, strict=True)
        )

    def __call__(self, tick: int) -> float:
        at = bisect_right(self.ticks, tick) - 1
        return self.seconds[at] + (tick - self.ticks[at]) * self.per_tick[at]


def load_mido() -> Any:
    """The module mido, imported when wanted: rendered tracks are read without it. ValueError when it is not installed."""
    try:
        import mido
    except ModuleNotFoundError as missing:
        raise ValueError(
            f"{missing.name} is not installed, and it reads MIDI: pip install 'bandmate[midi]'"
        ) from None
    return mido


def read_midi(path: str | Path, name: str | None = None) -> Song:
    """Parse a MIDI file of type 0 or 1. ValueError for a file that is none or holds no note."""
    mido = load_mido()
    path = Path(path)
    try:
        # clip=True: a stray data byte over 127 is common in old files and must not cost the song
        file = mido.MidiFile(path, clip=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"no MIDI file at {path}") from None
    except (OSError, EOFError, ValueError, KeyError, IndexError, mido.KeySignatureError) as error:
        raise ValueError(
            f"{path.name} is not a readable MIDI file ({error or type(error).__name__})"
        ) from None
    if file.type == 2 or not 0 < file.ticks_per_beat < 0x8000:
        raise ValueError(f"{path.name}: only MIDI files of type 0 or 1 with ticks per beat can be read")
    return _assemble(name or path.stem, file)


def _assemble(name: str, file: "mido.MidiFile") -> Song:
    events = _events(file)
    tempi = [(tick, message.tempo) for tick, _, message in events if message.type == "set_tempo"]
    if not all(tempo for _, tempo in tempi):
        raise ValueError(f"{name}: a beat of no length in the MIDI file (a tempo of 0)")
    clock = _Clock(tempi, file.ticks_per_beat)
    parts = _parts(events, clock)
    if not parts:
        raise ValueError(f"{name}: the MIDI file holds no notes")
    start = min(part.notes[0].onset for part in parts)
    end = max(note.offset for part in parts for note in part.notes)
    return Song(name, parts, _beats(events, clock, file.ticks_per_beat, end), clock.tempi, start, end)


def _events(file: "mido.MidiFile") -> list[tuple[int, int, Any]]:
    """All messages as (tick, port, message) in time order; file order among equals."""
    events = []
    for track in file.tracks:
        tick = port = 0
        for message in track:
            tick += message.time
            if message.type == "midi_port":
                port = message.port
            events.append((tick, port, message))
    events.sort(key=lambda event: event[0])
    return events


def _beats(events: list[tuple[int, int, Any]], clock: _Clock, ticks: int, end: float) -> tuple[float, ...]:
    """Quarter notes, or dotted quarters in 6/8, 9/8 and 12/8, counted anew from each time signature."""
    signatures = [(0, 4, 4)] + [
        (t, m.numerator, m.denominator) for t, _, m in events if m.type == "time_signature"
    ]
    final = max(tick for tick, _, _ in events)
    beats: list[float] = []
    for at, (tick, numerator, denominator) in enumerate(signatures):
        step = ticks * 3 // 2 if denominator == 8 and numerator in (6, 9, 12) else ticks
        stop = signatures[at + 1][0] if at + 1 < len(signatures) else final + 1
        beats += [clock(now) for now in range(tick, stop, step)]
    return tuple(beat for beat in beats if beat <= end)


def _parts(events: list[tuple[int, int, Any]], clock: _Clock) -> tuple[Part, ...]:
    notes: dict[tuple[int, int], list[Note]] = defaultdict(list)
    controls: dict[int, list[Control]] = defaultdict(list)
    programs: dict[int, int] = defaultdict(int)
    kits: dict[int, int] = {}
    held: dict[tuple[int, int], tuple[int, float, int]] = {}  # (channel, key) -> program, onset, velocity

    def release(channel: int, key: int, now: float) -> None:
        if (channel, key) in held:
            program, onset, velocity = held.pop((channel, key))
            notes[channel, program].append(Note(onset, max(now, onset + 0.01), key, velocity))

    for tick, port, message in events:
        if message.is_meta or not hasattr(message, "channel"):
            continue
        now, channel = clock(tick), 16 * port + message.channel
        if message.type == "program_change":
            programs[channel] = message.program
        elif message.type in ("note_on", "note_off"):
            release(channel, message.note, now)
            if message.type == "note_on" and message.velocity:
                drums = message.channel == DRUM_CHANNEL
                kits.setdefault(channel, programs[channel] if drums else 0)
                held[channel, message.note] = (
                    DRUMS_PROGRAM if drums else programs[channel],
                    now,
                    message.velocity,
                )
        else:
            controls[channel] += _control(message, now)
    end = clock(events[-1][0]) if events else 0.0
    for channel, key in list(held):
        release(channel, key, end)
    return tuple(
        Part(channel, program, kits[channel], tuple(sorted(played)), tuple(controls[channel]))
        for (channel, program), played in sorted(notes.items())
    )


def _control(message: Any, now: float) -> list[Control]:
    if message.type == "pitchwheel":
        return [Control(now, BEND, message.pitch)]
    if message.type != "control_change" or message.control in (0, 32):  # banks: the program is ours to choose
        return []
    if message.control == 121:  # reset all: what GM resets, without the volume
        return [Control(now, BEND, 0), Control(now, 11, 127), Control(now, 64, 0)]
    return [] if message.control >= 120 else [Control(now, message.control, message.value)]
