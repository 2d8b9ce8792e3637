"""Where a training runs: processes, how they share the work, where its curves go. None of it changes what is learnt."""

import dataclasses
import importlib.util
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import nn

from bandmate.nn.transformer import Block, Projections

STRATEGIES = ("auto", "ddp", "fsdp")


@dataclasses.dataclass(frozen=True)
class Machine:
    """``devices`` processes on each of ``nodes`` machines.

    strategy: auto (one process alone, or ddp), ddp (a copy of the model each), fsdp (each holds a share of it).
    wandb: project at Weights & Biases that the curves are sent to, beside TensorBoard; empty = none.
    """

    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    accelerator: str = "auto"
    wandb: str = ""

    @property
    def processes(self) -> int:
        return self.devices * self.nodes

    @property
    def is_first(self) -> bool:
        """Whether this is the process that was started by hand, or rank 0 of torchrun."""
        return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"

    def check(self, parts: int, accumulates: bool = True, shards: bool = True) -> None:
        """ValueError when so many processes cannot share a step of so many parts, or a model that is not to be cut."""
        if self.strategy not in STRATEGIES:
            raise ValueError(f"unknown strategy {self.strategy!r}; known are {', '.join(STRATEGIES)}")
        if self.strategy == "fsdp" and not shards:
            raise ValueError("this training steps with whole matrices, which fsdp cuts: take --strategy ddp")
        if self.devices < 1 or self.nodes < 1:
            raise ValueError(f"--devices {self.devices} and --nodes {self.nodes} must be 1 or more")
        if parts % self.processes or (not accumulates and parts != self.processes):
            fitting = "a multiple of it" if accumulates else f"parts={self.processes}"
            raise ValueError(
                f"{self.processes} processes cannot share a step of {parts} parts: set parts to {fitting}"
            )
        if self.wandb and importlib.util.find_spec("wandb") is None:
            raise ValueError("--wandb needs a package that is not installed: pip install wandb")


def strategy(machine: Machine, all_parameters_used: bool) -> Any:
    """Lightning's strategy; the shards are gathered for a checkpoint, which any number of processes can then read."""
    if machine.strategy == "fsdp":
        return ModelParallelStrategy(
            data_parallel_size=machine.processes, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
    if machine.processes == 1 and machine.strategy == "auto":
        return "auto"
    return DDPStrategy(find_unused_parameters=not all_parameters_used, broadcast_buffers=False)


def loggers(machine: Machine, run_dir: Path) -> list[Any]:
    """CSV and TensorBoard in the run's folder, Weights & Biases when asked for."""
    kept: list[Any] = [
        CSVLogger(str(run_dir), name="csv"),
        TensorBoardLogger(str(run_dir), name="tensorboard"),
    ]
    if machine.wandb:
        from lightning.pytorch.loggers import WandbLogger

        kept.append(WandbLogger(project=machine.wandb, name=run_dir.name, save_dir=str(run_dir)))
    return kept


def is_sharded(module: nn.Module) -> bool:
    from torch.distributed.fsdp import FSDPModule

    return isinstance(module, FSDPModule)


def shard(model: nn.Module, mesh: Any) -> None:
    """FSDP2: two groups per layer (what projects, what finishes) and one for the rest of the model.

    A layer is run in parts and a model through ``objective``, so each of these calls must gather what it needs. Queries
    are scaled after their projection has returned: its parameters stay gathered until the backward pass is through.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for module in [part for part in model.modules() if isinstance(part, Projections)]:
        fully_shard(module, mesh=mesh, reshard_after_forward=False)
        register_fsdp_forward_method(module, "plain")
    for block in [part for part in model.modules() if isinstance(part, Block)]:
        fully_shard(block, mesh=mesh)
        register_fsdp_forward_method(block, "finish")
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "objective")


def reshard(model: nn.Module) -> None:
    """Gives back what a pass without a backward pass has left gathered."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
