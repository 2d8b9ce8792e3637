"""How well two sounds go together: when their notes begin, and which pitch classes sound.

Everything works on mono audio [S]; instants are seconds from its first sample. Both sides are measured by
the same detector, so that what it misses it misses on both.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from bandmate.audio.loudness import activity
from bandmate.evaluate.intervals import correlation

Audio = NDArray[np.floating]

ONSET_RATE = 100  # values of the onset strength per second
ONSET_BANDS, ONSET_RANGE_DB = 40, 40.0
ONSET_LAG = 2  # steps over which a rise is measured
ONSET_RISE_DB = 1.0  # least rise above the local mean, averaged over the bands
QUIETEST_REFERENCE_DB = -50.0  # band level taken as the loudest of a clip that is quieter still
TOLERANCE = 0.05  # seconds, as MIREX and mir_eval
CHROMA_RATE = 5  # chroma vectors per second
CHROMA_LOW, CHROMA_HIGH = 65.4, 4186.0  # Hz, C2 to C8
A4 = 440.0


class Features(NamedTuple):
    """What agreement is measured on: onsets in seconds, onset strength at 50 Hz, chroma, where it sounds."""

    onsets: NDArray[np.float64]  # [N]
    strength: NDArray[np.float64]  # [T at 50 Hz]
    chroma: NDArray[np.float64]  # [T at 5 Hz, 12]
    sounding: NDArray[np.bool_]  # [T at 5 Hz]


class Agreement(NamedTuple):
    """Each is 1 for a sound with itself.

    NaN where it cannot be told (no onset on one side, never both sounding).
    """

    chroma: float
    onset_f1: float
    strength: float


def describe(audio: Audio, rate: int = 32_000) -> Features:
    """The features of mono audio [S]."""
    strength = onset_strength(audio, rate)
    even = len(strength) // 2 * 2
    return Features(
        pick_onsets(strength),
        strength[:even].reshape(-1, 2).mean(axis=1),
        chroma(audio, rate),
        activity(audio, rate, CHROMA_RATE)[: len(audio) * CHROMA_RATE // rate],
    )


def agreement(a: Features, b: Features) -> Agreement:
    """How far b goes with a; symmetric. They must be equally long."""
    if a.chroma.shape != b.chroma.shape or a.strength.shape != b.strength.shape:
        raise ValueError("two clips of the same length are wanted")
    onset_f1 = f_measure(a.onsets, b.onsets) if len(a.onsets) and len(b.onsets) else float("nan")
    both = a.sounding & b.sounding
    return Agreement(
        chroma_cosine(a.chroma[both], b.chroma[both]), onset_f1, correlation(a.strength, b.strength)
    )


def onset_strength(audio: Audio, rate: int = 32_000) -> NDArray[np.float64]:
    """Spectral flux in dB: [S] -> [S // (rate / 100)], value t at t / 100 s.

    The mean over 40 log-spaced bands (60 Hz to 15 kHz) of the rise within 20 ms of the band level, in dB
    above a floor 40 dB below the loudest band of the clip (Boeck and Widmer 2013, without their maximum
    filter). Windows of 32 ms. A clip whose loudest band is below -50 dB is measured from there, so that
    faint noise has no onsets.
    """
    checked(audio, rate)
    hop, window = rate // ONSET_RATE, 2 ** round(np.log2(0.032 * rate))
    steps = len(audio) // hop
    if not steps:
        return np.zeros(0)
    power = power_spectrum(audio, window, hop, steps, 0) @ band_weights(window, rate)
    level = 10 * np.log10(power + 1e-12)
    top = max(float(level.max()), QUIETEST_REFERENCE_DB)
    level = np.maximum(level, top - ONSET_RANGE_DB)
    before = np.concatenate([np.repeat(level[:1], ONSET_LAG, axis=0), level])[:steps]
    return np.maximum(level - before, 0).mean(axis=1)


def pick_onsets(strength: NDArray[np.floating]) -> NDArray[np.float64]:
    """Onsets in seconds of an onset strength [T] at 100 Hz.

    Peaks within 30 ms on both sides that are ONSET_RISE_DB above the mean of 100 ms on both sides; of two
    within 30 ms the first (the rule of Boeck, Krebs and Schedl 2012, with a threshold in dB).
    """
    if not len(strength):
        return np.zeros(0)
    peak = strength == maximum_filter1d(strength, 7, mode="constant")
    high = strength >= uniform_filter1d(strength, 21, mode="nearest") + ONSET_RISE_DB
    found: list[int] = []
    for step in np.flatnonzero(peak & high):
        if not found or step - found[-1] > 3:
            found.append(int(step))
    return np.array(found, dtype=np.float64) / ONSET_RATE


def onsets(audio: Audio, rate: int = 32_000) -> NDArray[np.float64]:
    """Instants in seconds at which notes begin, [N]."""
    return pick_onsets(onset_strength(audio, rate))


def f_measure(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], window: float = TOLERANCE
) -> float:
    """F1 of estimated instants [M] against reference instants [N], each matched to one of the other at most.

    A pair matches when it is no further apart than ``window`` seconds. The numbers are those of
    ``mir_eval.onset.f_measure`` (Raffel et al. 2014): 0 when either side is empty. Both must be sorted.
    """
    for instants in (reference, estimate):
        if np.ndim(instants) != 1 or not np.isfinite(instants).all() or (np.diff(instants) < 0).any():
            raise ValueError("instants are finite numbers in rising order")
    hits = i = j = 0
    # On a line, pairing the earliest that can be paired finds a largest matching.
    while i < len(reference) and j < len(estimate):
        if abs(reference[i] - estimate[j]) <= window:
            hits, i, j = hits + 1, i + 1, j + 1
        elif reference[i] < estimate[j]:
            i += 1
        else:
            j += 1
    return 2 * hits / (len(reference) + len(estimate)) if hits else 0.0


def chroma(audio: Audio, rate: int = 32_000) -> NDArray[np.float64]:
    """Energy of the 12 pitch classes (C first, A4 = 440 Hz) every 0.2 s: [S] -> [S // (rate / 5), 12].

    Power spectrum of a window of about 0.26 s around the middle of each 0.2 s, C2 to C8, each bin given
    to the two nearest semitones (Fujishima 1999). A frame's scale is left as it is: cosines do not see
    it.
    """
    checked(audio, rate)
    hop, window = rate // CHROMA_RATE, 2 ** round(np.log2(0.256 * rate))
    steps = len(audio) // hop
    power = power_spectrum(audio, window, hop, steps, hop // 2)
    return (power @ pitch_class_weights(window, rate)).astype(np.float64)


def chroma_cosine(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Mean over frames of the cosine of chroma vectors a, b [T, 12].

    NaN without a frame in which both have energy.
    """
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"chroma of the same shape [T, 12] is wanted, not {a.shape} and {b.shape}")
    size = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    both = size > 0
    return float(((a * b).sum(axis=1)[both] / size[both]).mean()) if both.any() else float("nan")


def checked(audio: Audio, rate: int) -> None:
    """ValueError unless audio is one channel of finite numbers at a rate that the steps divide."""
    if audio.ndim != 1:
        raise ValueError(f"mono audio [S] is wanted, not {list(audio.shape)}")
    if rate < 8000 or rate % ONSET_RATE:
        raise ValueError(f"a rate of 8000 Hz or more that 100 divides is wanted, not {rate}")
    if not np.isfinite(audio).all():
        raise ValueError("the audio holds NaN or infinite samples")


def power_spectrum(audio: Audio, window: int, hop: int, steps: int, centre: int) -> NDArray[np.float32]:
    """Hann-windowed power at samples centre + t * hop, zeros beyond the ends.

    [steps, window // 2 + 1]; full scale is 1.
    """
    taper = np.hanning(window + 1)[:-1].astype(np.float32) * (4 / window)
    left = window // 2 - centre
    padded = np.pad(np.asarray(audio, np.float32), (max(0, left), window + hop))[max(0, -left) :]
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[: steps * hop : hop]
    spectrum = np.fft.rfft(frames * taper)
    return (spectrum.real**2 + spectrum.imag**2).astype(np.float32)


@lru_cache(maxsize=4)
def band_weights(window: int, rate: int) -> NDArray[np.float32]:
    """Triangular filters evenly spaced in log frequency, none narrower than a bin: [bins, ONSET_BANDS]."""
    frequency = np.arange(window // 2 + 1) * rate / window
    centre = np.geomspace(60.0, min(15_000.0, 0.47 * rate), ONSET_BANDS)
    half_width = np.maximum(centre * (centre[1] / centre[0] - 1), rate / window)
    return np.maximum(1 - np.abs(frequency[:, None] - centre) / half_width, 0).astype(np.float32)


@lru_cache(maxsize=4)
def pitch_class_weights(window: int, rate: int) -> NDArray[np.float32]:
    """Share of each bin in each pitch class, linear between semitones: [bins, 12]."""
    frequency = np.arange(1, window // 2 + 1) * rate / window
    semitone = 12 * np.log2(frequency / A4) + 9  # 0 is a C
    lower, share = np.floor(semitone).astype(int), semitone % 1
    weight = np.zeros((window // 2 + 1, 12), dtype=np.float32)
    rows = np.arange(1, window // 2 + 1)
    weight[rows, lower % 12] = 1 - share
    weight[rows, (lower + 1) % 12] += share
    weight[1:][(frequency < CHROMA_LOW) | (frequency > CHROMA_HIGH)] = 0
    return weight
