import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmate.data.stems import Stem, Track
from bandmate.data.windows import Window, cut, draw_submix, draw_window, valid_starts
from bandmate.instruments import BASS, VOCAL


@given(
    st.integers(0, 2**16), st.integers(1, 30), st.integers(-5, 12), st.integers(-5, 12), st.floats(0.3, 1.0)
)
def test_valid_starts_are_those_found_by_looking_at_each(
    seed: int, frames: int, pre: int, post: int, density: float
) -> None:
    rng = np.random.default_rng(seed)
    heard, played = rng.uniform(size=(2, 60)) < density
    if pre + frames + post < 1:
        return
    slow = [
        t
        for t in range(60 - frames + 1)
        if t - pre >= 0
        and t + frames + post <= 60
        and 2 * np.sum(heard[t : t + frames] & played[t : t + frames]) >= frames
    ]
    assert valid_starts(heard, played, frames, pre, post).tolist() == slow


def test_a_submix_leaves_a_target_that_is_no_vocal() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_submix([BASS, VOCAL, 0, VOCAL], rng) for _ in range(400)]
    assert all({0, 2} - set(members) for members in drawn)
    assert {len(members) for members in drawn} == {1, 2, 3}
    with pytest.raises(ValueError, match="two stems"):
        draw_submix([VOCAL, VOCAL], rng)
    with pytest.raises(ValueError, match="two stems"):
        draw_submix([BASS], rng)


def test_windows_obey_the_rule_and_the_seed() -> None:
    rng = np.random.default_rng(1)
    active = np.repeat(rng.uniform(size=(4, 20)) < 0.6, 10, axis=1)
    drawn = [draw_window(active, [0, BASS, VOCAL, 3], 50, 7, index, pre=20, post=10) for index in range(200)]
    assert drawn == [
        draw_window(active, [0, BASS, VOCAL, 3], 50, 7, index, pre=20, post=10) for index in range(200)
    ]
    found = [window for window in drawn if window is not None]
    assert len(found) == 200
    for window in found:
        assert window.target != 2
        assert window.target not in window.members
        assert 20 <= window.start <= 200 - 60
        span = slice(window.start, window.start + 50)
        both = active[list(window.members)].any(axis=0)[span] & active[window.target][span]
        assert both.mean() >= 0.5
    assert {window.target for window in found} == {0, 1, 3}
    assert {len(window.members) for window in found} == {1, 2, 3}


def test_no_window_where_there_is_none() -> None:
    silent = np.zeros((2, 100), bool)
    assert draw_window(silent, [0, 1], 10, 0, 0) is None
    assert draw_window(~silent, [0, 1], 101, 0, 0) is None
    assert draw_window(~silent, [VOCAL, VOCAL], 10, 0, 0) is None
    assert draw_window(~silent[:1], [0], 10, 0, 0) is None
    with pytest.raises(ValueError, match="frame"):
        valid_starts(silent[0], silent[1], 0)


def test_cut_gives_the_frames_of_the_window() -> None:
    ramp = np.arange(6400, dtype=np.float32) / 6400
    track = Track("t", "s", "c", "train", (Stem(ramp, 0), Stem(2 * ramp, 1), Stem(np.ones_like(ramp), 2)))
    mixture, target = cut(track, Window(1, (0, 2), 4, 3), pre=2, post=1)
    np.testing.assert_array_equal(mixture, (ramp + 1)[2 * 640 : 8 * 640])
    np.testing.assert_array_equal(target, 2 * ramp[4 * 640 : 7 * 640])
    with pytest.raises(ValueError, match="beyond"):
        cut(track, Window(1, (0,), 8, 3))
