"""The paper's streaming decoder: one column per call (k = 1), a causal mask, any t_f."""

import dataclasses

import numpy as np
from torch import Tensor

from bandmate.model.fused import FusedConfig, FusedNetwork
from bandmate.model.paper import wanted_columns


@dataclasses.dataclass(frozen=True)
class DecoderConfig(FusedConfig):
    """As FusedConfig, with k = 1."""

    def __post_init__(self) -> None:
        if self.k != 1:
            raise ValueError(f"a decoder plays one column per call, not k = {self.k}: take a prefix_decoder")


class Decoder(FusedNetwork):
    """Every column of a window is supervised in one pass."""

    def __init__(self, config: DecoderConfig | None = None, codebook: Tensor | None = None) -> None:
        super().__init__(config or DecoderConfig(), codebook)

    def forward(self, x: Tensor, y: Tensor, instrument: Tensor, drop_input: Tensor | None = None) -> Tensor:
        """Logits [B, T, K, V] of the columns of y [B, K, T], with x [B, K, Tx] from the same frame on."""
        _, previous = self.window(y, instrument)
        fused, _ = self.embed_window(x, previous, drop_input)
        h = self.stack.stream(fused, self.config.first_step, first=0)
        return self.heads(h[:, -y.shape[2] :])

    def objective(
        self,
        x: Tensor,
        y: Tensor,
        instrument: Tensor,
        rng: np.random.Generator,
        drop_input: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What training compares.

        Args:
            x: [B, K, T + post] codes of the input; y: [B, K, T] codes of the target; instrument: [B] classes.
            rng: not needed here. drop_input: [B] rows that hear nothing.
        Returns:
            logits [B, T, K, V] and the wanted codes [B, T, K], -100 where there is none.
        """
        columns, _ = self.window(y, instrument)
        return self(x, y, instrument, drop_input), wanted_columns(columns, self.config.codes)
