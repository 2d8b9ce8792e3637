"""Multi-resolution complex spectrogram discriminator (after EnCodec's MS-STFT; Defossez et al. 2022), and its losses."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm


class SpectrogramDiscriminator(nn.Module):
    """2-d convolutions over one complex spectrogram; returns a map of scores and the features before it."""

    def __init__(self, window: int, width: int) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("taper", torch.hann_window(window), persistent=False)
        shapes = [(2, width, (1, 2)), (width, width, (1, 2)), (width, width, (1, 2)), (width, width, (2, 2))]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(i, o, (3, 7), stride=stride, padding=(1, 3))) for i, o, stride in shapes
        )
        self.out = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    taper: Tensor

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """audio [B, S] -> scores [B, 1, T', F'], features."""
        spectrum = (
            torch.fft.rfft(audio.unfold(1, self.window, self.window // 4) * self.taper) / self.window**0.5
        )
        # Compressed, so that the quiet highs are seen beside the loud bass.
        scale = (spectrum.abs().square() + 1e-6).pow(-0.35)
        x = torch.stack([spectrum.real * scale, spectrum.imag * scale], dim=1)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.out(x), features


class MultiResolutionDiscriminator(nn.Module):
    """One discriminator for each window length."""

    def __init__(self, windows: tuple[int, ...] = (512, 1024, 2048), width: int = 16) -> None:
        super().__init__()
        self.parts = nn.ModuleList(SpectrogramDiscriminator(window, width) for window in windows)

    def forward(self, audio: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        return [part(audio) for part in self.parts]


def discriminator_loss(real: list, fake: list) -> Tensor:
    """Hinge loss, mean over resolutions."""
    pairs = zip(real, fake, strict=True)
    return torch.stack([F.relu(1 - r).mean() + F.relu(1 + f).mean() for (r, _), (f, _) in pairs]).mean()


def adversarial_loss(fake: list) -> Tensor:
    """What the codec wants of the scores of its output."""
    return torch.stack([-score.mean() for score, _ in fake]).mean()


def feature_matching_loss(real: list, fake: list) -> Tensor:
    """Mean absolute difference of the features, relative to their size."""
    terms = [
        (a.detach() - b).abs().mean() / (a.detach().abs().mean() + 1e-6)
        for (_, real_features), (_, fake_features) in zip(real, fake, strict=True)
        for a, b in zip(real_features, fake_features, strict=True)
    ]
    return torch.stack(terms).mean()
