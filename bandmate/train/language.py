"""What the trainings of all models of codes share: windows of a prepared store in, nats per level out."""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from bandmate.configs import MODEL_KINDS
from bandmate.data.tokens import Example, TokenStore
from bandmate.model.teacher import heard_codes, played_codes
from bandmate.train.loop import LoopConfig, Training, clip, cosine_with_warmup, set_rate


@dataclasses.dataclass(frozen=True)
class LanguageConfig(LoopConfig):
    """``batch`` windows of ``frames`` a step; clip: the largest norm of a step's gradient.

    rate: the peak, after ``warmup`` steps; floor: the share of it that a cosine leaves at the end. deaf_share: windows
    whose input is dropped (1 trains a model that plays by itself).
    """

    model: Any = None
    batch: int = 8
    frames: int = 250
    rate: float = 1e-4
    warmup: int = 100
    floor: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    deaf_share: float = 0.0
    validation_batches: int = 2


class LanguageTraining(Training):
    """Base: a step is one part or several, each giving ``loss``; the optimiser steps once all have been seen."""

    config: LanguageConfig

    def __init__(self, config: Any, store: Path) -> None:
        super().__init__()
        if config.batch % config.parts:
            raise ValueError(f"a batch of {config.batch} windows cannot be cut into {config.parts} parts")
        self.config = self.loop = config
        self.store, self.valid = TokenStore(store, "train"), TokenStore(store, "valid")
        self.check_sizes()
        self.model = self.make_model()
        self._sums: list[Tensor] = []

    def make_model(self) -> Any:
        return module_of(self.config.model)

    def check_sizes(self) -> None:
        """ValueError unless the store has songs to learn from, in codes such as the model plays."""
        if not self.store.entries:
            raise ValueError(f"{self.store.path} holds no songs to train on, none of the part train")
        levels = {entry.levels for entry in self.store.entries}
        for name, theirs, ours in (
            ("codes per level", {self.store.config.codes}, self.config.model.codes),
            ("levels", levels, self.config.model.levels),
        ):
            if others := theirs - {ours}:
                raise ValueError(
                    f"{self.store.path} has {max(others)} {name}, the model {ours}: "
                    f"prepare the store with the codec that the model is for, or set model.{name.split()[0]}"
                )

    @property
    def judged_span(self) -> tuple[int, int]:
        """Frames of x before and after a window of validation."""
        return self.span_of(self.config.frames)

    @cached_property
    def unjudged(self) -> str:
        """Why there is no validation: nobody with a few songs of their own should have to do without training."""
        try:
            self.valid.window(1, 0, self.config.frames, *self.judged_span)
        except ValueError as error:
            return str(error)
        return ""

    @cached_property
    def uncontrolled(self) -> str:
        """Why validation knows nothing of other songs' input: one song alone has no other."""
        try:
            self.valid.control(self.valid.window(1, 0, self.config.frames, *self.judged_span), 0)
        except ValueError as error:
            return str(error)
        return ""

    def on_fit_start(self) -> None:
        """Says what validation cannot do, where there is to be any."""
        if -(-self.loop.steps // self.loop.steps_per_epoch) < self.loop.validate_every:
            return
        if self.unjudged:
            self.say(f"warning: trained without validation: {self.unjudged}")
        elif self.uncontrolled:
            self.say(f"warning: validated without the wrong song's input: {self.uncontrolled}")

    def loss(self, batch: Any) -> tuple[Tensor, Tensor]:
        """What is minimised, and nats per level [K]."""
        raise NotImplementedError

    def rate_at(self, step: int) -> float:
        c = self.config
        return c.rate * cosine_with_warmup(step, c.steps, c.warmup, c.floor)

    def training_step(self, batch: Any, index: int) -> dict[str, Tensor]:
        loss, nats = self.loss(batch)
        self._sums.append(torch.cat([loss.detach()[None], nats.detach()]))
        if self.step_is_whole:
            self.log_step(torch.stack(self._sums).mean(0))
            self._sums = []
        return {"loss": loss}

    def log_step(self, means: Tensor) -> None:
        """Of the whole batch, over all processes."""
        if self.trainer.world_size > 1:
            gathered: Any = self.all_gather(means)
            means = gathered.mean(0)
        self.log("train/loss", means[0], prog_bar=True)
        self.log_dict(
            {f"train/level{level}": value for level, value in enumerate(means[1:], 1)}, prog_bar=True
        )

    def log_mean(self, name: str, value: Tensor) -> None:
        """A figure of validation, averaged over batches and processes."""
        self.log(name, value, batch_size=1, sync_dist=self.trainer.world_size > 1)

    def log_levels(self, prefix: str, nats: Tensor) -> None:
        for level, value in enumerate(nats, 1):
            self.log_mean(f"{prefix}/level{level}", value)

    def span_of(self, frames: int) -> tuple[int, int]:
        """Frames of x before and after a window of y when it is played for :meth:`samples`."""
        return 0, 0

    def perform(self, windows: list[Example]) -> Tensor:
        """Codes [B, K, T] that the model plays to the input of windows."""
        raise NotImplementedError

    def samples(self, codec: Any) -> dict[str, Tensor]:
        """Two clips, of validation songs if there are any: what is heard (if codes), what the stem and the model play."""
        if codec is None:
            return {}
        frames = self.config.frames
        songs = self.store if self.unjudged else self.valid
        windows = [songs.window(2, index, frames, *self.span_of(frames)) for index in range(2)]
        clips = {"played": self.perform(windows).cpu().clamp(min=0), "true": played_codes(windows)}
        if windows[0].x_codes is not None:
            clips["heard"] = heard_codes(windows)[:, :, :frames]
        return {
            f"clip{index}/{name}": audio
            for name, codes in clips.items()
            for index, audio in enumerate(codec.decode(codes))
        }

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        clip(self.model.parameters(), self.config.clip)
        set_rate([optimizer], self.rate_at(self.step))

    def val_dataloader(self) -> Any:
        """Indices of batches; each process takes as many as the others."""
        if self.unjudged:
            return []
        world, rank = self.trainer.world_size, self.global_rank
        count = -(-self.config.validation_batches // world) * world
        return DataLoader(range(rank, count, world), batch_size=None)  # type: ignore[arg-type]


def module_of(config: Any, *arguments: Any) -> Any:
    """The module, of any known kind, that a config is for."""
    for known, make in MODEL_KINDS.values():
        if type(config) is known:
            return make(config, *arguments)
    raise ValueError(f"no kind of model is registered for {type(config).__name__}")
