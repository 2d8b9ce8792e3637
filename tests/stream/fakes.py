"""Test doubles for codec, model and sampler: small, exact, and unforgiving about order and visibility."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

HOP, LEVELS, CODES, DELAY = 640, 4, 1024, 480


class FakeCodec:
    """code = quantised frame energy (level l: a finer digit); decode = a sine burst per frame that overlaps
    the next.

    The burst of frame f takes the samples 640 f - 480 .. 640 f + 640, raised cosines of 480 samples at both
    ends, so that steady codes give a steady sine: streaming state is exactly the 480 samples that still
    overlap.
    """

    sample_rate, hop, levels, codes, synthesis_delay = 32_000, HOP, LEVELS, CODES, DELAY

    def init_encoder(self, batch: int) -> int:
        return 0

    def encode_chunk(self, audio: Tensor, state: int) -> tuple[Tensor, int]:
        energy = audio.double().unflatten(1, (-1, HOP)).square().mean(-1)
        digits = [(energy * 4096 ** (level + 1) % 1.0 * CODES).long() for level in range(LEVELS)]
        return torch.stack(digits, dim=1), state

    def encode(self, audio: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(audio, (0, -audio.shape[1] % HOP))
        return self.encode_chunk(padded, 0)[0]

    def init_decoder(self, batch: int) -> tuple[int, Tensor]:
        return 0, torch.zeros(batch, DELAY)

    def decode_chunk(self, codes: Tensor, state: tuple[int, Tensor]) -> tuple[Tensor, tuple[int, Tensor]]:
        assert codes.min() >= 0, "codes that were never generated must not reach the codec"
        frame, tail = state
        out = []
        for code in codes.unbind(2):
            burst = self._burst(code.double(), frame)
            burst[:, :DELAY] += tail
            out.append(burst[:, :HOP])
            tail, frame = burst[:, HOP:], frame + 1
        return torch.cat(out, 1), (frame, tail)

    def flush(self, state: tuple[int, Tensor]) -> Tensor:
        return state[1]

    def decode(self, codes: Tensor) -> Tensor:
        audio, state = self.decode_chunk(codes, self.init_decoder(len(codes)))
        return torch.cat([audio, self.flush(state)], 1)[:, DELAY:]

    def _burst(self, code: Tensor, frame: int) -> Tensor:
        ramp = 0.5 - 0.5 * torch.cos(torch.pi * (torch.arange(DELAY) + 0.5) / DELAY)
        window = torch.cat([ramp, torch.ones(HOP - DELAY), ramp.flip(0)])
        # A whole number of periods per hop: steady codes give one unbroken sine.
        n = torch.arange(HOP + DELAY) - DELAY
        amplitude = 0.1 + 0.8 * code[:, :1] / CODES
        return (amplitude * torch.sin(2 * torch.pi * 8 * n / HOP) * window).float()


@dataclass(frozen=True)
class FakeSampler:
    """Only the fields that the fake model mixes into its hash."""

    temperature: float = 1.0
    seed: int = 0
    players: tuple[int, ...] | None = None
    guided: bool = False


@dataclass(frozen=True)
class FakeState:
    """What was heard and played so far, as running digests, one each per player."""

    seen: tuple[bytes, ...]
    history: tuple[bytes, ...]
    grid: tuple[tuple[tuple[int, ...], ...], ...]  # the last columns of each player, -1 where skipped
    column: int
    heard: int


def digest(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"|".join(parts), digest_size=8).digest()


class FakeModel:
    """Its codes are a hash of exactly which input frames, which columns before, and whose seed they depend
    on.
    """

    def __init__(self, ears: str = "mel") -> None:
        self.ears = ears
        self.calls: list[tuple[str, int]] = []  # what was asked of it, in order

    def init_ears(self, batch: int) -> Tensor:
        return torch.zeros(batch, 1)

    def hear(self, audio: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        frames = audio.unflatten(1, (-1, HOP))
        before = torch.cat([state, frames[:, :-1, -1]], 1)
        return torch.stack([frames.abs().amax(-1), frames[..., HOP // 2], before], -1), frames[:, -1, -1:]

    def init_state(
        self, instrument: Tensor, spec: object, batch: int, *, column: int = 0, guided: bool = True
    ) -> FakeState:
        assert instrument.shape == (batch,)
        seeds = tuple(digest(bytes([int(i)])) for i in instrument)
        empty = tuple(tuple((-1,) * LEVELS for _ in range(LEVELS - 1)) for _ in range(batch))
        return FakeState((b"",) * batch, seeds, empty, column, 0)

    def listen(self, x: Tensor, state: FakeState) -> FakeState:
        seen = list(state.seen)
        for frame in x.unbind(1):
            seen = [digest(old, new.numpy().tobytes()) for old, new in zip(seen, frame)]
        return replace(state, seen=tuple(seen), heard=state.heard + x.shape[1])

    def play(self, state: FakeState, n: int, sampler: FakeSampler) -> tuple[Tensor, FakeState]:
        self.calls.append(("play", n))
        return self._emit(state, n, sampler)

    def skip(self, state: FakeState, n: int) -> tuple[Tensor, FakeState]:
        self.calls.append(("skip", n))
        return self._emit(state, n, None)

    def _emit(self, state: FakeState, n: int, sampler: FakeSampler | None) -> tuple[Tensor, FakeState]:
        frames = max(0, state.column + n - LEVELS + 1) - max(0, state.column - LEVELS + 1)
        for _ in range(n):
            state = self._column(state, sampler)
        rows = [columns[len(columns) - n - LEVELS + 1 :] for columns in state.grid]
        codes = np.full((len(rows), LEVELS, n), -1)
        for b, columns in enumerate(rows):
            for j in range(n):
                cells = [columns[j + level][level] for level in range(LEVELS)]
                codes[b, :, j] = cells if min(cells) >= 0 else -1
        grid = tuple(columns[-(LEVELS - 1) :] for columns in state.grid)
        return torch.from_numpy(codes[:, :, n - frames :]), replace(state, grid=grid)

    def _column(self, state: FakeState, sampler: FakeSampler | None) -> FakeState:
        history, grid = [], []
        for b, (seen, past) in enumerate(zip(state.seen, state.history)):
            cells: tuple[int, ...] = (-1,) * LEVELS
            if sampler is not None:
                player = b if sampler.players is None else sampler.players[b]
                key = f"{sampler.seed} {player} {sampler.temperature} {state.column} {state.heard}".encode()
                raw = digest(seen, past, key)
                cells = tuple(int.from_bytes(raw[2 * v : 2 * v + 2], "big") % CODES for v in range(LEVELS))
            history.append(digest(past, repr(cells).encode()))
            grid.append((*state.grid[b], cells))
        return replace(state, history=tuple(history), grid=tuple(grid), column=state.column + 1)


def music(seconds: float, seed: int = 0, rate: int = 32_000) -> np.ndarray:
    """Something that changes all the time: a few gliding tones and noise bursts, float32 within ±0.5."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * f * t * (1 + 0.05 * t)) for f in rng.uniform(80, 900, 4))
    beat = np.exp(-20 * (t % 0.5)) * rng.standard_normal(len(t))
    return (0.08 * tones + 0.05 * beat).clip(-0.5, 0.5).astype(np.float32)
