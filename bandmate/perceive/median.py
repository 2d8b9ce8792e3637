"""Running medians by a sorting network whose runs are shared between neighbouring windows.

Every sample is sorted once into runs of 2, 4, 8 and 16 that start there; a window is two such runs, and the median
of two sorted runs needs no further sorting. Only elementwise minima and maxima: exact, without branches, on any
device, about 170 of them for a window of 31.
"""

import torch
from torch import Tensor

TILE = 16_384  # numbers worked on at once: all runs of a tile stay in a core's cache


def running_median(values: Tensor, window: int) -> Tensor:
    """Median over `window` (odd) neighbours along the first axis, [L, N] -> [L, N].

    Past its ends the axis is mirrored with the last value repeated, like SciPy's ``mode="reflect"``.
    ValueError where the window is even or the axis is shorter than half a window.
    """
    half = window // 2
    if window % 2 == 0:
        raise ValueError(f"the window of a running median must be odd, not {window}")
    if values.shape[0] < half:
        raise ValueError(
            f"a running median over {window} needs at least {half} values, not {values.shape[0]}"
        )
    if window == 1:
        return values.clone()
    padded = torch.cat([values[:half].flip(0), values, values[values.shape[0] - half :].flip(0)])
    width = max(1, TILE // len(padded))
    return torch.cat([_medians(tile.contiguous(), window) for tile in padded.split(width, dim=1)], dim=1)


def _medians(padded: Tensor, window: int) -> Tensor:
    """[L + window - 1, N] -> [L, N]."""
    half = window // 2
    length = len(padded) - window + 1
    runs = {1: [padded]}
    low = [value[:length] for value in _run(padded, half + 1, runs)]
    high = [value[half + 1 : half + 1 + length] for value in _run(padded, half, runs)]
    # The median is the (half + 1)-th smallest: so many of the first run and the rest of the second lie below it.
    median = low[half]
    for count in range(half):
        median = torch.minimum(median, torch.maximum(low[count], high[half - 1 - count]))
    return median


def _run(values: Tensor, size: int, runs: dict[int, list[Tensor]]) -> list[Tensor]:
    """`size` tensors [L - size + 1, N]: the ascending values of the window that starts at each place."""
    if size not in runs:
        left = (size + 1) // 2
        starts = len(values) - size + 1
        first = [value[:starts] for value in _run(values, left, runs)]
        second = [value[left : left + starts] for value in _run(values, size - left, runs)]
        runs[size] = merge(first, second)
    return runs[size]


def merge(first: list[Tensor], second: list[Tensor]) -> list[Tensor]:
    """Two ascending lists of equally shaped tensors as one, elementwise: Batcher's odd-even merge (Knuth 5.3.4)."""
    if not first or not second:
        return first or second
    if len(first) == len(second) == 1:
        return [torch.minimum(first[0], second[0]), torch.maximum(first[0], second[0])]
    evens, odds = merge(first[::2], second[::2]), merge(first[1::2], second[1::2])
    merged = [evens[0]]
    for lower, upper in zip(odds, evens[1:], strict=False):
        merged += [torch.minimum(lower, upper), torch.maximum(lower, upper)]
    paired = min(len(odds), len(evens) - 1)
    return merged + odds[paired:] + evens[paired + 1 :]
