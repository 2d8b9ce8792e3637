"""COCOLA's encoder (Ciranni et al. 2024, arXiv 2404.16969): does this stem go with this mix?

Trained by its authors to tell the stems of one passage from those of others; score(mix, stem) is a bilinear form of two
embeddings and its order matters. Parameter names are those of the published checkpoint "COCOLA_HP_v1". The published
library's ``score`` ignores the harmonic and percussive modes at the commit that can be had (e73a2d0); here, as in the
paper's fork of it, a mode really masks the other half. The mask is 0 dB, the level of the maximum: the network was
trained with that.
"""

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from bandmate import weights
from bandmate.perceive.efficientnet import HEAD, EfficientNetB0
from bandmate.perceive.hpss import Mode, masked
from bandmate.perceive.loading import load_published

NAME = "cocola"
WIDTH = 512
MASK_DB = 0.0


class Bilinear(nn.Module):
    """x W y: how well each of N mixes and each of M stems go together."""

    def __init__(self, width: int):
        super().__init__()
        self.w = nn.Parameter(torch.randn(width, width) * 0.05)

    def forward(self, mix: Tensor, stem: Tensor) -> Tensor:
        """[N, D], [M, D] -> [N, M]."""
        return mix @ (self.w @ stem.T)


class Encoder(nn.Module):
    """Features [B, 2, 64, T] -> [B, WIDTH], before the last normalisation."""

    def __init__(self) -> None:
        super().__init__()
        # Upstream wraps the network in a sequence with dropout, hence the "0" in the names.
        self.encoder = nn.ModuleDict({"model": nn.ModuleList([EfficientNetB0(channels=2)])})
        self.projection = nn.Linear(HEAD, WIDTH)

    def forward(self, features: Tensor) -> Tensor:
        network = next(self.encoder["model"].children())
        return self.projection(network(features))


class Cocola(nn.Module):
    """The network without its training: embeddings and their similarity."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.layer_norm = nn.LayerNorm(WIDTH)
        self.similarity = Bilinear(WIDTH)

    @torch.no_grad()
    def embed(self, features: Tensor, mode: Mode = "both") -> Tensor:
        """Features [B, 2, 64, T] of 5 s chunks (:mod:`bandmate.perceive.hpss`) -> embeddings [B, 512] in (-1, 1)."""
        if features.ndim != 4 or features.shape[1:3] != (2, 64):
            raise ValueError(f"features are [B, 2, 64, T], not {list(features.shape)}")
        features = masked(features.to(self.layer_norm.weight), mode, MASK_DB)
        return torch.tanh(self.layer_norm(self.encoder(features)))


def load(path: Path | None = None) -> Cocola:
    """The published network from its checkpoint at `path`, or as fetched by ``bandmate models fetch cocola``.

    FileNotFoundError when it was not fetched, ValueError when the file is damaged or another network's.
    """
    network = Cocola()
    load_published(network, path or weights.find(NAME))
    return network


@lru_cache(maxsize=1)
def published() -> Cocola:
    """The fetched network, read once."""
    return load()
