"""The paper's chunked decoder: k columns per call, after a prefix in which input and output are fused.

Two objectives. "random_prefix" is the paper's: one prefix length for the batch (or, by flag, for each example), and
only the chunk after it is supervised. "every_chunk" is ours: all chunks of a window in one pass; the columns of a chunk
stand in the sequence twice, once without input as its chunk sees them, once fused as the later chunks do.
"""

import dataclasses
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bandmate.model.fused import FusedConfig, FusedNetwork
from bandmate.model.paper import wanted_columns


@dataclasses.dataclass(frozen=True)
class PrefixDecoderConfig(FusedConfig):
    """As FusedConfig; per_example: draw a prefix for each example."""

    k: int = 5
    objective: Literal["random_prefix", "every_chunk"] = "random_prefix"
    per_example: bool = False


class PrefixDecoder(FusedNetwork):
    """See the module's first lines."""

    config: PrefixDecoderConfig

    def __init__(self, config: PrefixDecoderConfig | None = None, codebook: Tensor | None = None) -> None:
        super().__init__(config or PrefixDecoderConfig(), codebook)

    def objective(
        self,
        x: Tensor,
        y: Tensor,
        instrument: Tensor,
        rng: np.random.Generator,
        drop_input: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`bandmate.model.decoder.Decoder.objective`; N = k columns, or all those in whole chunks."""
        c, chunks = self.config, y.shape[2] // self.config.k
        if not chunks:
            raise ValueError(f"a window of {y.shape[2]} frames holds no chunk of {c.k}: take longer windows")
        columns, _ = self.window(y, instrument)
        wanted = wanted_columns(columns, c.codes)
        if c.objective == "every_chunk":
            return self.every_chunk(x, y, instrument, drop_input), wanted[:, : chunks * c.k]
        drawn = rng.integers(chunks, size=len(y) if c.per_example else 1) * c.k
        prefix = torch.from_numpy(np.broadcast_to(drawn, len(y)).copy()).to(y.device)
        logits = self.after_prefix(x, y, instrument, prefix, drop_input)
        return logits, take(wanted, prefix, c.k)

    def after_prefix(
        self, x: Tensor, y: Tensor, instrument: Tensor, prefix: Tensor, drop_input: Tensor | None = None
    ) -> Tensor:
        """Logits [B, k, K, V] of the chunk that begins at column prefix[b] of each row."""
        c = self.config
        end = int(prefix.max()) + c.k
        _, previous = self.window(y[:, :, :end], instrument)
        fused, plain = self.embed_window(x, previous, drop_input)
        steps = torch.arange(fused.shape[1], device=x.device) + c.first_step
        z = torch.where((steps <= prefix[:, None])[..., None], fused, plain)
        h = self.stack.stream(z, c.first_step, first=0)
        return self.heads(take(h, prefix - c.first_step, c.k))

    def every_chunk(
        self, x: Tensor, y: Tensor, instrument: Tensor, drop_input: Tensor | None = None
    ) -> Tensor:
        """Logits [B, N, K, V] of all columns that lie in whole chunks. ValueError when they are more than ``window``."""
        c, chunks = self.config, y.shape[2] // self.config.k
        if chunks * c.k > c.window:
            raise ValueError(
                f"every_chunk takes windows of {c.window} frames at most: shorten them or widen window"
            )
        _, previous = self.window(y[:, :, : chunks * c.k], instrument)
        fused, plain = self.embed_window(x, previous, drop_input)
        order = ChunkOrder(c.first_step, c.k, chunks, x.device)
        z = torch.cat([fused[:, : order.fused], plain[:, order.plain_steps - c.first_step]], dim=1)
        h = self.stack(z, order.positions, order.mask)
        return self.heads(h[:, order.emitting])


class ChunkOrder:
    """Where the steps of :meth:`PrefixDecoder.every_chunk` stand: first the fused ones, then those of each chunk.

    positions: [S] step of each. mask: [1, 1, S, S] who looks at whom. emitting: [N] where column 0, 1, ... is emitted.
    """

    def __init__(self, first: int, k: int, chunks: int, device: torch.device) -> None:
        last_call = (chunks - 1) * k
        self.fused = last_call - first + 1
        fused = torch.arange(first, last_call + 1, device=device)
        calls = torch.arange(chunks, device=device)[:, None] * k
        plain = (calls + torch.arange(1, k, device=device)).flatten()
        self.plain_steps = plain
        self.positions = torch.cat([fused, plain])
        # The call to which a step belongs; a fused step is its own, so that it looks at fused steps up to itself.
        call = torch.cat([fused, plain // k * k])
        is_fused = torch.arange(len(call), device=device) < self.fused
        earlier = is_fused & (self.positions <= call[:, None])
        same_chunk = ~is_fused & ~is_fused[:, None] & (call == call[:, None])
        self.mask = (earlier | (same_chunk & (self.positions <= self.positions[:, None])))[None, None]
        column = torch.arange(chunks * k, device=device)
        in_chunk = self.fused + column // k * (k - 1) + column % k - 1
        self.emitting = torch.where(column % k == 0, column - first, in_chunk)


def take(values: Tensor, start: Tensor, count: int) -> Tensor:
    """values [B, S, ...], start [B] -> values[b, start[b] : start[b] + count], [B, count, ...]."""
    index = start[:, None] + torch.arange(count, device=values.device)
    return values[torch.arange(len(values), device=values.device)[:, None], index]
