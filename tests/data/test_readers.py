import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from bandmate.data import cocochorales, folder, moises, musdb, slakh
from bandmate.data.stem_files import TrackFiles
from bandmate.instruments import BASS, INSTRUMENTS, PERCUSSIVE, UNKNOWN, VOCAL
from tests.data import trees

SAMPLE = Path(__file__).parent / "slakh_sample"


def classes(track: TrackFiles) -> dict[str, str]:
    return {stem.name: INSTRUMENTS[stem.instrument] for stem in track.stems}


@pytest.mark.parametrize("name", ["babyslakh_16k", "slakh2100_flac_redux"])
def test_the_real_slakh_layouts(name: str) -> None:
    """The flags of babyslakh are false and S06 has no file, in both."""
    (track,) = slakh.read(SAMPLE / name).tracks
    read = track.load()
    assert (track.id, track.split, track.cluster) == (
        "Track00001",
        "train",
        "1a81ae092884234f3264e2f45927f00a",
    )
    assert [stem.name for stem in read.stems] == [f"S{number:02d}" for number in range(11) if number != 6]
    assert [INSTRUMENTS[stem.instrument] for stem in read.stems[:5]] == [
        "Guitar",
        "Percussive",
        "Piano",
        "Bass",
        "Vocal",
    ]
    assert (read.samples, read.sample_rate, track.seconds) == (64000, 32000, 2.0)
    assert read.stems[0].audio.std() > 0.01
    assert [reason.split("/")[-1] for reason in read.meta["left_out"]] == [
        "S06 is listed in metadata.yaml, but has no file"
    ]


def test_both_slakh_samples_sound_the_same() -> None:
    low, high = (
        slakh.read(SAMPLE / name).tracks[0].load().mix for name in ("babyslakh_16k", "slakh2100_flac_redux")
    )
    spectra = [
        np.abs(np.fft.rfft(audio))[: 2 * 6000] for audio in (low, high)
    ]  # below 6 kHz both have it all
    assert np.corrcoef(*spectra)[0, 1] > 0.98


def test_a_slakh_folder_without_metadata_is_named() -> None:
    left_out = slakh.read(SAMPLE / "babyslakh_16k").left_out
    assert list(left_out) == ["Track00007"]
    assert "metadata.yaml cannot be read" in left_out["Track00007"]


def test_slakh_splits_are_kept_and_omitted_is_never_read(tmp_path: Path) -> None:
    listing = slakh.read(trees.slakh_redux(tmp_path))
    assert {track.id: track.split for track in listing.tracks} == {
        "Track00001": "train", "Track00002": "valid", "Track00003": "test",
    }  # fmt: skip
    assert not listing.notes


def test_slakh_tracks_without_folders_are_split_by_number(tmp_path: Path) -> None:
    for number in (1, 1500, 1501, 1875, 1876, 2100):
        trees.slakh_track(tmp_path / f"Track{number:05d}", programs=(0,), seconds=0.1)
    splits = [track.split for track in slakh.read(tmp_path).tracks]
    assert splits == ["train", "train", "valid", "valid", "test", "test"]


def test_one_midi_file_in_two_slakh_splits_is_told(tmp_path: Path) -> None:
    for split, number in (("train", 1), ("train", 2), ("test", 3)):
        trees.slakh_track(tmp_path / split / f"Track{number:05d}", (0, 1), uuid="same" if number != 2 else "")
    listing = slakh.read(tmp_path)
    assert [track.cluster for track in listing.tracks] == ["same", "Track00002", "same"]
    assert "1 of test, 1 of train" in listing.notes[0]


@pytest.mark.parametrize(
    ("about", "name"),
    [
        ({"program_num": 128, "is_drum": False}, "Percussive"),
        ({"program_num": 0, "is_drum": True}, "Percussive"),
        ({"program_num": 53, "inst_class": "Strings (continued)"}, "Vocal"),
        ({"program_num": 48, "inst_class": "Strings (continued)"}, "Ensemble"),
        ({"inst_class": "Strings (continued)"}, "Ensemble"),
        ({"inst_class": "Sound effects", "program_num": None}, "Sound Effects"),
        ({"inst_class": "Drums", "program_num": 999}, "Percussive"),
        ({"inst_class": "Kazoo"}, "Unknown"),
    ],
)
def test_slakh_classes_follow_the_program(about: dict[str, object], name: str) -> None:
    assert INSTRUMENTS[slakh.instrument(about)] == name


@pytest.mark.parametrize(
    ("text", "match"),
    [("stems: [a", "broken YAML"), ("a: 1", "lists no stems"), ("- 1", "lists no stems"),
     ("stems: {S00: 3}", "lists no stems"), ("stems: {S77: {program_num: 3}}", "has no stems"), ("\x00", "broken YAML")],
)  # fmt: skip
def test_broken_slakh_metadata_is_named_and_the_rest_is_read(tmp_path: Path, text: str, match: str) -> None:
    trees.slakh_redux(tmp_path)
    (tmp_path / "test" / "Track00003" / "metadata.yaml").write_text(text)
    listing = slakh.read(tmp_path)
    assert len(listing.tracks) == 2
    assert "Track00003" in listing.left_out["Track00003"]
    assert match in listing.left_out["Track00003"]


def test_musdb(tmp_path: Path) -> None:
    tracks = {track.song: track for track in musdb.read(trees.musdb(tmp_path)).tracks}
    assert {name: track.split for name, track in tracks.items()} == {
        "Ann---One": "train", "Leaf---Summerghost": "valid", "Bo-Co---Zwei-2": "test",
    }  # fmt: skip
    read = tracks["Ann---One"].load()
    assert read.instruments == (PERCUSSIVE, BASS, UNKNOWN, VOCAL)
    assert read.cluster == "Ann"
    assert read.samples == 32000


def test_a_missing_musdb_stem_is_named(tmp_path: Path) -> None:
    song = trees.musdb(tmp_path) / "train" / "Ann - One"
    (song / "bass.wav").unlink()
    (tmp_path / "train" / "Empty").mkdir()
    listing = musdb.read(tmp_path)
    track = next(track for track in listing.tracks if track.cluster == "Ann")
    assert track.left_out == (f"{song / 'bass.wav'} is missing",)
    assert list(listing.left_out) == ["Empty"]


def test_the_compressed_musdb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "Ann - One.stem.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="MUSDB18-HQ"):
        musdb.read(tmp_path)


def test_moises(tmp_path: Path) -> None:
    about = {
        "drums": [("a", "kick drum"), ("b", "overheads")],
        "guitar": [("c", "acoustic guitar"), ("d", "distorted electric guitar")],
        "other_keys": [("e", "synth pad"), ("f", "organ, electric organ"), ("g", "other sounds (hapischord, melotron etc)")],
        "bass": [("h", "bass guitar"), ("i", "tuba (bass of brass)"), ("j", "contrabass/double bass (bass of instrings)")],
        "bowed_strings": [("k", "cello (solo)"), ("l", "violin section")],
        "percussion": [("m", "a-tonal percussion (claps, shakers etc)"), ("n", "pitched percussion (mallets)")],
        "wind": [("o", "flutes (piccolo, bamboo flute)"), ("p", "reeds (saxophone, english horn)"), ("q", "other wind")],
        "vocals": [("r", "lead female singer"), ("s", "background vocals")],
        "other": [("t", "click track"), ("u", "fx/processed sound, scratches, gun shots, explosions etc")],
    }  # fmt: skip
    song = trees.moises_song(tmp_path / "moisesdb_v0.1" / "0-a1", about)
    (song / "vocals" / "s.wav").unlink()
    (track,) = moises.read(tmp_path).tracks
    assert [(stem.name, INSTRUMENTS[stem.instrument], len(stem.files)) for stem in track.stems] == [
        ("drums", "Percussive", 2), ("guitar", "Guitar", 2), ("other_keys", "Synth Pad", 1), ("other_keys", "Organ", 1),
        ("other_keys", "Piano", 1), ("bass", "Bass", 2), ("bass", "Brass", 1), ("bowed_strings", "Strings", 1),
        ("bowed_strings", "Ensemble", 1), ("percussion", "Percussive", 1), ("percussion", "Chromatic Percussion", 1),
        ("wind", "Pipe", 1), ("wind", "Reed", 1), ("wind", "Unknown", 1), ("vocals", "Vocal", 1),
        ("other", "Sound Effects", 1),
    ]  # fmt: skip
    assert [reason.split("/")[-1] for reason in track.left_out] == [
        "s.wav is listed in data.json, but is missing"
    ]
    assert track.load().samples == 32000


def test_moises_songs_of_one_artist_stay_together(tmp_path: Path) -> None:
    for number in range(12):
        trees.moises_song(
            tmp_path / "v" / f"id{number}", {"bass": [("a", "bass guitar")]}, artist=f"Artist {number // 4}"
        )
    (tmp_path / "v" / "id3" / "data.json").write_text("{")
    (tmp_path / "v" / "id4" / "data.json").write_text(json.dumps({"stems": []}))
    listing = moises.read(tmp_path)
    splits = {(track.cluster, track.split) for track in listing.tracks}
    assert len(splits) == 3
    assert [name for name, reason in listing.left_out.items() if "data.json" in reason] == ["id3", "id4"]


@pytest.mark.parametrize("above", ["", "main_dataset", "main_dataset/train"])
def test_cocochorales(tmp_path: Path, above: str) -> None:
    for number in (1, 192001, 216001):
        trees.cocochorales_track(tmp_path / "main_dataset" / "train" / f"string_track{number:06d}")
    trees.cocochorales_track(tmp_path / "note_expression" / "train" / "string_track000001", ())
    (tmp_path / "main_dataset" / "train" / "brass_track000002").mkdir()
    listing = cocochorales.read(tmp_path / above)
    assert [track.split for track in listing.tracks] == ["train", "valid", "test"]
    assert set(classes(listing.tracks[0]).values()) == {"Strings"}
    assert listing.tracks[0].cluster == "7.mid"
    assert listing.tracks[0].load().samples == 32000
    assert list(listing.left_out) == ["brass_track000002"]


def test_cocochorales_instruments(tmp_path: Path) -> None:
    names = ("flute", "double_bass", "horn", "clarinet")
    trees.cocochorales_track(tmp_path / "random_track000003", names)
    trees.cocochorales_track(tmp_path / "random_track000004", ("kazoo",))
    listing = cocochorales.read(tmp_path)
    assert list(classes(listing.tracks[0]).values()) == ["Pipe", "Strings", "Brass", "Reed"]
    assert "'kazoo' is none of" in listing.left_out["random_track000004"]


LAYOUT = """
stems: "{split}/{artist} - {song}/*{stem}.wav"
classes: {drum*: Percussive, Bass: bass, mix: ignore}
splits: {extra: ignore}
cluster: "{artist}"
"""


def layout_of(root: Path, text: str) -> folder.Layout:
    root.mkdir(exist_ok=True)
    (root / "layout.yaml").write_text(text)
    return folder.read_layout(root / "layout.yaml")


def test_any_folder(tmp_path: Path) -> None:
    for split in ("train", "dev", "extra"):
        for stem in ("01_drums", "02_bass", "03_mix"):
            trees.write(tmp_path / split / "Ann - One" / f"{stem}.wav")
    trees.write(tmp_path / "train" / "Ann - One" / "notes" / "not.wav")
    layout = layout_of(tmp_path, LAYOUT.replace("*{stem}", "??_{stem}"))
    with pytest.raises(ValueError, match="two tracks are named"):
        folder.read(tmp_path, layout)
    (tmp_path / "dev" / "Ann - One").rename(tmp_path / "dev" / "Bob - Two")
    first, second = folder.read(tmp_path, layout).tracks
    assert classes(first) == {"drums": "Percussive", "bass": "Bass"}
    assert [(track.id, track.cluster, track.split) for track in (first, second)] == [
        ("Ann--One", "Ann", "train"), ("Bob--Two", "Bob", "valid"),
    ]  # fmt: skip


def test_a_folder_without_splits_is_split_by_song(tmp_path: Path) -> None:
    for number in range(30):
        trees.write(tmp_path / f"song{number}" / "a.wav", seconds=0.01)
    tracks = folder.read(
        tmp_path, layout_of(tmp_path, "stems: '{song}/{stem}.wav'\nclasses: {a: Piano}")
    ).tracks
    assert len(tracks) == 30
    assert {track.split for track in tracks} >= {"train", "test"}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("stems: [", "broken YAML"),
        ("- a", "must hold the keys"),
        ("stems: a", "classes must be a mapping"),
        ("{classes: {}}", "stems must be text"),
        ("stems: '{song}/a.wav'\nclasses: {}", r"must hold \{stem\}"),
        (
            "stems: '{song}/{stem}.wav'\nclasses: {a: Pinao}",
            "layout.yaml: unknown instrument 'Pinao'; did you mean 'Piano'",
        ),
        ("stems: '{song}/{stem}.wav'\nclasses: {}\nsplits: {a: b}", "split 'a' is 'b'"),
        ("stems: '{song}/{stem}.wav'\nclasses: {}\ncluster: '{who}'", r"cluster names \{who\}"),
        ("stems: '{song}/{stem}.wav'\nclasses: {}\nclass: {}", "unknown key 'class'"),
    ],
)
def test_a_broken_layout_is_refused(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        layout_of(tmp_path, text)


def test_what_a_layout_does_not_tell_is_asked_for(tmp_path: Path) -> None:
    trees.write(tmp_path / "blue" / "one" / "gtr.wav")
    layout = layout_of(
        tmp_path, "stems: '{split}/{song}/{stem}.wav'\nclasses: {a: Piano}\nsplits: {blue: train}"
    )
    with pytest.raises(ValueError, match="no class for the stem 'gtr'"):
        folder.read(tmp_path, layout)
    layout = layout_of(tmp_path, "stems: '{split}/{song}/{stem}.wav'\nclasses: {'*': Piano}")
    with pytest.raises(ValueError, match="which split 'blue' is"):
        folder.read(tmp_path, layout)
    with pytest.raises(FileNotFoundError, match="there is no layout"):
        folder.read_layout(tmp_path / "none.yaml")
    layout = layout_of(tmp_path, "stems: '{song}.{stem}.flac'\nclasses: {}")
    with pytest.raises(FileNotFoundError, match="no file below"):
        folder.read(tmp_path, layout)


@pytest.mark.parametrize("reader", [slakh, musdb, moises, cocochorales])
def test_a_folder_that_is_no_data_set_is_refused(reader: object, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no"):
        reader.read(tmp_path)  # type: ignore[attr-defined]
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        reader.read(tmp_path / "none")  # type: ignore[attr-defined]
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        reader.read(tmp_path / "file")  # type: ignore[attr-defined]


def test_a_damaged_flac_of_slakh_is_left_out_and_named(tmp_path: Path) -> None:
    trees.damage(trees.slakh_redux(tmp_path) / "train" / "Track00001" / "stems" / "S01.flac")
    read = slakh.read(tmp_path).tracks[0].load()
    assert [stem.name for stem in read.stems] == ["S00", "S02"]
    assert "S01.flac is damaged" in read.meta["left_out"][0]


def test_the_metadata_of_the_sample_is_as_published() -> None:
    stems = yaml.safe_load((SAMPLE / "babyslakh_16k" / "Track00001" / "metadata.yaml").read_text())["stems"]
    assert not any(stem["audio_rendered"] for stem in stems.values())
