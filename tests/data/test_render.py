"""Rendering to disk: layout, order, resuming, failures. Needs a SoundFont."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bandmate.cli import main
from bandmate.data import render
from bandmate.data.midi import Song
from bandmate.data.pack import Entry
from bandmate.data.rendition import Rendition, RenditionConfig
from bandmate.data.soundfonts import find_soundfonts
from bandmate.data.stems import Stem, Track
from bandmate.instruments import BASS
from tests.data.fake_coder import die
from tests.data.midi_files import band

ROOT = Path(__file__).parents[2]
FONTS = find_soundfonts()[:1]
CONFIG = RenditionConfig(seconds=2.0)


def jobs_for(tmp_path: Path, out: Path) -> list[render.Job]:
    entries = [
        Entry(f"{n}.mid", n, n, split) for n, split in zip("abc", ("train", "valid", "test"), strict=True)
    ]
    for index, entry in enumerate(entries):
        band(tmp_path / entry.path, bars=6, shift=2 * index)
    return render.make_jobs(tmp_path, out, entries, FONTS, {"train": 2, "valid": 1, "test": 1}, config=CONFIG)


def test_renditions_first_then_valid_test_train(tmp_path: Path) -> None:
    names = [job.stem.relative_to(tmp_path).as_posix() for job in jobs_for(tmp_path, tmp_path)]
    assert names == ["valid/b__r00", "test/c__r00", "train/a__r00", "train/a__r01"]


def test_two_runs_give_the_same_files_and_a_resumed_one_too(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert [reason for _, reason in render.run_jobs(jobs_for(tmp_path, one))] == [None] * 4
    jobs = jobs_for(tmp_path, two)
    assert render.run_job(jobs[0]) is None
    assert len(list(render.run_jobs(render.unfinished(jobs)))) == 3  # the first is there already
    files = [sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file()) for out in (one, two)]
    assert files[0] == files[1]
    assert len(files[0]) == 8
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files[0])


def test_a_rendered_track_reads_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = jobs_for(tmp_path, out)[0]
    render.run_job(job)
    lazy = render.lazy_tracks(out)[0]
    track = lazy.load()
    assert (lazy.id, track.id, track.song, track.cluster, track.split) == (
        "b__r00",
        "b__r00",
        "b",
        "b",
        "valid",
    )
    assert track.samples % 640 == 0
    assert track.audio.dtype == np.float32
    assert set(track.meta["classes"]) <= {"Percussive", "Bass", "Organ"}
    assert {"beats", "bpm", "programs", "soundfonts", "rendition"} <= set(track.meta)
    # whole numbers on disk: the sum of the stems is the mix to the bit
    samples = np.load(out / "valid" / "b__r00.npy")
    np.testing.assert_array_equal(np.round(track.mix * 32767), samples.astype(int).sum(axis=0))


def own_songs(folder: Path) -> Path:
    """One song that can be rendered and one that cannot."""
    folder.mkdir()
    band(folder / f"good-{folder.name}.mid", bars=4)
    (folder / f"bad-{folder.name}.mid").write_bytes(b"bad")
    return folder


def prepare(songs: Path, out: Path, *more: str) -> int:
    return main(["prepare", "midi", "--data", str(songs), "--out", str(out), "--renditions", "1", *more])


def test_the_command_renders_own_files_and_lists_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    songs, out = own_songs(tmp_path / "a"), tmp_path / "out"
    monkeypatch.setenv("BANDMATE_SOUNDFONTS", str(FONTS[0]))
    assert prepare(songs, out, "--seconds", "1", "--workers", "1") == 0
    assert list(json.loads((out / "failed.json").read_text())[str(songs)]) == ["bad-a.mid"]
    assert "failed: bad-a.mid" in capsys.readouterr().err
    (path,) = render.rendered_tracks(out)
    assert json.loads(path.read_text())["settings"] == {"seconds": 1.0, "seed": 0}


@pytest.fixture
def stubbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendering without sound: what is done with the tracks is left."""

    def quiet(song: Song, rendition: Rendition, *_: object) -> Track:
        stem = Stem(np.zeros(640, dtype=np.float32), BASS)
        drawn = {"sounds": [], "seed": rendition.seed}
        name = f"{song.name}__r{rendition.index:02d}"
        return Track(name, song.name, "", "", (stem,), meta={"classes": ["Bass"], "rendition": drawn})

    def draw(song: Song, index: int, seed: int, *_: object) -> Rendition:
        return Rendition(song.name, index, seed, 0, 0, 0, 1, 0, ())

    (tmp_path / "font.sf2").touch()
    monkeypatch.setenv("BANDMATE_SOUNDFONTS", str(tmp_path / "font.sf2"))
    monkeypatch.setattr(render, "render", quiet)
    monkeypatch.setattr(render, "draw_rendition", draw)


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("stubbed")
def test_other_settings_are_refused_source_by_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, out = own_songs(tmp_path / "a"), own_songs(tmp_path / "b"), tmp_path / "out"
    assert prepare(one, out, "--workers", "1", "--seconds", "20") == 0
    before = contents(out)
    for more, says in ((("--seconds", "30"), "--seconds (20, not 30)"), ((), "--seconds (20, not 40)"),
                       (("--seconds", "20", "--seed", "1"), "--seed (0, not 1)")):  # fmt: skip
        capsys.readouterr()
        assert prepare(one, out, "--workers", "1", *more) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"was made with another {says}" in line
    assert contents(out) == before
    assert prepare(other, out, "--workers", "1", "--seconds", "30") == 0
    assert prepare(one, out, "--workers", "1", "--seconds", "20", "--renditions", "3") == 0
    assert sorted(path.stem for path in render.rendered_tracks(out)) == [
        "good-a__r00", "good-a__r01", "good-a__r02", "good-b__r00",
    ]  # fmt: skip


@pytest.mark.usefixtures("stubbed")
def test_tracks_of_earlier_versions_tell_their_seed_only(tmp_path: Path) -> None:
    songs, out = own_songs(tmp_path / "a"), tmp_path / "out"
    assert prepare(songs, out, "--workers", "1") == 0
    (path,) = render.rendered_tracks(out)
    record = json.loads(path.read_text())
    del record["settings"]
    path.write_text(json.dumps(record))
    assert prepare(songs, out, "--workers", "1", "--seconds", "30") == 0
    assert prepare(songs, out, "--workers", "1", "--seed", "1") == 2


@pytest.mark.usefixtures("stubbed")
def test_failures_of_other_sources_stay_told(tmp_path: Path) -> None:
    one, other, out = own_songs(tmp_path / "a"), own_songs(tmp_path / "b"), tmp_path / "out"
    for songs in (one, other):
        assert prepare(songs, out, "--workers", "1") == 0
    told = json.loads((out / "failed.json").read_text())
    assert {source: list(songs) for source, songs in told.items()} == {
        str(one): ["bad-a.mid"], str(other): ["bad-b.mid"],
    }  # fmt: skip
    (one / "bad-a.mid").unlink()
    assert prepare(one, out, "--workers", "1") == 0
    assert list(json.loads((out / "failed.json").read_text())) == [str(other)]


@pytest.mark.usefixtures("stubbed")
def test_a_process_that_is_killed_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(render, "run_job", die)
    assert prepare(own_songs(tmp_path / "a"), tmp_path / "out", "--workers", "2") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "a process was killed, perhaps for want of memory" in line


@pytest.mark.slow
def test_ctrl_c_ends_the_command(tmp_path: Path) -> None:
    songs, out = own_songs(tmp_path / "a"), tmp_path / "out"
    (tmp_path / "font.sf2").touch()
    script = tmp_path / "run.py"
    script.write_text(
        "import sys; from bandmate.cli import main; from bandmate.data import render\n"
        "from tests.data.fake_coder import linger\n"
        "if __name__ == '__main__':\n"
        "    render.run_job = linger\n"
        f"    sys.exit(main(['prepare', 'midi', '--data', {str(songs)!r}, '--out', {str(out)!r},"
        " '--renditions', '99', '--workers', '2']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "BANDMATE_SOUNDFONTS": str(tmp_path / "font.sf2")},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    while (
        len(list(out.glob("begun-*"))) < 2
    ):  # a process that still starts would tell of the interrupt itself
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it, too
    _, told = process.communicate(timeout=300)
    assert (process.returncode, told) == (130, "bandmate prepare: interrupted\n")


def test_an_incomplete_track_is_refused(tmp_path: Path) -> None:
    job = jobs_for(tmp_path, tmp_path / "out")[0]
    render.run_job(job)
    path = render.rendered_tracks(tmp_path / "out")[0]
    path.with_suffix(".npy").unlink()
    with pytest.raises(ValueError, match="not a complete rendered track"):
        render.load_track(path)
    with pytest.raises(FileNotFoundError, match="no rendered tracks"):
        render.rendered_tracks(tmp_path / "nothing")
