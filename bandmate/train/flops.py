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
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

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


def cpu_attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """The CPU's fused attention, which torch's registry does not know."""
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def cpu_attention_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any
) -> int:
    return sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape)


FORMULAS: dict[Any, Any] = flop_registry | {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: cpu_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: cpu_attention_backward,
}


class Counter(TorchDispatchMode):
    """Counts what runs within it, and leaves every bit of it as it is.

    torch's own FlopCounterMode takes operations apart to look inside: the backward pass of SiLU then rounds otherwise,
    and a run that counts at another step than its twin is no longer equal to it. What runs under ``inference_mode``
    keeps its products hidden in larger operations: count under ``no_grad``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = FORMULAS.get(func.overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


def step_flops(
    weights: int, positions: int, head_weights: int, columns: int, layers: int, width: int
) -> float:
    """What a window costs forward and backward: 6 per weight and position, and 12 layers x width x positions^2.

    weights: of the layers' and the input's matrices; head_weights: of the heads, which see ``columns`` positions only.
    Masked pairs of positions count like others, as a dense product computes them.
    """
    products = weights * positions + head_weights * columns
    return 6.0 * products + 12.0 * layers * width * positions**2


class Meter(Callback):
    """Counts the first part, times the others, and says once per run what came of it; logs it after every epoch.

    flops: of one step, over all processes, or 0 before the first part. A checkpoint keeps it: what is counted is not
    compiled, and a resumed run must not compute a step otherwise than one that nobody interrupted.
    """

    def __init__(self) -> None:
        self.flops = 0
        self.counting: Counter | None = None
        self.started, self.steps, self.said = 0.0, 0, False

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, index: int) -> None:
        if not self.flops and trainer.strategy.__class__.__name__ != "ModelParallelStrategy":
            torch.compiler.set_stance("force_eager")  # what is compiled cannot be seen by the counter
            self.counting = Counter()
            self.counting.__enter__()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        if self.counting is not None:
            self.counting.__exit__(None, None, None)
            torch.compiler.set_stance("default")
            self.flops = self.counting.flops * module.loop.parts
            self.counting = None
        if not module.step_is_whole:
            return
        if self.started:
            self.steps += 1
        elif index >= module.own_parts:  # the second step: by now all is warm
            self._wait(module)
            self.started = time.perf_counter()

    def on_save_checkpoint(self, trainer: L.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["operations"] = {"flops": self.flops, "config": repr(module.config)}

    def on_load_checkpoint(self, trainer: L.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint.get("operations", {})
        self.flops = kept["flops"] if kept.get("config") == repr(module.config) else 0

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
