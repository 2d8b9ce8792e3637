"""`bandmate prepare slakh --as tracks`: a data set as the folder that measuring reads, equal to what a store holds."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bandmate.cli import main
from bandmate.data import slakh
from bandmate.data.parallel import on_this_machine
from bandmate.data.render import lazy_tracks, load_track, rendered_tracks
from bandmate.data.space import Extent, expected_track_bytes
from bandmate.data.stems import LazyTrack, Stem, Track
from bandmate.data.tokens import TokenStore
from bandmate.data.track_folder import TrackFolder, is_whole
from bandmate.instruments import BASS, VOCAL
from bandmate.sweep.clip_folder import read_rows, read_sound
from bandmate.sweep.endless import draw_sources
from tests.data import trees
from tests.sweep import small

ROOT = Path(__file__).parents[2]
SAMPLE = Path(__file__).parent / "slakh_sample" / "slakh2100_flac_redux"
HALF = 0.51 / 32767  # half a step of 16 bits, and what float32 adds


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.bundle(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slakh redux as it is unpacked: five tracks, of which one lacks a stem, one all but one, one its metadata."""
    root = tmp_path_factory.mktemp("slakh")
    for split, numbers in (("train", (1, 2)), ("validation", (3,)), ("test", (4, 5, 6)), ("omitted", (7,))):
        for number in numbers:
            trees.slakh_track(root / split / f"Track{number:05d}", (128, 33, 0), f"uuid{number}", seconds=4.0)
    trees.damage(root / "test" / "Track00006" / "stems" / "S00.flac")
    (root / "train" / "Track00002" / "stems" / "S02.flac").unlink()
    trees.damage(root / "train" / "Track00002" / "stems" / "S01.flac")
    (trees.slakh_track(root / "test" / "Track00008", seconds=0.1) / "metadata.yaml").write_text("- broken")
    return root


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "tracks"
    assert prepare("slakh", data, out) == 0
    return out


def prepare(what: str, data: Path, out: Path, *more: str) -> int:
    folders = ["--data", str(data), "--out", str(out)]
    return main(["prepare", what, *folders, "--as", "tracks", "--workers", "1", *more])


def written(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def refused(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> None:
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bandmate prepare: ")
    assert all(word in line for word in words), line


def test_the_slakh_sample_becomes_a_track(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare("slakh", SAMPLE, tmp_path) == 0
    (path,) = rendered_tracks(tmp_path)
    assert path.relative_to(tmp_path).as_posix() == "train/Track00001__r00.json"
    track = load_track(path)
    assert [stem.name for stem in track.stems] == [f"S{number:02d}" for number in range(11) if number != 6]
    assert track.meta["classes"][:5] == ["Guitar", "Percussive", "Piano", "Bass", "Vocal"]
    assert (track.id, track.song, track.samples) == ("Track00001__r00", "Track00001", 64000)
    told = capsys.readouterr()
    assert "'tracks': 1" in told.out
    assert "1 of 1 tracks" in told.err
    assert "S06 is listed in metadata.yaml, but has no file" in told.err


def test_a_store_holds_the_same(data: Path, made: Path, model: Path, tmp_path: Path) -> None:
    """Tracks, songs, clusters, splits, classes, sound, and what was left out."""
    typed = ["prepare", "slakh", "--data", data, "--codec", model, "--out", tmp_path, "--workers", "1"]
    assert main([str(word) for word in [*typed, "--submixes", "1"]]) == 0
    entries = {entry.id: entry for entry in TokenStore(tmp_path).entries}
    tracks = {track.song: track for track in map(load_track, rendered_tracks(made))}
    assert list(entries) == sorted(tracks)
    for name, entry in entries.items():
        track = tracks[name]
        assert (track.song, track.cluster, track.split) == (entry.song, entry.cluster, entry.split)
        assert track.instruments == entry.instruments
        assert tuple(track.meta["left_out"]) == entry.left_out
    for source in slakh.read(data).tracks:
        if source.id in tracks:
            there, track = source.load(), tracks[source.id]
            np.testing.assert_allclose(track.audio, there.audio, rtol=0, atol=HALF)
            assert [stem.name for stem in track.stems] == [stem.name for stem in there.stems]
    assert (made / "left_out.jsonl").read_bytes() == (tmp_path / "left_out.jsonl").read_bytes()
    left_out = [json.loads(line)["track"] for line in (made / "left_out.jsonl").read_text().splitlines()]
    assert left_out == ["Track00002", "Track00006", "Track00008"]


def test_a_store_can_be_made_of_the_tracks(made: Path, model: Path, tmp_path: Path) -> None:
    typed = ["prepare", "store", "--data", made, "--codec", model, "--out", tmp_path, "--workers", "1"]
    assert main([str(word) for word in typed]) == 0
    splits = {entry.id: entry.split for entry in TokenStore(tmp_path).entries}
    assert splits == {
        "Track00001__r00": "train", "Track00003__r00": "valid", "Track00004__r00": "test",
        "Track00005__r00": "test", "Track00006__r00": "test",
    }  # fmt: skip


def test_clips_are_generated_from_it(data: Path, made: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "clips"
    typed = ["generate", "--rendered", made, "--split", "test", "--model", model, "--out", out, "--t-f", "0"]
    typed += ["--clips", "5", "--seconds", "1", "--post", "0.5"]
    assert main([str(word) for word in typed]) == 0
    rows = read_rows(out)
    assert {row["song"] for row in rows} == {"Track00004", "Track00005", "Track00006"}
    for row in rows:
        assert row["random"]["instrument"] == row["instrument"]
        assert row["random"]["song"] != row["song"]
        source = slakh.track(data / "test" / row["song"], "test").load()
        span = slice(row["start"] * 640, (row["start"] + row["frames"]) * 640)
        target = source.stems[row["target"]].audio[span] * 10 ** (row["gain_db"] / 20)
        np.testing.assert_allclose(read_sound(out, "target", row["clip"]) / 32768, target, atol=1e-4)
        assert np.any(read_sound(out, "prediction", row["clip"]))


def test_every_track_is_a_song_to_play_long(made: Path) -> None:
    assert {source.song for source in draw_sources(made, "test", 3)} == {
        "Track00004", "Track00005", "Track00006",
    }  # fmt: skip


def test_only_what_is_not_whole_is_made_again(data: Path, made: Path, tmp_path: Path) -> None:
    out, split = tmp_path / "out", tmp_path / "out" / "test"
    shutil.copytree(made, out)
    times = {file: file.stat().st_mtime_ns for file in out.rglob("*Track*")}
    (split / "Track00004__r00.json").unlink()  # killed between the two files
    trees.cut(split / "Track00005__r00.npy")
    (split / "Track00006__r00.json").write_text('{"classes": [')
    (out / "valid" / "Track00003__r00.npy").write_bytes(b"")
    assert prepare("slakh", data, out) == 0
    assert written(out) == written(made)
    kept = [file.parent.name for file, time in times.items() if file.stat().st_mtime_ns == time]
    assert kept == ["train", "train"]


def test_a_kill_leaves_no_half_track(data: Path, made: Path, tmp_path: Path) -> None:
    script = (
        "import json, os, sys; from bandmate.cli import main\n"
        "dumps = json.dumps\n"
        "def deadly(record, **how):\n"
        "    if isinstance(record, dict) and record.get('song') == 'Track00004': os.kill(os.getpid(), 9)\n"
        "    return dumps(record, **how)\n"
        "json.dumps = deadly\n"
        f"main(['prepare', 'slakh', '--data', {str(data)!r}, '--out', {str(tmp_path)!r}, '--as', 'tracks',"
        " '--workers', '1'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL, check=False)
    assert done.returncode == -9
    names = [path.stem for path in rendered_tracks(tmp_path)]
    assert sorted(names) == ["Track00001__r00", "Track00003__r00"]
    assert all(map(is_whole, rendered_tracks(tmp_path)))
    assert prepare("slakh", data, tmp_path) == 0
    assert {name: held for name, held in written(tmp_path).items() if ".tmp" not in name} == written(made)


def test_processes_do_not_show_in_the_bytes(data: Path, made: Path, tmp_path: Path) -> None:
    folder = TrackFolder(tmp_path)
    folder.claim()
    tracks = [track.lazy() for track in slakh.read(data).tracks]
    failed = on_this_machine(folder, tracks, 2, lambda done, name: None)
    assert list(failed) == ["Track00002"]
    assert {name: held for name, held in written(made).items() if "left" not in name} == written(tmp_path)


def test_other_splits_are_left_alone(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert prepare("slakh", data, out, "--split", "test", "valid") == 0
    assert sorted({path.parent.name for path in rendered_tracks(out)}) == ["test", "valid"]
    trees.slakh_track(tmp_path / "baby" / "Track00001")
    capsys.readouterr()
    none = prepare("slakh", tmp_path / "baby", tmp_path / "none", "--split", "test")
    refused(capsys, none, "no track of the split test; there are: train")
    assert not (tmp_path / "none").exists()


def test_another_length_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One folder holds tracks of one length; of tracks that earlier versions made nothing is known."""
    data, out = trees.slakh_track(tmp_path / "data" / "Track00001").parent, tmp_path / "out"
    assert prepare("slakh", data, out, "--seconds", "0.5") == 0
    before = written(out)
    for more in ((), ("--seconds", "0.4")):
        capsys.readouterr()
        refused(
            capsys, prepare("slakh", data, out, *more), "Track00001__r00.json was made with another --seconds"
        )
    assert prepare("slakh", data, out, "--seconds", "0.5") == 0
    assert written(out) == before
    (file,) = rendered_tracks(out)
    record = json.loads(file.read_text())
    assert record.pop("settings") == {"seconds": 0.5}
    file.write_text(json.dumps(record))
    assert prepare("slakh", data, out) == 0


def test_every_reader_reaches_the_folder(tmp_path: Path) -> None:
    trees.musdb(tmp_path / "musdb")
    bass, guitar = [("a", "bass guitar")], [("b", "acoustic guitar"), ("c", "acoustic guitar")]
    trees.moises_song(tmp_path / "moises" / "v" / "id", {"bass": bass, "guitar": guitar})
    trees.cocochorales_track(tmp_path / "cocochorales" / "test" / "brass_track216001", ("trumpet", "tuba"))
    for stem in "ab":
        trees.write(tmp_path / "folder" / "one" / f"{stem}.wav")
    layout = "stems: '{song}/{stem}.wav'\nclasses: {a: Piano, b: Bass}"
    (tmp_path / "folder" / "layout.yaml").write_text(layout)
    for name, count in {"musdb": 3, "moises": 1, "cocochorales": 1, "folder": 1}.items():
        assert prepare(name, tmp_path / name, tmp_path / "out" / name, "--seconds", "0.45") == 0
        tracks = [lazy.load() for lazy in lazy_tracks(tmp_path / "out" / name)]
        assert len(tracks) == count
        assert {track.samples for track in tracks} == {22 * 640}


def test_loud_stems_are_turned_down_alike(tmp_path: Path) -> None:
    loud = np.array([0.0, 2.0, -1.0, 0.5], dtype=np.float32)
    track = Track("a", "a", "a", "test", (Stem(loud, BASS, "b"), Stem(loud / 4, 0, "p")))
    assert TrackFolder(tmp_path).run(LazyTrack("a", lambda: track)) is None
    (path,) = rendered_tracks(tmp_path)
    read = load_track(path)
    np.testing.assert_allclose(read.audio, track.audio / 2, atol=HALF)
    assert read.meta["gain"] == 0.5


def test_what_a_store_refuses_is_left_out(tmp_path: Path) -> None:
    hum = np.ones(640, dtype=np.float32)
    for stems in ((Stem(hum, BASS),), (Stem(hum, VOCAL), Stem(hum, VOCAL))):
        track = Track("a", "a", "a", "test", stems, meta={"left_out": ["b is damaged"]})
        reason = TrackFolder(tmp_path).run(LazyTrack("a", lambda track=track: track))
        assert reason == "a submix needs a track of two stems or more, one of them no vocals; b is damaged"
    assert not list(tmp_path.iterdir())


def test_the_size_is_known_beforehand(made: Path) -> None:
    tracks = [load_track(path) for path in rendered_tracks(made)]
    stems = sum(len(track.stems) for track in tracks) / len(tracks)
    told = expected_track_bytes(Extent(len(tracks), 4.0, stems))
    assert told == pytest.approx(sum(map(len, written(made).values())), rel=0.01)


def test_what_makes_no_sense_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = trees.slakh_track(tmp_path / "data" / "Track00001").parent, tmp_path / "out"
    refused(capsys, main(["prepare", "slakh", "--as", "tracks", "--out", str(out)]), "needs --data")
    refused(capsys, prepare("slakh", tmp_path / "none", out), "there is no folder")
    refused(
        capsys,
        prepare("slakh", data, out, "--codec", "duet-small"),
        "--codec is for a store: leave it out with --as tracks",
    )
    refused(capsys, prepare("slakh", data, out, "--submixes", "3"), "--submixes is for a store")
    refused(capsys, prepare("midi", data, out), "--as tracks", "not for midi")
    refused(capsys, main(["prepare", "store", "--out", str(out), "--split", "test"]), "not for store")
    refused(capsys, main(["prepare", "slakh", "--out", str(out), "--as", "trucks"]), "trucks")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("", (), {"free": 10})())
    assert prepare("slakh", data, out) == 1
    assert "out will take about" in capsys.readouterr().err
    monkeypatch.undo()
    assert not out.exists()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").write_text("{}")
    refused(capsys, prepare("slakh", data, tmp_path / "store"), "is a prepared store")
    for file in (data / "Track00001" / "stems").iterdir():
        trees.damage(file)
    assert prepare("slakh", data, out) == 2
    assert "could be used" in capsys.readouterr().err.splitlines()[-1]
