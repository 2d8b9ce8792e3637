from pathlib import Path

import mido
import pytest

from bandmate.data.midi import BEND, read_midi
from tests.data.midi_files import TICKS, control, note, program, tempo, write


def test_type_0_is_split_by_channel_and_program(tmp_path: Path) -> None:
    messages = [program(33), *note(40, TICKS), program(0), *note(60, TICKS), *note(38, TICKS, channel=9)]
    song = read_midi(write(tmp_path / "a.mid", messages, kind=0))
    assert [(part.channel, part.program) for part in song.parts] == [(0, 0), (0, 33), (9, 128)]
    assert [[n.key for n in part.notes] for part in song.parts] == [[60], [40], [38]]


def test_times_follow_the_tempo_map(tmp_path: Path) -> None:
    # four beats at 120 (2 s), then at 60
    file = write(
        tmp_path / "a.mid", [tempo(120), tempo(60, at=4 * TICKS)], [*note(60, TICKS, after=5 * TICKS)]
    )
    song = read_midi(file)
    assert song.parts[0].notes[0].onset == pytest.approx(3.0)
    assert song.parts[0].notes[0].offset == pytest.approx(4.0)
    assert song.beats == pytest.approx((0, 0.5, 1, 1.5, 2, 3, 4))
    assert song.tempo_at(1.0) == pytest.approx(120)
    assert song.tempo_at(2.5) == pytest.approx(60)


def test_compound_metre_beats_in_dotted_quarters(tmp_path: Path) -> None:
    metre = mido.MetaMessage("time_signature", numerator=6, denominator=8)
    song = read_midi(write(tmp_path / "a.mid", [metre, tempo(120), *note(60, 6 * TICKS)]))
    assert song.beats == pytest.approx((0, 0.75, 1.5, 2.25, 3.0))


def test_a_part_has_all_controllers_of_its_channel_but_banks_and_modes(tmp_path: Path) -> None:
    bend = mido.Message("pitchwheel", pitch=-4096)
    ignored = [control(0, 5), control(32, 1), control(120, 0), control(123, 0)]
    messages = [control(7, 90), bend, *ignored, program(0), *note(60, TICKS), program(4), *note(62, TICKS)]
    song = read_midi(write(tmp_path / "a.mid", messages, [*note(50, TICKS, channel=1)]))
    wanted = [(7, 90), (BEND, -4096)]
    assert [[(c.number, c.value) for c in part.controls] for part in song.parts] == [wanted, wanted, []]


def test_ports_tell_channels_apart(tmp_path: Path) -> None:
    other = mido.MetaMessage("midi_port", port=1)
    song = read_midi(
        write(tmp_path / "a.mid", [*note(60, TICKS)], [other, *note(61, TICKS), *note(35, 9, channel=9)])
    )
    assert [(part.channel, part.program) for part in song.parts] == [(0, 0), (16, 0), (25, 128)]


def test_a_key_struck_again_ends_and_a_hanging_note_ends_with_the_file(tmp_path: Path) -> None:
    strike = mido.Message("note_on", note=60, velocity=80, time=TICKS)
    end = mido.MetaMessage("end_of_track", time=2 * TICKS)
    song = read_midi(write(tmp_path / "a.mid", [tempo(60), strike, strike, end]))
    assert [(n.onset, n.offset) for n in song.parts[0].notes] == [(1.0, 2.0), (2.0, 4.0)]


@pytest.mark.parametrize("content", [b"", b"RIFF....", b"MThd\x00\x00\x00\x06\x00\x01"])
def test_what_is_no_midi_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mid").write_bytes(content)
    with pytest.raises(ValueError, match="not a readable MIDI file") as caught:
        read_midi(tmp_path / "a.mid")
    assert "\n" not in str(caught.value)


def test_no_notes_or_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no notes"):
        read_midi(write(tmp_path / "a.mid", [tempo(100)]))
    with pytest.raises(FileNotFoundError, match="missing"):
        read_midi(tmp_path / "missing.mid")


def test_a_key_signature_that_is_none_is_told(tmp_path: Path) -> None:
    key = mido.MetaMessage("key_signature", key="C")
    file = write(tmp_path / "a.mid", [key, *note(60, TICKS)])
    file.write_bytes(file.read_bytes().replace(b"\xff\x59\x02\x00\x00", b"\xff\x59\x02\x6d\x26"))
    with pytest.raises(ValueError, match=r"a\.mid is not a readable MIDI file .*109 sharps"):
        read_midi(file)


def test_a_tempo_of_nought_is_told(tmp_path: Path) -> None:
    still = mido.MetaMessage("set_tempo", tempo=0)
    with pytest.raises(ValueError, match="a beat of no length"):
        read_midi(write(tmp_path / "a.mid", [still, *note(60, TICKS)]))
