"""``duet`` as a player: the three calls listen, play and skip, over a cache that never grows."""

import dataclasses
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bandmate.model.duet_network import DuetConfig, DuetNetwork
from bandmate.model.ears import MelEars
from bandmate.model.recall import Memory
from bandmate.model.sampling import Sampler
from bandmate.model.tokens import MISSING
from bandmate.nn.transformer import additive, attend_few, rotary_angles
from bandmate.spec import StreamSpec

BLOCK = 32  # positions written at once, and so the slack of the ring beyond the window
NEVER = -(2**40)  # position of a slot that was never written


class Cache(NamedTuple):
    """What some rows have played, and heard: keys (rotated) and values, [L, rows, H_kv, slots, d]."""

    rows: slice
    keys: Tensor
    values: Tensor


@dataclasses.dataclass
class DuetState:
    """A player in mid-stream. Consumed by use: the buffers are written in place.

    The cache holds, for each layer and row, the sinks, a ring of played positions and a ring of heard frames. With
    guidance there is a second set of rows after the first: the same player, deaf, whose cache ends before what is heard.
    """

    instrument: Tensor  # [B]
    caches: tuple[Cache, ...]  # of the B rows that hear, and of the B deaf ones if there are any
    heard_at: Tensor  # [ring] position held by each slot
    played_at: Tensor
    front: Any
    memory: Memory | None  # what recall needs of the past
    previous: Tensor  # [B, K] the last column, special ids included
    recent: Tensor  # [B, K, K - 1] the columns before it still needed to complete frames, MISSING where not generated
    column: int  # the next column to be played
    heard: int  # input frames listened to
    start: int  # the first column
    skipped: int = NEVER  # the last column that was not generated

    @property
    def batch(self) -> int:
        return len(self.instrument)

    @property
    def rows(self) -> int:
        return self.batch * len(self.caches)


@dataclasses.dataclass
class Ahead:
    """What the next columns need that does not depend on what is played in them."""

    columns: int
    told: Tensor  # [1 or 2, B, n, D] the instrument, how far the input is known, what is recalled
    mask: Tensor  # [n, slots]
    angles: tuple[Tensor, Tensor]  # [n, d / 2] each
    place: list[int] | slice  # slots of the cache that the columns take

    def one(self, at: int) -> "Ahead":
        """The column of that index alone. Its place is a slice, which is written at once."""
        cut, (cos, sin) = slice(at, at + 1), self.angles
        assert isinstance(self.place, list)
        place = slice(self.place[at], self.place[at] + 1)
        return Ahead(1, self.told[:, :, cut], self.mask[cut], (cos[cut], sin[cut]), place)


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
        caches = [self._empty_cache(slice(0, size), c.sinks + 2 * ring)]
        if guided:
            caches.append(self._empty_cache(slice(size, 2 * size), c.sinks + ring))
        return DuetState(
            instrument=instrument,
            caches=tuple(caches),
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

    def _empty_cache(self, rows: slice, slots: int) -> Cache:
        c = self.config
        shape = (c.layers, rows.stop - rows.start, c.kv_heads, slots, c.width // c.heads)
        keys, values = (self.embedding.new_zeros(shape) for _ in range(2))
        values[..., : c.sinks, :] = self.sinks[:, None]  # their keys are zero
        return Cache(rows, keys, values)

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
        end = positions[:, None]
        visible = (state.heard_at <= end) & (state.heard_at > end - c.window)
        mask = additive(visible).to(self.embedding.dtype)
        angles = self.angles(positions)
        h, state.front = self.front(x, state.front)
        if state.memory is not None:
            state.memory.add(x, h, positions)
        ring = slice(c.sinks + len(state.played_at), None)
        _, all_keys, all_values = state.caches[0]
        for layer in range(c.layers):
            q, k, v = self.hear_layer(layer, h, angles)
            keys, values = all_keys[layer, :, :, ring], all_values[layer, :, :, ring]
            keys[:, :, slots], values[:, :, slots] = k, v
            if q is not None:
                h = self.heard.at(layer).finish(h, attend_few(q, keys, values, mask))
        state.heard += x.shape[1]
        return state

    def play(self, state: DuetState, n: int, sampler: Sampler) -> tuple[Tensor, DuetState]:
        """Emits n columns -> the frames they complete, codes [B, K, m], and the next state.

        A frame one of whose cells was skipped comes back as MISSING in all levels.
        """
        if sampler.guided and state.rows == state.batch:
            raise ValueError("this player was begun without guidance: pass guided=True to init_state")
        frames = []
        for done in range(0, n, BLOCK):
            ahead = self._look_ahead(state, min(BLOCK, n - done))
            for at in range(ahead.columns):
                y = self._step(state.previous[:, :, None], state, ahead.one(at))
                logits = self.logits(y)[:, 0].float()
                if state.rows > state.batch:
                    logits = sampler.guide(logits[: state.batch], logits[state.batch :])
                frames.append(self._append(sampler(logits, state.column), state))
        return self._joined(frames, state), state

    def skip(self, state: DuetState, n: int) -> tuple[Tensor, DuetState]:
        """Lets n columns pass that are never generated: they enter the history as MASK. Returns as :meth:`play` does."""
        frames = []
        unknown = state.previous.new_full(state.previous.shape, self.mask)
        for done in range(0, n, BLOCK):
            size = min(BLOCK, n - done)
            previous = torch.stack([state.previous] + [unknown] * (size - 1), dim=-1)
            self._step(previous, state, self._look_ahead(state, size))
            state.skipped = state.column + size - 1
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

    def _look_ahead(self, state: DuetState, n: int) -> Ahead:
        """Prepares the next n <= BLOCK columns and takes their slots: the masks hide each column from those before it."""
        c, device = self.config, self.embedding.device
        positions = torch.arange(state.column, state.column + n, device=device)
        place = [column % len(state.played_at) for column in range(state.column, state.column + n)]
        state.played_at[place] = positions
        deaf = torch.arange(state.rows, device=device) >= state.batch
        instrument = state.instrument.repeat(state.rows // state.batch)
        age = (positions - state.heard).expand(state.rows, -1)
        told = self.tell(instrument, age, deaf) + self._recalled(state, n)
        mask = self._step_mask(positions, state).to(told.dtype)
        told = told.unflatten(0, (-1, state.batch))
        return Ahead(n, told, mask, self.angles(positions), [c.sinks + slot for slot in place])

    def _step(self, previous: Tensor, state: DuetState, ahead: Ahead) -> Tensor:
        """Runs the played tower over the columns ahead: previous [B, K, n] -> [R, n, D]."""
        y = (self.embed(previous) + ahead.told).flatten(0, 1)
        for layer, block in enumerate(self.played):
            q, k, v = block.attention_in(y, ahead.angles)
            fetched = []
            for rows, all_keys, all_values in state.caches:
                keys, values = all_keys[layer], all_values[layer]
                keys[:, :, ahead.place], values[:, :, ahead.place] = k[rows], v[rows]
                fetched.append(attend_few(q[rows], keys, values, ahead.mask[:, : keys.shape[2]]))
            y = block.finish(y, torch.cat(fetched) if len(fetched) > 1 else fetched[0])
        return y

    def _step_mask(self, positions: Tensor, state: DuetState) -> Tensor:
        """0 where a played position may look, minus infinity elsewhere: [n, slots]."""
        window, n = self.config.window, len(positions)
        heard = (state.heard_at >= state.heard - window).expand(n, -1)
        end = positions[:, None]
        played = (state.played_at <= end) & (state.played_at > end - window)
        return additive(torch.cat([heard.new_ones(n, self.config.sinks), played, heard], dim=1))

    def _append(self, column: Tensor, state: DuetState) -> Tensor | None:
        """Takes a column [B, K] into the history; returns the frame [B, K] that it completes, if any."""
        c, at = self.config, state.column
        begun, whole = at - (c.levels - 1) >= state.start, at - (c.levels - 1) > state.skipped
        state.column += 1
        state.previous, known = column, column
        if not begun:
            level = torch.arange(c.levels, device=column.device)
            state.previous = torch.where(at - level < state.start, self.pad, column)
        if not whole:
            known = torch.where(column >= c.codes, MISSING, column)
        columns = torch.cat([state.recent, known[:, :, None]], dim=2)  # [B, K, K], oldest first
        state.recent = columns[:, :, 1:]
        frame = columns.diagonal(dim1=1, dim2=2)  # level l was emitted l columns after level 0
        if begun and not whole:
            frame = torch.where((frame == MISSING).any(1, keepdim=True), MISSING, frame)
        return frame if begun else None

    def _joined(self, frames: list[Tensor | None], state: DuetState) -> Tensor:
        done = [frame for frame in frames if frame is not None]
        if not done:
            return state.previous.new_empty(state.batch, self.config.levels, 0)
        return torch.stack(done, dim=2)
