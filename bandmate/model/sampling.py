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
        levels = logits.shape[1]
        scores = logits.double().cpu().numpy()
        temperature = np.broadcast_to(np.asarray(self.temperature, dtype=np.float64), levels)[:, None]
        players = self.players or range(len(scores))
        noise = np.stack([self._noise(player, column, *scores.shape[1:]) for player in players])
        drawn = scores / np.maximum(temperature, 1e-9) + noise * (temperature > 0)
        best = keep_top(scores, drawn, np.broadcast_to(self.top_k, levels)).argmax(-1)
        return torch.from_numpy(best).to(logits.device)

    def _noise(self, player: int, column: int, levels: int, codes: int) -> np.ndarray:
        """Gumbel noise [K, V]: argmax of logits + noise is a sample. Counter-based (Philox; Salmon et al. 2011)."""
        rows = np.empty((levels, codes))
        for level in range(levels):
            bits = np.random.Philox(key=[self.seed, player], counter=[0, 0, column, level])
            rows[level] = np.random.Generator(bits).random(codes)
        return -np.log(-np.log(np.clip(rows, 1e-300, 1 - 1e-16)))


def keep_top(logits: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """scores [B, K, V] where logits are among the ``counts[k]`` highest of their level, elsewhere minus infinity."""
    codes = logits.shape[-1]
    last = codes - np.minimum(counts, codes)
    ordered = np.partition(logits, np.unique(last), axis=-1)  # numpy: a tenth of what small torch calls cost
    threshold = np.take_along_axis(
        ordered, np.broadcast_to(last[:, None], (len(logits), len(last), 1)), axis=-1
    )
    return np.where(logits < threshold, -np.inf, scores)


def guide(given: Tensor, null: Tensor, guidance: float) -> Tensor:
    """Logits moved away from those of a player who hears nothing."""
    return null + guidance * (given - null)
