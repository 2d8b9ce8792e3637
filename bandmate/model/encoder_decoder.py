"""A limit of the plane (§3.5): an encoder hears x, a decoder plays y and looks at what was encoded, by cross-attention.

With t_f = None the whole input is heard first (t_f = T), by an encoder that looks both ways. With a t_f and a k the
encoder is causal, and a column of the call at c looks at the frames before c + t_f: a streaming model, whose listening
costs nothing at the time of playing.
"""

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn

from bandmate.model.fused import check_spec
from bandmate.model.paper import CodeInput, ColumnEmbedding, Heads, PaperConfig, wanted_columns
from bandmate.model.sampling import Sampler
from bandmate.model.tape import Player, Tape, joined
from bandmate.model.tokens import to_columns
from bandmate.nn.linear import Linear
from bandmate.nn.stack import BLOCK, NEVER, Cache, Stack
from bandmate.spec import StreamSpec


@dataclasses.dataclass(frozen=True)
class EncoderDecoderConfig(PaperConfig):
    """t_f, k in frames; t_f None: the whole input. ``window``: how far each stream is looked back on."""

    layers: int = 8
    encoder_layers: int = 8
    t_f: int | None = None
    k: int = 1


@dataclasses.dataclass
class Memory:
    """What the decoder looks at: keys and values [L, R, H_kv, 1 + slots, d]. Slot 0 is for who hears nothing."""

    keys: Tensor
    values: Tensor
    at: Tensor  # [slots] frame held by each


@dataclasses.dataclass(kw_only=True)
class EncoderDecoderState(Player):
    """waiting: [B, m, K] frames heard but not yet encoded. previous: [B, K]. closed: the whole input was encoded."""

    encoder: Cache
    decoder: Cache
    memory: Memory
    waiting: Tensor
    previous: Tensor
    closed: bool = False  # nothing more can be heard


class EncoderDecoder(nn.Module):
    """See the module's first lines."""

    ears = "codes"

    def __init__(self, config: EncoderDecoderConfig | None = None, codebook: Tensor | None = None) -> None:
        super().__init__()
        self.config = c = config or EncoderDecoderConfig()
        self.input = CodeInput(c, codebook)
        self.project = nn.Sequential(nn.LayerNorm(c.latent), Linear(c.latent, c.width))
        self.encoder = Stack(c, c.encoder_layers)
        self.output = ColumnEmbedding(c)
        self.norm_y = nn.LayerNorm(c.width)
        self.decoder = Stack(c, cross=True)
        self.heads = Heads(c)
        self.nothing = nn.Parameter(torch.randn(c.layers, c.kv_heads, 1, c.width // c.heads) * 0.2)

    # Whole windows.

    def forward(self, x: Tensor, y: Tensor, instrument: Tensor, drop_input: Tensor | None = None) -> Tensor:
        """Logits [B, T, K, V] of the columns of y [B, K, T], with x [B, K, Tx] from the same frame on."""
        c = self.config
        deaf = torch.zeros(len(x), dtype=torch.bool, device=x.device) if drop_input is None else drop_input
        frames = torch.arange(x.shape[2], device=x.device)
        h = self.encode(x.transpose(1, 2))
        columns = torch.arange(y.shape[2], device=x.device)
        mask = self.horizon_mask(columns // c.k * c.k, frames, deaf, x.shape[2])
        angles = self.decoder.angles(columns)
        cross = []
        for layer, (k, v) in enumerate(self.remember(h, frames)):
            none = self.nothing[layer].expand(len(x), -1, -1, -1).to(v.dtype)
            keys, values = torch.cat([torch.zeros_like(none), k], dim=2), torch.cat([none, v], dim=2)
            cross.append((angles, keys, values, mask))
        h = self.decoder.stream(self.embed_played(self.previous(y, instrument)), 0, first=0, cross=cross)
        return self.heads(h)

    def objective(
        self,
        x: Tensor,
        y: Tensor,
        instrument: Tensor,
        rng: np.random.Generator,
        drop_input: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`bandmate.model.decoder.Decoder.objective`."""
        columns = to_columns(y, self.config.pad, y.shape[2])
        return self(x, y, instrument, drop_input), wanted_columns(columns, self.config.codes)

    def input_span(self, frames: int) -> tuple[int, int]:
        """Frames of x before and after a window of y."""
        c = self.config
        return 0, 0 if c.t_f is None else max(0, c.t_f + c.levels - 2)

    def encode(self, codes: Tensor) -> Tensor:
        """codes [B, T, K] from frame 0 on -> [B, T, D]."""
        rows = self.project(self.input(codes))
        if self.config.t_f is None:
            return self.encoder(rows, torch.arange(rows.shape[1], device=rows.device), causal=False)
        return self.encoder.stream(rows, 0, first=0)

    def remember(self, h: Tensor, frames: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values [B, H_kv, T, d] of encoded frames h [B, T, D] for each layer of the decoder."""
        angles = self.decoder.angles(frames)
        return [block.cross.memory(h, angles)[1:] for block in self.decoder.blocks]  # type: ignore[union-attr]

    def horizon_mask(self, calls: Tensor, frames: Tensor, deaf: Tensor, heard: int) -> Tensor:
        """Who sees which frame: calls [S], the column of each position's call; frames [T] -> [B, 1, S, 1 + T]."""
        c = self.config
        if c.t_f is None:
            there = (frames >= 0).expand(len(calls), -1)
        else:
            end = (calls + c.t_f).clamp(max=heard)[:, None]
            there = (frames < end) & (frames >= end - c.window)
        seen = there & ~deaf[:, None, None]
        return torch.cat([torch.ones_like(seen[:, :, :1]), seen], dim=2)[:, None]

    def embed_played(self, previous: Tensor) -> Tensor:
        """previous [B, K, S], special ids included -> [B, S, D]."""
        return self.norm_y(self.output(previous))

    def previous(self, y: Tensor, instrument: Tensor) -> Tensor:
        """Codes [B, K, T] -> the column before each position, [B, K, T]."""
        shown = to_columns(y, self.config.pad, y.shape[2])
        own = self.output.instrument(instrument)
        empty = own if self.config.empty == "instrument" else torch.full_like(own, self.config.pad)
        shown = torch.where(shown == self.config.pad, empty[:, :, None], shown)
        return torch.cat([own[:, :, None], shown[:, :, :-1]], dim=2)

    # The stream.

    def init_state(
        self,
        instrument: Tensor,
        spec: StreamSpec | None = None,
        batch: int | None = None,
        *,
        column: int = 0,
        guided: bool = True,
    ) -> EncoderDecoderState:
        """A player about to emit ``column``; see :meth:`bandmate.model.duet.Duet.init_state`."""
        c = self.config
        if spec is not None and c.t_f is None:
            raise ValueError(
                "this model hears the whole input before it plays: use it with `bandmate generate`"
            )
        check_spec(spec, c.t_f or 0, c.k)
        instrument = (instrument.expand(batch) if batch else instrument).to(self.nothing.device)
        rows, own = len(instrument) * (2 if guided else 1), self.output.instrument(instrument)
        empty = own if c.empty == "instrument" else torch.full_like(own, c.pad)
        return EncoderDecoderState(
            instrument=instrument,
            encoder=self.encoder.init_cache(len(instrument), first=0),
            decoder=self.decoder.init_cache(rows, first=column),
            memory=self._init_memory(rows, c.window + BLOCK + max(0, c.k)),
            tape=Tape.begin(empty, c.codes, column),
            waiting=instrument.new_empty(len(instrument), 0, c.levels),
            previous=own,
            heard=0,
            rows=rows,
        )

    def _init_memory(self, rows: int, slots: int) -> Memory:
        layers, kv_heads, _, width = self.nothing.shape
        keys, values = (self.nothing.new_zeros(layers, rows, kv_heads, 1 + slots, width) for _ in range(2))
        values[..., :1, :] = self.nothing[
            :, None
        ]  # its key is zero: a score that does not depend on the position
        return Memory(keys, values, torch.full((slots,), NEVER, device=keys.device))

    def listen(self, x: Tensor, state: EncoderDecoderState) -> EncoderDecoderState:
        """Appends the input frames x [B, n, K]. They are encoded in whole blocks, what remains when it is to be seen."""
        if state.closed:
            raise ValueError("this model has begun to play: it must hear the whole input before")
        state.waiting = torch.cat([state.waiting, x.to(state.waiting)], dim=1)
        state.heard += x.shape[1]
        while self.config.t_f is not None and state.waiting.shape[1] >= BLOCK:
            self._encode(state, BLOCK)
        return state

    def _encode(self, state: EncoderDecoderState, count: int) -> None:
        """Encodes the next ``count`` frames and writes them to the decoder's memory."""
        start = state.heard - state.waiting.shape[1]
        codes, state.waiting = state.waiting[:, :count], state.waiting[:, count:]
        if self.config.t_f is None:
            h, state.closed = self.encode(codes), True
            state.memory = self._init_memory(state.rows, count)
        else:
            h = self.encoder.step(self.project(self.input(codes)), start, state.encoder)
        frames = torch.arange(start, start + count, device=h.device)
        slots = frames % len(state.memory.at)
        state.memory.at[slots] = frames
        for layer, (k, v) in enumerate(self.remember(h, frames)):
            state.memory.keys[layer, : state.batch, :, 1 + slots] = k
            state.memory.values[layer, : state.batch, :, 1 + slots] = v

    def play(
        self, state: EncoderDecoderState, n: int, sampler: Sampler
    ) -> tuple[Tensor, EncoderDecoderState]:
        """Emits n columns, one call -> the frames they complete, codes [B, K, m], and the next state."""
        if n > self.config.k and self.config.t_f is not None:
            raise ValueError(f"this model plays chunks of {self.config.k} columns at most, not {n}")
        state.check(sampler.guided)
        call, frames = state.column, []
        for _ in range(n):
            logits = self.heads(self._step(state.previous[:, :, None], state, call)[:, -1]).float()
            logits = state.guided(logits, sampler)
            frames.append(self._append(sampler(logits, state.column), state))
        return joined(frames, state.tape.empty), state

    def skip(self, state: EncoderDecoderState, n: int) -> tuple[Tensor, EncoderDecoderState]:
        """Lets n columns pass that are never generated: they enter the history as MASK. Returns as :meth:`play`."""
        call, frames = state.column, []
        unknown = torch.full_like(state.previous, self.config.mask)
        for _ in range(n):
            self._step(state.previous[:, :, None], state, call)
            frames.append(self._append(unknown, state))
        return joined(frames, state.tape.empty), state

    def _append(self, column: Tensor, state: EncoderDecoderState) -> Tensor | None:
        state.previous, frame = state.tape.append(column)
        return frame

    def _step(self, previous: Tensor, state: EncoderDecoderState, call: int) -> Tensor:
        """One position of the decoder: previous [B, K, 1] -> [R, 1, D]. ``call``: the column of its call."""
        if state.waiting.shape[1]:
            self._encode(state, state.waiting.shape[1])
        deaf = torch.arange(state.rows, device=previous.device) >= state.batch
        mask = self.horizon_mask(
            deaf.new_full((1,), call, dtype=torch.int64), state.memory.at, deaf, state.heard
        )
        at = torch.full((1,), state.column, device=previous.device)
        angles = self.decoder.angles(at)
        cross = [
            (angles, keys, values, mask)
            for keys, values in zip(state.memory.keys, state.memory.values, strict=True)
        ]
        y = self.embed_played(previous).repeat(state.rows // state.batch, 1, 1)
        return self.decoder.step(y, state.column, state.decoder, cross)

    @torch.inference_mode()
    def generate(self, x: Tensor, instrument: Tensor, sampler: Sampler, frames: int) -> Tensor:
        """Codes [B, K, frames] that go with the whole input x [B, K, T]; for a model whose t_f is None."""
        state = self.init_state(instrument, guided=sampler.guided)
        state = self.listen(x.transpose(1, 2), state)
        codes, _ = self.play(state, frames + self.config.levels - 1, sampler)
        return codes
