"""The mix that people listen to (paper A.7). Models and metrics get the plain sum of the stems instead."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bandmate.audio.loudness import normalise_loudness

TARGET_LUFS = -18.0
BOOST_DB = 5.0  # of the predicted or target stem over each stem of the input
PEAK = 0.99  # a mix with a higher sample peak is turned down as a whole


def listening_mix(
    stems: Sequence[NDArray[np.floating]],
    part: NDArray[np.floating],
    rate: int,
    boost_db: float = BOOST_DB,
    target: float = TARGET_LUFS,
) -> NDArray[np.float32]:
    """Input stems at equal loudness, `part` `boost_db` over each, all [S]; the whole at `target` LUFS → [S].

    Silent stems stay silent, a silent mix too. A peak above 0.99 is turned down, and the mix then is softer
    than `target`. Raises ValueError for lengths that differ.
    """
    lengths = {len(signal) for signal in (*stems, part)}
    if len(lengths) > 1:
        raise ValueError(f"stems and part must be equally long, not {sorted(lengths)} samples")
    mix = np.asarray(normalise_loudness(part, rate, target), dtype=np.float64)
    for stem in stems:
        mix = mix + normalise_loudness(stem, rate, target - boost_db)
    mix = np.asarray(normalise_loudness(mix, rate, target), dtype=np.float64)
    peak = np.abs(mix).max(initial=0.0)
    return (mix * min(1.0, PEAK / peak) if peak else mix).astype(np.float32)


def mix_over(
    equal: NDArray[np.floating],
    stem_lufs: float,
    part: NDArray[np.floating],
    rate: int,
    boost_db: float = BOOST_DB,
    target: float = TARGET_LUFS,
) -> NDArray[np.float32]:
    """The same mix where the input stems are summed already, each at `stem_lufs`: `equal` [S], `part` [S] -> [S].

    Peaks may pass 1: versions of one clip that are compared are turned down together (`below_peak`).
    """
    if len(equal) != len(part):
        raise ValueError(f"input and part must be equally long, not {len(equal)} and {len(part)} samples")
    mix = np.asarray(equal, dtype=np.float64) + normalise_loudness(part, rate, stem_lufs + boost_db)
    return normalise_loudness(mix, rate, target)


def below_peak(versions: Sequence[NDArray[np.floating]]) -> list[NDArray[np.float32]]:
    """Sounds that are compared, turned down by one gain where the loudest would pass the peak of 0.99."""
    loudest = max((float(np.abs(each).max(initial=0.0)) for each in versions), default=0.0)
    gain = min(1.0, PEAK / loudest) if loudest else 1.0
    return [(each * gain).astype(np.float32) for each in versions]
