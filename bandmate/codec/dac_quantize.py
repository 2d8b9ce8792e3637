"""Residual quantisation with factorised cosine codes (Kumar et al. 2023; after Yu et al. 2022).

Each level projects what is left to a few dimensions, looks up the entry of the nearest direction there, and projects
that back. In 8 dimensions all entries of a large codebook come to be used.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bandmate.codec.dac_layers import Pointwise


class Quantised(NamedTuple):
    """latent [B, T, D] with straight-through gradients; codes [B, K, T]; both losses are sums over the levels."""

    latent: Tensor
    codes: Tensor
    commitment: Tensor
    codebook: Tensor


class CosineQuantizer(nn.Module):
    """One level: D channels -> d -> the entry of the nearest direction -> D."""

    def __init__(self, width: int, codes: int, code_width: int) -> None:
        super().__init__()
        self.in_proj = Pointwise(width, code_width)
        self.out_proj = Pointwise(code_width, width)
        self.codebook = nn.Parameter(torch.randn(codes, code_width))

    def nearest(self, projected: Tensor) -> Tensor:
        """projected [B, d, T] -> codes [B, T]."""
        direction = F.normalize(projected.transpose(1, 2), dim=2)
        return (direction @ F.normalize(self.codebook, dim=1).T).argmax(2)

    def entries(self, codes: Tensor) -> Tensor:
        """codes [B, T] -> [B, d, T]."""
        return F.embedding(codes, self.codebook).transpose(1, 2)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B, T] -> [B, D, T]."""
        return self.out_proj(self.entries(codes))

    def table(self) -> Tensor:
        """[V, D]: every entry after the out-projection."""
        return self.out_proj(self.codebook.T[None])[0].T


class ResidualCosineQuantizer(nn.Module):
    """Levels in a row, each for what the levels before it left over. ``used`` of them are served."""

    def __init__(self, levels: int, used: int, codes: int, width: int, code_width: int) -> None:
        super().__init__()
        self.used = used
        self.levels = nn.ModuleList(CosineQuantizer(width, codes, code_width) for _ in range(levels))

    @property
    def parts(self) -> list[CosineQuantizer]:
        """The levels as what they are."""
        return list(self.levels)  # type: ignore[arg-type]

    def encode(self, latent: Tensor) -> Tensor:
        """latent [B, T, D] -> codes [B, used, T]."""
        residual, codes = latent.transpose(1, 2), []
        for level in self.parts[: self.used]:
            index = level.nearest(level.in_proj(residual))
            residual = residual - level.decode(index)
            codes.append(index)
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B, K, T], the first K levels -> latent [B, T, D]."""
        parts = [level.decode(codes[:, k]) for k, level in enumerate(self.parts[: codes.shape[1]])]
        return torch.stack(parts).sum(0).transpose(1, 2)

    def table(self) -> Tensor:
        """[used, V, D] after each level's out-projection."""
        return torch.stack([level.table() for level in self.parts[: self.used]])

    def forward(self, latent: Tensor, depth: Tensor) -> Quantised:
        """Training: latent [B, T, D] through as many levels as depth [B] says of each example.

        All levels are looked up; what lies beyond the depth adds neither sound nor loss (quantizer dropout,
        Zeghidour et al. 2021).
        """
        residual = latent.transpose(1, 2)
        total, commitment, codebook = torch.zeros_like(residual), latent.new_zeros(()), latent.new_zeros(())
        codes = []
        for k, level in enumerate(self.parts):
            projected = level.in_proj(residual)
            index = level.nearest(projected)
            entry = level.entries(index)
            kept = (k < depth).to(latent.dtype)
            commitment = commitment + ((projected - entry.detach()).square().mean((1, 2)) * kept).mean()
            codebook = codebook + ((entry - projected.detach()).square().mean((1, 2)) * kept).mean()
            part = level.out_proj(projected + (entry - projected).detach())
            total = total + part * kept[:, None, None]
            residual = residual - part
            codes.append(index)
        return Quantised(total.transpose(1, 2), torch.stack(codes, dim=1), commitment, codebook)
