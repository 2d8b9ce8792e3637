"""Whether two sounds share a beat: F-measure of beat instants, and a tracker that needs no weights."""

import numpy as np
from numpy.typing import NDArray

from bandmate.evaluate.agreement import Audio, f_measure

WINDOW = 0.07  # seconds on both sides: Davies, Degara and Plumbley 2009; madmom and mir_eval
FEWEST_BEATS = 2  # of the reference: one instant is no beat
LIBROSA_RATE = 22_050  # Hz; librosa's tracker is tuned for it

Instants = NDArray[np.floating]


def beat_f1(reference: Instants, estimate: Instants, window: float = WINDOW) -> float:
    """F1 of estimated beats [M] against the beats of the input [N], seconds in rising order.

    A pair matches within ``window``, one to one. Numbers as ``mir_eval.beat.f_measure`` without its
    trimming of the first 5 s, and as madmom's ``BeatEvaluation.fmeasure`` where one to one is unique.

    What the two libraries leave open or do differently:

    - a reference of fewer than two beats has no beat to be met: NaN, whatever was played, so that all
      systems lose the same clips (madmom: 1 when both are empty, an exception for a single beat,
      which drops the clip; mir_eval: 0);
    - an estimate without beats scores 0; an estimate of one beat is scored like any other.

    Raises ValueError for instants that are not finite, not sorted, or negative.
    """
    if window <= 0 or not np.isfinite(window):
        raise ValueError(f"the window is a number of seconds above 0, not {window}")
    for instants in (reference, estimate):
        if len(instants) and np.min(instants) < 0:
            raise ValueError("beats begin at 0 s or later")
    score = f_measure(reference, estimate, window)
    return score if len(reference) >= FEWEST_BEATS else float("nan")


def between(beats: Instants, start: float, end: float) -> Instants:
    """The beats in [start, end) seconds, counted from ``start``."""
    return beats[(beats >= start) & (beats < end)] - start


def librosa_beats(audio: Audio, rate: int) -> NDArray[np.float64]:
    """Beats of mono audio [S] in seconds [N] by librosa's dynamic programming (Ellis 2007), untrimmed.

    None for silence and for less than half a second. ValueError when librosa is not installed.
    """
    try:
        import librosa
    except ModuleNotFoundError as missing:
        raise ValueError(
            f"{missing.name} is not installed, and it tracks the beats: pip install 'bandmate[eval]'"
        ) from None
    import soxr

    if not np.any(audio) or len(audio) < rate // 2:
        return np.zeros(0)
    sound = soxr.resample(np.asarray(audio, dtype=np.float32), rate, LIBROSA_RATE)
    _, beats = librosa.beat.beat_track(y=sound, sr=LIBROSA_RATE, units="time", trim=False)
    return np.asarray(beats, dtype=np.float64)
