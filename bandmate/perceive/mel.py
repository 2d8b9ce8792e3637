"""Mel filters as the listening networks were trained with: Slaney's scale or HTK's."""

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Scale = Literal["slaney", "htk"]
LINEAR_HZ = 200 / 3  # Slaney's scale is linear below 1 kHz, one mel per 66.7 Hz ...
BREAK_HZ, BREAK_MEL = 1000.0, 15.0
LOG_STEP = 27 / torch.log(torch.tensor(6.4, dtype=torch.float64)).item()  # ... and logarithmic above


def hz_to_mel(hz: Tensor, scale: Scale) -> Tensor:
    """Frequencies in Hz -> mel, any shape, float64."""
    if scale == "htk":
        return 1127.0 * torch.log1p(hz / 700.0)
    return torch.where(
        hz < BREAK_HZ, hz / LINEAR_HZ, BREAK_MEL + LOG_STEP * torch.log(hz.clamp(min=1.0) / BREAK_HZ)
    )


def mel_to_hz(mel: Tensor, scale: Scale) -> Tensor:
    """The inverse of :func:`hz_to_mel`."""
    if scale == "htk":
        return 700.0 * torch.expm1(mel / 1127.0)
    return torch.where(
        mel < BREAK_MEL, mel * LINEAR_HZ, BREAK_HZ * torch.exp((mel - BREAK_MEL).clamp(min=0) / LOG_STEP)
    )


@lru_cache(maxsize=16)
def mel_filters(
    sample_rate: int, n_fft: int, bands: int, low: float, high: float, scale: Scale, area: bool = False
) -> Tensor:
    """Triangles with edges evenly spaced in mel, [n_fft // 2 + 1, bands] float64; do not write into it.

    Slaney's are triangles in Hz (librosa, torchaudio), HTK's are triangles in mel without the zero-frequency bin
    (TensorFlow's VGGish). ``area``: each scaled to area 1 in Hz (librosa's default) instead of height 1.
    """
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft
    ends = hz_to_mel(torch.tensor([low, high], dtype=torch.float64), scale)
    edges = torch.linspace(ends[0].item(), ends[1].item(), bands + 2, dtype=torch.float64)
    edges_hz = mel_to_hz(edges, scale)
    at, points = (hz_to_mel(bins, scale), edges) if scale == "htk" else (bins, edges_hz)
    rising = (at[:, None] - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - at[:, None]) / (points[2:] - points[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    if scale == "htk":
        filters[0] = 0
    return filters * 2 / (edges_hz[2:] - edges_hz[:-2]) if area else filters
