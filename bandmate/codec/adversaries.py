"""The Descript Audio Codec's discriminators (Kumar et al. 2023), and its least-squares losses.

Each looks at the sound folded by a prime period (after HiFi-GAN; Kong et al. 2020), or at a complex spectrum cut into
bands. Scores and features come as in :mod:`bandmate.codec.discriminator`: a list of (scores, features) per part.
"""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

Judgement = list[tuple[Tensor, list[Tensor]]]
BANDS = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))  # shares of the bins


@dataclasses.dataclass(frozen=True)
class AdversaryConfig:
    """Periods in samples; windows in samples, which DAC keeps for every sample rate; width of the first layers."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    windows: tuple[int, ...] = (2048, 1024, 512)
    width: int = 32

    def __post_init__(self) -> None:
        for name in ("periods", "windows"):  # plain data say tuples as lists
            object.__setattr__(self, name, tuple(getattr(self, name)))


def conv2d(
    width_in: int, width_out: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)
) -> nn.Module:
    """A normed convolution that keeps the size but for its stride."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    return weight_norm(nn.Conv2d(width_in, width_out, kernel, stride, padding))


class PeriodDiscriminator(nn.Module):
    """Convolutions along time over every ``period``-th sample."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, width, 4 * width, 16 * width, 32 * width, 32 * width]
        self.layers = nn.ModuleList(
            conv2d(widths[i], widths[i + 1], (5, 1), (3, 1) if i < 4 else (1, 1)) for i in range(5)
        )
        self.out = conv2d(widths[-1], 1, (3, 1))

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """audio [B, S] -> scores [B, 1, S', period] and the features before them."""
        # A whole period is added where none is missing, as in DAC.
        padded = F.pad(audio, (0, self.period - audio.shape[1] % self.period), mode="reflect")
        x = padded.unflatten(1, (-1, self.period))[:, None]
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.out(x), features


class BandDiscriminator(nn.Module):
    """Convolutions over time and frequency of one complex spectrum, a stack of them for each band."""

    taper: Tensor

    def __init__(self, window: int, width: int) -> None:
        super().__init__()
        self.window = window
        bins = window // 2 + 1
        self.bands = [(int(low * bins), int(high * bins)) for low, high in BANDS]
        self.register_buffer("taper", torch.hann_window(window), persistent=False)
        self.stacks = nn.ModuleList(self._stack(width) for _ in BANDS)
        self.out = conv2d(width, 1, (3, 3))

    @staticmethod
    def _stack(width: int) -> nn.ModuleList:
        inner = [conv2d(width, width, (3, 9), (1, 2)) for _ in range(3)]
        return nn.ModuleList([conv2d(2, width, (3, 9)), *inner, conv2d(width, width, (3, 3))])

    def spectrum(self, audio: Tensor) -> Tensor:
        """audio [B, S] -> real and imaginary part [B, 2, ceil(S / hop), bins], hop a quarter of the window."""
        hop = self.window // 4
        edge = (self.window - hop) // 2
        padded = F.pad(audio, (edge, edge + -audio.shape[1] % hop), mode="reflect")
        frames = padded.unfold(1, self.window, hop)
        with torch.autocast(audio.device.type, enabled=False):
            return torch.view_as_real(torch.fft.rfft(frames.float() * self.taper.float())).permute(0, 3, 1, 2)

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """audio [B, S] -> scores [B, 1, T', F'] and the features before them."""
        spectrum = self.spectrum(audio)
        features, ends = [], []
        for (low, high), stack in zip(self.bands, self.stacks, strict=True):
            x = spectrum[..., low:high]
            for layer in stack:  # type: ignore[attr-defined]
                x = F.leaky_relu(layer(x), 0.1)
                features.append(x)
            ends.append(x)
        return self.out(torch.cat(ends, dim=3)), features


class Adversaries(nn.Module):
    """All of them; each hears the sound without offset and at the same peak level."""

    def __init__(self, config: AdversaryConfig | None = None) -> None:
        super().__init__()
        c = config or AdversaryConfig()
        parts: list[nn.Module] = [PeriodDiscriminator(period, c.width) for period in c.periods]
        parts += [BandDiscriminator(window, c.width) for window in c.windows]
        self.parts = nn.ModuleList(parts)

    def forward(self, audio: Tensor) -> Judgement:
        """audio [B, S] -> (scores, features) of each part."""
        centred = audio - audio.mean(1, keepdim=True)
        levelled = 0.8 * centred / (centred.abs().amax(1, keepdim=True) + 1e-9)
        return [part(levelled) for part in self.parts]


def least_squares_discriminator_loss(real: Judgement, fake: Judgement) -> Tensor:
    """Real should score 1 and fake 0 (Mao et al. 2017); sum over the parts."""
    pairs = zip(real, fake, strict=True)
    return torch.stack([(1 - r).square().mean() + f.square().mean() for (r, _), (f, _) in pairs]).sum()


def least_squares_adversarial_loss(fake: Judgement) -> Tensor:
    """The codec wants its output to score 1; sum over the parts."""
    return torch.stack([(1 - score).square().mean() for score, _ in fake]).sum()


def summed_feature_loss(real: Judgement, fake: Judgement) -> Tensor:
    """Mean absolute difference of each feature map, summed over all maps of all parts."""
    terms = [
        (a.detach() - b).abs().mean()
        for (_, real_features), (_, fake_features) in zip(real, fake, strict=True)
        for a, b in zip(real_features, fake_features, strict=True)
    ]
    return torch.stack(terms).sum()
