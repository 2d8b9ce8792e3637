"""Folders to a study: who hears what, how it is mixed, and what is refused."""

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bandmate.audio.loudness import lufs
from bandmate.audio.mixing import PEAK, below_peak, listening_mix, mix_over
from bandmate.sweep.listening_study.build import BuildConfig, build, sources_of
from bandmate.sweep.listening_study.design import draw_lists
from bandmate.sweep.listening_study.study import load_study, missing_sounds
from bandmate.sweep.listening_study.tones import HZ, tasks
from bandmate.sweep.material import equal_loudness
from tests.sweep.studies import ORDER, RATE, clip_folder, small_study, tone

SMALL = BuildConfig(clips=2, trials=3, lists=2, sound="wav")


# Trials.


def test_every_pair_once_and_no_clip_twice_in_a_full_list() -> None:
    for trials in draw_lists(systems=7, clips=30, trials=21, lists=24):
        assert {frozenset(each[2:]) for each in trials} == set(
            map(frozenset, itertools.combinations(range(7), 2))
        )
        assert len({each.clip for each in trials}) == 21


@pytest.mark.parametrize(("clips", "trials", "lists"), [(42, 21, 24), (5, 8, 9), (30, 50, 3), (1, 1, 40)])
def test_pairs_clips_and_orders_are_balanced(clips: int, trials: int, lists: int) -> None:
    drawn = draw_lists(7, clips, trials, lists, seed=3)
    everyone = [each for trials in drawn for each in trials]
    assert len({each.id for each in everyone}) == trials * lists
    pairs = Counter(dict.fromkeys(itertools.combinations(range(7), 2), 0))
    pairs.update((min(each[2:]), max(each[2:])) for each in everyone)
    heard = Counter(dict.fromkeys(range(clips), 0))
    heard.update(each.clip for each in everyone)
    for times in (pairs, heard):
        assert max(times.values()) - min(times.values()) <= 1
    for pair in pairs:
        orders = [sum(tuple(each[2:]) == way for each in everyone) for way in (pair, pair[::-1])]
        assert abs(orders[0] - orders[1]) <= 1
    for own in drawn:
        within = Counter(dict.fromkeys(range(clips), 0))
        within.update(each.clip for each in own)
        assert max(within.values()) - min(within.values()) <= 1


def test_trials_are_a_function_of_the_seed_and_pairs_do_not_follow_an_order() -> None:
    assert draw_lists(7, 42, 21, 24, seed=1) == draw_lists(7, 42, 21, 24, seed=1)
    assert draw_lists(7, 42, 21, 24, seed=1) != draw_lists(7, 42, 21, 24, seed=2)
    first = [frozenset(trials[0][2:]) for trials in draw_lists(7, 42, 21, 24, seed=1)]
    assert len(set(first)) > 8


# Mixes.


def test_over_a_summed_input_the_mix_is_that_of_the_stems() -> None:
    stems, part = [tone(300, 100, 0.01), tone(700, 100, 0.2)], tone(1500, 100, 0.4)
    equal, level = equal_loudness(stems, RATE)
    np.testing.assert_allclose(
        mix_over(equal, level, part, RATE), listening_mix(stems, part, RATE), atol=2e-5
    )


def test_over_a_summed_input_that_was_turned_down_the_balance_is_the_same() -> None:
    """equal_loudness turns a sum down that would clip; the part must follow."""
    stems, part = [tone(300, 100), tone(700, 100)], tone(1500, 100)
    equal, level = equal_loudness(stems, RATE)
    np.testing.assert_allclose(
        mix_over(equal * np.float32(0.25), level - 20 * np.log10(4), part, RATE),
        mix_over(equal, level, part, RATE),
        atol=1e-5,
    )


def test_a_silent_part_leaves_the_input_and_silence_stays_silence() -> None:
    equal, nothing = tone(300, 100), np.zeros(64_000, np.float32)
    assert lufs(mix_over(equal, -23.0, nothing, RATE), RATE) == pytest.approx(-18, abs=0.05)
    np.testing.assert_array_equal(mix_over(nothing, -23.0, nothing, RATE), nothing)
    with pytest.raises(ValueError, match="equally long"):
        mix_over(equal, -23.0, nothing[1:], RATE)


def test_versions_are_turned_down_together() -> None:
    soft, loud = below_peak([tone(300, 5, 0.5), tone(300, 5, 2.0)])
    assert np.abs(loud).max() == pytest.approx(PEAK, abs=1e-3)
    np.testing.assert_allclose(4 * soft, loud, atol=1e-5)
    np.testing.assert_array_equal(below_peak([tone(300, 5, 0.5)])[0], tone(300, 5, 0.5))
    assert below_peak([]) == []


def test_headphone_tones_are_as_loud_on_headphones_and_one_cancels_in_the_air() -> None:
    answers = []
    for audio, softest in tasks():
        third = (len(audio) + 1) // 3
        parts = [audio[place * third : (place + 1) * third] for place in range(3)]
        ear = [np.sqrt((part[:, 0] ** 2).mean()) for part in parts]
        air = [np.sqrt((part.sum(axis=1) ** 2).mean()) for part in parts]
        assert np.argmin(ear) + 1 == softest
        assert np.argmin(air) + 1 != softest
        answers.append(softest)
    assert sorted(answers) == [1, 1, 2, 2, 3, 3]
    assert HZ < 500  # the ears' distance is a small part of the wave: it cancels


# Studies.


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built")
    small_study(root, SMALL, clips=3, inputs=(2, 7, 1))
    return root / "study"


def test_a_study_of_the_papers_seven(study_folder: Path) -> None:
    study = load_study(study_folder)
    assert study.systems == ORDER
    assert [clip.clip for clip in study.clips] != ["00001"]
    assert {clip.n_in for clip in study.clips} == {1, 2}
    assert missing_sounds(study_folder, study) == []
    assert len(study.sounds()) == len(list((study_folder / "audio").iterdir())) == 2 * 8 + 6


def test_names_of_sounds_tell_nothing(study_folder: Path) -> None:
    for path in (study_folder / "audio").iterdir():
        assert len(path.stem) == 16
        assert int(path.stem, 16) >= 0
        content = path.read_bytes()
        assert not any(name.encode() in content for name in ORDER)


def test_sounds_are_at_the_papers_level_and_the_part_stands_out(study_folder: Path) -> None:
    study = load_study(study_folder)
    clip = next(each for each in study.clips if each.n_in == 1)
    sound, rate = soundfile.read(study_folder / "audio" / f"{clip.sounds[1]}.wav")
    assert rate == RATE
    assert lufs(sound, rate) == pytest.approx(-18, abs=0.1)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    played, stem = (
        spectrum[hz - 3 : hz + 4].max() for hz in (150 + int(clip.clip), 500 + 10 * int(clip.clip))
    )
    weighting = lufs(tone(150, 50), RATE) - lufs(tone(500, 50), RATE)
    assert 20 * np.log10(played / stem) + weighting == pytest.approx(5, abs=0.3)


def test_a_sound_of_a_folder_may_be_a_system(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path / "live")
    sources = sources_of([str(folder), f"codec={folder}/target_codec"], anchors=False)
    assert [(each.name, each.folder, each.sound) for each in sources] == [
        ("live", folder, "prediction"),
        ("codec", folder, "target_codec"),
    ]
    assert sources_of(["t_f = 1=x"])[1].name == "t_f = 1"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ([], "two systems or more"),
        (["=x"], "is no system"),
        (["a="], "is no system"),
        (["a=x", "A=y"], "are called 'a'"),
        (["ground truth=x"], "are called 'ground truth'"),
    ],
)
def test_systems_that_make_no_sense_are_refused(given: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        sources_of(given)


def test_too_few_clips_are_told_by_number(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path / "live", inputs=(2, 7))
    with pytest.raises(
        ValueError, match="share 6 clips, 3 of them with 1 to 6 inputs: ask for so many with --clips 3"
    ):
        build(sources_of([str(folder)]), tmp_path / "study", BuildConfig(clips=4))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["live"]


def test_only_clips_of_all_folders_are_taken(tmp_path: Path) -> None:
    first, second = clip_folder(tmp_path / "a", clips=3), clip_folder(tmp_path / "b", clips=3)
    lines = (second / "clips.jsonl").read_text().splitlines(keepends=True)
    (second / "clips.jsonl").write_text("".join(lines[1:]))
    study, _ = build(sources_of([str(first), str(second)], anchors=False), tmp_path / "study", SMALL)
    assert {clip.clip for clip in study.clips} == {"00001", "00002"}


def test_folders_of_other_clips_are_refused(tmp_path: Path) -> None:
    first, second = clip_folder(tmp_path / "a", clips=2), clip_folder(tmp_path / "b", clips=2, inputs=(3,))
    with pytest.raises(ValueError, match="hold different clips: input_equal of 2 of 2 differs: "):
        build(sources_of([str(first), str(second)]), tmp_path / "study", SMALL)


def test_what_is_missing_or_of_another_length_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path / "live", clips=2)
    sound = folder / "prediction" / "00001.flac"
    soundfile.write(sound, tone(300, 49), RATE)
    with pytest.raises(ValueError, match=r"00001\.flac has 31360 samples, its input 32000"):
        build(sources_of([str(folder)]), tmp_path / "study", SMALL)
    sound.unlink()
    with pytest.raises(FileNotFoundError, match=r"00001\.flac is missing"):
        build(sources_of([str(folder)]), tmp_path / "study", SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["live"]


def test_a_silent_prediction_is_told(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path / "live", clips=2)
    soundfile.write(folder / "prediction" / "00000.flac", np.zeros(32_000), RATE)
    _, notes = build(sources_of([str(folder)]), tmp_path / "study", SMALL)
    assert notes == ["live is silent in clip 00000: the input alone is heard."]


def test_a_study_is_never_overwritten(study_folder: Path, tmp_path: Path) -> None:
    folder = clip_folder(tmp_path / "live", clips=2)
    with pytest.raises(ValueError, match="is there already"):
        build(sources_of([str(folder)]), study_folder, SMALL)
    with pytest.raises(ValueError, match="there is no folder"):
        build(sources_of([str(folder)]), tmp_path / "none" / "study", SMALL)


@pytest.mark.parametrize(
    "change",
    [{"clips": 0}, {"trials": 0}, {"lists": 1000}, {"max_inputs": 0}, {"listen": -1}, {"sound": "ogg"}],
)
def test_settings_out_of_range_are_refused(change: dict, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--"):
        build(sources_of(["x"]), tmp_path / "study", BuildConfig(**change))


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"format": 2}', '{"format": 1}'])
def test_a_damaged_study_is_told(tmp_path: Path, damage: str) -> None:
    (tmp_path / "study.json").write_text(damage)
    with pytest.raises(ValueError, match="damaged or of another version"):
        load_study(tmp_path)


def test_a_trial_that_points_nowhere_is_damage(study_folder: Path, tmp_path: Path) -> None:
    content = json.loads((study_folder / "study.json").read_text())
    content["lists"][0][0][2] = 7
    (tmp_path / "study.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="damaged"):
        load_study(tmp_path)


def test_a_folder_that_is_no_study_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="was not made by bandmate study build"):
        load_study(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load_study(tmp_path / "none")
