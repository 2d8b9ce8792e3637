"""What a coherence network hears: the harmonic and the percussive half of 5 s of sound as log-mel spectra.

COCOLA's front end (Ciranni et al. 2024, arXiv 2404.16969), equal to librosa's ``stft``, ``decompose.hpss``,
``melspectrogram`` and ``power_to_db(ref=max)`` to 1e-3 dB at about a quarter of their cost. Medians are taken only where
a mel filter looks.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from bandmate.perceive.median import running_median
from bandmate.perceive.mel import mel_filters

RATE = 16_000  # Hz
CHUNK, HOP = 5 * RATE, 5 * RATE // 2  # samples: what a network hears at once, and how far chunks lie apart
N_FFT, WINDOW, STEP = 1024, 400, 160  # samples
BANDS, LOW, HIGH = 64, 60.0, 7800.0  # mel bands from LOW to HIGH Hz
KERNEL = 31  # frames or bins of a median
FLOOR_DB = -80.0  # below each half's own maximum

Mode = Literal["both", "harmonic", "percussive"]
MODES: tuple[Mode, ...] = get_args(Mode)


def chunks(audio: Tensor) -> Tensor:
    """Audio at 16 kHz [S] -> [N, CHUNK], one every 2.5 s: the fewest that hold it all, the last filled up with zeros.

    So the paper's evaluation cuts its clips (10 s are 3 chunks). ValueError for no audio.
    """
    if audio.ndim != 1 or not len(audio):
        raise ValueError(f"one channel of audio [S] is wanted, not {list(audio.shape)}")
    more = max(0, -(-(len(audio) - CHUNK) // HOP))  # chunks after the first
    padded = torch.nn.functional.pad(audio, (0, CHUNK + more * HOP - len(audio)))
    return padded.unfold(0, CHUNK, HOP)


def harmonic_percussive(audio: Tensor) -> Tensor:
    """Audio at 16 kHz [..., S] -> levels in dB [..., 2, 64, S // 160 + 1], harmonic then percussive, float32.

    Each half is 0 dB at its own maximum and FLOOR_DB at least, so loudness is not in it. Silence reads 0 dB
    everywhere, in both: see to it that silent audio is not scored. ValueError below 0.2 s, where no median fits.
    """
    flat = audio.reshape(-1, audio.shape[-1])
    features = [to_decibel(torch.stack(mel_powers(row))) for row in flat]
    return torch.stack(features).reshape(*audio.shape[:-1], 2, BANDS, -1)


def mel_powers(audio: Tensor) -> tuple[Tensor, Tensor]:
    """Audio [S] -> mel power of its harmonic and of its percussive half, each [64, T]."""
    filters = mel_filters(RATE, N_FFT, BANDS, LOW, HIGH, "slaney", area=True).to(audio.device, torch.float32)
    heard = torch.nonzero(filters.sum(dim=1))  # the bins that any band looks at
    first, last = int(heard[0]), int(heard[-1]) + 1
    level = magnitudes(audio)
    steady = running_median(level[:, first:last].contiguous(), KERNEL)  # [T, bins]
    around = slice(max(0, first - KERNEL // 2), last + KERNEL // 2)
    sudden = running_median(level[:, around].T.contiguous(), KERNEL)[first - around.start :][: last - first].T
    level = level[:, first:last]
    harmonic, percussive = level * soft_mask(steady, sudden), level * soft_mask(sudden, steady)
    bands = filters[first:last].T
    return bands @ harmonic.square().T, bands @ percussive.square().T


def magnitudes(audio: Tensor) -> Tensor:
    """Short-time spectrum of audio [S] -> [T, 513], T = S // STEP + 1; frame t is centred on sample t * STEP.

    Analysed in float64: bins far below the loudest one otherwise hold rounding noise of the transform.
    """
    side = (N_FFT - WINDOW) // 2
    window = torch.hann_window(WINDOW, dtype=torch.float64, device=audio.device)
    window = torch.nn.functional.pad(window, (side, side))
    padded = torch.nn.functional.pad(audio.double(), (N_FFT // 2, N_FFT // 2))
    return torch.fft.rfft(padded.unfold(0, N_FFT, STEP) * window).abs().float()


def soft_mask(part: Tensor, other: Tensor) -> Tensor:
    """Wiener-like share of `part` in the sum of squares; 0.5 where there is neither.

    The shares of the two halves are worked out one by one: one minus the other loses what is 60 dB below it.
    """
    top = torch.maximum(part, other)
    nothing = top < torch.finfo(top.dtype).tiny
    top = top.masked_fill(nothing, 1.0)
    mine, theirs = (part / top).square(), (other / top).square()
    return torch.where(nothing, 0.5, mine / (mine + theirs).masked_fill(nothing, 1.0))


def to_decibel(power: Tensor) -> Tensor:
    """Power [..., 64, T] in dB under the maximum over the last two axes, FLOOR_DB at least."""
    level = 10 * torch.log10(power.clamp(min=1e-10))
    level = level - level.amax(dim=(-2, -1), keepdim=True)
    return level.clamp(min=FLOOR_DB)


def masked(features: Tensor, mode: Mode, fill: float = FLOOR_DB) -> Tensor:
    """Features [..., 2, 64, T] with the half that `mode` leaves out set to `fill`; the argument is not changed."""
    if mode not in MODES:
        raise ValueError(f"there is no mode {mode!r}: it is one of {', '.join(MODES)}")
    if mode == "both":
        return features
    features = features.clone()
    features[..., 1 if mode == "harmonic" else 0, :, :] = fill
    return features
