"""The paper's streaming transformer: input and output are one fused stream, made for one t_f and one k.

Step s emits column s. Its input is column s - 1 (PAD before the first column, the instrument right before it) fused
with the input frame x[s + t_f - 1], the last one that the call at column s may see; where there is none yet, a learned
row stands for it. A call at column c runs fused steps up to c, which emits the first column of the chunk, and k - 1
steps without input for the others. When the next call comes, their input has arrived: the same steps are written anew,
fused, and no others are.
"""

import dataclasses
from typing import Literal

import torch
from torch import Tensor, nn

from bandmate.model.fusion import Fusion
from bandmate.model.paper import CodeInput, ColumnEmbedding, Heads, PaperConfig
from bandmate.model.sampling import Sampler
from bandmate.model.tape import Player, Tape, joined
from bandmate.model.tokens import to_columns
from bandmate.nn.stack import BLOCK, Cache, Stack
from bandmate.spec import StreamSpec


@dataclasses.dataclass(frozen=True)
class FusedConfig(PaperConfig):
    """t_f and k in frames: what the model is made for. ``window`` counts columns (and the input before the first)."""

    t_f: int = 0
    k: int = 1
    fusion: Literal["paper", "released"] = "paper"

    @property
    def first_step(self) -> int:
        """The first step of a window that begins with column 0: earlier steps only listen (t_f > 1)."""
        return min(0, 1 - self.t_f)


@dataclasses.dataclass(kw_only=True)
class FusedState(Player):
    """heard_codes: [B, m, K] the frames before ``heard`` not yet fused. previous: [B, K, n] the columns that enter at
    steps ``fused`` ... ``tape.column``. ``fused``: the next step to be fused.
    """

    cache: Cache
    heard_codes: Tensor
    previous: Tensor
    fused: int


class FusedNetwork(nn.Module):
    """Embeddings, fusion, stack and heads, with the three calls listen, play and skip."""

    ears = "codes"

    def __init__(self, config: FusedConfig, codebook: Tensor | None = None) -> None:
        super().__init__()
        self.config = c = config
        self.input = CodeInput(c, codebook)
        self.output = ColumnEmbedding(c)
        self.fusion = Fusion(c.latent, c.width, c.fusion)
        self.stack = Stack(dataclasses.replace(c, window=c.window - c.first_step))
        self.heads = Heads(c)
        self.before = nn.Parameter(torch.randn(max(0, 1 - c.t_f), c.latent) * (2 / c.latent) ** 0.5)
        self.null = nn.Parameter(torch.randn(c.latent) * (2 / c.latent) ** 0.5)

    # Embedding: the same for a whole window and for a piece of a stream.

    def input_rows(self, codes: Tensor, offset: int, steps: Tensor, deaf: Tensor) -> Tensor:
        """e^x of each step [B, S, latent].

        Args:
            codes: [B, n, K], the frames offset ... offset + n - 1. steps: [S]. deaf: [B] rows that hear nothing.
        """
        frame = steps + self.config.t_f - 1
        there = (frame >= offset) & (frame < offset + codes.shape[1])
        rows = self.null.expand(len(codes), len(steps), -1)
        if len(self.before):
            early = self.before[steps.clamp(0, len(self.before) - 1)]
            rows = torch.where((frame < 0)[:, None], early, rows)
        if codes.shape[1]:
            heard = self.input(codes[:, (frame - offset).clamp(0, codes.shape[1] - 1)])
            rows = torch.where(there[:, None], heard.to(rows.dtype), rows)
        return torch.where(deaf[:, None, None], self.null, rows)

    def empty(self, instrument: Tensor) -> Tensor:
        """What a cell without a frame holds: [B, K]."""
        column = self.output.instrument(instrument)
        return column if self.config.empty == "instrument" else torch.full_like(column, self.config.pad)

    def window(self, y: Tensor, instrument: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [B, K, T] -> columns [B, K, T], and what enters at steps first_step ... T - 1, [B, K, S]."""
        c = self.config
        columns = to_columns(y, c.pad, y.shape[2])
        shown = torch.where(columns == c.pad, self.empty(instrument)[:, :, None], columns)
        lead = [torch.full_like(columns[:, :, :1], c.pad)] * -c.first_step
        own = self.output.instrument(instrument)[:, :, None]
        return columns, torch.cat([*lead, own, shown[:, :, :-1]], dim=2)

    def embed_window(self, x: Tensor, previous: Tensor, drop_input: Tensor | None) -> tuple[Tensor, Tensor]:
        """x [B, K, Tx] and what :meth:`window` gives -> (fused, without input), [B, S, D] each."""
        steps = torch.arange(previous.shape[2], device=x.device) + self.config.first_step
        deaf = torch.zeros(len(x), dtype=torch.bool, device=x.device) if drop_input is None else drop_input
        y = self.output(previous)
        rows = self.input_rows(x.transpose(1, 2), 0, steps, deaf)
        return self.fusion(rows, y), self.fusion.without_input(y)

    def input_span(self, frames: int) -> tuple[int, int]:
        """Frames of x before and after a window of y: T frames of output take T + max(0, t_f + 2) of input (A.5)."""
        return 0, max(0, self.config.t_f + self.config.levels - 2)

    # The stream.

    def init_state(
        self,
        instrument: Tensor,
        spec: StreamSpec | None = None,
        batch: int | None = None,
        *,
        column: int = 0,
        guided: bool = True,
    ) -> FusedState:
        """A player about to emit ``column``; see :meth:`bandmate.model.duet.Duet.init_state`.

        Raises ValueError for a spec that the model was not made for.
        """
        c = self.config
        check_spec(spec, c.t_f, c.k)
        instrument = (instrument.expand(batch) if batch else instrument).to(self.null.device)
        first = min(column, 1 - c.t_f)
        own = self.output.instrument(instrument)[:, :, None]
        lead = torch.full_like(own, c.pad).expand(-1, -1, column - first)
        rows = len(instrument) * (2 if guided else 1)
        return FusedState(
            instrument=instrument,
            cache=self.stack.init_cache(rows, first=column, ahead=c.k),
            tape=Tape.begin(self.empty(instrument), c.codes, column),
            heard_codes=instrument.new_empty(len(instrument), 0, c.levels),
            previous=torch.cat([lead, own], dim=2),
            fused=first,
            heard=0,
            rows=rows,
        )

    def listen(self, x: Tensor, state: FusedState) -> FusedState:
        """Appends the input frames x [B, n, K]."""
        state.heard_codes = torch.cat([state.heard_codes, x.to(state.heard_codes)], dim=1)
        state.heard += x.shape[1]
        # Long before the first column there is work to be done at once: always in whole blocks, so that it does not
        # depend on how the frames came.
        while state.fused + BLOCK <= min(state.column, state.heard - self.config.t_f + 1):
            self._fuse(state, BLOCK)
        return state

    def play(self, state: FusedState, n: int, sampler: Sampler) -> tuple[Tensor, FusedState]:
        """Emits n <= k columns, one call -> the frames they complete, codes [B, K, m], and the next state."""
        if n > self.config.k:
            raise ValueError(f"this model plays chunks of {self.config.k} columns at most, not {n}")
        state.check(sampler.guided)
        frames = []
        h = self._catch_up(state) if n else None
        for done in range(n):
            if done:
                h = self._step(state, state.previous[:, :, -1:])
            assert h is not None
            logits = self.heads(h[:, -1]).float()
            logits = state.guided(logits, sampler)
            frames.append(self._append(sampler(logits, state.column), state))
        return joined(frames, state.tape.empty), state

    def skip(self, state: FusedState, n: int) -> tuple[Tensor, FusedState]:
        """Lets n columns pass that are never generated: they enter the history as MASK. Returns as :meth:`play`."""
        if n:
            self._catch_up(state)
        unknown = torch.full_like(state.tape.empty, self.config.mask)
        frames = [self._append(unknown, state) for _ in range(n)]
        return joined(frames, state.tape.empty), state

    def _append(self, column: Tensor, state: FusedState) -> Tensor | None:
        shown, frame = state.tape.append(column)
        state.previous = torch.cat([state.previous, shown[:, :, None]], dim=2)
        return frame

    def _catch_up(self, state: FusedState) -> Tensor:
        """Fuses all steps up to that of the call's first column, whose output [R, n, D] is returned."""
        while True:
            h = self._fuse(state, min(BLOCK, state.column + 1 - state.fused))
            if state.fused > state.column:
                return h

    def _fuse(self, state: FusedState, count: int) -> Tensor:
        """The next ``count`` steps, with their input -> [R, count, D]."""
        held = state.heard - state.heard_codes.shape[1]
        steps = torch.arange(state.fused, state.fused + count, device=state.previous.device)
        doubled = state.rows // state.batch
        deaf = torch.arange(state.rows, device=steps.device) >= state.batch
        rows = self.input_rows(state.heard_codes.repeat(doubled, 1, 1), held, steps, deaf)
        y = self.output(state.previous[:, :, :count]).repeat(doubled, 1, 1)
        h = self.stack.step(self.fusion(rows, y), state.fused, state.cache)
        state.fused += count
        state.previous = state.previous[:, :, count:]
        state.heard_codes = state.heard_codes[:, max(0, state.fused + self.config.t_f - 1 - held) :]
        return h

    def _step(self, state: FusedState, previous: Tensor) -> Tensor:
        """One step without input, [B, K, 1] -> [R, 1, D]; it is written anew when its input is there."""
        y = self.fusion.without_input(self.output(previous)).repeat(state.rows // state.batch, 1, 1)
        return self.stack.step(y, state.column, state.cache)


def check_spec(spec: StreamSpec | None, t_f: int, k: int) -> None:
    """ValueError unless the spec is the one that a specialist was made for."""
    if spec is not None and (spec.t_f, spec.k) != (t_f, k):
        own = StreamSpec(t_f, k)
        raise ValueError(
            f"this model was made for t_f = {own.t_f_seconds:g} s and k = {own.k_seconds:g} s, not t_f = "
            f"{spec.t_f_seconds:g} s and k = {spec.k_seconds:g} s: ask for its own, or take a model that has no fixed ones"
        )
