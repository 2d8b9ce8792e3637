"""Does it listen: nats of the true stem given its own mixture, another song's, and none, per t_f and k.

The paper's Figure 3 without sampling: what knowing the input is worth, as a function of how much of it is
known.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bandmate.configs import MODEL_KINDS, describe_config
from bandmate.data.tokens import Example, TokenStore
from bandmate.evaluate.folders import named
from bandmate.evaluate.intervals import bootstrap, rank_correlation, resampled, song_means
from bandmate.model.duet import Duet
from bandmate.model.duet_network import Visibility
from bandmate.model.teacher import cross_entropy, horizons, window_inputs
from bandmate.spec import FRAME_RATE, StreamSpec
from bandmate.sweep.tables import number, seconds, signed, table

T_F = (-4.0, -2.0, -1.0, -0.4, -0.2, 0.0, 0.2, 0.4, 1.0, 4.0)  # seconds
K = (0.02, 0.2, 1.0)


@dataclasses.dataclass(frozen=True)
class ListeningConfig:
    """``windows`` of ``frames`` frames of each song.

    ``x`` begins ``pre`` frames before y; t_f and k in seconds.
    """

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
    """Cross-entropies: own and other [specs, N, K levels], deaf [N, K levels]; song (near duplicates are one), track, first
    frame of windows [N].
    """

    own: NDArray[np.float64]
    other: NDArray[np.float64]
    deaf: NDArray[np.float64]
    songs: NDArray[np.str_]
    tracks: NDArray[np.str_]
    starts: NDArray[np.int64]
    skipped: tuple[str, ...]  # songs without a window


def measure(
    model: Duet, store: TokenStore, config: ListeningConfig, progress: Callable[[float], None] | None = None
) -> Nats:
    """Scores windows of every song of the store; a function of the arguments alone."""
    if not isinstance(model, Duet):
        kind = describe_config(MODEL_KINDS, model.config)
        raise ValueError(
            f"listening is measured of a model of the kind duet, and this one is of the kind {kind}"
        )
    if store.config.codes != model.config.codes:
        raise ValueError(
            f"the store has {store.config.codes} codes per level, the model {model.config.codes}"
        )
    if not (store.config.features if model.ears == "mel" else store.config.submix_codes):
        raise ValueError(
            f"the model hears {model.ears}, which the store does not hold; prepare it for this model"
        )
    examples, skipped = draw_examples(store, config)
    parts = []
    for start in range(0, len(examples), config.batch):
        batch = examples[start : start + config.batch]
        controls = [store.control(example, config.seed) for example in batch]
        parts.append(score_batch(model, batch, controls, config))
        if progress:
            progress(min(1.0, (start + config.batch) / len(examples)))
    own, other, deaf = (np.concatenate(group, axis=-2) for group in zip(*parts, strict=True))
    songs, tracks, starts = (
        np.array([getattr(e, name) for e in examples]) for name in ("cluster", "track", "start")
    )
    return Nats(own, other, deaf, songs, tracks, starts, skipped)


def draw_examples(store: TokenStore, config: ListeningConfig) -> tuple[list[Example], tuple[str, ...]]:
    """Equally many windows of each song; and the songs that have none, as when they are too short."""
    examples, skipped = [], []
    for place, song in enumerate(store.songs):
        of_song = copy.copy(store)
        of_song.entries = tuple(entry for entry in store.entries if entry.song == song)
        seed, spans = config.seed + 1000 * place, (config.frames, config.pre, config.post)
        try:
            examples += [of_song.window(seed, index, *spans) for index in range(config.windows)]
        except ValueError:
            skipped.append(song)
    if len(store.songs) - len(skipped) < 2:
        wanted = (config.pre + config.frames + config.post) / FRAME_RATE
        raise ValueError(
            f"{store.path} holds fewer than two songs of this split with {wanted:g} s that sound"
        )
    return examples, tuple(skipped)


@torch.inference_mode()
def score_batch(
    model: Duet, examples: list[Example], controls: list[Example], config: ListeningConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """own and other [specs, B, K], deaf [B, K]."""
    own = window_inputs(examples, model.pad)
    other = window_inputs(controls, model.pad)
    deaf = nats(model, own, config.specs[0], config, deaf=True)
    scores = []
    for inputs in (own, other):
        with hearing_once(model):
            scores.append(np.stack([nats(model, inputs, spec, config) for spec in config.specs]))
    return scores[0], scores[1], deaf


@contextlib.contextmanager
def hearing_once(model: Duet) -> Iterator[None]:
    """Within it the model is called with one x only, and its heard tower runs in the first call only.

    That tower knows nothing of t_f and k: what it gives the played tower is the same in the whole plane.
    """
    memory: dict[int, tuple[Tensor, Tensor]] = {}
    hear_layer = model.hear_layer

    def remembered(layer: int, h: Tensor, angles: Any) -> tuple[Tensor | None, Tensor, Tensor]:
        if layer in memory:
            return None, *memory[layer]  # no queries: the layer is not run on
        q, k, v = hear_layer(layer, h, angles)
        memory[layer] = (k, v)
        return q, k, v

    model.hear_layer = remembered  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.hear_layer


def nats(
    model: Duet, inputs: tuple[Tensor, ...], spec: StreamSpec, config: ListeningConfig, deaf: bool = False
) -> NDArray[np.float64]:
    """[B, K] nats per code of what ``window_inputs`` gave, calls of k columns from 0 on."""
    x, codes, instrument, previous = inputs
    horizon = horizons(config.frames, spec.t_f, spec.k, 0, config.frames + config.post)
    rows = torch.from_numpy(horizon).expand(len(x), -1)
    view = Visibility(-config.pre, rows, torch.full((len(x),), deaf))
    return cross_entropy(model(x, previous, instrument, view), codes).double().numpy()


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
    drawn = [
        rank_correlation(config.t_f, gaps[:, songs].mean(axis=1)) for songs in resampled(gaps.shape[1], 500)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return row | {
        "rho": rank_correlation(config.t_f, gaps.mean(axis=1)),
        "low": float(low),
        "high": float(high),
    }


def markdown(result: dict[str, Any]) -> str:
    """The table of the gap per level and (t_f, k), the trend, and the songs that were left out."""
    levels: Sequence[int] = sorted({row["level"] for row in result["rows"]})
    head = ["t_f (s)", "k (s)", "own, level 1"]
    head += [f"other − own, level {level}" for level in levels] + ["none − own, level 1"]
    lines = [head]
    for first in (row for row in result["rows"] if row["level"] == 1):
        same = [row for row in result["rows"] if (row["t_f"], row["k"]) == (first["t_f"], first["k"])]
        cells = [seconds(first["t_f"]), seconds(first["k"]), number(first["own"]["mean"])]
        cells += [signed(row["other_minus_own"]) for row in same] + [signed(first["deaf_minus_own"])]
        lines.append(cells)
    trends = [
        f"k = {t['k']:g} s: rho = {t['rho']:.2f} [{t['low']:.2f}, {t['high']:.2f}]"
        for t in result["spearman"]
        if t["rho"] is not None
    ]
    text = (
        f"{result['windows']} windows of {result['window_seconds']:g} s of {result['songs']} songs; "
        "nats per code; 95 % bootstrap intervals over songs."
    )
    parts = [text, table(lines), "Spearman of t_f and the gap at level 1: " + "; ".join(trends)]
    if skipped := result["skipped_songs"]:
        parts.append(
            f"Left out, as no window of theirs is long enough and sounds: {len(skipped)} songs: {named(skipped)}."
        )
    return "\n\n".join(parts) + "\n"
