"""Input and output fused into one stream (Eq. 3), by a gate that begins closed to the model's own history."""

from typing import Literal

import torch
from torch import Tensor, nn

from bandmate.nn.linear import Linear


class Fusion(nn.Module):
    """z = LN(W LN(e^x)) + g * LN(e^y), g = 0 at first.

    kind "paper" is the equation. "released" is what the authors' code does: the last norm is taken over the sum, and W
    has a bias, or is left out where the widths are equal, as they are at the paper's sizes.
    """

    def __init__(self, latent: int, width: int, kind: Literal["paper", "released"] = "paper") -> None:
        super().__init__()
        self.over_sum = kind == "released"
        self.norm_x = nn.LayerNorm(latent)
        same = self.over_sum and latent == width
        self.project = nn.Identity() if same else Linear(latent, width, bias=self.over_sum)
        self.norm_out = nn.LayerNorm(width)
        self.norm_y = nn.LayerNorm(width)
        self.gate = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """e^x [B, S, latent] and e^y [B, S, D] -> z [B, S, D]."""
        heard, played = self.project(self.norm_x(x)), self.gate * self.norm_y(y)
        return self.norm_out(heard + played) if self.over_sum else self.norm_out(heard) + played

    def without_input(self, y: Tensor) -> Tensor:
        """A column of a chunk that has no input yet, e^y [B, S, D] -> [B, S, D]: its norm alone."""
        return self.norm_y(y)
