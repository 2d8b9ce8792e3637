"""The paper's masked model after StemGen (Parker et al. 2024): sees all of the input, fills in all of the output.

No delay pattern and no order in time: the levels are filled in one after the other, each in a number of steps. A step
draws every cell of the level that is still hidden, keeps those that it is surest of (Eq. 4) and hides the others again.
"""

import dataclasses
import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bandmate.model.paper import IGNORED, CodeInput, Heads, PaperConfig
from bandmate.model.sampling import Sampler
from bandmate.nn.stack import Stack
from bandmate.spec import StreamSpec

DRAW, CONFIDENCE = 0, 1  # what a random number is for


@dataclasses.dataclass(frozen=True)
class StemGenConfig(PaperConfig):
    """20 layers, else the paper's sizes.

    mask_share: which part of a level's frames training hides: "cosine" of a uniform number (as the schedule of sampling
    has it), or the "uniform" number itself. loss: over all that is "masked", as the authors have it, or over the drawn
    "level" alone. steps and noise: of sampling, for each level (the last one for further levels); appendix A.5.
    """

    layers: int = 20
    mask_share: Literal["cosine", "uniform"] = "cosine"
    loss: Literal["masked", "level"] = "masked"
    steps: tuple[int, ...] = (128, 64, 32, 32)
    noise: tuple[float, ...] = (8.0, 8.0, 4.0, 4.0)

    def __post_init__(self) -> None:
        for name in ("steps", "noise"):  # plain data have lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.steps or min(self.steps) < 1 or not self.noise or min(self.noise) < 0:
            raise ValueError(
                f"a level needs a step or more and noise of 0 or more: {self.steps}, {self.noise}"
            )
        if self.width % 2:
            raise ValueError(f"width {self.width} must be even: input and output take half of it each")

    @property
    def mask(self) -> int:
        """Id of a hidden cell: a row of its own in each level's table, which has no PAD."""
        return self.codes


class StemGen(nn.Module):
    """Input and output frame by frame side by side, a bidirectional transformer, one head for each level."""

    ears = "codes"

    def __init__(self, config: StemGenConfig | None = None, codebook: Tensor | None = None) -> None:
        super().__init__()
        self.config = c = config or StemGenConfig()
        half = c.width // 2
        self.input = CodeInput(c, codebook)
        self.project = nn.Linear(c.latent, half)
        self.output = nn.Parameter(torch.randn(c.levels, c.codes + 1, half) * 0.02)
        self.instrument = nn.Embedding(c.instruments, half)
        self.stack = Stack(c)
        self.heads = Heads(c)
        nn.init.normal_(self.instrument.weight, std=0.02)

    def hidden_states(
        self, x: Tensor, y: Tensor, instrument: Tensor, drop_input: Tensor | None = None
    ) -> Tensor:
        """x [B, K, T] codes, y [B, K, T] codes and MASK, instrument [B], drop_input [B] bool -> [B, T, D]."""
        latent = self.input(x.transpose(1, 2))
        if drop_input is not None:
            latent = latent.masked_fill(
                drop_input[:, None, None], 0.0
            )  # A.5: zeroed, the projection's bias stays
        told = self.instrument(instrument)[:, None]
        heard = self.project(latent.to(self.project.weight.dtype)) + told
        played = sum(table[y[:, level]] for level, table in enumerate(self.output)) + told
        positions = torch.arange(x.shape[2], device=x.device)
        return self.stack(torch.cat([heard, played], dim=-1), positions, causal=False)

    def forward(self, x: Tensor, y: Tensor, instrument: Tensor, drop_input: Tensor | None = None) -> Tensor:
        """Logits [B, T, K, V] of all cells, of the hidden and of the others; arguments as :meth:`hidden_states`."""
        return self.heads(self.hidden_states(x, y, instrument, drop_input))

    def input_span(self, frames: int) -> tuple[int, int]:
        """x covers the frames of y, no more."""
        return 0, 0

    def spec(self, frames: int) -> StreamSpec:
        """Its place in the plane: t_f = k = T (paper 3.5)."""
        return StreamSpec.parallel(frames)

    def objective(
        self,
        x: Tensor,
        y: Tensor,
        instrument: Tensor,
        rng: np.random.Generator,
        drop_input: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What training compares: one level of each example hidden in part, all levels above it altogether.

        x, y: [B, K, T] codes; instrument: [B]. Returns logits [B, T, K, V] and wanted [B, T, K], -100 where the true
        code was shown.
        """
        hidden, judged = (torch.from_numpy(part).to(y.device) for part in self.draw_hidden(y.shape, rng))
        logits = self(x, y.masked_fill(hidden, self.config.mask), instrument, drop_input)
        return logits, y.masked_fill(~judged, IGNORED).transpose(1, 2)

    def draw_hidden(self, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """[B, K, T] bool: which cells are hidden, and which carry loss."""
        batch, levels, frames = shape
        level = rng.integers(levels, size=(batch, 1, 1))
        share = rng.random((batch, 1, 1))
        if self.config.mask_share == "cosine":
            share = np.cos(share * np.pi / 2)
        own = np.arange(levels)[:, None] == level
        drawn = own & (rng.random((batch, 1, frames)) < share)
        hidden = drawn | (np.arange(levels)[:, None] > level)
        return hidden, hidden if self.config.loss == "masked" else drawn

    @torch.inference_mode()
    def generate(
        self, x: Tensor, instrument: Tensor, sampler: Sampler | None = None, frames: int | None = None
    ) -> Tensor:
        """Codes [B, K, frames] for the first frames (default: all) of x [B, K, T]; instrument [B].

        The sampler's seed and players name the draws, which do not depend on the batch; its guidance (paper: 2.0),
        temperature and top_k (paper: 1.0 and all codes) hold for drawing codes; how sure of them the model is counts
        at that temperature, among all codes.
        """
        sampler = sampler or Sampler(guidance=2.0, top_k=self.config.codes)
        frames = frames or x.shape[2]
        if not 0 < frames <= x.shape[2]:
            raise ValueError(f"{frames} frames of output need as many of input, not {x.shape[2]}")
        x = x[:, :, :frames]
        y = torch.full_like(x, self.config.mask, dtype=torch.int64)
        for level in range(self.config.levels):
            self._fill(level, x, y, instrument, sampler)
        return y

    def _fill(self, level: int, x: Tensor, y: Tensor, instrument: Tensor, sampler: Sampler) -> None:
        """Fills in one level of y, in place."""
        steps, left = int(at(self.config.steps, level)), y.shape[2]
        hidden = torch.ones_like(y[:, level], dtype=torch.bool)
        for step in range(steps):
            logits = self._logits(level, x, y, instrument, sampler)
            left = still_hidden(left, y.shape[2], step, steps)
            noise = at(self.config.noise, level) * (1 - (step + 1) / steps)
            y[:, level], hidden = self._step(logits, y[:, level], hidden, left, noise, (level, step), sampler)

    def _logits(self, level: int, x: Tensor, y: Tensor, instrument: Tensor, sampler: Sampler) -> Tensor:
        """Logits [B, T, V] of one level, guided."""
        if not sampler.guided:
            return self._level(level, self.hidden_states(x, y, instrument))
        x, y, instrument = (torch.cat([part, part]) for part in (x, y, instrument))
        deaf = torch.arange(len(x), device=x.device) >= len(x) // 2
        given, null = self._level(level, self.hidden_states(x, y, instrument, deaf)).chunk(2)
        return sampler.guide(given, null, level)

    def _level(self, level: int, h: Tensor) -> Tensor:
        """The head of one level alone, [B, T, D] -> [B, T, V] in float32 or wider."""
        part = slice(level * self.config.codes, (level + 1) * self.config.codes)
        head = self.heads.project
        logits = F.linear(h, head.weight[part], None if head.bias is None else head.bias[part])
        return logits if logits.dtype == torch.float64 else logits.float()

    def _step(
        self,
        logits: Tensor,
        known: Tensor,
        hidden: Tensor,
        left: int,
        noise: float,
        place: tuple[int, int],
        sampler: Sampler,
    ) -> tuple[Tensor, Tensor]:
        """One step of one level -> its codes [B, T] with MASK in the ``left`` cells of least confidence, and these.

        logits [B, T, V]; known [B, T] what was kept so far; hidden [B, T]; place: (level, step).
        """
        draw, doubt = (
            self._uniform(sampler, hidden.shape, (*place, use)).to(logits.device)
            for use in (DRAW, CONFIDENCE)
        )
        codes, log_p = draw_codes(
            logits, draw, at(sampler.temperature, place[0]), int(at(sampler.top_k, place[0]))
        )
        confidence = log_p - noise * torch.log(-torch.log(doubt))  # Eq. 4: plus Gumbel noise
        confidence = confidence.masked_fill(~hidden, torch.inf)  # what was kept stays
        least = confidence.argsort(dim=1, stable=True)[:, :left]
        again = torch.zeros_like(hidden).scatter_(1, least, True) & hidden
        return torch.where(again, self.config.mask, torch.where(hidden, codes, known)), again

    def _uniform(self, sampler: Sampler, shape: torch.Size, use: tuple[int, int, int]) -> Tensor:
        """[B, T] in (0, 1), each row a function of (seed, player, level, step, what for) alone (Philox, as Sampler)."""
        level, step, kind = use
        players = sampler.players or range(shape[0])
        rows = np.empty(shape)
        for row, player in zip(rows, players, strict=True):
            # Sampler has 0 in the second place of the counter.
            bits = np.random.Philox(key=[sampler.seed, player], counter=[0, 1 + kind, step, level])
            row[:] = np.random.Generator(bits).random(shape[1])
        return torch.from_numpy(np.clip(rows, 1e-300, 1 - 1e-16))


def draw_codes(logits: Tensor, uniform: Tensor, temperature: float, top_k: int) -> tuple[Tensor, Tensor]:
    """Codes [B, T] from logits [B, T, V] by one uniform number each [B, T], and their log p among all codes.

    Inverse of the cumulated probabilities in float64; temperature 0 takes the most probable code.
    """
    scores = logits.double()
    if temperature == 0:
        codes = scores.argmax(-1)
    else:
        scores = scores / temperature
        kept = scores
        if top_k < scores.shape[-1]:
            kept = scores.masked_fill(scores < scores.topk(top_k).values[..., -1:], -torch.inf)
        total = kept.softmax(-1).cumsum(-1)
        codes = torch.searchsorted(total, (uniform * total[..., -1])[..., None], right=True)[..., 0]
        codes = codes.clamp(max=scores.shape[-1] - 1)
    log_p = scores.log_softmax(-1).gather(-1, codes[..., None])[..., 0]
    return codes, log_p


def still_hidden(hidden: int, frames: int, step: int, steps: int) -> int:
    """How many of the ``hidden`` cells are hidden again after a step: a quarter of a cosine over the steps.

    At least one is kept in each step, as long as there is more than one, and at least one is left for the last.
    """
    if step == steps - 1:
        return 0
    return max(1, min(hidden - 1, math.floor(frames * math.cos(math.pi / 2 * (step + 1) / steps))))


def at(values: float | tuple[float, ...], level: int) -> float:
    """The value for a level, of one for all or one for each."""
    return values[min(level, len(values) - 1)] if isinstance(values, tuple) else values
