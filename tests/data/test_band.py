"""Generated band music: the drawing by itself, and what MMA makes of it."""

import re
from pathlib import Path

import pytest

from bandmate.cli import main
from bandmate.data import band, pack
from bandmate.data.band import BandSong, draw_song
from bandmate.data.midi import read_midi

SONGS = [draw_song(3, index) for index in range(60)]


def test_a_song_is_a_function_of_seed_and_index() -> None:
    assert draw_song(3, 7) == SONGS[7]
    assert draw_song(4, 7) != SONGS[7]


def test_the_draws_are_broad() -> None:
    assert {song.style for song in SONGS} == set(band.STYLES)
    assert {song.mode for song in SONGS} == {"major", "minor"}
    assert {song.groove.beats for song in SONGS} == {3, 4}
    assert len({song.key for song in SONGS}) == 12
    assert {song.pad is None for song in SONGS} == {True, False}
    assert 0.4 < sum(set(song.drift) == {1.0} for song in SONGS) / len(SONGS) < 0.8


def test_shares_are_shares() -> None:
    assert sum(style.share for style in band.STYLES.values()) == pytest.approx(1)
    rows = [row for table in band.NEXT.values() for row in table.values()] + list(band.CADENCES.values())
    assert all(sum(row.values()) == pytest.approx(1) for row in rows)


def bar_eighths(bar: str) -> float:
    values = {name: length for length, name in band.LENGTHS.items()}
    return sum(values[part.partition("{")[0]] for part in bar.split())


@pytest.mark.parametrize("song", SONGS, ids=lambda song: song.name)
def test_melodies_fill_their_bars_and_keep_to_the_scale(song: BandSong) -> None:
    scale = set(band.MAJOR if song.mode == "major" else band.MINOR)
    for _, bars in song.sections:
        for bar in bars:
            assert 1 <= len(bar.chords) <= 2
            if bar.melody:
                assert bar_eighths(bar.melody) == 2 * song.groove.beats
                pitches = [int(pitch) for pitch in re.findall(r"\{(\d+)\}", bar.melody)]
                assert {pitch % 12 for pitch in pitches} <= scale


def test_spelling() -> None:
    assert band.spelled("4{12} 8{None} 4.{3}", key=2) == "4d;8r;4.f-;"
    assert [band.pitch_name(n) for n in (11, 12, 25)] == ["b-", "c", "c#+"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("band")
    assert len(list(band.write_songs(out, 4, seed=3))) == 4
    return out


def test_mma_arranges_for_a_band(folder: Path) -> None:
    for song in SONGS[:4]:
        made = read_midi(folder / f"{song.name}.mid")
        classes = {part.instrument for part in made.parts}
        assert len(classes) >= 3
        expected = song.bars * song.groove.beats * 60 / song.tempo
        assert made.end == pytest.approx(expected, rel=0.1)  # tempo may drift


def test_the_melody_sounds_where_it_was_written(folder: Path) -> None:
    song = next(s for s in SONGS[:4] if any(bar.melody for _, bars in s.sections for bar in bars))
    leads = [p for p in read_midi(folder / f"{song.name}.mid").parts if p.program == song.lead]
    written = sum(len(re.findall(r"\{\d+\}", bar.melody)) for _, bars in song.sections for bar in bars)
    assert written <= sum(len(part.notes) for part in leads) <= written + 4 * song.bars * 8


def test_the_same_song_again_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = band.compile_song(SONGS[0], tmp_path)
    assert again.read_bytes() == (folder / again.name).read_bytes()


def test_a_second_call_keeps_what_is_there_and_all_is_for_training(folder: Path) -> None:
    first = folder / f"{SONGS[0].name}.mid"
    before = first.stat().st_mtime_ns
    assert len(list(band.write_songs(folder, 5, seed=3))) == 5
    assert first.stat().st_mtime_ns == before
    entries, failed = pack.build_split(folder)
    assert not failed
    assert [entry.split for entry in entries] == ["train"] * 5


def test_every_groove_is_one_that_mma_knows(tmp_path: Path) -> None:
    """One program that goes through all of them."""
    import subprocess

    names = sorted(
        {name for style in band.STYLES.values() for groove in style.grooves for name in groove[:5]}
    )
    lines = [f"Groove {name}\n{number} C" for number, name in enumerate(names, 1)]
    program = tmp_path / "all.mma"
    program.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = subprocess.run(["mma", "-n", str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_without_mma_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="MMA is not installed"):
        band.compile_song(SONGS[0], tmp_path)


def test_what_mma_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(band, "as_mma", lambda song: "Groove NoSuchGroove\n1 C\n")
    with pytest.raises(ValueError, match=r"MMA cannot arrange band-003-00000: .*NOSUCHGROOVE"):
        band.compile_song(SONGS[0], tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "band", "--out", str(tmp_path / "songs"), "--songs", "2"]) == 0
    assert "2 songs in" in capsys.readouterr().out
    assert len(list((tmp_path / "songs").glob("*.mid"))) == 2
    assert main(["prepare", "band", "--out", str(tmp_path), "--songs", "0"]) == 2
