"""Drawing codes from logits, each draw a pure function of (seed, player, column, level)."""

import dataclasses

import numpy as np
import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Temperature, top-k and guidance; ``temperature`` and ``top_k`` may be given per level.

    Guidance g moves the logits to ``null + g * (given - null)`` (classifier-free; Ho and Salimans 2022); 1 is none.
    Temperature 0 takes the most probable code. ``players`` names the rows of a batch, so that a player's draws do not
    depend on who else is served with it.
    """

    temperature: float | tuple[float, ...] = 1.0
    top_k: int | tuple[int, ...] = 200
    guidance: float = 1.0
    seed: int = 0
    players: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if min(np.atleast_1d(self.temperature)) < 0 or not np.all(np.isfinite(self.temperature)):
            raise ValueError(f"temperature must be 0 or more, not {self.temperature}")
        if min(np.atleast_1d(self.top_k)) < 1:
            raise ValueError(f"top-k must be at least 1, not {self.top_k}")
        if not np.isfinite(self.guidance) or self.guidance < 0:
            raise ValueError(f"guidance must be 0 or more, not {self.guidance}")

    @property
    def guided(self) -> bool:
        """Whether the model must also be asked what it would play without hearing anything."""
        return self.guidance != 1.0

    def __call__(self, logits: Tensor, column: int) -> Tensor:
        """logits [B, K, V] of one column, codes only -> codes [B, K]."""
        batch, levels, _ = logits.shape
        temperature = np.broadcast_to(self.temperature, levels)
        top_k = np.broadcast_to(self.top_k, levels)
        scores = logits.double().cpu()
        drawn = torch.empty(batch, levels, dtype=torch.int64)
        for row, player in enumerate(self.players or range(batch)):
            for level in range(levels):
                row_scores = scores[row, level]
                if temperature[level] > 0:
                    row_scores = row_scores / temperature[level] + self._noise(player, column, level, row_scores.shape[0])
                    row_scores = keep_top(scores[row, level], row_scores, int(top_k[level]))
                drawn[row, level] = row_scores.argmax()
        return drawn.to(logits.device)

    def _noise(self, player: int, column: int, level: int, size: int) -> Tensor:
        """Gumbel noise by a counter-based generator (Philox; Salmon et al. 2011): argmax of logits + noise is a sample."""
        bits = np.random.Philox(key=[self.seed, player], counter=[0, 0, column, level])
        return torch.from_numpy(np.random.Generator(bits).gumbel(size=size))


def keep_top(logits: Tensor, scores: Tensor, count: int) -> Tensor:
    """scores [V] where logits [V] are among the ``count`` highest, elsewhere minus infinity."""
    if count >= logits.shape[0]:
        return scores
    threshold = logits.topk(count).values[-1]
    return scores.masked_fill(logits < threshold, -torch.inf)


def guide(given: Tensor, null: Tensor, guidance: float) -> Tensor:
    """Logits moved away from those of a player who hears nothing."""
    return null + guidance * (given - null)
