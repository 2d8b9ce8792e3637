"""What a reconstruction is judged by while it is learned: spectra at several resolutions, and true frequencies."""

import torch
from torch import Tensor, nn

from bandmate.codec.spectral import Controls
from bandmate.codec.synthesis import HOP, WINDOW
from bandmate.nn.spectrogram import log_bands

SHORT, LONG = (256, 512, 1024), (2048, 4096)  # samples: attacks; pitches and chords
BANDS = {256: 32, 512: 48, 1024: 80, 2048: 160, 4096: 256}


class MultiScaleSpectralLoss(nn.Module):
    """L1 of log band levels (mel-like, as in DAC) plus L1 of compressed bin magnitudes, at chosen window lengths.

    The long windows also count plain magnitudes, relative to the whole: what is loud there are the partials, and without
    that term they blur into bands of noise. All five scales would cost more than the codec itself: a training step
    takes one short and one long.
    """

    def __init__(self, sample_rate: int = 32_000) -> None:
        super().__init__()
        for window in SHORT + LONG:
            self.register_buffer(f"taper{window}", torch.hann_window(window), persistent=False)
            self.register_buffer(f"bands{window}", log_bands(BANDS[window], window, sample_rate, 40.0, 15_500.0), persistent=False)

    def forward(self, predicted: Tensor, target: Tensor, windows: tuple[int, ...]) -> Tensor:
        """Mean over ``windows`` of both terms; audio [B, S] each."""
        return torch.stack([self.at(predicted, target, window) for window in windows]).mean()

    def at(self, predicted: Tensor, target: Tensor, window: int) -> Tensor:
        a, b = self.power(predicted, window), self.power(target, window)
        loss = self.log_band_l1(a, b, window) + (a.pow(0.25) - b.pow(0.25)).abs().mean() * 2.0
        if window not in LONG:
            return loss
        share = (a.sqrt() - b.sqrt()).abs().sum((1, 2)) / (b.sqrt().sum((1, 2)) + 1e-3)
        return 2 * loss + share.mean()

    def log_band_l1(self, a: Tensor, b: Tensor, window: int) -> Tensor:
        """Mean absolute difference of log10 band magnitudes; powers [B, T, bins]."""
        bands = getattr(self, f"bands{window}")
        return 0.5 * ((a @ bands + 1e-9).log10() - (b @ bands + 1e-9).log10()).abs().mean()

    def power(self, audio: Tensor, window: int) -> Tensor:
        """[B, S] -> [B, T, bins]; 1 is a full-scale sine."""
        taper = getattr(self, f"taper{window}")
        spectrum = torch.fft.rfft(audio.unfold(1, window, window // 4) * (taper * (2 / taper.sum())))
        return spectrum.real**2 + spectrum.imag**2 + 1e-12

    def mel_distance(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Mean over all scales of the L1 of log10 band magnitudes: the figure reported in tables."""
        pairs = [(self.power(predicted, w), self.power(target, w), w) for w in SHORT + LONG]
        return torch.stack([self.log_band_l1(a, b, w) for a, b, w in pairs]).mean()


class FrequencyLoss(nn.Module):
    """Where within its bin each oscillator should stand: the energy-weighted instantaneous frequency of the target.

    From the phase advance of a 2048-sample transform between two hops (Flanagan and Golden 1966).
    """

    def __init__(self, centre: Tensor, window: int = 2048) -> None:
        super().__init__()
        self.window = window
        self.bins = int((float(centre.max()) + 1) * window / WINDOW)  # nothing above the highest oscillator is wanted
        bins = torch.arange(self.bins) * (WINDOW / window)  # in synthesis bins of 50 Hz
        self.register_buffer("centre", centre.clone(), persistent=False)
        self.register_buffer("cell", ((bins[:, None] - centre).abs() <= 0.5).float(), persistent=False)
        self.register_buffer("advance", torch.arange(self.bins) * (HOP / window), persistent=False)
        self.register_buffer("taper", torch.hann_window(window) * (4 / window), persistent=False)

    centre: Tensor
    cell: Tensor
    advance: Tensor
    taper: Tensor

    @torch.no_grad()
    def target(self, audio: Tensor, hops: int) -> tuple[Tensor, Tensor]:
        """audio [B, S] -> offsets in bins [B, H, N] at the middle of each synthesis window, and their weight."""
        left = self.window // 2 + HOP  # window h is centred at sample (h - 1) * HOP
        padded = nn.functional.pad(audio, (left, self.window))
        spectrum = torch.fft.rfft(padded.unfold(1, self.window, HOP)[:, : hops + 1] * self.taper)[..., : self.bins]
        turn = torch.angle(spectrum[:, 1:] * spectrum[:, :-1].conj()) / (2 * torch.pi) - self.advance
        frequency = (turn - turn.round() + self.advance) * (WINDOW / HOP)
        power = spectrum[:, :-1].real ** 2 + spectrum[:, :-1].imag ** 2
        energy = power @ self.cell
        mean = (power * frequency) @ self.cell / (energy + 1e-12)
        return (mean - self.centre).clamp(-1, 1), energy.sqrt()

    def forward(self, controls: Controls, audio: Tensor) -> Tensor:
        """Mean absolute error in bins, weighted by level."""
        wanted, weight = self.target(audio, controls.offset.shape[1])
        return ((controls.offset - wanted).abs() * weight).sum() / (weight.sum() + 1e-6)
