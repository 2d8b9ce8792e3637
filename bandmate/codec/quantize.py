"""Residual vector quantisation with codebooks found by residual k-means.

Joint training of codebook and encoder collapsed in every short run that was tried; codebooks fitted once to the
latents of a finished encoder use nearly all their entries at once (docs/log.md).
"""

import torch
from torch import Tensor, nn


class ResidualVectorQuantizer(nn.Module):
    """K codebooks of V entries; each level codes what the levels before it left over."""

    codebook: Tensor

    def __init__(self, levels: int, codes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.zeros(levels, codes, width))

    def encode(self, latent: Tensor) -> Tensor:
        """latent [B, T, D] -> codes [B, K, T], the nearest entry level by level."""
        residual, codes = latent, []
        for book in self.codebook:
            index = nearest(residual, book)
            residual = residual - book[index]
            codes.append(index)
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B, K, T] -> latent [B, T, D], the sum of the entries."""
        return sum(book[codes[:, level]] for level, book in enumerate(self.codebook))  # type: ignore[return-value]

    @torch.no_grad()
    def fit(
        self, latent: Tensor, iterations: int = 12, generator: torch.Generator | None = None
    ) -> list[dict[str, float]]:
        """Residual k-means on latent [N, D]; returns usage, perplexity and remaining energy per level."""
        residual, energy = latent.float(), latent.float().square().mean()
        report = []
        for level in range(self.codebook.shape[0]):
            book = k_means(residual, self.codebook.shape[1], iterations, generator)
            index = nearest(residual, book)
            residual = residual - book[index]
            self.codebook[level] = book
            report.append(
                codebook_usage(index, len(book)) | {"residual": float(residual.square().mean() / energy)}
            )
        return report


def nearest(x: Tensor, book: Tensor) -> Tensor:
    """Index of the nearest row of book [V, D] for each x [..., D]."""
    return (book.square().sum(-1) - 2 * x @ book.T).argmin(-1)


def k_means(x: Tensor, clusters: int, iterations: int, generator: torch.Generator | None = None) -> Tensor:
    """Lloyd's algorithm from random rows of x [N, D]; an empty cluster restarts at a random row. -> [clusters, D]."""
    if len(x) < clusters:
        raise ValueError(
            f"k-means wants at least {clusters} vectors for {clusters} clusters, but was given {len(x)}"
        )
    book = x[torch.randperm(len(x), generator=generator)[:clusters]].clone()
    for _ in range(iterations):
        index = nearest(x, book)
        count = torch.bincount(index, minlength=clusters)
        book = torch.zeros_like(book).index_add_(0, index, x) / count.clamp(min=1)[:, None]
        empty = (count == 0).nonzero().flatten()
        book[empty] = x[torch.randint(len(x), (len(empty),), generator=generator)]
    return book


def codebook_usage(index: Tensor, codes: int) -> dict[str, float]:
    """Share of the entries that occur at all, and the perplexity of their distribution."""
    share = torch.bincount(index.flatten(), minlength=codes).double()
    share = share / share.sum()
    entropy = -(share * share.clamp(min=1e-12).log()).sum()
    return {"usage": float((share > 0).double().mean()), "perplexity": float(entropy.exp())}
