"""What a rendition says is what one hears: pitch, time, level, chased controllers. Needs a SoundFont."""

from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest

from bandmate.audio.loudness import activity
from bandmate.data.midi import Song, read_midi
from bandmate.data.rendition import Rendition, RenditionConfig, Sound, draw_rendition, render, shelf
from bandmate.data.soundfonts import Player, Voice, find_soundfonts, load_player
from bandmate.data.stems import Track
from tests.data.midi_files import TICKS, band, control, note, program, tempo, write

RATE = 32000
FONTS = find_soundfonts()[:1]
PLAIN = RenditionConfig(seconds=4.0, evening=0.0, least_active=0.0)


def plain(
    song: Song, seconds: float = 4.0, start: float = 0.0, transposition: int = 0, speed: float = 1.0
) -> Track:
    sounds = tuple(
        Sound(index, FONTS[0].name, part.program, 0, 0.0, (200.0, 0.0), (4000.0, 0.0))
        for index, part in enumerate(song.parts)
    )
    rendition = Rendition(song.name, 0, 0, start, seconds, transposition, speed, 0.0, sounds)
    return render(song, rendition, FONTS, PLAIN)


def pitch(audio: np.ndarray) -> float:
    """Frequency (Hz) of the strongest partial, by a parabola through the spectral peak."""
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    at = int(spectrum.argmax())
    left, mid, right = np.log(spectrum[at - 1 : at + 2])
    return (at + 0.5 * (left - right) / (left - 2 * mid + right)) * RATE / len(audio)


def onset(audio: np.ndarray) -> float:
    """Seconds to the first sample above a tenth of the peak."""
    return int(np.argmax(np.abs(audio) > 0.1 * np.abs(audio).max())) / RATE


@pytest.fixture
def ocarina_and_drum(tmp_path: Path) -> Song:
    """A4 on an ocarina from beat 2 to beat 6, a side stick on beat 2; 60 beats per minute."""
    ocarina = [tempo(60), program(79), *note(69, 4 * TICKS, after=2 * TICKS)]
    return read_midi(write(tmp_path / "a.mid", ocarina, [*note(37, TICKS, channel=9, after=2 * TICKS)]))


@pytest.mark.parametrize("semitones", [-5, 0, 6])
def test_transposition_moves_the_pitch_but_not_the_drums(ocarina_and_drum: Song, semitones: int) -> None:
    moved, still = plain(ocarina_and_drum, transposition=semitones), plain(ocarina_and_drum)
    sounding = moved.stems[0].audio[int(2.5 * RATE) : int(3.9 * RATE)]
    assert 12 * np.log2(pitch(sounding) / 440) == pytest.approx(semitones, abs=0.2)
    drums = [track.stems[1].audio / np.abs(track.stems[1].audio).max() for track in (moved, still)]
    np.testing.assert_allclose(*drums, atol=1e-5)


@pytest.mark.parametrize("speed", [0.85, 1.0, 1.18])
def test_the_tempo_factor_moves_onsets_and_beats_alike_but_not_the_pitch(
    ocarina_and_drum: Song, speed: float
) -> None:
    track = plain(ocarina_and_drum, speed=speed)
    assert onset(track.stems[1].audio) == pytest.approx(2 / speed, abs=0.01)
    np.testing.assert_allclose(np.diff(track.meta["beats"]), 1 / speed, atol=2e-4)
    assert track.meta["bpm"] == pytest.approx(60 * speed, abs=1e-3)
    assert pitch(track.stems[0].audio[int(2.6 * RATE) : int(3.9 * RATE)]) == pytest.approx(440, rel=0.01)


def test_beats_are_those_of_the_excerpt(ocarina_and_drum: Song) -> None:
    track = plain(ocarina_and_drum, start=1.5, seconds=4.0)
    assert track.meta["beats"] == pytest.approx([0.5, 1.5, 2.5, 3.5])
    assert onset(track.stems[1].audio) == pytest.approx(0.5, abs=0.01)


def test_controllers_before_the_start_are_chased_and_sounding_notes_are_not(tmp_path: Path) -> None:
    bend = mido.Message("pitchwheel", pitch=8191)  # two semitones up
    lead = [
        tempo(60),
        program(79),
        control(7, 30),
        bend,
        *note(69, 3 * TICKS),
        *note(69, 3 * TICKS, after=TICKS),
    ]
    drum = [m for _ in range(8) for m in note(37, TICKS, channel=9)]
    quiet = read_midi(write(tmp_path / "a.mid", lead, drum))
    loud = read_midi(write(tmp_path / "b.mid", [m for m in lead if m.type != "control_change"], drum))
    late = plain(quiet, start=2.0)  # the first note sounds until 3, the second from 4
    held = late.stems[0].audio
    assert np.abs(held[: 2 * RATE - 320]).max() < 1e-4
    assert 12 * np.log2(pitch(held[int(2.3 * RATE) : int(3.9 * RATE)]) / 440) == pytest.approx(2, abs=0.2)
    ratio = [np.std(t.stems[0].audio) / np.std(t.stems[1].audio) for t in (late, plain(loud, start=2.0))]
    assert ratio[0] < 0.5 * ratio[1]


def test_a_used_player_plays_like_a_new_one() -> None:
    def play(player: Player, program: int, drums: bool = False) -> np.ndarray:
        song = read_midi_notes
        return player.play(song.parts[0].notes, song.parts[0].controls, 1.0, Voice(program, drums))

    read_midi_notes = _bent_song()
    fresh = play(Player(FONTS[0], RATE), 30)
    used = Player(FONTS[0], RATE)
    play(used, 0, drums=True)
    play(used, 90)
    np.testing.assert_array_equal(play(used, 30), fresh)
    assert np.abs(fresh).max() > 0.01


def _bent_song() -> Song:
    from bandmate.data.midi import BEND, Control, Note, Part

    notes = (Note(0.0, 2.0, 60, 100), Note(0.2, 0.5, 64, 90))
    controls = (Control(0.1, BEND, 5000), Control(0.1, 7, 60), Control(0.3, 64, 127), Control(0.3, 101, 0))
    return Song("s", (Part(0, 30, 0, notes, controls),), (0.0,), ((0.0, 120.0),), 0.0, 2.0)


def test_same_seed_same_samples_and_another_seed_others(tmp_path: Path) -> None:
    song, config = read_midi(band(tmp_path / "a.mid")), RenditionConfig(seconds=3.0)
    tracks = [render(song, draw_rendition(song, 1, seed, FONTS, config), FONTS, config) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(tracks[0].audio, tracks[1].audio)
    assert tracks[0].meta == tracks[1].meta
    assert tracks[0].meta["rendition"] != tracks[2].meta["rendition"]


def test_draws_stay_in_their_ranges_and_classes(tmp_path: Path) -> None:
    song = read_midi(band(tmp_path / "a.mid"))
    config = RenditionConfig(seconds=3.0)
    drawn = [draw_rendition(song, index, 0, FONTS, config) for index in range(60)]
    assert {r.transposition for r in drawn} == set(range(-5, 7))
    assert all(0.85 <= r.tempo <= 1.18 and -12 <= r.gain <= 6 for r in drawn)
    assert all(round(r.seconds * RATE) % 640 == 0 and 2.9 < r.seconds <= 3.0 for r in drawn)
    programs = {s.program for r in drawn for s in r.sounds}
    assert programs <= {*range(16, 24), *range(32, 40), 128}
    kept = np.mean([s.program == 16 for r in drawn for s in r.sounds if s.program < 24])
    assert 0.45 < kept < 0.85


def test_levels_no_clipping_and_the_mix_is_the_sum(tmp_path: Path) -> None:
    song = read_midi(band(tmp_path / "a.mid"))
    for gain, loud in ((0.0, False), (30.0, True)):
        config = RenditionConfig(seconds=3.0, track_gain=(gain, gain), stem_gain=(0.0, 0.0))
        track = render(song, draw_rendition(song, 0, 0, FONTS, config), FONTS, config)
        np.testing.assert_allclose(track.mix, track.audio.sum(axis=0), atol=1e-6)
        assert max(np.abs(track.mix).max(), np.abs(track.audio).max()) <= 0.9901
        level = 20 * np.log10(np.sqrt(np.mean(track.mix**2)))
        assert loud or level == pytest.approx(-20, abs=0.1)


def test_silent_stems_are_dropped_and_at_most_eight_are_kept(tmp_path: Path) -> None:
    channels = [c for c in range(12) if c != 9]
    parts = [
        [control(7, 0 if c == 3 else 100, c), program(8 * c, c), *(20 * note(60, TICKS, c))] for c in channels
    ]
    many = read_midi(write(tmp_path / "a.mid", [tempo(120)], *parts))
    config = RenditionConfig(seconds=3.0)
    assert len(draw_rendition(many, 0, 0, FONTS, config).sounds) <= 8
    three = replace(many, parts=many.parts[2:5])  # channels 2, 3 (muted) and 4
    track = render(three, draw_rendition(three, 0, 0, FONTS, config), FONTS, config)
    assert len(track.stems) == 2
    assert all(activity(stem.audio).mean() > 0.05 for stem in track.stems)
    with pytest.raises(ValueError, match="fewer than two stems"):
        alone = replace(many, parts=many.parts[3:4])
        render(alone, draw_rendition(alone, 0, 0, FONTS, config), FONTS, config)


@pytest.mark.parametrize(("high", "at_100", "at_12000"), [(False, 4.0, 0.0), (True, 0.0, 4.0)])
def test_shelves_lift_their_side_only(high: bool, at_100: float, at_12000: float) -> None:
    from scipy import signal

    _, response = signal.sosfreqz(shelf(1000.0, 4.0, high, RATE)[None], worN=[30.0, 15000.0], fs=RATE)
    np.testing.assert_allclose(20 * np.log10(np.abs(response)), [at_100, at_12000], atol=0.1)


def test_no_soundfont_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "bandmate.data.soundfonts.DEBIAN", (("timgm6mb-soundfont", str(tmp_path / "no.sf2")),)
    )
    with pytest.raises(FileNotFoundError, match="timgm6mb-soundfont"):
        find_soundfonts()
    monkeypatch.setenv("BANDMATE_SOUNDFONTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="names no"):
        find_soundfonts()
    (tmp_path / "own.sf2").write_bytes(b"none")
    assert find_soundfonts() == (tmp_path / "own.sf2",)
    with pytest.raises(ValueError, match=r"own\.sf2 is not a readable SoundFont"):
        load_player(tmp_path / "own.sf2")
