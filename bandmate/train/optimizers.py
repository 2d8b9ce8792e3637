"""Muon for processors of any kind; optimisers side by side as one, which is what automatic optimisation takes."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Muon):
    """Orthogonalised momentum (Jordan et al. 2024), each step as large as AdamW's. On a CPU in float32.

    torch's own works in bfloat16 whatever the device: on a processor without instructions for it that took two fifths
    of a training's time, and its rounding differs from one kind to the next. Equal shapes are stepped as one batch. On a
    GPU it is torch's. State and settings are torch's, too.
    """

    def __init__(self, matrices: list[torch.nn.Parameter], rate: float, weight_decay: float) -> None:
        super().__init__(matrices, rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Matrices without a gradient stay as they are."""
        if not all(p.is_cpu for group in self.param_groups for p in group["params"]):
            return super().step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for matrices in alike.values():
                self._step_alike(matrices, group)
        return loss

    def _step_alike(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        """One step of matrices [rows, columns], all of the same shape."""
        updates = []
        for matrix in matrices:
            state = self.state[matrix]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(matrix)
            average = state["momentum_buffer"].lerp_(matrix.grad, 1 - group["momentum"])
            updates.append(matrix.grad.lerp(average, group["momentum"]))  # type: ignore[union-attr]
        steps = orthogonalised(
            torch.stack(updates), group["ns_coefficients"], group["ns_steps"], group["eps"]
        )
        rate = group["lr"] * 0.2 * math.sqrt(max(matrices[0].shape))
        for matrix, step in zip(matrices, steps, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=-rate)


def orthogonalised(x: Tensor, coefficients: tuple[float, float, float], rounds: int, eps: float) -> Tensor:
    """Matrices x [N, rows, columns] with all singular values brought near 1: rounds of a quintic Newton-Schulz iteration."""
    a, b, c = coefficients
    wide = x if x.shape[1] <= x.shape[2] else x.mT
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(rounds):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if x.shape[1] <= x.shape[2] else wide.mT


class Together(torch.optim.Optimizer):
    """Steps several optimisers, each with parameters of its own. Its state is the list of theirs."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        super().__init__([p for part in parts for group in part.param_groups for p in group["params"]], {})
        self.param_groups = [group for part in parts for group in part.param_groups]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """The closure, which finds the gradients, runs once and before all."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]
