"""What a codec keeps of a sound."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bandmate.evaluate.agreement import Audio, chroma_cosine, describe, f_measure

FEWEST_ONSETS = 4  # an F1 over fewer is a coin toss, as with the slow pads that have hardly any


class Fidelity(NamedTuple):
    """Of a reconstruction against its original; NaN where it cannot be told."""

    onset_f1: float
    chroma: float
    si_sdr: float  # dB
    level: float  # dB, reconstruction minus original


def fidelity(original: Audio, reconstruction: Audio, rate: int = 32_000) -> Fidelity:
    """What is left of mono audio [S].

    Onset F1 within 50 ms, NaN when the original has fewer than FEWEST_ONSETS; mean cosine of chroma over
    the frames in which the original sounds (a frame that fell silent counts 0), NaN when it never does;
    SI-SDR and level.
    """
    if original.shape != reconstruction.shape:
        raise ValueError(f"equally long audio is wanted, not {original.shape} and {reconstruction.shape}")
    a, b = describe(original, rate), describe(reconstruction, rate)
    kept = a.sounding & (b.chroma.sum(axis=1) > 0)
    cosine = chroma_cosine(a.chroma[kept], b.chroma[kept]) * kept.sum() if kept.any() else 0.0
    return Fidelity(
        f_measure(a.onsets, b.onsets) if len(a.onsets) >= FEWEST_ONSETS else float("nan"),
        cosine / a.sounding.sum() if a.sounding.any() else float("nan"),
        si_sdr(original, reconstruction),
        level_difference(reconstruction, original),
    )


def si_sdr(original: Audio, reconstruction: Audio) -> float:
    """Scale-invariant signal-to-distortion ratio of audio [S], dB, -100 ... 100 (Le Roux et al. 2019).

    NaN when the original is silent. A codec that makes its own phases scores far below 0 and may sound well.
    """
    s, e = (np.asarray(x, dtype=np.float64) for x in (original, reconstruction))
    energy = float(s @ s)
    if energy == 0:
        return float("nan")
    projection = (e @ s / energy) * s
    wanted, rest = float(projection @ projection), float((e - projection) @ (e - projection))
    return float(np.clip(10 * np.log10((wanted + 1e-30) / (rest + 1e-30)), -100, 100))


def rms_db(audio: Audio) -> float:
    """Level of audio [S] in dB re full scale, -200 for silence."""
    return float(10 * np.log10(np.mean(np.square(audio, dtype=np.float64)) + 1e-20))


def level_difference(a: Audio, b: Audio) -> float:
    """RMS level of a minus that of b, dB; NaN when b is silent."""
    return rms_db(a) - rms_db(b) if np.any(b) else float("nan")


def code_statistics(codes: NDArray[np.integer], size: int) -> list[dict[str, float]]:
    """Of codes [K, N] of books of ``size`` entries, per level, how many entries are used, and how evenly.

    The share of the entries that occur, and the perplexity exp(entropy) of their frequencies, which is
    ``size`` when all are equally frequent.
    """
    if codes.ndim != 2 or not codes.shape[1]:
        raise ValueError(f"codes [K, N] with a frame or more are wanted, not {list(codes.shape)}")
    if codes.min() < 0 or codes.max() >= size:
        raise ValueError(f"codes lie in 0 ... {size - 1}")
    rows = []
    for level in codes:
        share = np.bincount(level, minlength=size) / len(level)
        used = share[share > 0]
        entropy = float(-(used * np.log(used)).sum())
        rows.append({"usage": len(used) / size, "perplexity": float(np.exp(entropy))})
    return rows
