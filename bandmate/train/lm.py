"""Training of ``duet``: every window draws its own t_f, k and chunk phase, so that one model learns the whole plane."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bandmate.data.tokens import Example, TokenStore
from bandmate.generate import generate
from bandmate.model.duet import Duet
from bandmate.model.duet_network import DuetConfig, Visibility
from bandmate.model.sampling import Sampler
from bandmate.model.teacher import cross_entropy, horizons, window_inputs
from bandmate.spec import StreamSpec
from bandmate.train.augment import OFF, AugmentConfig, augment
from bandmate.train.language import LanguageConfig, LanguageTraining
from bandmate.train.loop import split_parameters
from bandmate.train.optimizers import Muon, Together


@dataclasses.dataclass(frozen=True)
class DuetTrainConfig(LanguageConfig):
    """Every ``1 / long_share``-th batch has half as many windows, twice as long.

    hidden_history, hidden_spans and noisy_tokens say how the played history is spoilt, so that the model cannot live by
    it alone. only_t_f, only_k (frames): where they are given, a specialist is made for that place of the plane.
    """

    model: DuetConfig = DuetConfig()
    steps: int = 10_000
    rate: float = 3e-3
    weight_decay: float = 0.05
    level_weights: tuple[float, ...] = (1.0, 0.5, 0.3, 0.2)
    long_share: float = 0.25
    listen_share: float = 0.7
    deaf_share: float = 0.15
    input_gain_db: float = 2.0
    augment: AugmentConfig = OFF
    hidden_history: float = 0.3
    hidden_spans: float = 0.4
    noisy_tokens: float = 0.04
    only_t_f: int | None = None
    only_k: int | None = None

    def build(self, data: Path) -> "DuetTraining":
        """Its training on a prepared store, whose codebooks a duet that hears codes is given."""
        if self.model.ears == "mel":
            return DuetTraining(self, data)
        table = torch.from_numpy(TokenStore(data, "train").codebook())
        training = DuetTraining(
            dataclasses.replace(self, model=dataclasses.replace(self.model, code_latent=table.shape[2])), data
        )
        training.model.front.codebook.copy_(table)  # type: ignore[operator, union-attr]
        return training


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


def draw_layout(rng: np.random.Generator, config: DuetTrainConfig, batch: int) -> Layout:
    """One shape for ``batch`` windows, or half as many long ones. ``post`` bounds their t_f."""
    stretch = 2 if rng.random() < config.long_share else 1
    pre = int(rng.integers(1, config.frames * 3 // 2)) if rng.random() < config.listen_share else 0
    post = int(rng.choice([0, 20, 50, 200], p=[0.25, 0.25, 0.25, 0.25]))
    post = post if config.only_t_f is None else max(0, config.only_t_f)
    return Layout(config.frames * stretch, pre, post, max(1, batch // stretch))


def draw_visibility(rng: np.random.Generator, limit: int) -> tuple[int, int]:
    """t_f in -200 ... limit frames, mostly near 0, and k in 1 ... 100 frames, evenly in log."""
    low, high = [(-50, 20), (-200, -50), (0, 200)][rng.choice(3, p=[0.5, 0.15, 0.35])]
    t_f = min(int(rng.integers(low, high + 1)), limit)
    return t_f, int(rng.choice([1, 5, 10])) if rng.random() < 0.5 else round(100 ** rng.random())


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


class DuetTraining(LanguageTraining):
    """Muon for the matrices of the layers (Jordan et al. 2024), AdamW for the rest."""

    config: DuetTrainConfig
    model: Duet

    def check_sizes(self) -> None:
        super().check_sizes()
        weights, levels = len(self.config.level_weights), self.config.model.levels
        if weights != levels:
            raise ValueError(
                f"level_weights has {weights} entries, the model {levels} levels: give one for each"
            )

    @property
    def judged_at(self) -> tuple[tuple[int, ...], int]:
        """Where validation looks, in frames: some t_f, the last of them for what is judged once, and k."""
        c = self.config
        return (-20, 0, 50) if c.only_t_f is None else (c.only_t_f,), 5 if c.only_k is None else c.only_k

    @property
    def judged_span(self) -> tuple[int, int]:
        return 0, max(0, *self.judged_at[0])

    def span_of(self, frames: int) -> tuple[int, int]:
        return 0, max(0, self.config.only_t_f or 0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        c = self.config
        matrices, others = split_parameters(
            self.model, lambda name: name.startswith(("heard", "played", "front", "recall"))
        )
        muon = Muon(matrices, c.rate, c.weight_decay)
        adam = torch.optim.AdamW(others, c.rate, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)
        return Together(muon, adam)

    def draw_part(self, step: int, part: int) -> Batch:
        c = self.config
        rng = np.random.default_rng([c.seed, step] if c.parts == 1 else [c.seed, step, part])
        layout = draw_layout(rng, c, c.batch // c.parts)
        draw_seed = int(rng.integers(2**31))
        examples = [
            self.store.window(draw_seed, row, layout.frames, layout.pre, layout.post)
            for row in range(layout.batch)
        ]
        x, codes, instrument, previous = window_inputs(examples, self.model.pad)
        if x.dtype == torch.uint8:  # levels in half dB
            if c.augment != OFF:
                x = torch.from_numpy(np.stack([augment(row, rng, c.augment) for row in x.numpy()]))
            gain = torch.from_numpy(rng.normal(0, c.input_gain_db * 2, (len(x), 1, 1))).float()
            x = (x.float() + gain).round().clamp(0, 255).to(torch.uint8)
        horizon = [self._horizon(rng, layout) for _ in examples]
        deaf = torch.from_numpy(rng.random(layout.batch) < c.deaf_share)
        spoilt = [spoil_history(row, rng, c, self.model.pad, self.model.mask) for row in previous]
        return Batch(x, codes, instrument, -layout.pre, torch.stack(horizon), deaf, torch.stack(spoilt))

    def _horizon(self, rng: np.random.Generator, layout: Layout) -> Tensor:
        t_f, k = draw_visibility(rng, layout.post)
        c = self.config
        t_f, k = t_f if c.only_t_f is None else c.only_t_f, k if c.only_k is None else c.only_k
        return torch.from_numpy(
            horizons(layout.frames, t_f, k, int(rng.integers(k)), layout.frames + layout.post)
        )

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        view = Visibility(batch.x_start, batch.horizon, batch.deaf)
        nats = cross_entropy(self.model(batch.x, batch.previous, batch.instrument, view), batch.codes).mean(0)
        return (nats * nats.new_tensor(self.config.level_weights)).sum(), nats

    def validation_step(self, index: int, _: int) -> None:
        """Nats per level with the right input, and by how much another song's input and none are worse at level 1."""
        (places, k), (pre, post) = self.judged_at, self.judged_span
        examples = [
            self.valid.window(1, index * 16 + row, self.config.frames, pre, post) for row in range(16)
        ]
        controls = [] if self.uncontrolled else [self.valid.control(example, 0) for example in examples]
        for t_f in places:
            horizon = torch.from_numpy(horizons(self.config.frames, t_f, k, 0, self.config.frames + post))
            horizon = horizon.expand(len(examples), -1).to(self.device)
            own = self._nats(examples, horizon, False)
            if controls:
                self.log_mean(f"valid/other{t_f:+d}", (self._nats(controls, horizon, False) - own)[0])
            if t_f == places[-1]:
                self.log_mean("valid/deaf", (self._nats(examples, horizon, True) - own)[0])
                self.log_levels("valid", own)

    def perform(self, windows: list[Example]) -> Tensor:
        inputs: Any = window_inputs(windows, self.model.pad)
        x, _, instrument, _ = (part.to(self.device) for part in inputs)
        t_f, k = self.config.only_t_f, self.judged_at[1]
        spec = StreamSpec(-20 if t_f is None else t_f, k)
        levels = self.config.model.levels
        return generate(self.best, x, spec, Sampler(), instrument, self.config.frames, levels=levels)

    def _nats(self, examples: list[Example], horizon: Tensor, deaf: bool) -> Tensor:
        x, codes, instrument, previous = (t.to(self.device) for t in window_inputs(examples, self.model.pad))
        view = Visibility(0, horizon, torch.full((len(x),), deaf, device=self.device))
        return cross_entropy(self.best(x, previous, instrument, view), codes).mean(0)
