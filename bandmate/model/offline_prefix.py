"""The paper's offline prefix decoder: the whole input as a prefix, then the output column by column."""

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn

from bandmate.model.paper import CodeInput, ColumnEmbedding, Heads, PaperConfig, wanted_columns
from bandmate.model.sampling import Sampler
from bandmate.model.tokens import from_columns, to_columns
from bandmate.nn.stack import Stack
from bandmate.nn.transformer import attend
from bandmate.spec import StreamSpec


@dataclasses.dataclass(frozen=True)
class OfflinePrefixConfig(PaperConfig):
    """The paper's sizes. ``window`` has no meaning here: a position sees all before it.

    The distance between a column and its frame of the input is the length of the window, so that a model is at home
    in the length that it was trained with.
    """


class OfflinePrefix(nn.Module):
    """One causal sequence: T input frames, the instrument, the columns; no gate, no norm of fusion, loss on y only."""

    ears = "codes"

    def __init__(self, config: OfflinePrefixConfig | None = None, codebook: Tensor | None = None) -> None:
        super().__init__()
        self.config = c = config or OfflinePrefixConfig()
        self.input = CodeInput(c, codebook)
        self.project = nn.Linear(c.latent, c.width)
        self.output = ColumnEmbedding(c)
        self.null = nn.Parameter(torch.randn(c.width) * 0.02)
        self.stack = Stack(c)
        self.heads = Heads(c)

    def prefix(self, x: Tensor, drop_input: Tensor | None) -> Tensor:
        """x [B, K, T] codes -> [B, T, D]; the rows of drop_input [B] hear nothing."""
        heard = self.project(self.input(x.transpose(1, 2)).to(self.null.dtype))
        return heard if drop_input is None else torch.where(drop_input[:, None, None], self.null, heard)

    def empty(self, instrument: Tensor) -> Tensor:
        """What a cell without a frame holds: [B, K]."""
        own = self.output.instrument(instrument)
        return own if self.config.empty == "instrument" else torch.full_like(own, self.config.pad)

    def forward(self, x: Tensor, y: Tensor, instrument: Tensor, drop_input: Tensor | None = None) -> Tensor:
        """Logits [B, T + K - 1, K, V] of the columns of y [B, K, T], with x [B, K, Tx] before them."""
        columns = to_columns(y, self.config.pad)
        shown = torch.where(columns == self.config.pad, self.empty(instrument)[:, :, None], columns)
        previous = torch.cat([self.output.instrument(instrument)[:, :, None], shown[:, :, :-1]], dim=2)
        sequence = torch.cat([self.prefix(x, drop_input), self.output(previous)], dim=1)
        h = self.stack(sequence, torch.arange(sequence.shape[1], device=x.device))
        return self.heads(h[:, x.shape[2] :])

    def input_span(self, frames: int) -> tuple[int, int]:
        """x covers the frames of y, no more."""
        return 0, 0

    def spec(self, frames: int) -> StreamSpec:
        """Its place in the plane: t_f = T, k = 1 (paper 3.5; its 4.3 writes -T)."""
        return StreamSpec.offline(frames)

    def objective(
        self,
        x: Tensor,
        y: Tensor,
        instrument: Tensor,
        rng: np.random.Generator,
        drop_input: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What training compares; nothing is drawn from rng.

        x, y: [B, K, T] codes; instrument: [B]. Returns logits [B, T + K - 1, K, V] and wanted [B, T + K - 1, K], -100
        in cells without a frame.
        """
        logits = self(x, y, instrument, drop_input)
        return logits, wanted_columns(to_columns(y, self.config.pad), self.config.codes)

    @torch.inference_mode()
    def generate(
        self, x: Tensor, instrument: Tensor, sampler: Sampler | None = None, frames: int | None = None
    ) -> Tensor:
        """Codes [B, K, frames] (default: as many as x has) that go with x [B, K, T]; instrument [B]."""
        c, sampler = self.config, sampler or Sampler()
        frames = frames or x.shape[2]
        rows = 2 if sampler.guided else 1
        total = x.shape[2] + frames + c.levels - 1
        shape = (c.layers, rows * len(x), c.kv_heads, total, c.width // c.heads)
        cache = torch.zeros((2, *shape), dtype=self.null.dtype, device=x.device)
        deaf = torch.arange(rows * len(x), device=x.device) >= len(x)
        self._run(self.prefix(x.repeat(rows, 1, 1), deaf), 0, cache)
        empty, column = self.empty(instrument), self.output.instrument(instrument)
        level, columns = torch.arange(c.levels, device=x.device), []
        for at in range(frames + c.levels - 1):
            h = self._run(self.output(column[:, :, None]).repeat(rows, 1, 1), x.shape[2] + at, cache)
            logits = self.heads(h)[:, 0].float()
            if sampler.guided:
                logits = sampler.guide(logits[: len(x)], logits[len(x) :])
            there = (at - level >= 0) & (at - level < frames)
            column = torch.where(there, sampler(logits, at), empty)
            columns.append(column)
        return from_columns(torch.stack(columns, dim=2))

    def _run(self, x: Tensor, start: int, cache: Tensor) -> Tensor:
        """Positions start ... of the sequence, [R, n, D] -> [R, n, D]: all of the prefix, or one by one after it.

        cache: [2, L, R, H_kv, positions, d] keys and values, written in place.
        """
        stop = start + x.shape[1]
        angles = self.stack.angles(torch.arange(start, stop, device=x.device))
        for layer, block in enumerate(self.stack.blocks):
            q, k, v = block.attention_in(x, angles)
            assert q is not None
            cache[0, layer, :, :, start:stop], cache[1, layer, :, :, start:stop] = k, v
            keys, values = cache[:, layer, :, :, :stop]
            x = block.finish(x, attend(q, keys, values, None, causal=start == 0))
        return self.stack.norm(x)
