from pathlib import Path

import numpy as np
import pytest

from bandmate.checkpoint import Bundle
from bandmate.evaluate.agreement import describe
from bandmate.sweep.clips import Clip
from bandmate.sweep.music import (
    MusicConfig,
    agreements,
    beats_shuffled,
    health,
    markdown,
    measure,
    play,
    shuffled_inputs,
)
from tests.evaluate.sounds import chord, clicks

CONFIG = MusicConfig(clips=6, t_f=(0.0, 0.2), frames=60, shuffles=3, batch=4)


@pytest.mark.parametrize("songs", ["abcd", "aabbcc", "abcabcabb", "zzzyyx"])
def test_shuffled_inputs_are_permutations_without_ones_own_song(songs: str) -> None:
    found = shuffled_inputs(list(songs), 8)
    assert 1 <= len(found) <= 8
    for row in found:
        assert sorted(row) == list(range(len(songs)))
        assert all(songs[clip] != songs[other] for clip, other in enumerate(row))
    assert len({tuple(row) for row in found}) == len(found)


def test_one_song_cannot_be_shuffled() -> None:
    with pytest.raises(ValueError, match="more songs"):
        shuffled_inputs(list("aaab"), 4)


def test_what_follows_its_input_beats_shuffled_inputs_and_what_does_not_does_not() -> None:
    sounds = [
        describe(clicks(np.arange(0.2, 3.9, 0.31 + 0.04 * i), 4) + chord(i, i + 4, seconds=4))
        for i in range(8)
    ]
    songs, tuned = [f"song{i}" for i in range(8)], np.arange(8) != 0
    others = shuffled_inputs(songs, 5)
    following = agreements(sounds, sounds, others, songs, tuned)
    assert all(beats_shuffled(following).values())
    assert following["chroma"]["true"] == pytest.approx(
        {"mean": 1, "low": 1, "high": 1, "songs": 7, "values": 7}
    )
    same = agreements([sounds[0]] * 8, sounds, others, songs, tuned)
    assert same["onset_f1"]["gain"]["mean"] < following["onset_f1"]["gain"]["mean"] / 2


def test_silent_outputs_have_no_agreement_but_are_counted() -> None:
    clips = [Clip(f"song{i}", 0, chord(i, seconds=2), chord(i, seconds=2)) for i in range(4)]
    sounds = [
        chord(0, seconds=2),
        0.1 * chord(0, seconds=2),
        np.zeros(64_000, np.float32),
        chord(0, seconds=2),
    ]
    sounds[3][5] = np.nan
    row = health(sounds, np.array([[[0, 31]], [[32, -1]]]), clips, 32)
    assert row["silent"] == 0.25
    assert row["bad_samples"] == 1
    assert row["no_codes"] == 2
    assert row["level_within_12_db"]["mean"] == 0.5  # 20 dB below and silent are not
    features = [describe(np.nan_to_num(sound)) for sound in sounds]
    songs = [clip.song for clip in clips]
    found = agreements(features, features, shuffled_inputs(songs, 2), songs, np.ones(4, bool))
    assert found["chroma"]["gain"]["values"] == 3


def test_the_whole_road(bundle: Bundle, rendered: Path) -> None:
    outputs = []
    result = measure(bundle, rendered, "test", CONFIG, record=lambda *each: outputs.append(each))
    assert [(row["system"], row["t_f"]) for row in result["rows"]] == [
        ("true stem", None),
        ("model", 0),
        ("model", 0.2),
    ]
    assert len(outputs) == 12
    assert all(sound.shape == (60 * 640,) and np.isfinite(sound).all() for *_, sound in outputs)
    for row in result["rows"][1:]:
        assert (row["bad_samples"], row["no_codes"]) == (0, 0)
    assert "| model | 0.2 | onset F1 |" in markdown(result)


def test_what_is_played_does_not_depend_on_the_batch(bundle: Bundle, rendered: Path) -> None:
    from bandmate.sweep.clips import accompaniment_clips

    clips = list(accompaniment_clips(rendered, "test", 4, 60, CONFIG.post))
    spec = CONFIG.specs[1]
    three, one = (
        play(bundle, clips, spec, MusicConfig(**{**vars(CONFIG), "batch": size}), lambda _: None)
        for size in (3, 1)
    )
    np.testing.assert_array_equal(three[0], one[0])
