"""Folders that do not fit together: one clear line, the clips named and counted."""

import json
from pathlib import Path

import numpy as np
import pytest

from bandmate.evaluate.folders import from_generate, from_plain, lengths, named, named_folders
from tests.evaluate.fakes import generated, music, write
from tests.evaluate.sounds import RATE


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("pair")
    return generated(root / "a", clips=2), generated(root / "b", "lost", clips=2)


def copied(folder: Path, to: Path) -> Path:
    for path in folder.rglob("*"):
        if path.is_file():
            target = to / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return to


def test_names() -> None:
    assert named_folders(["x=a,b", "runs/c"]) == {"x": (Path("a"), Path("b")), "c": (Path("runs/c"),)}
    for bad, what in ((["=a"], "no system"), (["x="], "no system"), (["a", "other/a"], "two systems")):
        with pytest.raises(ValueError, match=what):
            named_folders(bad)
    assert named([str(i) for i in range(7)]) == "0, 1, 2, 3, 4 and 2 more"


def test_two_systems_of_the_same_clips(pair: tuple[Path, Path], tmp_path: Path) -> None:
    material = from_generate({"a": (pair[0],), "b": (pair[1], copied(pair[1], tmp_path / "b"))}, ["b"])
    assert [clip.id for clip in material.clips] == ["00000", "00001"]
    assert [clip.song for clip in material.clips] == ["song0", "song1"]
    assert set(material.shared) == {"input", "target", "target_codec", "random"}
    assert [(s.name, len(s.takes), s.kind) for s in material.systems] == [
        ("a", 1, "system"),
        ("b", 2, "unconditional"),
    ]
    assert material.notes == ()
    assert lengths(material, trim=False) == ({"00000": 10 * RATE, "00001": 10 * RATE}, [])


def test_what_a_folder_tells_of_its_input(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for key, kind in (("null_input", "unconditional"), ("shuffle_input", "shuffled")):
        folder = copied(pair[0], tmp_path / key)
        rows = [json.loads(line) | {key: True} for line in (folder / "clips.jsonl").read_text().splitlines()]
        rows[1]["not_finite"] = 3
        (folder / "clips.jsonl").write_text("\n".join(map(json.dumps, rows)))
        material = from_generate({"x": (folder,)})
        assert material.systems[0].kind == kind
        assert "NaN or infinite samples" in material.notes[0]
        assert "1 of 2 clips: 00001" in material.notes[0]


def changed(folder: Path, to: Path, **row: object) -> Path:
    """A copy whose clips are said to be of another system."""
    copied(folder, to)
    rows = [json.loads(line) | row for line in (to / "clips.jsonl").read_text().splitlines()]
    (to / "clips.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return to


@pytest.mark.parametrize(
    "row",
    [
        {"model": "other"},
        {"t_f": 50},
        {"k": 1},
        {"sampling": {"top_k": 1}},
        {"null_input": True},
        {"shuffle_input": True},
    ],
)
def test_only_seeds_of_one_system_are_pooled(
    pair: tuple[Path, Path], tmp_path: Path, row: dict[str, object]
) -> None:
    other = changed(pair[0], tmp_path / "other", **row)
    with pytest.raises(ValueError, match=rf"x is not one system: .* differ in {next(iter(row))};"):
        from_generate({"x": (pair[0], other)})
    assert len(from_generate({"x": (pair[0],), "y": (other,)}).systems) == 2
    seed = changed(pair[0], tmp_path / "seed", seed=1, null_input=False)
    assert len(from_generate({"x": (pair[0], seed)}).systems[0].takes) == 2


def test_a_folder_is_no_second_seed_of_itself(pair: tuple[Path, Path]) -> None:
    again = pair[0].parent / "b" / ".." / "a"
    with pytest.raises(ValueError, match="x is given the same folder twice"):
        from_generate({"x": (pair[0], again)})
    with pytest.raises(ValueError, match="x is given the same folder twice"):
        from_plain(
            pair[0] / "input", pair[0] / "target", {"x": (pair[0] / "prediction", again / "prediction")}
        )


def test_what_is_told_of_a_system_is_in_seconds(pair: tuple[Path, Path], tmp_path: Path) -> None:
    folder = changed(pair[0], tmp_path / "told", t_f=-20, k=5, model="duet", sampling={"top_k": 1})
    told = {"model": "duet", "sampling": {"top_k": 1}, "t_f": -0.4, "k": 0.1}
    assert from_generate({"x": (folder,)}).systems[0].about == told
    offline = changed(pair[0], tmp_path / "offline", t_f=None, k=None)
    assert from_generate({"x": (offline,)}).systems[0].about == {}


def test_random_pairings_of_another_class_are_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    folder = changed(pair[0], tmp_path / "strange", random={"instrument": "Bass"})  # to bass, and to drums
    assert from_generate({"x": (folder,)}).notes == ("Random pairing of another class: 1 of 2: 00001.",)


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        from_generate({"x": (tmp_path / "nowhere",)})
    with pytest.raises(FileNotFoundError, match=r"no clips\.jsonl"):
        from_generate({"x": (tmp_path,)})
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        from_plain(tmp_path / "a", tmp_path / "b", {"x": (tmp_path / "c",)})
    with pytest.raises(ValueError, match="holds no audio file"):
        from_plain(tmp_path, tmp_path, {"x": (tmp_path,)})


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"clip": "00000", "song": "a"', "line 1 is cut short"),
        ('{"clip": "00000", "song": "a"}', "has no 'instrument'"),
        ('{"clip": 0, "song": "a", "instrument": "Bass"}\n' * 2, "00000 is there twice"),
        ("\n", "lists no clip"),
    ],
)
def test_a_damaged_list_of_clips(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "clips.jsonl").write_text(text)
    with pytest.raises(ValueError, match=what):
        from_generate({"x": (tmp_path,)})


def test_missing_and_extra_clips_are_named_and_counted(pair: tuple[Path, Path], tmp_path: Path) -> None:
    less = copied(pair[0], tmp_path / "less")
    (less / "prediction" / "00001.flac").unlink()
    with pytest.raises(ValueError, match="1 of 2 clips have no prediction: 00001"):
        from_generate({"x": (less,)})
    more = copied(pair[0], tmp_path / "more")
    (more / "input" / "00007.flac").write_bytes((more / "input" / "00001.flac").read_bytes())
    with pytest.raises(ValueError, match=r"1 files that clips.jsonl does not list: 00007"):
        from_generate({"x": (more,)})


def test_systems_with_different_clips(pair: tuple[Path, Path], tmp_path: Path) -> None:
    short = copied(pair[1], tmp_path / "short")
    line = (short / "clips.jsonl").read_text().splitlines()[0]
    (short / "clips.jsonl").write_text(line + "\n")
    for path in short.rglob("00001.flac"):
        path.unlink()
    with pytest.raises(ValueError, match=r"do not match: .*short lacks 1 of 2 clips: 00001"):
        from_generate({"a": (pair[0],), "b": (short,)})
    material = from_generate({"a": (pair[0],), "b": (short,)}, common=True)
    assert [clip.id for clip in material.clips] == ["00000"]
    assert "1 of 2 clips are not in all folders and left out: 00001" in material.notes[0]


def test_systems_with_different_inputs(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = copied(pair[1], tmp_path / "other")
    write(other / "input" / "00001.flac", music(3))
    with pytest.raises(ValueError, match="input of 1 of 2 differs: 00001"):
        from_generate({"a": (pair[0],), "b": (other,)})


def test_equal_sound_in_another_file_is_the_same(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = copied(pair[1], tmp_path / "other")
    import soundfile

    audio, rate = soundfile.read(other / "input" / "00001.flac", dtype="float32")
    (other / "input" / "00001.flac").unlink()
    write(other / "input" / "00001.wav", audio, rate)
    assert len(from_generate({"a": (pair[0],), "b": (other,)}).clips) == 2


def test_each_codec_has_its_ground_truth(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = copied(pair[1], tmp_path / "other")
    write(other / "target_codec" / "00001.flac", music(1, 0.1))
    folders = {"a": (pair[0],), "b": (pair[1],), "c": (other,)}
    roles = [role for role in from_generate(folders).shared if role.startswith("target_codec")]
    assert roles == ["target_codec", "target_codec of c"]


def test_absent_anchors_are_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    bare = copied(pair[0], tmp_path / "bare")
    for role in ("random", "target_codec"):
        for path in (bare / role).iterdir():
            path.unlink()
        (bare / role).rmdir()
    notes = from_generate({"x": (bare,)}).notes
    assert any("codec-reconstructed" in note for note in notes)
    assert any("random pairing takes another song's target" in note for note in notes)


def test_different_lengths_and_rates(pair: tuple[Path, Path], tmp_path: Path) -> None:
    uneven = copied(pair[0], tmp_path / "uneven")
    write(uneven / "prediction" / "00001.flac", music(1)[: 9 * RATE])
    write(uneven / "target" / "00000.flac", music(0)[::2], RATE // 2)
    material = from_generate({"x": (uneven,)})
    with pytest.raises(ValueError, match=r"1 of 2 clips differ in length: 00001 \(9.00 to 10.00 s\)"):
        lengths(material, trim=False)
    samples, notes = lengths(material, trim=True)
    assert samples == {"00000": 10 * RATE, "00001": 9 * RATE}
    assert "Cut to the shortest file of the clip: 1 clips: 00001" in notes[0]
    assert "Resampled to 32000 Hz: files of 1 of 2 clips: 00000" in notes[1]


def test_a_file_that_is_no_audio(pair: tuple[Path, Path], tmp_path: Path) -> None:
    broken = copied(pair[0], tmp_path / "broken")
    (broken / "prediction" / "00001.flac").write_bytes(b"not audio at all")
    with pytest.raises(ValueError, match=r"cannot read .*00001.flac"):
        lengths(from_generate({"x": (broken,)}), trim=False)


def test_plain_folders(tmp_path: Path) -> None:
    for role in ("in", "true", "out"):
        for name in ("one", "two"):
            write(tmp_path / role / f"{name}.wav", np.zeros(RATE))
    material = from_plain(tmp_path / "in", tmp_path / "true", {"x": (tmp_path / "out",)})
    assert [(clip.id, clip.song) for clip in material.clips] == [("one", "one"), ("two", "two")]
    assert any("a song of its own" in note for note in material.notes)
    write(tmp_path / "out" / "three.wav", np.zeros(RATE))
    with pytest.raises(ValueError, match="lacks 1 of 3 clips: three"):
        from_plain(tmp_path / "in", tmp_path / "true", {"x": (tmp_path / "out",)})
    write(tmp_path / "out" / "two.flac", np.zeros(RATE))
    with pytest.raises(ValueError, match="same clip"):
        from_plain(tmp_path / "in", tmp_path / "true", {"x": (tmp_path / "out",)})


def test_an_unknown_unconditional_system(pair: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="--unconditional z: there is no such system; given are a"):
        from_generate({"a": (pair[0],)}, ["z"])
