"""Who hears what: trials drawn at random, balanced over the pairs of systems, the clips, and the order of A and B."""

import itertools
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

Item = TypeVar("Item", bound=Hashable)


class Trial(NamedTuple):
    """One input, and the systems heard as A and as B; all three are indices. ``id`` is what the page knows it by."""

    id: str
    clip: int
    a: int
    b: int


def draw_lists(systems: int, clips: int, trials: int, lists: int, seed: int = 0) -> list[list[Trial]]:
    """``lists`` lists of ``trials`` trials each, a pure function of the seed.

    Over all lists the numbers of trials of any two pairs of systems differ by one at most, and so do those of any two
    clips; within a list likewise, so that nobody meets a clip again before all were heard. Each pair is heard in
    both orders equally often (one apart at most); which comes first is drawn. ValueError for fewer than two
    systems, or for no clip, trial or list.
    """
    if systems < 2 or min(clips, trials, lists) < 1:
        raise ValueError("a study needs two systems or more, and at least one clip, one trial and one list")
    rng = np.random.default_rng([seed, systems, clips])
    pairs = list(itertools.combinations(range(systems), 2))
    used_pairs: Counter[tuple[int, int]] = Counter()
    used_clips: Counter[int] = Counter()
    lean: Counter[tuple[int, int]] = Counter()  # pair -> times in this order minus times in the other
    drawn = []
    for number in range(lists):
        chosen = least_used(pairs, used_pairs, trials, rng)
        inputs = least_used(range(clips), used_clips, trials, rng)
        rng.shuffle(inputs)
        order = [
            in_some_order(pair, clip, lean, rng)
            for pair, clip in zip(rng.permutation(np.array(chosen)).tolist(), inputs, strict=True)
        ]
        drawn.append([Trial(f"{number:03d}-{place:03d}", *each) for place, each in enumerate(order)])
    return drawn


def least_used(
    items: Sequence[Item], used: Counter[Item], wanted: int, rng: np.random.Generator
) -> list[Item]:
    """``wanted`` items: whole rounds of all first, then the least used, ties by lot. Counts them in ``used``."""
    rounds, rest = divmod(wanted, len(items))
    lot = rng.permutation(len(items))
    ranked = sorted(range(len(items)), key=lambda index: (used[items[index]], lot[index]))
    chosen = [items[index] for index in [*range(len(items))] * rounds + ranked[:rest]]
    used.update(chosen)
    return chosen


def in_some_order(
    pair: Sequence[int], clip: int, lean: Counter[tuple[int, int]], rng: np.random.Generator
) -> tuple[int, int, int]:
    """(clip, A, B): the order that the pair was heard in less often so far, or one by lot."""
    key = (pair[0], pair[1])
    swap = bool(rng.integers(2)) if lean[key] == 0 else lean[key] > 0
    lean[key] += -1 if swap else 1
    return (clip, key[1], key[0]) if swap else (clip, *key)
