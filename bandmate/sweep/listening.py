"""Does it listen: nats of the true stem given its own mixture, another song's, and none, over the (t_f, k) plane.

The paper's Figure 3 without sampling: what knowing the input is worth, as a function of how much of it is known.
"""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bandmate.data.tokens import Example, TokenStore
from bandmate.evaluate.intervals import bootstrap, rank_correlation, resampled, song_means
from bandmate.model.duet import Duet
from bandmate.model.duet_network import Visibility
from bandmate.nn.transformer import attend, rotary_angles
from bandmate.spec import FRAME_RATE, StreamSpec
from bandmate.sweep.tables import signed, table
from bandmate.train.lm import cross_entropy, horizons, window_inputs

T_F = (-4.0, -2.0, -1.0, -0.4, -0.2, 0.0, 0.2, 0.4, 1.0, 4.0)  # seconds
K = (0.02, 0.2, 1.0)


@dataclasses.dataclass(frozen=True)
class ListeningConfig:
    """``windows`` of ``frames`` frames of each song; x begins ``pre`` frames before y; seconds in t_f and k."""

    t_f: tuple[float, ...] = T_F
    k: tuple[float, ...] = K
    windows: int = 4
    frames: int = 250
    pre: int = 0
    batch: int = 16
    seed: int = 0

    @property
    def specs(self) -> list[StreamSpec]:
        """By k, then t_f."""
        return [StreamSpec.from_seconds(t_f, k) for k in self.k for t_f in self.t_f]

    @property
    def post(self) -> int:
        """Frames of x after y that the largest t_f needs."""
        return max(0, *(spec.t_f for spec in self.specs))


@dataclasses.dataclass(frozen=True)
class Nats:
    """Cross-entropies: own and other [specs, N, K levels], deaf [N, K levels], songs [N]."""

    own: NDArray[np.float64]
    other: NDArray[np.float64]
    deaf: NDArray[np.float64]
    songs: NDArray[np.str_]
    skipped: tuple[str, ...]  # songs without a window


def measure(
    model: Duet, store: TokenStore, config: ListeningConfig, progress: Callable[[float], None] | None = None
) -> Nats:
    """Scores windows of every song of the store; a function of the arguments alone."""
    if store.config.codes != model.config.codes:
        raise ValueError(f"the store has {store.config.codes} codes per level, the model {model.config.codes}")
    if not (store.config.features if model.ears == "mel" else store.config.submix_codes):
        raise ValueError(f"the model hears {model.ears}, which the store does not hold; prepare it for this model")
    examples, skipped = draw_examples(store, config)
    parts = []
    for start in range(0, len(examples), config.batch):
        batch = examples[start : start + config.batch]
        controls = [store.control(example, config.seed) for example in batch]
        parts.append(score_batch(model, batch, controls, config))
        if progress:
            progress(min(1.0, (start + config.batch) / len(examples)))
    own, other, deaf = (np.concatenate(group, axis=-2) for group in zip(*parts, strict=True))
    return Nats(own, other, deaf, np.array([example.song for example in examples]), skipped)


def draw_examples(store: TokenStore, config: ListeningConfig) -> tuple[list[Example], tuple[str, ...]]:
    """Equally many windows of each song; and the songs that have none, as when they are too short."""
    examples, skipped = [], []
    for number, song in enumerate(store.songs):
        of_song = copy.copy(store)
        of_song.entries = tuple(entry for entry in store.entries if entry.song == song)
        seed, spans = config.seed + 1000 * number, (config.frames, config.pre, config.post)
        try:
            examples += [of_song.window(seed, index, *spans) for index in range(config.windows)]
        except ValueError:
            skipped.append(song)
    if len(store.songs) - len(skipped) < 2:
        wanted = (config.pre + config.frames + config.post) / FRAME_RATE
        raise ValueError(f"{store.path} holds fewer than two songs of this split with {wanted:g} s in which both sides sound")
    return examples, tuple(skipped)


@torch.inference_mode()
def score_batch(
    model: Duet, examples: list[Example], controls: list[Example], config: ListeningConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """own and other [specs, B, K], deaf [B, K]."""
    x, codes, instrument, previous = window_inputs(examples, model.pad)
    y = (codes, instrument, previous)
    heard = [hear(model, x, config), hear(model, window_inputs(controls, model.pad)[0], config)]
    own, other = ([nats(model, h, y, spec, config) for spec in config.specs] for h in heard)
    deaf = nats(model, heard[0], y, config.specs[0], config, deaf=True)
    return np.stack(own), np.stack(other), deaf


Heard = list[tuple[Tensor, Tensor]]  # keys and values of each layer, [B, H_kv, Tx, d]


def hear(model: Duet, x: Tensor, config: ListeningConfig) -> Heard:
    """The heard tower over x [B, Tx, F]. It knows nothing of t_f and k, so once is enough for the whole plane."""
    frames = torch.arange(x.shape[1]) - config.pre
    angles = rotary_angles(frames, model.config.width // model.config.heads)
    mask, _ = model.masks(frames, frames[:1], Visibility(-config.pre, frames[None, :1], torch.zeros(1, dtype=torch.bool)))
    h, _ = model.front(x)
    layers = []
    for layer in range(model.config.layers):
        q, k, v = model.hear_layer(layer, h, angles)
        layers.append((k, v))
        if q is not None:
            h = model.heard[layer].finish(h, attend(q, k, v, mask))  # type: ignore[operator]
    return layers


def play(model: Duet, heard: Heard, previous: Tensor, instrument: Tensor, view: Visibility) -> Tensor:
    """Logits [B, S, K, V] of Duet.forward, from what was heard; ``view`` may have one row for all."""
    columns = torch.arange(previous.shape[2])
    frames = torch.arange(heard[0][0].shape[2]) + view.x_start
    _, mask = model.masks(frames, columns, view)
    angles = rotary_angles(columns, model.config.width // model.config.heads)
    y = model.embed_played(previous, instrument, columns - view.horizon, view.deaf)
    for layer, block in enumerate(model.played):
        q, k, v = block.attention_in(y, angles)  # type: ignore[operator]
        keys, values = (
            torch.cat([sink.expand(len(y), -1, -1, -1), a, b], dim=2)
            for sink, a, b in zip(model.sinks[layer], heard[layer], (k, v), strict=True)
        )
        y = block.finish(y, attend(q, keys, values, mask))  # type: ignore[operator]
    return model.logits(y)


def nats(
    model: Duet, heard: Heard, y: tuple[Tensor, Tensor, Tensor], spec: StreamSpec, config: ListeningConfig, deaf: bool = False
) -> NDArray[np.float64]:
    """[B, K] nats per code of y (codes, instrument, previous), calls of k columns from 0 on."""
    codes, instrument, previous = y
    horizon = horizons(config.frames, spec.t_f, spec.k, 0, config.frames + config.post)
    view = Visibility(-config.pre, torch.from_numpy(horizon)[None], torch.tensor([deaf]))
    return cross_entropy(play(model, heard, previous, instrument, view), codes).double().numpy()


def report(measured: Nats, config: ListeningConfig) -> dict[str, Any]:
    """Rows per (k, t_f, level) with means and intervals, and per k how the gap at level 1 goes with t_f."""
    rows = []
    for own, other, spec in zip(measured.own, measured.other, config.specs, strict=True):
        for level in range(own.shape[1]):
            values = {
                "own": own[:, level],
                "other": other[:, level],
                "deaf": measured.deaf[:, level],
                "other_minus_own": (other - own)[:, level],
                "deaf_minus_own": (measured.deaf - own)[:, level],
            }
            intervals = {name: bootstrap(value, measured.songs)._asdict() for name, value in values.items()}
            rows.append({"t_f": spec.t_f_seconds, "k": spec.k_seconds, "level": level + 1} | intervals)
    return {
        "windows": len(measured.songs),
        "songs": len(set(measured.songs)),
        "skipped_songs": list(measured.skipped),
        "window_seconds": config.frames / FRAME_RATE,
        "listened_before_seconds": config.pre / FRAME_RATE,
        "seed": config.seed,
        "spearman": [trend(measured, config, index) for index in range(len(config.k))],
        "rows": rows,
    }


def trend(measured: Nats, config: ListeningConfig, index: int) -> dict[str, Any]:
    """Spearman's rho of t_f and the mean gap at level 1 for the k of that index; 95 % interval over songs."""
    size = len(config.t_f)
    own, other = (part[index * size : (index + 1) * size, :, 0] for part in (measured.own, measured.other))
    gaps = np.stack([song_means(gap, measured.songs) for gap in other - own])  # [t_f, songs]
    row: dict[str, Any] = {"k": config.k[index]} | dict.fromkeys(("rho", "low", "high"))
    if size < 2:
        return row
    drawn = [rank_correlation(config.t_f, gaps[:, songs].mean(axis=1)) for songs in resampled(gaps.shape[1], 500)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return row | {"rho": rank_correlation(config.t_f, gaps.mean(axis=1)), "low": float(low), "high": float(high)}


def markdown(result: dict[str, Any]) -> str:
    """The table of the gap per level and (t_f, k), and the trend."""
    levels: Sequence[int] = sorted({row["level"] for row in result["rows"]})
    head = ["t_f (s)", "k (s)", "own, level 1"]
    head += [f"other − own, level {level}" for level in levels] + ["none − own, level 1"]
    lines = [head]
    for first in (row for row in result["rows"] if row["level"] == 1):
        same = [row for row in result["rows"] if (row["t_f"], row["k"]) == (first["t_f"], first["k"])]
        cells = [f"{first['t_f']:g}", f"{first['k']:g}", f"{first['own']['mean']:.3f}"]
        cells += [signed(row["other_minus_own"]) for row in same] + [signed(first["deaf_minus_own"])]
        lines.append(cells)
    trends = [
        f"k = {t['k']:g} s: rho = {t['rho']:.2f} [{t['low']:.2f}, {t['high']:.2f}]" for t in result["spearman"] if t["rho"] is not None
    ]
    text = f"{result['windows']} windows of {result['window_seconds']:g} s of {result['songs']} songs; nats per code; 95 % bootstrap intervals over songs."
    return "\n\n".join([text, table(lines), "Spearman of t_f and the gap at level 1: " + "; ".join(trends)]) + "\n"
