"""Statistics of a listening study by blind pairs (paper A.6): preferences, Kruskal-Wallis, Wilcoxon, Bonferroni.

The unit of every test is one participant: trials of one person are not independent. A participant's *win rate* of a
system is (wins + ties / 2) / trials of that system; a system that a participant never met has none.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandmate.evaluate.intervals import bootstrap

ALPHA = 0.05
PREFERRED = {"a": 1.0, "none": 0.5, "b": 0.0}  # choice -> what the first system gets of the trial

Rates = NDArray[np.float64]


class Judged(NamedTuple):
    """One answer: who, the systems heard as A and as B (indices), and the choice: "a", "b" or "none"."""

    participant: str
    a: int
    b: int
    choice: str


class RankTest(NamedTuple):
    """A statistic, its p-value, and how many values entered."""

    statistic: float
    p: float
    n: int


def check(answers: Sequence[Judged], systems: int) -> None:
    """ValueError for an answer that cannot be."""
    for each in answers:
        if each.choice not in PREFERRED:
            raise ValueError(f"a choice is one of {', '.join(PREFERRED)}, not {each.choice!r}")
        if each.a == each.b or not (0 <= each.a < systems and 0 <= each.b < systems):
            raise ValueError(
                f"a trial has two different ones of {systems} systems, not {each.a} and {each.b}"
            )


def counts(answers: Sequence[Judged], systems: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """wins [S, S], how often the row was preferred to the column, and ties [S, S], symmetric."""
    check(answers, systems)
    wins, ties = np.zeros((systems, systems), np.intp), np.zeros((systems, systems), np.intp)
    for _, a, b, choice in answers:
        if choice == "none":
            ties[a, b] += 1
            ties[b, a] += 1
        else:
            wins[(a, b) if choice == "a" else (b, a)] += 1
    return wins, ties


def win_rates(answers: Sequence[Judged], systems: int) -> tuple[Rates, list[str]]:
    """[P, S] win rate of each system by each participant, NaN where one met it in no trial; and the P participants."""
    check(answers, systems)
    people = sorted({each.participant for each in answers})
    row = {person: index for index, person in enumerate(people)}
    won, met = np.zeros((len(people), systems)), np.zeros((len(people), systems))
    for person, a, b, choice in answers:
        share = PREFERRED[choice]
        for system, gained in ((a, share), (b, 1 - share)):
            won[row[person], system] += gained
            met[row[person], system] += 1
    return np.where(met > 0, won / np.maximum(met, 1), np.nan), people


def kruskal_wallis(groups: Sequence[ArrayLike]) -> RankTest:
    """Kruskal-Wallis H (1952), ties corrected, of two or more groups; NaN in a group is left out.

    Where all values are equal there is no difference to be found: H = 0, p = 1. ValueError for an empty group.
    """
    from scipy.stats import kruskal

    kept = [values[~np.isnan(values)] for values in (np.asarray(each, dtype=np.float64) for each in groups)]
    if len(kept) < 2 or not all(map(len, kept)):
        raise ValueError("Kruskal-Wallis wants two groups or more, each with a value")
    count = sum(map(len, kept))
    if len(np.unique(np.concatenate(kept))) == 1:
        return RankTest(0.0, 1.0, count)
    told = kruskal(*kept)
    return RankTest(float(told.statistic), float(told.pvalue), count)


def signed_rank(x: ArrayLike, y: ArrayLike) -> RankTest:
    """Wilcoxon's signed-rank test (1945) of pairs x [N], y [N], two-sided; statistic: the smaller rank sum.

    Zeros: pairs without a difference are dropped, as Wilcoxon did, and ``n`` counts the others. Equal differences
    share their mean rank. The p-value is exact also then: over all 2^n signs of the ranks that there are (with few
    trials per participant ties are the rule, and SciPy has a normal approximation for them only). Pairs with NaN are
    left out. No pair left: statistic 0, p = 1.
    """
    from scipy.stats import rankdata

    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"pairs are wanted, not {first.shape} and {second.shape}")
    # Rounded: 1/2 - 1/3 and 2/3 - 1/2 are one difference, and 1/3 - 1/3 is none.
    difference = np.round((first - second)[~np.isnan(first - second)], 9)
    difference = difference[difference != 0]
    if not len(difference):
        return RankTest(0.0, 1.0, 0)
    doubled = np.rint(2 * rankdata(np.abs(difference))).astype(np.intp)  # mean ranks are halves: integers now
    positive = int(doubled[difference > 0].sum())
    smaller = min(positive, int(doubled.sum()) - positive)
    chance = float(sums_of_subsets(doubled)[: smaller + 1].sum())  # symmetric: the other tail is as heavy
    return RankTest(smaller / 2, min(1.0, 2 * chance), len(difference))


def sums_of_subsets(values: NDArray[np.intp]) -> Rates:
    """Probability [sum + 1] of each sum when every value counts or not by the toss of a coin."""
    chance = np.zeros(int(values.sum()) + 1)
    chance[0] = 1.0
    for value in values:
        chance[value:] = (chance[value:] + chance[:-value]) / 2
        chance[:value] /= 2
    return chance


def bonferroni(p: float, tests: int) -> float:
    """The p-value to be held against the level itself: p times the number of tests, at most 1."""
    return min(1.0, p * tests)


def pairwise(rates: Rates) -> list[dict[str, Any]]:
    """Every pair of systems: signed-rank test over the participants who met both, corrected over all pairs."""
    pairs = list(itertools.combinations(range(rates.shape[1]), 2))
    told = []
    for a, b in pairs:
        both = ~np.isnan(rates[:, a]) & ~np.isnan(rates[:, b])
        test = signed_rank(rates[both, a], rates[both, b])
        told.append(
            {
                "a": a,
                "b": b,
                "statistic": test.statistic,
                "p": test.p,
                "p_corrected": bonferroni(test.p, len(pairs)),
                "significant": test.p < ALPHA / len(pairs),
                "participants": int(both.sum()),
                "zeros": int(both.sum()) - test.n,
                "difference": float((rates[both, a] - rates[both, b]).mean()) if both.any() else float("nan"),
            }
        )
    return told


def analyse(answers: Sequence[Judged], systems: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """All that the study tells; ``seed`` is that of the intervals. ValueError without answers about each system."""
    rates, people = win_rates(answers, len(systems))
    silent = [name for name, column in zip(systems, rates.T, strict=True) if np.isnan(column).all()]
    if silent:
        raise ValueError(f"no answers yet about {', '.join(silent)}: let more people listen first")
    wins, ties = counts(answers, len(systems))
    pairs = pairwise(rates)
    omnibus = kruskal_wallis(list(rates.T))
    rows = []
    for index, name in enumerate(systems):
        interval = bootstrap(rates[:, index], people, seed=seed)
        rows.append(
            {
                "system": name,
                "win_rate": {"mean": interval.mean, "low": interval.low, "high": interval.high},
                "participants": interval.songs,
                "trials": int((wins[index] + wins[:, index] + ties[index]).sum()),
                "wins": int(wins[index].sum()),
                "losses": int(wins[:, index].sum()),
                "ties": int(ties[index].sum()),
            }
        )
    return {
        "participants": len(people),
        "answers": len(answers),
        "chose_a": sum(each.choice == "a" for each in answers),
        "chose_b": sum(each.choice == "b" for each in answers),
        "chose_none": sum(each.choice == "none" for each in answers),
        "systems": rows,
        "kruskal_wallis": omnibus._asdict() | {"degrees": len(systems) - 1},
        "level": ALPHA / len(pairs),
        "pairs": pairs,
        "wins": wins.tolist(),
        "ties": ties.tolist(),
        "by_participant": {person: row.tolist() for person, row in zip(people, rates, strict=True)},
    }
