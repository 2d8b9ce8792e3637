"""``duet`` as a player: the three calls listen, play and skip, over a cache that never grows."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from bandmate.model.duet_network import DuetConfig, DuetNetwork
from bandmate.model.ears import MelEars
from bandmate.model.recall import Memory
from bandmate.model.sampling import Sampler, guide
from bandmate.model.tokens import MISSING
from bandmate.nn.transformer import attend, rotary_angles
from bandmate.spec import StreamSpec

BLOCK = 32  # positions written at once, and so the slack of the ring beyond the window
NEVER = -(2**40)  # position of a slot that was never written


@dataclasses.dataclass
class DuetState:
    """A player in mid-stream. Consumed by use: the buffers are written in place.

    The cache holds, for each layer and row, the sinks, a ring of played positions and a ring of heard frames. With
    guidance there is a second set of rows after the first: the same player, deaf, whose ring of heard frames is idle.
    """

    instrument: Tensor  # [B]
    keys: Tensor  # [L, R, H_kv, slots, d], rotated; R = B or 2 B
    values: Tensor
    heard_at: Tensor  # [ring] position held by each slot
    played_at: Tensor
    front: Any
    memory: Memory | None  # what recall needs of the past
    previous: Tensor  # [B, K] the last column, special ids included
    recent: Tensor  # [B, K, K - 1] the columns before it still needed to complete frames, MISSING where not generated
    column: int  # the next column to be played
    heard: int  # input frames listened to
    start: int  # the first column

    @property
    def batch(self) -> int:
        return len(self.instrument)

    @property
    def rows(self) -> int:
        return self.keys.shape[1]


class Duet(DuetNetwork):
    """The network with its streaming interface.

    A call at column c sees the frames listened to so far, so ``listen`` decides the horizon and ``play`` how many
    columns share it. Source of the interface: docs/design.md.
    """

    def __init__(self, config: DuetConfig | None = None) -> None:
        super().__init__(config)
        self.ears = self.config.ears
        self.mel_ears = MelEars() if self.ears == "mel" else None

    def init_ears(self, batch: int) -> Any:
        """State of :meth:`hear`."""
        if self.mel_ears is None:
            raise ValueError("this model hears codes: encode its input with the codec instead")
        return self.mel_ears.init_state(batch)

    def hear(self, audio: Tensor, state: Any) -> tuple[Tensor, Any]:
        """audio [B, n * 640] at 32 kHz -> x [B, n, F] for :meth:`listen`."""
        if self.mel_ears is None:
            raise ValueError("this model hears codes: encode its input with the codec instead")
        return self.mel_ears(audio, state)

    def init_state(
        self,
        instrument: Tensor,
        spec: StreamSpec | None = None,
        batch: int | None = None,
        *,
        column: int = 0,
        guided: bool = True,
    ) -> DuetState:
        """A player about to begin.

        Args:
            instrument: [B] class ids.
            spec: not needed by this model, which may change t_f and k at any call; others need it.
            batch: B, where ``instrument`` is to be repeated.
            column: the first column to be played; frames listened to before it are heard in silence.
            guided: keep the second set of rows that guidance needs.
        """
        c = self.config
        instrument = instrument.expand(batch) if batch else instrument
        size, ring, device = len(instrument), c.window + BLOCK, self.embedding.device
        shape = (c.layers, size * (2 if guided else 1), c.kv_heads, c.sinks + 2 * ring, c.width // c.heads)
        keys, values = (torch.zeros(shape, dtype=self.embedding.dtype, device=device) for _ in range(2))
        values[..., : c.sinks, :] = self.sinks[:, None]  # their keys are zero
        return DuetState(
            instrument=instrument,
            keys=keys,
            values=values,
            heard_at=torch.full((ring,), NEVER, device=device),
            played_at=torch.full((ring,), NEVER, device=device),
            front=self.front.init_state(size),
            memory=Memory.empty(size, c.width, self.embedding) if self.recall is not None else None,
            previous=torch.full((size, c.levels), self.pad, device=device),
            recent=torch.full((size, c.levels, c.levels - 1), MISSING, device=device),
            column=column,
            heard=0,
            start=column,
        )

    def listen(self, x: Tensor, state: DuetState) -> DuetState:
        """Appends the input frames x [B, n, F]."""
        for piece in x.split(BLOCK, dim=1):
            state = self._listen_block(piece, state)
        return state

    def _listen_block(self, x: Tensor, state: DuetState) -> DuetState:
        c = self.config
        positions = torch.arange(state.heard, state.heard + x.shape[1], device=x.device)
        slots = positions % len(state.heard_at)
        state.heard_at[slots] = positions
        visible = (state.heard_at <= positions[:, None]) & (state.heard_at > positions[:, None] - c.window)
        angles = self.angles(positions)
        h, state.front = self.front(x, state.front)
        if state.memory is not None:
            state.memory.add(x, h, positions)
        ring = slice(c.sinks + len(state.played_at), None)
        for layer in range(c.layers):
            q, k, v = self.hear_layer(layer, h, angles)
            keys, values = (
                state.keys[layer, : state.batch, :, ring],
                state.values[layer, : state.batch, :, ring],
            )
            keys[:, :, slots], values[:, :, slots] = k, v
            if q is not None:
                h = self.heard.at(layer).finish(h, attend(q, keys, values, visible))
        state.heard += x.shape[1]
        return state

    def play(self, state: DuetState, n: int, sampler: Sampler) -> tuple[Tensor, DuetState]:
        """Emits n columns -> the frames they complete, codes [B, K, m], and the next state.

        A frame one of whose cells was skipped comes back as MISSING in all levels.
        """
        if sampler.guided and state.rows == state.batch:
            raise ValueError("this player was begun without guidance: pass guided=True to init_state")
        frames = []
        recalled = self._recalled(state, n)
        for column in range(n):
            logits = self._step(state.previous[:, :, None], state, recalled[:, column : column + 1])[
                :, 0
            ].float()
            if state.rows > state.batch:
                logits = guide(logits[: state.batch], logits[state.batch :], sampler.guidance)
            frames.append(self._append(sampler(logits, state.column), state))
        return self._joined(frames, state), state

    def skip(self, state: DuetState, n: int) -> tuple[Tensor, DuetState]:
        """Lets n columns pass that are never generated: they enter the history as MASK. Returns as :meth:`play` does."""
        frames = []
        unknown = state.previous.new_full(state.previous.shape, self.mask)
        for done in range(0, n, BLOCK):
            size = min(BLOCK, n - done)
            previous = torch.stack([state.previous] + [unknown] * (size - 1), dim=-1)
            self._step(previous, state, self._recalled(state, size), logits=False)
            frames += [self._append(unknown, state) for _ in range(size)]
        return self._joined(frames, state), state

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Rotary angles of positions [n], in the width of the weights."""
        cos, sin = rotary_angles(positions, self.config.width // self.config.heads)
        return cos.to(self.embedding.dtype), sin.to(self.embedding.dtype)

    def _recalled(self, state: DuetState, n: int) -> Tensor:
        """What the next n columns are handed of the heard frames of now and of a period ago, [R or 1, n, D]."""
        if self.recall is None or state.memory is None:
            return self.embedding.new_zeros(1, n, self.config.width)
        columns = torch.arange(state.column, state.column + n, device=self.embedding.device)
        told = self.recall(*state.memory.at(columns, state.heard))
        return torch.cat([told, torch.zeros_like(told)]) if state.rows > state.batch else told

    def _step(self, previous: Tensor, state: DuetState, recalled: Tensor, logits: bool = True) -> Tensor:
        """Runs the played tower on: previous [B, K, n], recalled [R or 1, n, D] -> logits [R, n, K, V]."""
        c, n, doubled = self.config, previous.shape[2], state.rows // state.batch
        positions = torch.arange(state.column, state.column + n, device=previous.device)
        ring = len(state.played_at)
        slots: Any = positions % ring
        state.played_at[slots] = positions
        deaf = torch.arange(state.rows, device=previous.device) >= state.batch
        age = (positions - state.heard).expand(state.rows, -1)
        y = (
            self.embed_played(previous.repeat(doubled, 1, 1), state.instrument.repeat(doubled), age, deaf)
            + recalled
        )
        mask = self._step_mask(positions, state).to(y.dtype)
        angles = self.angles(positions)
        first = c.sinks + state.column % ring
        place = slice(first, first + 1) if n == 1 else c.sinks + slots  # a slice is written at once
        for layer, block in enumerate(self.played):
            q, k, v = block.attention_in(y, angles)
            keys, values = state.keys[layer], state.values[layer]
            keys[:, :, place], values[:, :, place] = k, v
            y = block.finish(y, self._attend(q, keys, values, mask, state))
        return self.logits(y) if logits else y

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor, state: DuetState) -> Tensor:
        """What the queries [R, H, n, d] fetch; deaf rows are not shown the slots of what was heard."""
        batch, own = state.batch, self.config.sinks + len(state.played_at)
        if state.rows == batch:
            return attend(q, keys, values, mask)
        hearing = attend(q[:batch], keys[:batch], values[:batch], mask)
        deaf = attend(q[batch:], keys[batch:, :, :own], values[batch:, :, :own], mask[..., :own])
        return torch.cat([hearing, deaf])

    def _step_mask(self, positions: Tensor, state: DuetState) -> Tensor:
        """0 where a played position may look, minus infinity elsewhere: [1, 1, n, slots]."""
        window, n = self.config.window, len(positions)
        heard = (state.heard_at >= state.heard - window).expand(n, -1)
        end = positions[:, None]
        played = (state.played_at <= end) & (state.played_at > end - window)
        visible = torch.cat([heard.new_ones(n, self.config.sinks), played, heard], dim=1)
        return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, -torch.inf)[
            None, None
        ]

    def _append(self, column: Tensor, state: DuetState) -> Tensor | None:
        """Takes a column [B, K] into the history; returns the frame [B, K] that it completes, if any."""
        c, at = self.config, state.column
        level = torch.arange(c.levels, device=column.device)
        state.previous = torch.where(at - level < state.start, self.pad, column)
        known = torch.where(column >= c.codes, MISSING, column)
        columns = torch.cat([state.recent, known[:, :, None]], dim=2)  # [B, K, K], oldest first
        state.recent = columns[:, :, 1:]
        state.column += 1
        if at - (c.levels - 1) < state.start:
            return None
        frame = columns.diagonal(dim1=1, dim2=2)  # level l was emitted l columns after level 0
        return torch.where((frame == MISSING).any(1, keepdim=True), MISSING, frame)

    def _joined(self, frames: list[Tensor | None], state: DuetState) -> Tensor:
        done = [frame for frame in frames if frame is not None]
        if not done:
            return state.previous.new_empty(state.batch, self.config.levels, 0)
        return torch.stack(done, dim=2)
