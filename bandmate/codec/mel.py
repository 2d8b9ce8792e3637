"""The multi-scale mel loss of the Descript Audio Codec (Kumar et al. 2023)."""

import numpy as np
import torch
from torch import Tensor, nn

WINDOWS = (32, 64, 128, 256, 512, 1024, 2048)  # samples, the same at every sample rate, as DAC has it
BANDS = (5, 10, 20, 40, 80, 160, 320)


def mel_of(frequency: np.ndarray) -> np.ndarray:
    """Slaney's mel scale: linear up to 1 kHz (15 mel), then 27 mel per factor of 6.4."""
    step = np.log(6.4) / 27.0
    return np.where(
        frequency < 1000, frequency * 3 / 200, 15 + np.log(np.maximum(frequency, 1e-3) / 1000) / step
    )


def frequency_of(mel: np.ndarray) -> np.ndarray:
    """The inverse of :func:`mel_of`, in Hz."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27.0))


def mel_bands(bands: int, window: int, sample_rate: int) -> Tensor:
    """Triangles of equal area, evenly spaced in mel from 0 to half the sample rate: [window // 2 + 1, bands].

    Where triangles are narrower than a bin some hold none at all and read 0: the loss counts them as equal.
    """
    bins = np.arange(window // 2 + 1) * sample_rate / window
    corners = frequency_of(np.linspace(0, float(mel_of(np.array(sample_rate / 2))), bands + 2))
    rising = (bins[:, None] - corners[:-2]) / np.diff(corners)[:-1]
    falling = (corners[2:] - bins[:, None]) / np.diff(corners)[1:]
    triangle = np.maximum(0, np.minimum(rising, falling)) * (2 / (corners[2:] - corners[:-2]))
    return torch.from_numpy(triangle).float()


class MultiScaleMelLoss(nn.Module):
    """L1 between log10 mel magnitudes at seven window lengths, a quarter window apart; sum over the lengths."""

    def __init__(self, sample_rate: int = 32_000) -> None:
        super().__init__()
        for window, bands in zip(WINDOWS, BANDS, strict=True):
            self.register_buffer(f"taper{window}", torch.hann_window(window), persistent=False)
            self.register_buffer(f"bands{window}", mel_bands(bands, window, sample_rate), persistent=False)

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """audio [B, S] each, S > 1024; in decades, 7 at most per decade of a difference in level."""
        pairs = ((self.log_mel(predicted, window), self.log_mel(target, window)) for window in WINDOWS)
        return torch.stack([(a - b).abs().mean() for a, b in pairs]).sum()

    def log_mel(self, audio: Tensor, window: int) -> Tensor:
        """[B, S] -> [B, T, bands], magnitudes below 1e-5 counting as that."""
        padded = nn.functional.pad(audio, (window // 2, window // 2), mode="reflect")
        spectrum = torch.fft.rfft(padded.unfold(1, window, window // 4) * getattr(self, f"taper{window}"))
        return (spectrum.abs() @ getattr(self, f"bands{window}")).clamp(min=1e-5).log10()
