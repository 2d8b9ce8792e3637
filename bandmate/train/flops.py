"""How well the machine is used: floating-point operations of a step, counted once, against what the device could do.

Counted are matrix products and attention, forward and backward: 6 N per token and what attention adds (Kaplan et al.
2020; Chowdhery et al. 2022). Nothing is computed twice in these models, so model FLOPs are hardware FLOPs.
"""

import math
import time
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

# Dense bf16 peak of one device, FLOP/s: the makers' data sheets, without sparsity.
PEAKS = {
    "H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "B200": 2250e12, "A100": 312e12, "L40S": 362e12,
    "L4": 121e12, "RTX 4090": 165e12, "RTX 3090": 71e12,
}  # fmt: skip


def peak_of(device: torch.device) -> float:
    """Dense bf16 peak in FLOP/s; nan where it is not known, as for a CPU."""
    if device.type != "cuda":
        return math.nan
    name = torch.cuda.get_device_name(device)
    return next((peak for known, peak in PEAKS.items() if known in name), math.nan)


def cpu_attention(*arguments: Any, out_shape: Any = None, **_: Any) -> int:
    """The CPU's fused attention, which torch's own counter does not know."""
    return sdpa_flop_count(*arguments[:3])


def cpu_attention_backward(*arguments: Any, out_shape: Any = None, **_: Any) -> int:
    return sdpa_backward_flop_count(*arguments[:4])


def counter() -> FlopCounterMode:
    """Counts what runs within it."""
    aten = torch.ops.aten
    return FlopCounterMode(
        display=False,
        custom_mapping={
            aten._scaled_dot_product_flash_attention_for_cpu: cpu_attention,
            aten._scaled_dot_product_flash_attention_for_cpu_backward: cpu_attention_backward,
        },
    )


class Meter(Callback):
    """Counts the first part, times the others, and says once per run what came of it; logs it after every epoch.

    flops: of one step, over all processes, or 0 before the first part.
    """

    def __init__(self) -> None:
        self.flops = 0
        self.counting: FlopCounterMode | None = None
        self.started, self.steps, self.said = 0.0, 0, False

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, index: int) -> None:
        if not self.flops and trainer.strategy.__class__.__name__ != "ModelParallelStrategy":
            torch.compiler.set_stance("force_eager")  # what is compiled cannot be seen by the counter
            self.counting = counter()
            self.counting.__enter__()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        if self.counting is not None:
            self.counting.__exit__(None, None, None)
            torch.compiler.set_stance("default")
            self.flops = self.counting.get_total_flops() * module.loop.parts
            self.counting = None
        if not module.step_is_whole:
            return
        if self.started:
            self.steps += 1
        elif index >= module.own_parts:  # the second step: by now all is warm
            self._wait(module)
            self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        if self.steps:
            self._wait(module)
            seconds = (time.perf_counter() - self.started) / self.steps
            self._report(trainer, module, seconds)
        self.started, self.steps = 0.0, 0

    def _wait(self, module: Any) -> None:
        if module.device.type == "cuda":
            torch.cuda.synchronize(module.device)

    def _report(self, trainer: L.Trainer, module: Any, seconds: float) -> None:
        speed = self.flops / seconds / trainer.world_size
        use = speed / peak_of(module.device)
        values = {"speed/steps_per_second": 1 / seconds, "speed/gflops_per_device": speed / 1e9}
        if math.isfinite(use):
            values["speed/model_flops_utilisation"] = use
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        if not self.said:
            share = f"{100 * use:.1f} % of its bf16 peak" if math.isfinite(use) else "its peak is not known"
            module.say(
                f"{seconds:.3g} s a step of {self.flops / 1e9:,.3g} GFLOP: "
                f"{speed / 1e9:,.3g} GFLOP/s on each {module.device.type} ({share})"
            )
            self.said = True
