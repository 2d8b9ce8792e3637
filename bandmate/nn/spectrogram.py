"""Causal spectra: each frame is analysed from the samples up to its own end and none after it."""

import torch
from torch import Tensor, nn

FLOOR_DB = -110.0  # below the noise of 16-bit audio; what silence reads
STEP_DB = 0.5  # resolution of the 8-bit form: 256 steps from FLOOR_DB


def log_bands(bands: int, window: int, sample_rate: int, low: float, high: float) -> Tensor:
    """Triangular filters whose centres are evenly spaced in log frequency, [window // 2 + 1, bands].

    No filter is narrower than one bin, so that the lowest ones interpolate between bins instead of missing them.
    """
    frequency = torch.arange(window // 2 + 1, dtype=torch.float64) * sample_rate / window
    ratio = (high / low) ** (1 / (bands - 1))
    centre = low * ratio ** torch.arange(bands, dtype=torch.float64)
    half_width = torch.clamp(centre * (ratio - 1), min=sample_rate / window)
    weight = torch.clamp(1 - (frequency[:, None] - centre).abs() / half_width, min=0)
    return (weight / weight.sum(0, keepdim=True)).float()


def quantise_db(level: Tensor) -> Tensor:
    """dB -> uint8 in steps of STEP_DB above FLOOR_DB."""
    return ((level - FLOOR_DB) / STEP_DB).round().clamp(0, 255).to(torch.uint8)


def dequantise_db(level: Tensor) -> Tensor:
    """The inverse of :func:`quantise_db` up to half a step."""
    return level.float() * STEP_DB + FLOOR_DB


class CausalLogSpectrum(nn.Module):
    """Band levels in dB of a causal short-time Fourier transform; a full-scale sine reads 0 dB in its bin.

    Frame t covers the samples [(t + 1) hop - window, (t + 1) hop). The state is the last ``window - hop`` samples.
    """

    basis: Tensor
    bands: Tensor

    def __init__(self, window: int, hop: int, bands: int, low: float, high: float, sample_rate: int = 32_000):
        super().__init__()
        self.window, self.hop = window, hop
        taper = torch.hann_window(window)
        self.register_buffer("basis", taper / (taper.sum() / 2), persistent=False)
        self.register_buffer("bands", log_bands(bands, window, sample_rate, low, high), persistent=False)

    def init_state(self, batch: int) -> Tensor:
        return self.basis.new_zeros(batch, self.window - self.hop)

    def forward(self, audio: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """audio [B, T * hop] -> levels in dB [B, T, bands], and the next state."""
        past = self.init_state(audio.shape[0]) if state is None else state
        padded = torch.cat([past, audio], dim=1)
        spectrum = torch.fft.rfft(padded.unfold(1, self.window, self.hop) * self.basis)
        with torch.autocast(audio.device.type, enabled=False):
            power = (spectrum.real**2 + spectrum.imag**2) @ self.bands
        return 10 * torch.log10(power + 10 ** (FLOOR_DB / 10)), padded[:, audio.shape[1] :]


def contrast(level: Tensor, around: int) -> Tensor:
    """Levels in dB [..., bands] -> [..., 2 * bands]: how far each stands above its surroundings, and the surroundings.

    Both scaled to about unit spread. A network could find this by itself, but partials differ little beside what all
    bands have in common, and are then learned last. ``around`` bands on each side count as surroundings.
    """
    flat = level.reshape(-1, 1, level.shape[-1])
    wide = torch.nn.functional.pad(flat, (around, around), mode="replicate")
    smooth = torch.nn.functional.avg_pool1d(wide, 2 * around + 1, stride=1).reshape(level.shape)
    return torch.cat([(level - smooth) / 8.0, (smooth + 60.0) / 25.0], dim=-1)
