"""Means, normalisation and Fréchet distances of known rows."""

import math

import numpy as np
import pytest

from bandmate.evaluate.scores import METRICS
from bandmate.evaluate.table import Row, frechet, mean_over_songs, normalised, over_seeds, subset, table

SONGS = [f"s{index // 2}" for index in range(20)]


def row(name: str, kind: str, level: float, seeds: int = 1, spread: float = 0.1) -> Row:
    rng = np.random.default_rng([len(name), seeds])
    values = level + spread * rng.normal(size=(seeds, 20, len(METRICS)))
    each = tuple((rng.normal(size=(40, 3)) + level, np.repeat(np.arange(20), 2)) for _ in range(seeds))
    return Row(name, kind, values, each, {"t_f": 0})


def test_seeds_are_pooled_clip_by_clip() -> None:
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    np.testing.assert_array_equal(over_seeds(values), [2.0, 5.0, np.nan])


def test_normalised_is_0_for_random_1_for_truth_and_linear_between(rng: np.random.Generator) -> None:
    random, truth = 10 + rng.normal(size=20), 20 + rng.normal(size=20)
    zero, one = (normalised(side, random, truth, SONGS) for side in (random, truth))
    assert zero == {"mean": 0, "low": 0, "high": 0}
    assert one == {"mean": 1, "low": 1, "high": 1}
    half = normalised((random + truth) / 2, random, truth, SONGS)
    assert half is not None
    assert half["mean"] == pytest.approx(0.5)
    low = normalised(random - 5, random, truth, SONGS)
    assert low is not None
    assert low["mean"] < low["high"] < 0


def test_nothing_is_normalised_by_a_gap_that_may_be_nothing(rng: np.random.Generator) -> None:
    random = rng.normal(size=20)
    assert normalised(random, random, random + 0.05 * rng.normal(size=20), SONGS) is None
    assert normalised(random, random, random + 10, ["one"] * 20) is None
    assert normalised(np.full(20, np.nan), random, random + 10, SONGS) is None


def test_a_clip_without_a_number_leaves_all_three_sides() -> None:
    random, truth, values = np.zeros(4), np.array([1.0, 1.2, 0.9, 1.0]), np.array([0.5, 0.6, 0.45, 0.5])
    values[3], truth[3] = np.nan, 1000.0
    found = normalised(values, random, truth, list("abcd"))
    assert found is not None
    assert found["mean"] == pytest.approx(0.5)


def test_a_table_of_a_system_between_its_anchors() -> None:
    rows = [
        row("ground truth", "anchor", 2.0),
        row("random pairing", "anchor", 0.0),
        row("mine", "system", 1.0, seeds=3),
    ]
    truth, random, mine = table(rows, SONGS, np.arange(20), infinity=True, fad_draws=10)
    assert (mine["seeds"], mine["clips"], mine["t_f"]) == (3, 20, 0)
    assert mine["nc_both"]["mean"] == pytest.approx(0.5, abs=0.05)
    assert mine["nc_both"]["low"] < 0.5 < mine["nc_both"]["high"] or mine["nc_both"]["high"] < 0.6
    assert truth["nb"]["mean"] == 1
    assert random["nb"]["mean"] == 0
    assert truth["fad"]["mean"] == pytest.approx(0, abs=1e-9)
    assert mine["fad"]["mean"] == pytest.approx(3, abs=1.0)
    assert mine["fad"]["low"] < mine["fad"]["mean"] < mine["fad"]["high"]
    assert mine["fad"]["embeddings"] == 40
    assert mine["fad"]["infinity"] < mine["fad"]["mean"]
    assert len(mine["beat_f1"]["by_seed"]) == 3
    assert mine["beat_f1"]["values"] == 20


def test_a_subset_of_the_clips() -> None:
    part = subset(row("mine", "system", 1.0), np.array([3, 7]))
    assert part.values.shape[1] == 2
    values, owner = part.embeddings[0]
    np.testing.assert_array_equal(owner, [0, 0, 1, 1])
    np.testing.assert_array_equal(values, row("mine", "system", 1.0).embeddings[0][0][[6, 7, 14, 15]])


def test_one_clip_has_no_interval_and_without_embeddings_no_distance() -> None:
    rows = [row("ground truth", "anchor", 2.0), row("random pairing", "anchor", 0.0)]
    truth, _ = table(rows, SONGS, np.array([4]), fad_draws=10)
    assert math.isnan(truth["beat_f1"]["low"])
    assert truth["nc_both"] is None
    assert math.isnan(truth["fad"]["low"])
    empty = Row("x", "anchor", rows[0].values, ((np.zeros((0, 3)), np.zeros(0, int)),), {})
    assert frechet(empty, empty, SONGS, infinity=False) is None
    assert math.isnan(mean_over_songs(np.array([np.nan]), ["a"]))
