"""Sound from sinusoids plus noise, both laid into short-time spectra (after Rodet and Depalle 1992; Serra and Smith 1990).

A network without memory of its phase that is fed a steady note puts out the same frame again and again, that is, a
sound of period one hop: every pitch snaps to a grid and sounds metallic. Here each semitone owns an oscillator whose
phase is carried on from frame to frame, and the network says only how loud it is and how far off the equal-tempered
pitch. Hiss, breath and drums come from a fixed white noise shaped by the network. Windows overlap by 480 samples: that
is the delay.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW, HOP = 640, 160  # 20 ms and 5 ms at 32 kHz
OVERLAP = WINDOW - HOP
BINS = WINDOW // 2 + 1
BIN_HZ = 50.0


class SynthesisState(NamedTuple):
    """phase [B, oscillators] in cycles, float64; tail [B, OVERLAP] not yet complete samples; hop: index of the next one."""

    phase: Tensor
    tail: Tensor
    hop: int


class OscillatorBank(nn.Module):
    """One sinusoid per semitone of equal temperament (A4 = 440 Hz) from A0 up, each within half a semitone of its pitch.

    Amplitudes on this grid are nearly what a log-frequency spectrum shows, which a network copies at once; finding the
    place of a partial within an evenly spaced bin instead was not learned at all (docs/log.md).
    """

    def __init__(self, semitones: int = 98, lowest: float = 27.5) -> None:
        super().__init__()
        centre = lowest * 2 ** (torch.arange(semitones, dtype=torch.float64) / 12) / BIN_HZ
        base = centre.round().long()
        spread = torch.zeros(5, semitones, BINS + 4)  # two cells of margin on either side
        for j in range(5):
            spread[j, torch.arange(semitones), base + j] = 1.0
        self.register_buffer("centre", centre.float(), persistent=False)
        self.register_buffer("from_base", (centre - base).float(), persistent=False)
        self.register_buffer("reach", (centre * (2 ** (1 / 24) - 1)).float(), persistent=False)
        self.register_buffer("spread", spread[:, :, 2 : 2 + BINS].contiguous(), persistent=False)

    centre: Tensor  # bins of 50 Hz
    from_base: Tensor  # bins from the nearest whole one
    reach: Tensor  # bins to a quarter tone above
    spread: Tensor  # [5, N, BINS] where each oscillator's five bins lie

    @property
    def count(self) -> int:
        return len(self.centre)

    def forward(self, amplitude: Tensor, offset: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
        """Spectra of windowed sinusoids.

        Args:
            amplitude: [B, H, N] peak amplitude at each hop.
            offset: [B, H, N] in bins of 50 Hz from the oscillator's centre, within its reach.
            phase: [B, N] cycles at the hop before the first, float64.
        Returns:
            [B, H, BINS] complex, referred to the middle of the window, and the phase at the last hop.
        """
        # Magnitude losses say nothing useful about phase, and their gradients add up along the sum: none flows here.
        # Added in float64: a rounding that fell otherwise in another chunk would stay in the phase for good.
        cycles = (self.centre.double() + offset.detach().double()) * (HOP / WINDOW)
        running = phase[:, None] + cycles.cumsum(1)
        angle = (2 * torch.pi * (running - running.floor())).to(amplitude.dtype)
        lobe = raised_cosine_lobe((self.from_base + offset).clamp(-1, 1))
        real, imaginary = amplitude * angle.cos(), amplitude * angle.sin()
        return torch.complex(self._lay(real, lobe), self._lay(imaginary, lobe)), running[:, -1] % 1.0

    def _lay(self, part: Tensor, lobe: list[Tensor]) -> Tensor:
        """Each oscillator onto the five bins around its base: [B, H, N] -> [B, H, BINS]."""
        return sum((part * weight) @ where for weight, where in zip(lobe, self.spread, strict=True))  # type: ignore[return-value]


def raised_cosine_lobe(offset: Tensor) -> list[Tensor]:
    """Weights of the bins -2 ... 2 around an oscillator that stands at -1 < offset < 1.

    cos^2(pi x / 4) for |x| < 2: a Hann window's main lobe exactly on the bin, within 0.025 off it, for two
    trigonometric functions per oscillator.
    """
    c, s = torch.cos(offset * (torch.pi / 2)), torch.sin(offset * (torch.pi / 2))
    far = 0.5 * (1 - c)
    return [far * (offset < 0), 0.5 * (1 - s), 0.5 * (1 + c), 0.5 * (1 + s), far * (offset > 0)]


class NoiseBank(nn.Module):
    """White noise, the same at every run, as windowed spectra of unit level; repeats after 20 s."""

    def __init__(self, hops: int = 4096) -> None:
        super().__init__()
        self.hops = hops
        noise = torch.randn(hops * HOP, generator=torch.Generator().manual_seed(0))
        frames = torch.cat([noise, noise[:OVERLAP]]).unfold(0, WINDOW, HOP) * torch.hann_window(WINDOW)
        centred = torch.fft.rfft(torch.roll(frames, WINDOW // 2, dims=-1))
        self.register_buffer("spectra", centred / centred.abs().square().mean().sqrt(), persistent=False)

    spectra: Tensor

    def forward(self, start: int, hops: int, gain: Tensor) -> Tensor:
        """gain [B, H, BINS], amplitude per bin, from hop ``start`` -> complex [B, H, BINS]."""
        index = torch.arange(start, start + hops, device=gain.device) % self.hops
        return self.spectra[index] * gain


def overlap_add(spectra: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse transform and overlap-add with a constant norm.

    spectra [B, H, BINS] of windowed sound, referred to the window's middle; tail [B, OVERLAP] from the hops before.
    -> audio [B, H * HOP] that lags by OVERLAP, and the next tail. A unit sinusoid has spectra
    of unit peak; Hann windows at a quarter hop add up to 2.
    """
    frames = torch.roll(torch.fft.irfft(spectra, n=WINDOW), WINDOW // 2, dims=-1) * (WINDOW / 8)
    batch, hops, _ = frames.shape
    pieces = frames.view(batch, hops, WINDOW // HOP, HOP)
    total = torch.zeros(batch, hops + WINDOW // HOP - 1, HOP, dtype=frames.dtype, device=frames.device)
    for piece in range(WINDOW // HOP):
        total = total + F.pad(pieces[:, :, piece], (0, 0, piece, WINDOW // HOP - 1 - piece))
    audio = total.flatten(1)
    audio = torch.cat([audio[:, :OVERLAP] + tail, audio[:, OVERLAP:]], dim=1)
    return audio[:, : hops * HOP], audio[:, hops * HOP :]
