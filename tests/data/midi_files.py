"""Small MIDI files, written for one test each."""

from pathlib import Path

import mido

TICKS = 480


def write(path: Path, *tracks: list[mido.Message | mido.MetaMessage], kind: int = 1) -> Path:
    """Write tracks of messages whose `time` is in ticks after the message before."""
    file = mido.MidiFile(type=kind, ticks_per_beat=TICKS)
    for messages in tracks:
        track = mido.MidiTrack()
        track.extend(messages)
        file.tracks.append(track)
    file.save(path)
    return path


def tempo(bpm: float, at: int = 0) -> mido.MetaMessage:
    return mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(bpm), time=at)


def program(number: int, channel: int = 0) -> mido.Message:
    return mido.Message("program_change", program=number, channel=channel)


def control(number: int, value: int, channel: int = 0, at: int = 0) -> mido.Message:
    return mido.Message("control_change", control=number, value=value, channel=channel, time=at)


def note(key: int, ticks: int, channel: int = 0, after: int = 0, velocity: int = 100) -> list[mido.Message]:
    return [
        mido.Message("note_on", note=key, velocity=velocity, channel=channel, time=after),
        mido.Message("note_off", note=key, channel=channel, time=ticks),
    ]


def band(path: Path, bars: int = 16, shift: int = 0) -> Path:
    """Drums, bass and organ at 120 beats per minute, two seconds a bar. Another `shift`: another song."""
    beats = range(4 * bars)
    drums = [
        m for beat in beats for m in note((36, 38)[beat % 2], TICKS // 2, 9, 0 if beat == 0 else TICKS // 2)
    ]
    bass = [m for beat in beats for m in note(36 + (beat * (5 + shift)) % 12, TICKS, 1)]
    organ = [m for beat in beats for m in note(60 + (beat * (7 + shift)) % 12, TICKS, 2)]
    return write(path, [tempo(120), *drums], [program(33, 1), *bass], [program(16, 2), *organ])
