"""Figure 3a-c of the paper as numbers: k = 1, Slakh2100, 1024 clips.

Read off the PDF by Karchkhadze and Dubnov (arXiv 2604.07612, their repository's baselines.json): +-0.2 for COCOLA,
+-0.005 for beat F1, +-0.05 for FAD. Figures 4 to 7 have not been read off by anybody.
"""

from typing import NamedTuple


class Value(NamedTuple):
    """One system of Figure 3; a metric that is not drawn there is None."""

    coherence_both: float  # COCOLA
    beat_f1: float  # Beat This, madmom's F-measure
    fad: float | None  # VGGish


STREAMING = {  # t_f in seconds
    -4.0: Value(54.0, 0.187, 3.40),
    -2.0: Value(54.0, 0.187, 3.31),
    -1.0: Value(54.5, 0.187, 3.45),
    -0.4: Value(56.5, 0.191, 3.37),
    -0.2: Value(56.7, 0.194, 3.61),
    0.0: Value(59.8, 0.210, 3.19),
    0.2: Value(62.1, 0.270, 3.42),
    0.4: Value(62.4, 0.365, 3.29),
    1.0: Value(62.9, 0.385, 3.25),
    2.0: Value(62.9, 0.395, 3.19),
    4.0: Value(62.9, 0.390, 3.19),
}
OFFLINE = {"StemGen": Value(65.7, 0.565, 2.05), "prefix decoder": Value(62.4, 0.343, 3.39)}
TRUTH, RANDOM = Value(66.1, 0.575, None), Value(52.1, 0.210, None)
NETWORKS = {
    "coherence_both": ("coherence", "COCOLA"),
    "beat_f1": ("beats", "Beat This"),
    "fad": ("embedding", "VGGish"),
}


def normalised(value: float, metric: str) -> float:
    """NC or NB of a value: 0 at random pairing, 1 at the ground truth."""
    low, high = getattr(RANDOM, metric), getattr(TRUTH, metric)
    return (value - low) / (high - low)
