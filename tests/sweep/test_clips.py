from pathlib import Path

import numpy as np
import pytest

from bandmate.audio.loudness import activity
from bandmate.instruments import BASS, PERCUSSIVE
from bandmate.sweep.clips import accompaniment_clips, solo_excerpts, split_paths


def test_clips_are_spread_over_songs_and_reach_on(rendered: Path) -> None:
    clips = list(accompaniment_clips(rendered, "test", 10, 100, 30))
    songs = [clip.song for clip in clips]
    assert sorted(songs.count(f"song{index}") for index in range(4)) == [2, 2, 3, 3]
    for clip in clips:
        assert clip.target.shape == (100 * 640,)
        assert clip.mixture.shape == (130 * 640,)
        assert (activity(clip.target) & activity(clip.mixture)[:100]).mean() >= 0.5


def test_clips_are_a_function_of_the_seed(rendered: Path) -> None:
    first, again = (list(accompaniment_clips(rendered, "test", 4, 100, 0, seed=1)) for _ in range(2))
    other = list(accompaniment_clips(rendered, "test", 4, 100, 0, seed=2))
    assert all(np.array_equal(a.mixture, b.mixture) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a.mixture, b.mixture) for a, b in zip(first, other, strict=True))


def test_excerpts_are_mixes_with_some_of_their_stems(rendered: Path) -> None:
    found = dict(solo_excerpts(rendered, "test", 3, 150, 2, (PERCUSSIVE, BASS)))
    assert list(found) == [path.stem for path in split_paths(rendered, "test")[:3]]
    excerpts = [excerpt for each in found.values() for excerpt in each]
    kinds = [excerpt.instrument for excerpt in excerpts]
    assert kinds.count(None) == 3
    assert len(kinds) == 9
    assert kinds.count(PERCUSSIVE) + kinds.count(BASS) > kinds.count(0)
    assert all(excerpt.audio.shape == (150 * 640,) for excerpt in excerpts)


def test_what_is_not_there_is_told(rendered: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split 'valid'; there are: test"):
        split_paths(rendered, "valid")
    with pytest.raises(FileNotFoundError, match="no rendered tracks"):
        split_paths(tmp_path, "test")
    with pytest.raises(ValueError, match="has 24 s in which"):
        list(accompaniment_clips(rendered, "test", 4, 1000, 200))
