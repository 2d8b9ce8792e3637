"""What all trainings share: steps and parts of steps, schedules, the alarm for NaN, averages, and the fit itself.

A step's batch is cut into ``parts``, each a pure function of (seed, step, part). Every process takes the parts that are
its own and adds up their gradients, so how many processes there are changes nothing but the rounding.
"""

import contextlib
import dataclasses
import logging
import math
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset

from bandmate.nn.precision import is_quick_in_bfloat16
from bandmate.train.flops import Meter
from bandmate.train.machine import Machine, is_sharded, loggers, reshard, shard, strategy


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """How long, how often saved; steps are optimiser steps of the model.

    parts: pieces of a step's batch; a multiple of the number of processes. ema: decay per step of the averaged copy
    of the weights, 0 = none. compile: backend of torch.compile, such as inductor; empty = none. precision: Lightning's;
    auto = bf16-mixed on a device that is quick in it, else 32-true.
    """

    steps: int
    steps_per_epoch: int = 100  # a killed run resumes at the last multiple of it
    validate_every: int = 5  # epochs
    workers: int = 0
    precision: str = "auto"
    parts: int = 1
    ema: float = 0.0
    compile: str = ""
    log_every: int = 10
    seed: int = 0


class StepBatches(IterableDataset):
    """Some parts of the steps start ... stop - 1, each a pure function of (step, part): what makes a run resumable."""

    def __init__(self, draw: Callable[[int, int], Any], start: int, stop: int, parts: range) -> None:
        self.draw, self.keys = draw, [(step, part) for step in range(start, stop) for part in parts]

    def __iter__(self) -> Iterator[Any]:
        info = torch.utils.data.get_worker_info()
        first, stride = (0, 1) if info is None else (info.id, info.num_workers)
        for step, part in self.keys[first::stride]:
            yield self.draw(step, part)


class Training(L.LightningModule):
    """Base: one data loader per epoch of ``steps_per_epoch`` steps, and a step count that survives a resume.

    ``product`` names the attribute that holds the module to be kept: the only one that is averaged and bundled.
    """

    loop: LoopConfig
    config: Any  # what a run's folder remembers
    product = "model"
    shards = False  # whether fsdp may cut the product
    all_parameters_used = True  # False: some get no gradient in some steps, as before discriminators begin

    def __init__(self) -> None:
        super().__init__()
        self.average: AveragedModel | None = None
        self._batch_index = 0

    def draw_part(self, step: int, part: int) -> Any:
        """One part of a step's batch, as a pure function of (seed, step, part)."""
        raise NotImplementedError

    def samples(self, codec: Any) -> dict[str, Tensor]:
        """Something to hear: name -> audio [S] at 32 kHz. ``codec`` (perhaps None) decodes what models play."""
        return {}

    @property
    def step(self) -> int:
        """Index of the current step over the whole run."""
        return self.current_epoch * self.loop.steps_per_epoch + self._batch_index // self.own_parts

    @property
    def own_parts(self) -> int:
        """Parts of each step that this process takes."""
        return self.loop.parts // (self._trainer.world_size if self._trainer else 1)

    @property
    def step_is_whole(self) -> bool:
        """Whether the part at hand is the step's last."""
        return (self._batch_index + 1) % self.own_parts == 0

    @property
    def best(self) -> nn.Module:
        """What is validated: the averaged copy where there is one."""
        return getattr(self, self.product) if self.average is None else self.average.module

    def configure_model(self) -> None:
        """Adds the averaged copy, shards, compiles; Lightning calls it before it restores a checkpoint."""
        module = getattr(self, self.product)
        if self.loop.ema and self.average is None:
            # Buffers are taken over as they are: an average of a count or of a frozen table means nothing.
            self.average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(self.loop.ema))
            self.average.requires_grad_(False)
        if self.device_mesh is not None and not is_sharded(module):
            for copy in (module,) if self.average is None else (module, self.average.module):
                shard(copy, self.device_mesh["data_parallel"])
        if self.loop.compile:
            compile_layers(module, self.loop.compile)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """What torch draws in a part, as for dropout, is a function of (seed, step, part), too."""
        self._batch_index = batch_idx
        world = self.trainer.world_size
        part = self.global_rank + batch_idx % self.own_parts * world
        torch.manual_seed(((self.loop.seed + 1) * 100_003 + self.step) * 1009 + part)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.average is not None and self.step_is_whole:
            self.average.update_parameters(getattr(self, self.product))

    def on_validation_end(self) -> None:
        if self.device_mesh is not None:
            reshard(self)

    def train_dataloader(self) -> DataLoader:
        start = self.current_epoch * self.loop.steps_per_epoch
        stop = min(start + self.loop.steps_per_epoch, self.loop.steps)
        rank, world = (self.global_rank, self._trainer.world_size) if self._trainer else (0, 1)
        batches = StepBatches(self.draw_part, start, stop, range(rank, self.loop.parts, world))
        return DataLoader(batches, batch_size=None, num_workers=self.loop.workers)

    def say(self, line: str) -> None:
        """To the terminal, once however many processes train."""
        if self.global_rank == 0:
            print(line, flush=True)


class StopAtNaN(Callback):
    """Ends the run with the step named; the last good checkpoint stays."""

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if loss is not None and not torch.isfinite(loss).all():
            raise FloatingPointError(
                f"the loss is not finite at step {module.step} (batch {index} of the epoch); "
                "resume from the last checkpoint with a lower rate"
            )


def compile_layers(model: nn.Module, backend: str) -> None:
    """torch.compile for each layer by itself: compiled once, used by all alike; names in the state stay."""
    from bandmate.nn.transformer import Block, Projections

    for module in model.modules():
        if isinstance(module, Projections):
            module.compile(backend=backend)
        elif isinstance(module, Block):
            module.finish = torch.compile(module.finish, backend=backend)  # type: ignore[method-assign]


def cosine_with_warmup(step: int, steps: int, warmup: int = 100, floor: float = 0.05) -> float:
    """Factor on the peak rate: linear to 1, then half a cosine to ``floor``."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def split_parameters(
    module: nn.Module, inner: Callable[[str], bool]
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The matrices of the inner layers, for Muon (Jordan et al. 2024), and the rest, for AdamW.

    Orthogonalised steps learn what is small but everywhere, such as pitch beside loudness, several times sooner.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        hidden = parameter.dim() == 2 and "depthwise" not in name and inner(name)
        (matrices if hidden else others).append(parameter)
    return matrices, others


def set_rate(optimizers: list[Any], rate: float) -> None:
    """The learning rate of this step, for all of them."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def clip(parameters: Iterator[Tensor], limit: float) -> None:
    """Scales the gradients so that their joint norm is ``limit`` at most; sharded ones, too."""
    torch.nn.utils.clip_grad_norm_(parameters, limit)


def latest_checkpoint(run_dir: Path) -> ModelCheckpoint:
    """``last.ckpt``, written anew after every epoch."""
    return ModelCheckpoint(
        dirpath=run_dir, filename="last", save_top_k=1, every_n_epochs=1,
        save_on_train_epoch_end=True, enable_version_counter=False,
    )  # fmt: skip


def keep_others_runs(run_dir: Path, resume: bool, machine: Machine) -> None:
    """ValueError for a folder that holds a run which is not to be resumed."""
    if (run_dir / "last.ckpt").exists() and not resume and machine.is_first:
        raise ValueError(
            f"{run_dir} already holds a run: add --resume to go on with it, or choose another folder"
        )


def fit(
    module: Training,
    run_dir: Path,
    resume: bool = False,
    progress: bool = True,
    machine: Machine | None = None,
    callbacks: tuple[Callback, ...] = (),
) -> None:
    """Train to the last step, saving to ``run_dir/last.ckpt`` after every epoch; ``resume`` goes on from there."""
    machine = machine or Machine()
    last = Path(run_dir) / "last.ckpt"
    keep_others_runs(run_dir, resume, machine)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Lightning warns of its own deprecations, of a run folder that exists (a resumed one does), of few data workers;
        # torch of views that nobody writes to, and of what its compiler looks at.
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
        trainer = make_trainer(module, Path(run_dir), progress, machine, callbacks)
        with interruptible():
            trainer.fit(module, ckpt_path=str(last) if resume and last.exists() else None, weights_only=False)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C stays a KeyboardInterrupt: Lightning makes a silent exit(1) of it, and leaves the signal ignored."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def precision_on(wanted: str, accelerator: str) -> str:
    """What "auto" means where training runs; all else as it is."""
    if wanted != "auto":
        return wanted
    device = "cuda" if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu"
    return "bf16-mixed" if is_quick_in_bfloat16(device) else "32-true"


def make_trainer(
    module: Training, run_dir: Path, progress: bool, machine: Machine, callbacks: tuple[Callback, ...]
) -> L.Trainer:
    """Lightning's trainer with our habits; each resume logs into a new version folder, the old ones stay."""
    loop = module.loop
    machine.check(loop.parts, module.automatic_optimization, module.shards)
    own_parts = loop.parts // machine.processes
    return L.Trainer(
        max_epochs=-(-loop.steps // loop.steps_per_epoch),
        precision=precision_on(loop.precision, machine.accelerator),  # type: ignore[arg-type]
        accelerator=machine.accelerator,
        devices=machine.devices,
        num_nodes=machine.nodes,
        strategy=strategy(machine, module.all_parameters_used),
        accumulate_grad_batches=own_parts if module.automatic_optimization else 1,
        logger=loggers(machine, run_dir),
        callbacks=[latest_checkpoint(run_dir), StopAtNaN(), Meter(), *callbacks],
        reload_dataloaders_every_n_epochs=1,
        check_val_every_n_epoch=loop.validate_every,
        num_sanity_val_steps=0,
        log_every_n_steps=loop.log_every,
        enable_progress_bar=progress,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
