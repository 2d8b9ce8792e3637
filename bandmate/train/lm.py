"""Training of ``duet``: every window draws its own t_f, k and chunk phase, so that one model learns the whole plane."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bandmate.data.tokens import Example, TokenStore
from bandmate.model.duet import Duet
from bandmate.model.duet_network import DuetConfig, Visibility
from bandmate.model.tokens import to_columns
from bandmate.train.loop import LoopConfig, Training, cosine_with_warmup, set_rate, split_parameters


@dataclasses.dataclass(frozen=True)
class DuetTrainConfig:
    """Batches of windows of ``frames``; every ``1 / long_share``-th batch has half as many windows, twice as long.

    The last group says how the played history is spoilt, so that the model cannot live by it alone.
    """

    model: DuetConfig = DuetConfig()
    steps: int = 10_000
    batch: int = 8
    frames: int = 250
    rate: float = 3e-3
    weight_decay: float = 0.05
    level_weights: tuple[float, ...] = (1.0, 0.5, 0.3, 0.2)
    long_share: float = 0.25
    listen_share: float = 0.5
    deaf_share: float = 0.15
    input_gain_db: float = 2.0
    hidden_history: float = 0.3
    hidden_spans: float = 0.4
    noisy_tokens: float = 0.04
    seed: int = 0
    steps_per_epoch: int = 100
    validate_every: int = 5
    precision: str = "bf16-mixed"


class Batch(NamedTuple):
    """x [B, Tx, F], codes [B, K, T], instrument [B], x_start, horizon [B, T], deaf [B], previous [B, K, T]."""

    x: Tensor
    codes: Tensor
    instrument: Tensor
    x_start: int
    horizon: Tensor
    deaf: Tensor
    previous: Tensor


class Layout(NamedTuple):
    """Frames of y, of x before y begins, and of x after y ends."""

    frames: int
    pre: int
    post: int
    batch: int


def draw_layout(rng: np.random.Generator, config: DuetTrainConfig) -> Layout:
    """One shape for a whole batch. ``post`` bounds its t_f."""
    stretch = 2 if rng.random() < config.long_share else 1
    pre = int(rng.integers(1, config.frames + 1)) if rng.random() < config.listen_share else 0
    post = int(rng.choice([0, 20, 50, 200], p=[0.25, 0.25, 0.25, 0.25]))
    return Layout(config.frames * stretch, pre, post, max(1, config.batch // stretch))


def draw_visibility(rng: np.random.Generator, limit: int) -> tuple[int, int]:
    """t_f in -200 ... limit frames, mostly near 0, and k in 1 ... 100 frames, evenly in log."""
    low, high = [(-50, 20), (-200, -50), (0, 200)][rng.choice(3, p=[0.5, 0.15, 0.35])]
    t_f = min(int(rng.integers(low, high + 1)), limit)
    return t_f, int(rng.choice([1, 5, 10])) if rng.random() < 0.5 else round(100 ** rng.random())


def horizons(frames: int, t_f: int, k: int, phase: int, available: int) -> np.ndarray:
    """Horizon of each column when calls fall at ..., -phase, k - phase, 2 k - phase, ...; the first begins at 0."""
    column = np.arange(frames)
    call = np.maximum((column + phase) // k * k - phase, 0)
    return np.minimum(call + t_f, available)


def spoil_history(
    previous: Tensor, rng: np.random.Generator, config: DuetTrainConfig, pad: int, mask: int
) -> Tensor:
    """Hides all of a history, or spans of it, and puts random codes here and there; previous [K, T]."""
    levels, frames = previous.shape
    noisy = torch.from_numpy(rng.random((levels, frames)) < config.noisy_tokens)
    random = torch.from_numpy(rng.integers(0, pad, (levels, frames)))
    spoilt = torch.where(noisy, random, previous)
    if rng.random() < config.hidden_history:
        spoilt = torch.full_like(previous, mask)
    elif rng.random() < config.hidden_spans:
        for _ in range(int(rng.integers(1, 4))):
            start = int(rng.integers(frames))
            spoilt[:, start : start + int(rng.integers(5, 75))] = mask
    return torch.where(previous == pad, pad, spoilt)


def window_inputs(examples: list[Example], pad: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x [B, Tx, F], codes [B, K, T], instrument [B], and the column before each position [B, K, T]."""
    first = examples[0]
    if first.x_features is not None:
        x = torch.from_numpy(np.stack([e.x_features for e in examples if e.x_features is not None]))
    else:
        x = torch.from_numpy(np.stack([e.x_codes for e in examples if e.x_codes is not None])).transpose(1, 2)  # type: ignore[arg-type]
    codes = torch.from_numpy(np.stack([e.y for e in examples])).long()
    columns = to_columns(codes, pad, codes.shape[2])
    previous = torch.cat([torch.full_like(columns[:, :, :1], pad), columns[:, :, :-1]], dim=2)
    return x, codes, torch.tensor([e.instrument for e in examples]), previous


def cross_entropy(logits: Tensor, codes: Tensor) -> Tensor:
    """Negative log likelihood in nats per level, logits [B, T, K, V] of columns, codes [B, K, T] of frames -> [B, K].

    Level l of column s is judged against frame s - l; cells without a frame do not count.
    """
    levels, frames = codes.shape[1:]
    rows = []
    for level in range(levels):
        scores = logits[:, level:, level].float().flatten(0, 1)  # codes last and in one piece: the quick way
        wanted = codes[:, level, : frames - level].flatten()
        rows.append(F.cross_entropy(scores, wanted, reduction="none").unflatten(0, (len(codes), -1)).mean(1))
    return torch.stack(rows, dim=1)


class DuetTraining(Training):
    """Lightning module: Muon for the matrices of the layers (Jordan et al. 2024), AdamW for the rest."""

    def __init__(self, config: DuetTrainConfig, store: Path, codebook: Tensor | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config = config
        self.loop = LoopConfig(
            config.steps,
            config.steps_per_epoch,
            config.validate_every,
            precision=config.precision,
        )
        self.store, self.valid = TokenStore(store, "train"), TokenStore(store, "valid")
        self.model = Duet(config.model)
        if codebook is not None and config.model.ears == "codes":
            self.model.front.codebook.copy_(codebook)  # type: ignore[operator, union-attr]

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        matrices, others = split_parameters(
            self.model, lambda name: name.startswith(("heard", "played", "front"))
        )
        c = self.config
        return [
            torch.optim.Muon(matrices, c.rate, weight_decay=c.weight_decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, c.rate, betas=(0.9, 0.98), weight_decay=0.0, foreach=True),
        ]

    def draw(self, step: int) -> Batch:
        rng = np.random.default_rng([self.config.seed, step])
        layout = draw_layout(rng, self.config)
        draw_seed = int(rng.integers(2**31))
        examples = [
            self.store.window(draw_seed, row, layout.frames, layout.pre, layout.post)
            for row in range(layout.batch)
        ]
        x, codes, instrument, previous = window_inputs(examples, self.model.pad)
        if x.dtype == torch.uint8:  # levels in half dB
            gain = torch.from_numpy(rng.normal(0, self.config.input_gain_db * 2, (len(x), 1, 1))).float()
            x = (x.float() + gain).round().clamp(0, 255).to(torch.uint8)
        horizon = [self._horizon(rng, layout) for _ in examples]
        deaf = torch.from_numpy(rng.random(layout.batch) < self.config.deaf_share)
        spoilt = [spoil_history(row, rng, self.config, self.model.pad, self.model.mask) for row in previous]
        return Batch(x, codes, instrument, -layout.pre, torch.stack(horizon), deaf, torch.stack(spoilt))

    def _horizon(self, rng: np.random.Generator, layout: Layout) -> Tensor:
        t_f, k = draw_visibility(rng, layout.post)
        return torch.from_numpy(
            horizons(layout.frames, t_f, k, int(rng.integers(k)), layout.frames + layout.post)
        )

    def training_step(self, batch: Batch, index: int) -> dict[str, Tensor]:
        optimizers: list = self.optimizers()  # type: ignore[assignment]
        set_rate(optimizers, self.config.rate * cosine_with_warmup(self.step, self.config.steps))
        nats = cross_entropy(self.score(batch), batch.codes).mean(0)
        loss = (nats * nats.new_tensor(self.config.level_weights)).sum()
        self.model.zero_grad()
        self.manual_backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        self.log_dict(
            {f"train/level{level}": value for level, value in enumerate(nats.detach(), 1)}, prog_bar=True
        )
        return {"loss": loss.detach()}

    def score(self, batch: Batch) -> Tensor:
        view = Visibility(batch.x_start, batch.horizon, batch.deaf)
        return self.model(batch.x, batch.previous, batch.instrument, view)

    def val_dataloader(self) -> torch.utils.data.DataLoader:
        return torch.utils.data.DataLoader(range(VALIDATION_BATCHES), batch_size=None)  # type: ignore[arg-type]

    def validation_step(self, index: int, _: int) -> None:
        """Nats per level with the right input, and by how much another song's input and none are worse at level 1."""
        post, k = 50, 5
        examples = [self.valid.window(1, index * 16 + row, self.config.frames, 0, post) for row in range(16)]
        controls = [self.valid.control(example, 0) for example in examples]
        for t_f in (-20, 0, 50):
            horizon = torch.from_numpy(horizons(self.config.frames, t_f, k, 0, self.config.frames + post))
            horizon = horizon.expand(len(examples), -1).to(self.device)
            own = self._nats(examples, horizon, False)
            self.log(f"valid/other{t_f:+d}", (self._nats(controls, horizon, False) - own)[0], batch_size=1)
            if t_f == 50:
                self.log("valid/deaf", (self._nats(examples, horizon, True) - own)[0], batch_size=1)
                self.log_dict(
                    {f"valid/level{level}": value for level, value in enumerate(own, 1)}, batch_size=1
                )

    def _nats(self, examples: list[Example], horizon: Tensor, deaf: bool) -> Tensor:
        x, codes, instrument, previous = (t.to(self.device) for t in window_inputs(examples, self.model.pad))
        view = Visibility(0, horizon, torch.full((len(x),), deaf, device=self.device))
        return cross_entropy(self.model(x, previous, instrument, view), codes).mean(0)


VALIDATION_BATCHES = 2
