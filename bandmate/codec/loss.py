"""What a reconstruction is judged by while it is learned: spectra at several resolutions, and its partials."""

import torch
from torch import Tensor, nn

from bandmate.codec.spectral import Controls
from bandmate.codec.synthesis import HOP, WINDOW
from bandmate.nn.spectrogram import log_bands

SHORT, LONG = (256, 512, 1024), (2048, 4096)  # samples: attacks; pitches and chords
SILENT = 4.0  # decades below full scale at which an oscillator is as good as silent
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
            self.register_buffer(
                f"bands{window}",
                log_bands(BANDS[window], window, sample_rate, 40.0, 15_500.0),
                persistent=False,
            )

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


class PartialsLoss(nn.Module):
    """Which oscillators should sound, how loud and how far off pitch: the peaks of the target's spectrum.

    Peaks of a 4096-sample transform, their frequencies from the phase advance, each given to the nearest semitone
    (sinusoidal analysis; McAulay and Quatieri 1986). A peak counts when its neighbours turn at its own rate, as they do
    in the lobe of a sinusoid and hardly ever in noise. Without this loss the oscillators die early: all that they do is
    first done better by the noise, and the less they sound, the less the spectral losses say to them.
    """

    def __init__(self, centre: Tensor, window: int = 4096, floor: float = 1e-8) -> None:
        super().__init__()
        self.window, self.floor = window, floor
        self.bins = int(
            (float(centre.max()) + 1) * window / WINDOW
        )  # nothing above the highest oscillator is wanted
        self.register_buffer("centre", centre.clone(), persistent=False)
        self.register_buffer("advance", torch.arange(self.bins) * (HOP / window), persistent=False)
        self.register_buffer("taper", torch.hann_window(window) * (4 / window), persistent=False)

    centre: Tensor
    advance: Tensor
    taper: Tensor

    @torch.no_grad()
    def target(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """audio [B, T * 640] -> amplitude [B, T, N], 0 without a peak, and offset from the centre in bins of 50 Hz.

        Of the middle of each frame's four hops; window h of the synthesis is centred at sample (h - 1) * HOP.
        """
        shifts = [self._spectrum(audio, shift) for shift in (0, HOP)]
        turn = torch.angle(shifts[1] * shifts[0].conj()) / (2 * torch.pi) - self.advance
        frequency = ((turn - turn.round() + self.advance) * (WINDOW / HOP)).clamp(min=1e-3)
        power = shifts[0].real ** 2 + shifts[0].imag ** 2
        semitone = torch.round(12 * torch.log2(frequency / self.centre[0])).long()
        inside = (semitone >= 0) & (semitone < len(self.centre))
        unrest = sum((frequency - beside(frequency, step)).abs() for step in (-1, 1)) * (self.window / WINDOW)
        peak = (
            inside
            & (power > self.floor)
            & (power >= beside(power, 1))
            & (power > beside(power, -1))
            & (unrest < 0.3)
        )
        power = power * peak
        semitone = semitone.clamp(0, len(self.centre) - 1)
        zeros = power.new_zeros(*power.shape[:2], len(self.centre))
        energy = zeros.scatter_add(2, semitone, power)
        mean = zeros.scatter_add(2, semitone, power * frequency) / (energy + 1e-12)
        return energy.sqrt(), torch.where(energy > 0, mean - self.centre, 0.0)

    def _spectrum(self, audio: Tensor, shift: int) -> Tensor:
        """[B, T, bins] around the third hop of each frame, ``shift`` samples later."""
        left = self.window // 2 - HOP
        padded = nn.functional.pad(audio, (left, self.window))[:, shift:]
        frames = padded.unfold(1, self.window, 4 * HOP)[:, : audio.shape[1] // (4 * HOP)]
        return torch.fft.rfft(frames * self.taper)[..., : self.bins]

    def forward(self, controls: Controls, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Errors of level (decades) and of pitch (semitones), over the oscillators that should sound.

        controls of the hops of audio [B, T * 640]. What should be silent counts a little, and only while it is heard.
        """
        wanted, offset = (part.repeat_interleave(4, dim=1) for part in self.target(audio))
        sounds = (wanted > 0).float()
        level = controls.amplitude.clamp(min=1e-8).log10()
        missed = (level - wanted.clamp(min=1e-4).log10()).abs() * sounds
        heard = torch.relu(level + SILENT) * (1 - sounds)
        loudness = missed.sum() / (sounds.sum() + 1) + 0.5 * heard.mean()
        semitone = self.centre * (2 ** (1 / 12) - 1)
        wrong = ((controls.offset - offset) / semitone).abs() * sounds
        return loudness, wrong.sum() / (sounds.sum() + 1)


def beside(power: Tensor, step: int) -> Tensor:
    """The neighbours ``step`` bins up, edges repeated."""
    return torch.roll(nn.functional.pad(power, (1, 1), mode="replicate"), -step, dims=-1)[..., 1:-1]
