"""Bootstrap over songs, and rank correlation."""

import math

import numpy as np
import pytest

from bandmate.evaluate.intervals import bootstrap, correlation, rank_correlation, resampled, song_means


def test_song_means_weigh_songs_not_clips_and_leave_out_nan() -> None:
    values = [1.0, 3.0, np.nan, 10.0, np.nan]
    np.testing.assert_array_equal(song_means(values, ["a", "a", "a", "b", "c"]), [2.0, 10.0])


def test_equal_values_have_an_interval_of_no_width() -> None:
    found = bootstrap([2.5] * 6, list("aabbcc"))
    assert found == (2.5, 2.5, 2.5, 3, 6)
    assert found.above_zero


def test_interval_of_a_known_distribution(rng: np.random.Generator) -> None:
    values = rng.normal(1.0, 2.0, 400)
    found = bootstrap(values, np.arange(400))
    half = 1.96 * values.std() / math.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)


def test_clips_of_one_song_do_not_narrow_the_interval(rng: np.random.Generator) -> None:
    songs, values = np.arange(20), rng.normal(size=20)
    once, often = bootstrap(values, songs), bootstrap(np.repeat(values, 50), np.repeat(songs, 50))
    assert often[:3] == pytest.approx(once[:3])
    assert (once.songs, once.values, often.values) == (20, 20, 1000)


def test_too_little_has_no_interval() -> None:
    one = bootstrap([1.0, 2.0], ["a", "a"])
    assert one.mean == 1.5
    assert math.isnan(one.low)
    assert not one.above_zero
    none = bootstrap([np.nan], ["a"])
    assert math.isnan(none.mean)
    assert (none.songs, none.values) == (0, 0)


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="one song for each value"):
        bootstrap([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="infinite"):
        bootstrap([1.0, np.inf], ["a", "b"])


def test_draws_are_the_same_each_time() -> None:
    np.testing.assert_array_equal(resampled(7, 5, seed=3), resampled(7, 5, seed=3))
    assert resampled(7, 5).max() < 7


def test_rank_correlation() -> None:
    assert rank_correlation([-4, -1, 0, 2], [0.0, 0.1, 0.5, 90.0]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    # 1 - 6 * sum d^2 / (n (n^2 - 1)) with d = 1, 1, 0
    assert rank_correlation([1, 2, 3], [2, 1, 3]) == pytest.approx(0.5)
    assert math.isnan(rank_correlation([1, 2], [5, 5]))
    for bad in (([1], [1]), ([1, 2], [1]), ([1, np.nan], [1, 2])):
        with pytest.raises(ValueError, match="two rows"):
            rank_correlation(*bad)


def test_correlation() -> None:
    a = np.array([1.0, 2.0, 4.0])
    assert correlation(a, 3 - 2 * a) == pytest.approx(-1)
    assert math.isnan(correlation(a, np.ones(3)))
