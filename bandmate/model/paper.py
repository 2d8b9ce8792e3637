"""What the paper's models share: the sizes, how codes enter (Eq. 2), the heads, and what training is judged by."""

import dataclasses
from typing import Literal

import torch
from torch import Tensor, nn

from bandmate.model.tokens import mask_id, pad_id
from bandmate.nn.linear import Linear
from bandmate.nn.stack import StackConfig

IGNORED = -100  # a wanted cell that carries no loss


@dataclasses.dataclass(frozen=True)
class PaperConfig(StackConfig):
    """The stack's sizes, the codec's, and the instruments.

    latent: width of the codec's codebooks after out-projection. empty: what stands in a cell of the delay pattern that
    has no frame yet, PAD or (as in the authors' code) the instrument. head_bias: biases in the output heads.
    """

    levels: int = 4
    codes: int = 4096
    latent: int = 1024
    instruments: int = 18
    empty: Literal["pad", "instrument"] = "pad"
    head_bias: bool = False

    @property
    def pad(self) -> int:
        return pad_id(self.codes)

    @property
    def mask(self) -> int:
        return mask_id(self.codes)


class CodeInput(nn.Module):
    """e^x: the codec's own frozen codebook entries, summed over levels (Eq. 2)."""

    codebook: Tensor

    def __init__(self, config: PaperConfig, codebook: Tensor | None = None) -> None:
        super().__init__()
        shape = (config.levels, config.codes, config.latent)
        if codebook is not None and codebook.shape != shape:
            raise ValueError(
                f"the codec's codebooks are {list(codebook.shape)}, the model expects {list(shape)}: "
                "set its levels, codes and latent to those of the codec"
            )
        table = torch.zeros(shape) if codebook is None else codebook.detach().clone().float()
        self.register_buffer("codebook", table)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, K] codes -> [B, T, latent]."""
        return sum(book[x[..., level].long()] for level, book in enumerate(self.codebook))  # type: ignore[return-value]


class ColumnEmbedding(nn.Module):
    """e^y: learned embeddings of a column's cells, summed over levels (Eq. 2).

    Each level has rows for its codes, PAD, MASK, and the instruments; an instrument's column holds it at all levels.
    """

    def __init__(self, config: PaperConfig, width: int | None = None) -> None:
        super().__init__()
        self.instrument_id = config.codes + 2
        rows = config.codes + 2 + config.instruments
        self.table = nn.Parameter(torch.randn(config.levels, rows, width or config.width) * 0.02)

    def forward(self, columns: Tensor) -> Tensor:
        """columns [B, K, S], special ids included -> [B, S, D]."""
        return sum(rows[columns[:, level]] for level, rows in enumerate(self.table))  # type: ignore[return-value]

    def instrument(self, instrument: Tensor) -> Tensor:
        """[B] classes -> the column of each, [B, K]."""
        return (instrument + self.instrument_id)[:, None].expand(-1, len(self.table))


class Heads(nn.Module):
    """One linear head for each level, over the codes only: special ids are never sampled."""

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.levels = config.levels
        self.project = Linear(config.width, config.levels * config.codes, bias=config.head_bias)
        nn.init.normal_(self.project.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, D] -> logits [B, S, K, V]."""
        return self.project(x).unflatten(-1, (self.levels, -1))


def wanted_columns(columns: Tensor, codes: int) -> Tensor:
    """columns [B, K, S] -> what is to be predicted [B, S, K]; IGNORED where there is no code."""
    return torch.where(columns < codes, columns, IGNORED).transpose(1, 2)
