"""A-weighted short-time level, the rule that says when a stem sounds, and loudness in LUFS."""

import warnings
from functools import lru_cache

import numpy as np
import pyloudnorm
from numpy.typing import NDArray
from scipy import signal

SILENCE_DB = -60.0  # dB re full scale, A-weighted RMS of one 20 ms frame


@lru_cache(maxsize=8)
def _a_weighting(sample_rate: int) -> NDArray[np.float64]:
    """Second-order sections of the A curve (IEC 61672-1, annex E), bilinear, 0 dB at 1 kHz."""
    pole = 2 * np.pi * np.array([20.598997, 107.65265, 737.86223, 12194.217])
    poles = -pole[[0, 0, 1, 2, 3, 3]]
    zeros, poles, gain = signal.bilinear_zpk(np.zeros(4), poles, pole[3] ** 2, sample_rate)
    sos = signal.zpk2sos(zeros, poles, gain)
    _, at_1k = signal.sosfreqz(sos, worN=[1000.0], fs=sample_rate)
    sos[0, :3] /= abs(at_1k[0])
    return sos


def a_weighted_rms(
    audio: NDArray[np.floating], sample_rate: int = 32000, frame_rate: int = 50
) -> NDArray[np.float32]:
    """Level of every frame in dB re full scale: audio [..., S] -> [..., T], T = ceil(S / hop).

    Causal: frame t is the RMS of the filtered samples [t * hop, (t + 1) * hop); a last part frame is filled
    up with zeros. A full-scale 1 kHz sine gives -3.01 dB, digital silence -200 dB.
    """
    if sample_rate % frame_rate:
        raise ValueError(f"the frame rate {frame_rate} must divide the sample rate {sample_rate}")
    hop = sample_rate // frame_rate
    if np.shape(audio)[-1] == 0:
        return np.zeros(np.shape(audio), dtype=np.float32)
    filtered = signal.sosfilt(_a_weighting(sample_rate), np.asarray(audio, dtype=np.float64), axis=-1)
    short = -filtered.shape[-1] % hop
    filtered = np.pad(filtered, [(0, 0)] * (filtered.ndim - 1) + [(0, short)])
    power = np.square(filtered).reshape(*filtered.shape[:-1], -1, hop).mean(axis=-1)
    return (10 * np.log10(power + 1e-20)).astype(np.float32)


def activity(
    audio: NDArray[np.floating], sample_rate: int = 32000, frame_rate: int = 50, floor_db: float = SILENCE_DB
) -> NDArray[np.bool_]:
    """True for each frame that sounds: audio [..., S] -> bool [..., T]; silent is below `floor_db`."""
    return a_weighted_rms(audio, sample_rate, frame_rate) >= floor_db


def lufs(audio: NDArray[np.floating], rate: int) -> float:
    """Integrated loudness of audio [S] or [C, S] (ITU-R BS.1770-4, both gates) in LUFS.

    Channels in the standard's order: left, right, centre, and the two surrounds, which weigh 1.41; one
    channel alone reads 3 LU less than the same in both of two. -inf for silence, that is for audio without
    a block above the absolute gate of -70 LUFS. A clip shorter than the standard's 0.4 s block is one block
    of its own length. Meets the cases 1 to 6 of EBU Tech 3341. ValueError for more than five channels, and for NaN.
    """
    if audio.ndim not in (1, 2) or (audio.ndim == 2 and not 1 <= len(audio) <= 5):
        raise ValueError(f"loudness is of one channel [S] or of up to five [C, S], not {list(audio.shape)}")
    if not np.isfinite(audio).all():
        raise ValueError("the audio holds NaN or infinite samples: it has no loudness")
    if not np.any(audio):
        return -np.inf
    meter = pyloudnorm.Meter(rate, block_size=min(0.4, audio.shape[-1] / rate))
    with np.errstate(divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean over no block at all
        loudness = meter.integrated_loudness(np.asarray(audio, dtype=np.float64).T)
    return float(loudness) if np.isfinite(loudness) else -np.inf


def normalise_loudness(audio: NDArray[np.floating], rate: int, target: float = -18.0) -> NDArray[np.float32]:
    """Audio [S] at `target` LUFS; silence is returned as it is. Peaks may pass 1.0."""
    loudness = lufs(audio, rate)
    gain = 10 ** ((target - loudness) / 20) if np.isfinite(loudness) else 1.0
    return (np.asarray(audio, dtype=np.float64) * gain).astype(np.float32)
