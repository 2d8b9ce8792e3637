"""The whole table on folders of made-up clips, with stand-ins for the networks."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandmate.commands.evaluation.tables import csv_text, markdown
from bandmate.evaluate import features
from bandmate.evaluate.folders import from_generate, from_plain
from bandmate.evaluate.scores import embeddings
from bandmate.evaluate.systems import GROUPS, Options, measure, other_songs
from bandmate.instruments import INSTRUMENTS
from bandmate.perceive import vggish
from tests.evaluate.fakes import deaf_listener, generated, listener, music, write
from tests.evaluate.sounds import RATE

Report = dict[str, Any]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("systems")
    for kind in ("good", "lost", "silent"):
        generated(root / kind, kind, t_f=-20)
    generated(root / "again", "good", t_f=-20)
    return root


@pytest.fixture(scope="module")
def report(folders: Path) -> Report:
    systems = {
        "good": (folders / "good", folders / "again"),
        "lost": (folders / "lost",),
        "mute": (folders / "silent",),
    }
    options = Options(groups=True, fad_infinity=True, cache=folders / "cache", fad_draws=10)
    return measure(from_generate(systems, ["lost"]), listener, options)


def rows_of(report: Report, part: str = "whole", group: str = "all") -> dict[str, Report]:
    (found,) = [each for each in report["tables"] if (each["part"], each["group"]) == (part, group)]
    return {row["system"]: row for row in found["rows"]}


def test_every_anchor_has_a_row_and_every_number_its_network(report: Report) -> None:
    names = ["ground truth", "ground truth, codec", "random pairing", "silence", "lost", "good", "mute"]
    assert list(rows_of(report)) == names
    assert {key: each["name"] for key, each in report["networks"].items()} == {
        "coherence": "fake coherence",
        "beats": "fake beats",
        "embedding": "fake embedding",
    }
    assert [(each["part"], each["group"]) for each in report["tables"]] == [
        ("whole", "all"),
        ("first half", "all"),
        ("second half", "all"),
        ("whole", "drums"),
        ("whole", "bass"),
        ("whole", "keys"),
    ]
    assert (report["clips"], report["songs"], report["seconds_per_clip"]) == (4, 4, 10)


@pytest.mark.parametrize("part", ["whole", "first half", "second half"])
def test_what_goes_with_its_input_scores_like_the_truth_and_silence_below_random(
    report: Report, part: str
) -> None:
    rows = rows_of(report, part)
    for metric in ("coherence_both", "coherence_harmonic", "coherence_percussive", "beat_f1", "onset_f1"):
        value = {name: row[metric]["mean"] for name, row in rows.items()}
        assert value["good"] == pytest.approx(value["ground truth"], abs=0.03), metric
        assert value["good"] > value["random pairing"], metric
        assert value["good"] > value["lost"], metric
        assert value["mute"] == value["silence"] <= value["random pairing"], metric
    assert rows["good"]["nc_both"]["mean"] == pytest.approx(1, abs=0.05)
    assert rows["ground truth"]["nb"]["mean"] == 1
    assert rows["mute"]["nc_both"]["mean"] < 0.5
    assert rows["good"]["seeds"] == 2


def test_levels_and_silence(report: Report) -> None:
    rows = rows_of(report)
    assert rows["good"]["level"]["mean"] == pytest.approx(20 * math.log10(0.5 / 0.6), abs=0.1)
    assert math.isnan(rows["mute"]["level"]["mean"])
    assert rows["mute"]["silent"]["mean"] == 1
    assert rows["good"]["silent"]["mean"] < 0.5
    assert "Silent clips of mute: 4 of 4: 00000, 00001, 00002, 00003." in report["notes"]


def test_the_frechet_distance(report: Report) -> None:
    rows = rows_of(report)
    assert rows["ground truth"]["fad"]["mean"] == pytest.approx(0, abs=1e-9)
    assert 0 < rows["good"]["fad"]["mean"] < rows["mute"]["fad"]["mean"]
    assert rows["good"]["fad"]["embeddings"] == 40
    assert rows_of(report, "first half")["good"]["fad"]["embeddings"] == 20
    assert "infinity" in rows["good"]["fad"]


def test_drums_have_no_chroma_and_groups_their_clips(report: Report) -> None:
    assert rows_of(report)["good"]["chroma"]["values"] == 3
    assert math.isnan(rows_of(report, group="drums")["good"]["chroma"]["mean"])
    assert rows_of(report, group="bass")["good"]["clips"] == 2
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(INSTRUMENTS)


def test_markdown_and_csv(report: Report) -> None:
    text = markdown(report)
    assert "Coherence: fake coherence. Beats: fake beats. Fréchet distance: fake embedding." in text
    assert "| good, 2 seeds |" in text
    assert "| lost (no input) |" in text
    assert "### First half: 4 clips of 4 songs" in text
    assert "Fréchet distance (N = 40)" in text
    lines = list(csv.DictReader(io.StringIO(csv_text(report))))
    assert len(lines) == 6 * 7
    assert not any(None in line or None in line.values() for line in lines)  # no cell too many or too few
    line = next(each for each in lines if each["system"] == "good")
    told = [line[name] for name in ("part", "group", "seeds", "clips", "t_f", "k", "coherence_network")]
    assert told == ["whole", "all", "2", "4", "-0.4", "0.1", "fake coherence"]
    row = rows_of(report)["good"]
    assert (row["t_f"], row["k"]) == (-0.4, 0.1)
    assert float(line["beat_f1_low"]) == row["beat_f1"]["low"]
    assert float(line["fad"]) == row["fad"]["mean"]
    assert (line["beat_f1_clips"], line["fad_embeddings"]) == ("4", "40")
    assert {each["t_f"] for each in lines if each["kind"] == "anchor"} == {""}


def test_what_was_heard_is_kept_by_content(folders: Path, report: Report, tmp_path: Path) -> None:
    """A second run, of the same sounds under other names, hears nothing anew and gives the same numbers."""
    moved = tmp_path / "moved"
    (folders / "lost").rename(moved)
    try:
        options = Options(cache=folders / "cache", fad_draws=0)
        again = measure(from_generate({"other": (moved,)}), deaf_listener, options)
        fresh = measure(from_generate({"other": (moved,)}), listener, Options(fad_draws=0))
    finally:
        moved.rename(folders / "lost")
    assert str(again["tables"]) == str(fresh["tables"])  # as text, for NaN is not equal to itself
    assert rows_of(again)["other"]["beat_f1"]["mean"] == rows_of(report)["lost"]["beat_f1"]["mean"]


def test_a_damaged_cache_is_heard_anew(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", music(1))
    job = features.Job(tmp_path / "a.wav", 10 * RATE)
    first = features.hear_all([job], listener, cache=tmp_path / "cache")(job)
    for path in (tmp_path / "cache").rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    second = features.hear_all([job], listener, cache=tmp_path / "cache")(job)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)
    with pytest.raises(AssertionError, match="in the cache"):
        features.hear_all([job], deaf_listener)


@pytest.mark.parametrize("kind", features.KINDS)
def test_changed_code_hears_anew(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.wav", music(1))
    job = features.Job(tmp_path / "a.wav", 10 * RATE)
    features.hear_all([job], listener, cache=tmp_path / "cache")
    heard: list[str] = []
    listen = features.listen
    monkeypatch.setattr(features, "listen", lambda kind, *rest: heard.append(kind) or listen(kind, *rest))
    features.hear_all([job], listener, cache=tmp_path / "cache")
    assert heard == []
    monkeypatch.setitem(features.VERSIONS, kind, "next")
    features.hear_all([job], listener, cache=tmp_path / "cache")
    assert heard == [kind]


@pytest.mark.slow  # each process imports torch
def test_several_processes_give_the_same(tmp_path: Path) -> None:
    jobs = []
    for index in range(3):
        write(tmp_path / f"{index}.wav", music(index))
        jobs.append(features.Job(tmp_path / f"{index}.wav", 10 * RATE))
    told: list[float] = []
    alone = features.hear_all(jobs, listener)
    together = features.hear_all(jobs, listener, workers=2, tell=told.append)
    assert told[-1] == 1
    for job in jobs:
        assert alone(job).keys() == together(job).keys()
        for key, value in alone(job).items():
            np.testing.assert_allclose(together(job)[key], value, rtol=1e-5, atol=1e-6)


def plain(root: Path, predicted: np.ndarray, clips: int = 2, **other: np.ndarray) -> Report:
    for index in range(clips):
        sounds = {"in": music(index, 1.0), "true": music(index, 0.6), "out": music(index, 0.5)}
        if index == clips - 1:
            sounds |= {"out": predicted} | other
        for role, audio in sounds.items():
            write(root / role / f"clip{index}.wav", audio)
    material = from_plain(root / "in", root / "true", {"mine": (root / "out",)})
    return measure(material, listener, Options(fad_draws=0))


def test_plain_folders_get_a_random_pairing_of_their_own(tmp_path: Path) -> None:
    report = plain(tmp_path, music(1, 0.5), clips=3)
    rows = rows_of(report)
    assert rows["mine"]["coherence_both"]["mean"] > rows["random pairing"]["coherence_both"]["mean"]
    assert "ground truth, codec" not in rows


def test_nan_in_a_prediction_is_counted_and_in_the_input_refused(tmp_path: Path) -> None:
    broken = music(1, 0.5)
    broken[1000:1010] = np.nan
    report = plain(tmp_path / "a", broken)
    assert "NaN or infinite samples, read as 0, in mine: 1 of 2: clip1." in report["notes"]
    assert rows_of(report)["mine"]["beat_f1"]["values"] == 2
    with pytest.raises(ValueError, match="the target of 1 of 2 clips holds NaN or infinite samples: clip1"):
        plain(tmp_path / "b", music(1), true=broken)


def test_silent_inputs_are_counted_and_named(tmp_path: Path) -> None:
    report = plain(tmp_path, music(1), **{"in": np.zeros(10 * RATE), "true": np.zeros(10 * RATE)})
    assert "Inputs with fewer than two beats: they have no beat F1: 1 of 2: clip1." in report["notes"]
    assert "Inputs with no chunk that sounds: they have no coherence: 1 of 2: clip1." in report["notes"]
    assert "Silent clips of ground truth: 1 of 2: clip1." in report["notes"]
    assert rows_of(report)["mine"]["beat_f1"]["values"] == 1
    assert rows_of(report)["mine"]["coherence_both"]["values"] == 1


def test_clips_too_short_for_an_embedding_are_named_first(tmp_path: Path) -> None:
    for role in ("in", "true", "out"):
        write(tmp_path / role / "long.wav", music(1))
        write(tmp_path / role / "short.wav", music(1)[:31_199])
    material = from_plain(tmp_path / "in", tmp_path / "true", {"mine": (tmp_path / "out",)})
    deaf = deaf_listener()
    embedding = deaf.embedding._replace(name="VGGish", least=vggish.SHORTEST)
    with pytest.raises(ValueError, match=r"VGGish needs 0.975 s, and 1 of 2 clips are shorter: short;"):
        measure(material, lambda: deaf._replace(embedding=embedding), Options(fad_draws=0))


@pytest.mark.parametrize(
    ("seconds", "span", "step", "first", "second"),
    [
        (10, 0.96, 0.96, [0, 1, 2, 3], [6, 7, 8, 9]),  # VGGish: 5 lie in the first half, 4 in the second
        (10, 5.0, 2.5, [0], [2]),
        (12, 0.96, 0.96, [0, 1, 2, 3, 4], [7, 8, 9, 10, 11]),
        (1.5, 0.96, 0.96, [], []),
    ],
)
def test_halves_hold_equally_many_embeddings(
    seconds: float, span: float, step: float, first: list[int], second: list[int]
) -> None:
    count = int((seconds - span) / step + 1e-9) + 1
    record = {"sound.samples": np.array(seconds * RATE), "embedding.values": np.arange(count)[:, None]}
    for part, wanted in (("whole", range(count)), ("first half", first), ("second half", second)):
        values, owner = embeddings([record, record], span, step, part)
        assert values[:, 0].tolist() == [*wanted, *wanted]
        assert owner.tolist() == [0] * len(wanted) + [1] * len(wanted)


def test_one_clip_only(tmp_path: Path) -> None:
    report = plain(tmp_path, music(0, 0.5), clips=1)
    assert "1 clip of one song: there are no intervals." in report["notes"]
    assert any("No random pairing" in note for note in report["notes"])
    mine = rows_of(report)["mine"]
    assert mine["beat_f1"]["mean"] == 1
    assert math.isnan(mine["beat_f1"]["low"])
    assert "nc_both" not in mine
    assert "| mine |" in markdown(report)


def test_a_file_that_ends_early_is_told(tmp_path: Path) -> None:
    """A FLAC that was cut short still declares its whole length."""
    write(tmp_path / "a.flac", music(1))
    whole = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.flac is damaged"):
        features.read(features.Job(tmp_path / "a.flac", 10 * RATE))


def test_random_pairs_are_of_other_songs_and_equally_long() -> None:
    assert other_songs(["a", "a", "b"], [1, 1, 1]) == [2, 2, 0]
    assert other_songs(["a", "b", "c"], [1, 2, 1]) is None
    assert other_songs(["a", "a"], [1, 1]) is None
