"""What the future is worth: a duet that is told, column by column, something true of the input it has not heard yet.

For t_f < 0 a column is made before the sound that it belongs with is heard, and the loss is higher than for t_f > 0. How
much of the difference returns when the model is given the true beat, the true harmony, or the true input of that moment
tells which of them is worth predicting. Nobody plays with an oracle: these models are trained to be measured only
(:mod:`bandmate.sweep.oracle`).
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bandmate.data.tokens import Example, TokenStore
from bandmate.model.duet import Duet
from bandmate.model.duet_network import DuetConfig, Visibility
from bandmate.model.ears import PITCH_BANDS
from bandmate.model.recall import OFFSETS, Places
from bandmate.model.teacher import horizons, window_inputs
from bandmate.nn.spectrogram import dequantise_db
from bandmate.spec import FRAME_RATE
from bandmate.train.lm import Batch, DuetTrainConfig, DuetTraining, spoil_history
from bandmate.train.optimizers import Together

BEAT_RATES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the beat's
FAR = 1000.0  # beats by which the first and the last tempo are carried on
CLEAR = 24  # band from which on semitones are told apart: A2, 110 Hz
USUAL_WIDTH = 24  # numbers told to a column for which OracleConfig.quicker holds as it is


def beat_phase(beats: Sequence[float], first: int, frames: int) -> Tensor:
    """Sine and cosine of the phase of the beat and of its multiples and parts, in the middle of each frame.

    Beats are counted from the first one of the track: which of them begins a bar is not known. Zeros without a tempo.

    Args:
        beats: seconds. first: frame of the track that the first row is about.
    Returns:
        [frames, 2 * len(BEAT_RATES)]
    """
    if len(beats) < 2:
        return torch.zeros(frames, 2 * len(BEAT_RATES))
    begin, end = beats[0] - FAR * (beats[1] - beats[0]), beats[-1] + FAR * (beats[-1] - beats[-2])
    count = [-FAR, *range(len(beats)), len(beats) - 1 + FAR]
    beat = np.interp((first + np.arange(frames) + 0.5) / FRAME_RATE, [begin, *beats, end], count)
    angle = 2 * np.pi * beat[:, None] * np.array(BEAT_RATES)
    return torch.from_numpy(np.concatenate([np.sin(angle), np.cos(angle)], axis=1)).float()


def chroma(x: Tensor) -> Tensor:
    """Levels of the pitch classes over their mean, 1 for 8 dB: uint8 [B, T, FEATURES] -> [B, T, 12], A first."""
    power = 10 ** (dequantise_db(x[..., CLEAR:PITCH_BANDS]) / 10)
    level = 10 * torch.log10(power.unflatten(-1, (-1, 12)).sum(-2))
    return (level - level.mean(-1, keepdim=True)) / 8.0


# What may be told -> how many numbers a column's new layer takes of it. The input needs none: recall has one.
WIDTHS = {"beat": 2 * len(BEAT_RATES), "chroma": 12 * len(OFFSETS), "input": 0}


def told_width(told: Sequence[str]) -> int:
    """Numbers told to each column; ValueError for something that nobody can tell."""
    if unknown := sorted(set(told) - set(WIDTHS)):
        raise ValueError(f"there is no oracle {unknown[0]!r}; known are {', '.join(WIDTHS)}")
    return sum(WIDTHS[name] for name in told)


def tell(told: Sequence[str], store: TokenStore, examples: Sequence[Example], x: Tensor, pre: int) -> Tensor:
    """What each column of windows is told, [B, S, told_width]; x [B, pre + S + post, FEATURES], post >= OFFSETS[-1]."""
    frames = examples[0].y.shape[1]
    parts = [torch.zeros(len(x), frames, 0)]
    if "beat" in told:
        beats = {entry.id: entry.beats for entry in store.entries}
        parts.append(torch.stack([beat_phase(beats[e.track], e.start, frames) for e in examples]))
    if "chroma" in told:
        heard = chroma(x[:, pre : pre + frames + OFFSETS[-1]])
        parts += [heard[:, later : later + frames] for later in OFFSETS]
    return torch.cat(parts, dim=2)


class OracleDuet(Duet):
    """A duet whose columns are told something: beat and chroma within ``telling``, by a layer that begins by saying
    nothing; the input by recall, which is handed the frames that sound with a column whether they were heard or not.
    """

    def __init__(self, config: DuetConfig, told: Sequence[str]) -> None:
        super().__init__(config)
        width = told_width(told)
        self.knows_input = "input" in told
        if self.knows_input and self.recall is None:
            raise ValueError("the input is told by way of recall, which this duet was made without")
        self.oracle = nn.Linear(width, config.width, bias=False) if width else None
        if self.oracle is not None:
            nn.init.zeros_(self.oracle.weight)
        self._words: Tensor | None = None

    @contextlib.contextmanager
    def telling(self, words: Tensor) -> Iterator[None]:
        """Within it the model plays windows of which ``words`` [B, S, told_width] are true."""
        self._words = words
        try:
            yield
        finally:
            self._words = None

    def embed_played(self, *inputs: Tensor) -> Tensor:
        y = super().embed_played(*inputs)
        return y if self.oracle is None or self._words is None else y + self.oracle(self._words.to(y.dtype))

    def places(self, x: Tensor, columns: Tensor, view: Visibility) -> Places:
        where = super().places(x, columns, view)
        if self.knows_input:
            now = (columns - view.x_start)[:, None] + torch.tensor(OFFSETS, device=x.device)
            where.frame[:, :, 0] = now.clamp(max=x.shape[1] - 1)
        return where


@dataclasses.dataclass(frozen=True)
class OracleConfig(DuetTrainConfig):
    """A short training from a duet that is trained already.

    told: some of WIDTHS; none for the control. t_f (frames) is drawn with the probabilities ``shares``. pre: frames
    heard before playing begins. quicker: the oracle's layer is new, so its rate is that many times the rest's; for
    wide words less in proportion, so that what all of them say moves as quickly (Yang et al. 2022). hidden_history is
    high because next to nothing of the loss depends on the input where the stem's own past is known.
    """

    told: tuple[str, ...] = ()
    t_f: tuple[int, ...] = (-50, -20, 50)
    shares: tuple[float, ...] = (0.4, 0.4, 0.2)
    k: int = 5
    pre: int = 100
    quicker: float = 4.0
    steps: int = 300
    warmup: int = 20
    rate: float = 3e-4
    batch: int = 4
    hidden_history: float = 0.8
    deaf_share: float = 0.0
    steps_per_epoch: int = 50
    validate_every: int = 10_000  # never: the ladder's own measure follows
    log_every: int = 1

    def build(self, data: Path) -> "OracleTraining":
        return OracleTraining(self, data)


class OracleBatch(NamedTuple):
    """A duet's batch and what its columns are told."""

    batch: Batch
    words: Tensor


class OracleTraining(DuetTraining):
    """All rungs of a ladder see the same windows, t_f and spoilt histories, step by step."""

    config: OracleConfig
    model: OracleDuet

    def make_model(self) -> OracleDuet:
        if self.config.model.ears != "mel" or not self.store.config.features:
            raise ValueError(
                "oracles tell spectra: they need a duet that hears them, and a store that holds them"
            )
        return OracleDuet(self.config.model, self.config.told)

    def configure_optimizers(self) -> Together:
        """The oracle's layer in a group of its own, the last one."""
        muon, adam = super().configure_optimizers().parts  # type: ignore[attr-defined]
        if self.model.oracle is not None:
            new = self.model.oracle.weight
            adam.param_groups[0]["params"] = [p for p in adam.param_groups[0]["params"] if p is not new]
            adam.add_param_group({"params": [new]})
        return Together(muon, adam)

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        super().configure_gradient_clipping(optimizer)
        if self.model.oracle is not None:
            width = self.model.oracle.in_features
            optimizer.param_groups[-1]["lr"] *= self.config.quicker * USUAL_WIDTH / width

    def draw_part(self, step: int, part: int) -> Any:
        c = self.config
        rng = np.random.default_rng([c.seed, step, part])
        post, size, seed = max(*c.t_f, OFFSETS[-1]), c.batch // c.parts, int(rng.integers(2**31))
        examples = [self.store.window(seed, row, c.frames, c.pre, post) for row in range(size)]
        x, codes, instrument, previous = window_inputs(examples, self.model.pad)
        drawn = rng.choice(c.t_f, size, p=c.shares)
        rows = [horizons(c.frames, int(t_f), c.k, int(rng.integers(c.k)), c.frames + post) for t_f in drawn]
        deaf = torch.from_numpy(rng.random(size) < c.deaf_share)
        spoilt = [spoil_history(row, rng, c, self.model.pad, self.model.mask) for row in previous]
        horizon = torch.from_numpy(np.stack(rows))
        batch = Batch(x, codes, instrument, -c.pre, horizon, deaf, torch.stack(spoilt))
        return OracleBatch(batch, tell(c.told, self.store, examples, x, c.pre))

    def loss(self, batch: Any) -> tuple[Tensor, Tensor]:
        with self.model.telling(batch.words):
            return super().loss(batch.batch)
