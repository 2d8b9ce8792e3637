"""What all trainings share: the trainer, resuming, schedules, the order of the data, the alarm for NaN."""

import dataclasses
import logging
import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader, IterableDataset


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """How long, how often saved; steps are optimiser steps of the model."""

    steps: int
    steps_per_epoch: int = 100  # a killed run resumes at the last multiple of it
    validate_every: int = 5  # epochs
    workers: int = 0
    precision: str = "bf16-mixed"


class StepBatches(IterableDataset):
    """The batches of the steps start ... stop - 1, each a pure function of its step: what makes a run resumable."""

    def __init__(self, draw: Callable[[int], Any], start: int, stop: int) -> None:
        self.draw, self.start, self.stop = draw, start, stop

    def __iter__(self) -> Iterator[Any]:
        info = torch.utils.data.get_worker_info()
        first, stride = (0, 1) if info is None else (info.id, info.num_workers)
        for step in range(self.start + first, self.stop, stride):
            yield self.draw(step)


class Training(L.LightningModule):
    """Base: one data loader per epoch of ``steps_per_epoch`` steps, and a step count that survives a resume."""

    loop: LoopConfig

    @abstractmethod
    def draw(self, step: int) -> Any:
        """The batch of a step, as a pure function of (seed, step)."""

    @property
    def step(self) -> int:
        """Index of the current step over the whole run."""
        return self.current_epoch * self.loop.steps_per_epoch + self._batch_index

    _batch_index = 0

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._batch_index = batch_idx

    def train_dataloader(self) -> DataLoader:
        start = self.current_epoch * self.loop.steps_per_epoch
        stop = min(start + self.loop.steps_per_epoch, self.loop.steps)
        return DataLoader(StepBatches(self.draw, start, stop), batch_size=None, num_workers=self.loop.workers)


class StopAtNaN(Callback):
    """Ends the run with the step named; the last good checkpoint stays."""

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if loss is not None and not torch.isfinite(loss).all():
            raise FloatingPointError(
                f"the loss is not finite at step {module.step}; resume from the last checkpoint"
            )


def cosine_with_warmup(step: int, steps: int, warmup: int = 100, floor: float = 0.05) -> float:
    """Factor on the peak rate: linear to 1, then half a cosine to ``floor``."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def split_parameters(
    module: torch.nn.Module, inner: Callable[[str], bool]
) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """The matrices of the inner layers, for Muon (Jordan et al. 2024), and the rest, for AdamW.

    Orthogonalised steps learn what is small but everywhere, such as pitch beside loudness, several times sooner.
    """
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in module.named_parameters():
        hidden = parameter.dim() == 2 and "depthwise" not in name and inner(name)
        (matrices if hidden else others).append(parameter)
    return matrices, others


def set_rate(optimizers: list[Any], rate: float) -> None:
    """The learning rate of this step, for all of them."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def latest_checkpoint(run_dir: Path) -> ModelCheckpoint:
    """``last.ckpt``, written anew after every epoch."""
    return ModelCheckpoint(
        dirpath=run_dir, filename="last", save_top_k=1, every_n_epochs=1,
        save_on_train_epoch_end=True, enable_version_counter=False,
    )  # fmt: skip


def fit(module: Training, run_dir: Path, resume: bool = False, progress: bool = True) -> None:
    """Train to the last step, saving to ``run_dir/last.ckpt`` after every epoch; ``resume`` goes on from there."""
    last = Path(run_dir) / "last.ckpt"
    if last.exists() and not resume:
        raise ValueError(
            f"{run_dir} already holds a run: add --resume to go on with it, or choose another folder"
        )
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # It warns of its own deprecations, of a run folder that exists (a resumed one does) and of few data workers.
        warnings.filterwarnings("ignore", module="lightning")
        trainer = make_trainer(module.loop, Path(run_dir), progress)
        trainer.fit(module, ckpt_path=str(last) if resume and last.exists() else None, weights_only=False)


def make_trainer(loop: LoopConfig, run_dir: Path, progress: bool) -> L.Trainer:
    """Lightning's trainer with our habits; each resume logs into a new version folder, the old ones stay."""
    return L.Trainer(
        max_epochs=-(-loop.steps // loop.steps_per_epoch),
        precision=loop.precision,  # type: ignore[arg-type]
        accelerator="auto",
        devices=1,
        logger=[CSVLogger(str(run_dir), name="csv"), TensorBoardLogger(str(run_dir), name="tensorboard")],
        callbacks=[latest_checkpoint(run_dir), StopAtNaN()],
        reload_dataloaders_every_n_epochs=1,
        check_val_every_n_epoch=loop.validate_every,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        enable_progress_bar=progress,
        enable_model_summary=False,
    )
