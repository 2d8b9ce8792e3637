"""Rendering to disk: layout, order, resuming, failures. Needs a SoundFont."""

import json
from pathlib import Path

import numpy as np
import pytest

from bandmate.data import render
from bandmate.data.pack import Entry
from bandmate.data.rendition import RenditionConfig
from bandmate.data.soundfonts import find_soundfonts
from tests.data.midi_files import band

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
    assert render.run_job(jobs[0])[1] is None
    assert len(list(render.run_jobs(jobs))) == 3  # the first is there already
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


def test_the_command_renders_own_files_and_lists_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    songs, out = tmp_path / "songs", tmp_path / "out"
    songs.mkdir()
    band(songs / "good.mid", bars=4)
    (songs / "bad.mid").write_bytes(b"bad")
    monkeypatch.setenv("BANDMATE_SOUNDFONTS", str(FONTS[0]))
    argv = [
        "--midi",
        str(songs),
        "--out",
        str(out),
        "--cache",
        str(tmp_path),
        "--seconds",
        "1",
        "--train-renditions",
        "1",
    ]
    render.main(argv)
    assert list(json.loads((out / "failed.json").read_text())) == ["bad.mid"]
    assert "failed: bad.mid" in capsys.readouterr().err
    assert len(render.rendered_tracks(out)) >= 1


def test_an_incomplete_track_is_refused(tmp_path: Path) -> None:
    job = jobs_for(tmp_path, tmp_path / "out")[0]
    render.run_job(job)
    path = render.rendered_tracks(tmp_path / "out")[0]
    path.with_suffix(".npy").unlink()
    with pytest.raises(ValueError, match="not a complete rendered track"):
        render.load_track(path)
    with pytest.raises(FileNotFoundError, match="no rendered tracks"):
        render.rendered_tracks(tmp_path / "nothing")
