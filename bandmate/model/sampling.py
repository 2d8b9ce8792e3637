"""Drawing codes from logits, each draw a pure function of (seed, player, column, level)."""

import dataclasses

import numpy as np
import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Temperature, top-k, guidance and what it may choose among, each for all levels or one per level.

    Guidance g moves the logits to ``null + g * (given - null)`` (classifier-free; Ho and Salimans 2022); 1 is none. Above
    1 it chooses among the ``plausible`` codes that were the likeliest before it (None: among all): far down, where both
    logits are little but noise, their difference would lift codes that nobody would play. Temperature 0 takes the most
    probable code. ``players`` names the rows of a batch, so that a player's draws do not
    depend on who else is served with it.
    """

    temperature: float | tuple[float, ...] = 1.0
    top_k: int | tuple[int, ...] = 200
    guidance: float | tuple[float, ...] = 1.0
    plausible: int | tuple[int, ...] | None = None
    seed: int = 0
    players: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if min(np.atleast_1d(self.temperature)) < 0 or not np.all(np.isfinite(self.temperature)):
            raise ValueError(f"temperature must be 0 or more, not {self.temperature}")
        if min(np.atleast_1d(self.top_k)) < 1:
            raise ValueError(f"top-k must be at least 1, not {self.top_k}")
        if min(np.atleast_1d(self.guidance)) < 0 or not np.all(np.isfinite(self.guidance)):
            raise ValueError(f"guidance must be 0 or more, not {self.guidance}")
        if self.plausible is not None and min(np.atleast_1d(self.plausible)) < 1:
            raise ValueError(f"plausible must be at least 1, not {self.plausible}")

    @property
    def guided(self) -> bool:
        """Whether the model must also be asked what it would play without hearing anything."""
        return bool(np.any(np.not_equal(self.guidance, 1.0)))

    def guide(self, given: Tensor, null: Tensor, level: int | None = None) -> Tensor:
        """Logits moved away from those of a player who hears nothing.

        Args:
            given, null: [B, K, V], of all levels; or [..., V], of the one that ``level`` names.
        """
        guidance = of_level(torch.as_tensor(self.guidance, dtype=given.dtype, device=given.device), level)
        guided = null + guidance * (given - null)
        if self.plausible is None or not self.guided:
            return guided
        counts = of_level(torch.as_tensor(self.plausible, device=given.device), level)
        counts = counts.clamp(max=given.shape[-1])
        best = given.topk(int(counts.max())).values
        least = best.gather(-1, (counts - 1).expand(*best.shape[:-1], 1))
        return guided.masked_fill((given < least) & (guidance > 1), -torch.inf)

    def __call__(self, logits: Tensor, column: int) -> Tensor:
        """logits [B, K, V] of one column, codes only -> codes [B, K]."""
        scores = (logits if logits.dtype == torch.float64 else logits.float()).cpu().numpy()
        levels, codes = scores.shape[1:]
        players = self.players or range(len(scores))
        uniform = np.stack([self._uniform(player, column, levels, codes) for player in players])
        temperature = np.broadcast_to(np.asarray(self.temperature, dtype=np.float64), levels)
        kept = np.flatnonzero(among_highest(scores, np.broadcast_to(self.top_k, levels)))
        heat = temperature[kept // codes % levels]  # logarithms are taken where they are needed only
        drawn = np.full(scores.shape, -np.inf)
        drawn.flat[kept] = scores.flat[kept] / np.maximum(heat, 1e-9) + gumbel(uniform.flat[kept]) * (
            heat > 0
        )
        return torch.from_numpy(drawn.argmax(-1)).to(logits.device)

    def _uniform(self, player: int, column: int, levels: int, codes: int) -> np.ndarray:
        """Numbers in [0, 1) [K, V] from a counter (Philox; Salmon et al. 2011)."""
        rows = np.empty((levels, codes))
        for level in range(levels):
            bits = np.random.Philox(key=[self.seed, player], counter=[0, 0, column, level])
            np.random.Generator(bits).random(out=rows[level])
        return rows


def of_level(values: Tensor, level: int | None) -> Tensor:
    """One value for all levels, or [K] of them, against logits: of all levels [K, 1], or of one [1]."""
    if not values.ndim:
        return values[None]
    return values[:, None] if level is None else values[level][None]


def gumbel(uniform: np.ndarray) -> np.ndarray:
    """Gumbel noise from uniform numbers: the argmax of logits + noise is a sample."""
    return -np.log(-np.log(np.clip(uniform, 1e-300, 1 - 1e-16)))


def among_highest(logits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whether logits [B, K, V] are among the ``counts[k]`` highest of their level."""
    codes = logits.shape[-1]
    last = codes - np.minimum(counts, codes)
    ordered = np.partition(logits, np.unique(last), axis=-1)  # numpy: a tenth of what small torch calls cost
    threshold = np.take_along_axis(
        ordered, np.broadcast_to(last[:, None], (len(logits), len(last), 1)), axis=-1
    )
    return logits >= threshold
