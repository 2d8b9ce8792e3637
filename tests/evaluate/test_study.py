"""Statistics of the listening study: SciPy's documented examples, known outcomes, and nothing out of nothing."""

import itertools

import numpy as np
import pytest
from scipy import stats

from bandmate.evaluate.study import (
    Judged,
    analyse,
    bonferroni,
    counts,
    kruskal_wallis,
    pairwise,
    signed_rank,
    win_rates,
)

SEVEN = ("truth", "stemgen", "prefix", "one", "zero", "minus", "random")
PLANTS = [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75]  # Wilcoxon (1945), SciPy's example


def people(count: int, sure: float, seed: int, trials: int = 21) -> list[Judged]:
    """Participants who hear each pair once and prefer the system that comes first in SEVEN with P = ``sure``."""
    rng = np.random.default_rng(seed)
    told = []
    for person in range(count):
        for a, b in itertools.islice(itertools.cycle(itertools.combinations(range(7), 2)), trials):
            a, b = (a, b) if rng.random() < 0.5 else (b, a)
            earlier = "a" if a < b else "b"
            later = "b" if a < b else "a"
            told.append(Judged(f"p{person:02d}", a, b, earlier if rng.random() < sure else later))
    return told


# The tests themselves.


def test_kruskal_wallis_gives_scipys_documented_numbers() -> None:
    told = kruskal_wallis([[1, 3, 5, 7, 9], [2, 4, 6, 8, 10]])
    assert (told.statistic, told.p) == pytest.approx((0.2727272727272734, 0.6015081344405895))
    assert kruskal_wallis([[1, 1, 1], [2, 2, 2], [2, 2]])[:2] == pytest.approx((7.0, 0.0301973834223185))


def test_kruskal_wallis_of_equal_values_finds_nothing() -> None:
    assert kruskal_wallis([[0.5, 0.5], [0.5], [0.5, np.nan]]) == (0.0, 1.0, 4)


@pytest.mark.parametrize("groups", [[], [[1.0, 2.0]], [[1.0], []], [[1.0], [np.nan]]])
def test_kruskal_wallis_refuses_what_it_cannot_compare(groups: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="two groups or more"):
        kruskal_wallis(groups)


def test_signed_rank_gives_scipys_documented_numbers() -> None:
    assert signed_rank(PLANTS, np.zeros(15)) == (24.0, 0.041259765625, 15)


def test_signed_rank_equals_scipys_exact_test_without_ties(rng: np.random.Generator) -> None:
    for n in (1, 2, 7, 24, 50):
        d = rng.standard_normal(n) + 0.3
        told, scipys = signed_rank(d, np.zeros(n)), stats.wilcoxon(d, method="exact")
        assert told[:2] == pytest.approx((scipys.statistic, scipys.pvalue), rel=1e-9)


def test_signed_rank_with_ties_equals_all_sign_flips(rng: np.random.Generator) -> None:
    for _ in range(5):
        d = rng.integers(-3, 5, size=9).astype(float)
        d = d[d != 0]
        every = stats.PermutationMethod(n_resamples=1 << len(d))
        scipys = stats.wilcoxon(d, method=every)
        assert signed_rank(d, 0 * d)[:2] == pytest.approx((scipys.statistic, scipys.pvalue), rel=1e-9)


def test_zeros_are_dropped_and_counted() -> None:
    x = np.array([0.5, 0.5, 1.0, 0.75, np.nan])
    y = np.array([0.5, 0.25, 0.5, 0.5, 0.5])
    assert signed_rank(x, y) == signed_rank(x[1:4], y[1:4])
    assert signed_rank(x, y).n == 3
    assert signed_rank([0.5, 0.2], [0.5, 0.2]) == (0.0, 1.0, 0)


def test_differences_that_are_equal_but_for_rounding_are_ties() -> None:
    thirds = signed_rank([1 / 2, 2 / 3, 1.0], [1 / 3, 1 / 2, 5 / 6 + 1 / 3])
    assert thirds == signed_rank([1, 1, -1], [0, 0, 0])


def test_bonferroni() -> None:
    assert bonferroni(0.002, 21) == pytest.approx(0.042)
    assert bonferroni(0.4, 21) == 1.0


# From answers to numbers.


def test_counts_and_win_rates_by_hand() -> None:
    answers = [
        Judged("x", 0, 1, "a"),
        Judged("x", 1, 0, "none"),
        Judged("y", 2, 0, "b"),
        Judged("y", 0, 2, "b"),
    ]
    wins, ties = counts(answers, 3)
    assert wins.tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert ties.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    rates, who = win_rates(answers, 3)
    assert who == ["x", "y"]
    np.testing.assert_allclose(rates, [[0.75, 0.25, np.nan], [0.5, np.nan, 0.5]])


@pytest.mark.parametrize(
    "answer",
    [Judged("x", 0, 0, "a"), Judged("x", 0, 3, "a"), Judged("x", -1, 0, "b"), Judged("x", 0, 1, "c")],
)
def test_an_answer_that_cannot_be_is_refused(answer: Judged) -> None:
    with pytest.raises(ValueError, match=r"not"):
        analyse([answer], ("a", "b", "c"))


def test_participants_who_met_one_system_only_are_left_out_of_the_pair() -> None:
    rates = np.array([[1.0, 0.0, np.nan], [0.75, 0.25, 0.5], [1.0, np.nan, 0.0]])
    told = {(pair["a"], pair["b"]): pair["participants"] for pair in pairwise(rates)}
    assert told == {(0, 1): 2, (0, 2): 2, (1, 2): 1}


def test_a_known_order_is_recovered() -> None:
    report = analyse(people(24, 0.95, seed=1), SEVEN)
    rates = [row["win_rate"]["mean"] for row in report["systems"]]
    assert rates == sorted(rates, reverse=True)
    assert report["kruskal_wallis"]["p"] < 1e-6
    assert report["level"] == pytest.approx(0.05 / 21)
    significant = {(pair["a"], pair["b"]) for pair in report["pairs"] if pair["significant"]}
    assert {(a, b) for a, b in itertools.combinations(range(7), 2) if b - a >= 2} <= significant
    for row in report["systems"]:
        assert row["win_rate"]["low"] <= row["win_rate"]["mean"] <= row["win_rate"]["high"]


def test_answers_by_lot_are_not_significant() -> None:
    """Family-wise: about one study in twenty may hold a false pair; of these 20, drawn once, none to two."""
    reports = [analyse(people(24, 0.5, seed=seed), SEVEN) for seed in range(20)]
    assert sum(any(pair["significant"] for pair in report["pairs"]) for report in reports) <= 2
    assert sum(report["kruskal_wallis"]["p"] < 0.05 for report in reports) <= 3


def test_one_system_that_stands_out_is_found_alone() -> None:
    rng = np.random.default_rng(3)
    answers = []
    for person in range(24):
        for a, b in itertools.combinations(range(7), 2):
            choice = "b" if a == 0 else str(rng.choice(["a", "b", "none"]))
            answers.append(Judged(str(person), a, b, choice))
    report = analyse(answers, SEVEN)
    assert {(pair["a"], pair["b"]) for pair in report["pairs"] if pair["significant"]} == {
        (0, b) for b in range(1, 7)
    }
    assert report["systems"][0]["win_rate"]["mean"] == 0


def test_one_participant_gives_rates_but_no_interval_nor_significance() -> None:
    report = analyse(people(1, 1.0, seed=0), SEVEN)
    assert report["systems"][0]["win_rate"]["mean"] == 1.0
    assert np.isnan(report["systems"][0]["win_rate"]["low"])
    assert not any(pair["significant"] for pair in report["pairs"])


def test_a_system_without_answers_is_named() -> None:
    with pytest.raises(ValueError, match="no answers yet about zero"):
        analyse([Judged("x", 0, 1, "a")], ("one", "two", "zero"))
