"""Training of the paper's models, each through its own ``objective``: one (t_f, k), one kind of window, one mean loss."""

import dataclasses
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bandmate.data.tokens import Example, TokenStore
from bandmate.generate import generate
from bandmate.model.sampling import Sampler
from bandmate.model.teacher import cell_nats, heard_codes, instruments, played_codes
from bandmate.spec import StreamSpec
from bandmate.train.language import LanguageConfig, LanguageTraining, module_of


@dataclasses.dataclass(frozen=True)
class PaperTrainConfig(LanguageConfig):
    """Section 4.3 and appendix A; what is not said there is as in the authors' code (docs/training.md lists it).

    optimizer: the paper says Adam, the code takes AdamW.
    """

    steps: int = 100_000
    batch: int = 64
    frames: int = 500
    optimizer: Literal["adamw", "adam"] = "adamw"
    rate: float = 1e-4
    warmup: int = 10_000
    floor: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    steps_per_epoch: int = 1000
    validate_every: int = 1
    validation_batches: int = 16
    workers: int = 4
    precision: str = "bf16-mixed"

    def build(self, data: Path) -> "PaperTraining":
        """Its training on a prepared store whose codec the model's levels, codes and latent are made to fit."""
        table = TokenStore(data, "train").codebook()
        sizes = dict(zip(("levels", "codes", "latent"), table.shape, strict=True))
        fitted = dataclasses.replace(self, model=dataclasses.replace(self.model, **sizes))
        return PaperTraining(fitted, data, torch.from_numpy(table))


class Part(NamedTuple):
    """x [B, K, pre + T + post], y [B, K, T], instrument [B], drop_input [B]; seed: for what the objective draws."""

    x: Tensor
    y: Tensor
    instrument: Tensor
    drop_input: Tensor
    seed: tuple[int, ...]


class PaperTraining(LanguageTraining):
    """Any model with ``input_span`` and ``objective``; AdamW, the mean over all cells that carry loss."""

    config: PaperTrainConfig
    shards = True

    def __init__(self, config: PaperTrainConfig, store: Path, codebook: Tensor) -> None:
        self.codebook_table = codebook
        super().__init__(config, store)
        self.span = self.model.input_span(config.frames)

    def make_model(self) -> Any:
        return module_of(self.config.model, self.codebook_table)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        c = self.config
        kind = torch.optim.AdamW if c.optimizer == "adamw" else torch.optim.Adam
        decay = c.weight_decay if c.optimizer == "adamw" else 0.0
        return kind(self.model.parameters(), c.rate, betas=c.betas, weight_decay=decay, foreach=True)

    def draw_part(self, step: int, part: int) -> Part:
        c = self.config
        rng = np.random.default_rng([c.seed, step, part])
        draw_seed = int(rng.integers(2**31))
        rows = range(c.batch // c.parts)
        windows = [self.store.window(draw_seed, row, c.frames, *self.span) for row in rows]
        dropped = torch.from_numpy(rng.random(len(rows)) < c.deaf_share)
        return self.part(windows, dropped, (c.seed, step, part, 1))

    def part(self, windows: list[Example], dropped: Tensor, seed: tuple[int, ...]) -> Part:
        return Part(heard_codes(windows), played_codes(windows), instruments(windows), dropped, seed)

    def loss(self, batch: Part) -> tuple[Tensor, Tensor]:
        nats, cells = self.nats(self.model, batch)
        return nats.sum() / cells.sum().clamp(min=1), nats / cells.clamp(min=1)

    def nats(self, model: Any, batch: Part) -> tuple[Tensor, Tensor]:
        """Sum of nats and number of cells per level."""
        x, y, instrument, dropped, seed = batch
        logits, wanted = model.objective(x, y, instrument, np.random.default_rng(seed), dropped)
        return cell_nats(logits, wanted)

    def validation_step(self, index: int, _: int) -> None:
        """Nats per level, and by how much another song's input (and none, if that was trained) are worse at level 1."""
        size = min(16, self.config.batch)
        windows = [
            self.valid.window(1, index * size + row, self.config.frames, *self.span) for row in range(size)
        ]
        own = self._mean_nats(windows, index, False)
        self.log_mean("valid/loss", own.mean())
        self.log_levels("valid", own)
        if not self.uncontrolled:
            controls = [self.valid.control(window, 0) for window in windows]
            self.log_mean("valid/other", (self._mean_nats(controls, index, False) - own)[0])
        if self.config.deaf_share:
            self.log_mean("valid/deaf", (self._mean_nats(windows, index, True) - own)[0])

    def span_of(self, frames: int) -> tuple[int, int]:
        return self.span

    def perform(self, windows: list[Example]) -> Tensor:
        model: Any = self.best
        x = heard_codes(windows).to(self.device)
        instrument: Any = instruments(windows).to(self.device)
        if hasattr(model, "generate"):
            return model.generate(x, instrument)
        spec = StreamSpec(model.config.t_f, model.config.k)
        frames, levels = self.config.frames, model.config.levels
        return generate(model, x.transpose(1, 2), spec, Sampler(), instrument, frames, levels=levels)

    def _mean_nats(self, windows: list[Example], index: int, deaf: bool) -> Tensor:
        part = self.part(windows, torch.full((len(windows),), deaf), (index,))
        nats, cells = self.nats(self.best, self.transfer_batch_to_device(part, self.device, 0))
        return nats / cells.clamp(min=1)
