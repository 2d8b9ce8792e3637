"""The oracle ladder: how much of what t_f < 0 costs returns when the model is told something true of the future.

Every rung is the same short training of the same duet on the same windows, told something else
(:mod:`bandmate.train.oracle`). Judged by nats of the true stem on unseen songs, in windows drawn as those of ``bandmate
evaluate listening``. The way from t_f < 0 to the furthest t_f > 0 is that of the control, which is told nothing.
"""

import csv
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bandmate.data.tokens import TokenStore
from bandmate.evaluate.intervals import bootstrap, resampled, song_means
from bandmate.model.teacher import window_inputs
from bandmate.sweep.listening import ListeningConfig, draw_examples, hearing_once, nats
from bandmate.sweep.tables import plain, seconds, signed, table
from bandmate.train.oracle import OracleDuet, tell

T_F, K = (-1.0, -0.4, 1.0), 0.1  # seconds; the last t_f is where the way ends
CONTROL, BEGIN = "control", "begin"
HISTORIES = ("known", "hidden")  # of what was played before a column
FIFTHS = 5


def told_of(rung: str) -> tuple[str, ...]:
    """ "beat+chroma" -> what its model is told; nothing for the control and for the model that all begin with."""
    return () if rung in (CONTROL, BEGIN) else tuple(rung.split("+"))


@dataclasses.dataclass(frozen=True)
class Measured:
    """Cross-entropies of a rung: nats [histories, t_f, N, K levels], songs [N]."""

    nats: NDArray[np.float64]
    songs: NDArray[np.str_]

    def level(self, level: int, history: str) -> NDArray[np.float64]:
        """[t_f, N] of a level counted from 1; 0: the mean over levels."""
        nats = self.nats[HISTORIES.index(history)]
        return nats[:, :, level - 1] if level else nats.mean(2)

    def save(self, file: Path) -> None:
        with open(temporary := file.with_suffix(".tmp"), "wb") as out:
            np.savez(out, nats=self.nats, songs=self.songs)
        temporary.replace(file)

    @classmethod
    def load(cls, file: Path) -> "Measured":
        with np.load(file) as arrays:
            return cls(arrays["nats"], arrays["songs"])


def windows_of(config: Any, windows: int, batch: int, seed: int = 0) -> ListeningConfig:
    """Windows of unseen songs, as long and as much of them heard before as in training."""
    return ListeningConfig(T_F, (K,), windows, config.frames, config.pre, batch, seed)


@torch.inference_mode()
def measure(
    model: OracleDuet,
    told: Sequence[str],
    store: TokenStore,
    config: ListeningConfig,
    progress: Callable[[float], None] | None = None,
) -> Measured:
    """Scores windows of every song of the store at every t_f; a function of the arguments alone.

    With the true past of the stem known most codes are foretold by it. With it hidden the input is all there is.
    """
    examples, _ = draw_examples(store, config)
    parts = []
    for start in range(0, len(examples), config.batch):
        batch = examples[start : start + config.batch]
        x, codes, instrument, known = window_inputs(batch, model.pad)
        hidden = torch.where(known == model.pad, known, model.mask)
        with hearing_once(model), model.telling(tell(told, store, batch, x, config.pre)):
            parts.append([
                [nats(model, (x, codes, instrument, previous), spec, config) for spec in config.specs]
                for previous in (known, hidden)
            ])  # fmt: skip
        if progress:
            progress(min(1.0, (start + config.batch) / len(examples)))
    return Measured(np.concatenate(parts, axis=2), np.array([example.cluster for example in examples]))


def report(rungs: Mapping[str, Measured], curves: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Rows per (history, level, t_f, rung): cross-entropy, gain over the control, share of the way to the last t_f.

    level 0 is the mean over levels. ``curves``: what each rung gained in training, see :func:`gains_in_training`.
    """
    control = rungs[CONTROL]
    for rung, measured in rungs.items():
        if not np.array_equal(measured.songs, control.songs):
            raise ValueError(f"the rung {rung!r} was measured on other songs than the control")
    rows = [
        {"history": history, "level": level} | row
        for history in HISTORIES
        for level in (1, 0)
        for row in compared({rung: m.level(level, history) for rung, m in rungs.items()}, control.songs)
    ]
    return {
        "windows": len(control.songs),
        "songs": len(set(control.songs)),
        "rows": rows,
        "gain_in_training": dict(curves),
    }


def compared(nats: Mapping[str, NDArray[Any]], songs: NDArray[Any]) -> list[dict[str, Any]]:
    """Rows per (t_f, rung) from the nats [t_f, N] of each rung."""
    rows = []
    for index, t_f in enumerate(T_F):
        control = nats[CONTROL]
        way = control[index] - control[-1]
        for rung, found in nats.items():
            gain = control[index] - found[index]
            means = {"nats": found[index], "gain": gain, "way": way}
            intervals = {name: bootstrap(value, songs)._asdict() for name, value in means.items()}
            rows.append({"t_f": t_f, "rung": rung} | intervals | {"share": share(gain, way, songs)})
    return rows


def share(gain: NDArray[Any], way: NDArray[Any], songs: NDArray[Any]) -> dict[str, float] | None:
    """mean gain / mean way with its 95 % interval, songs drawn for both together; None unless there surely is a way."""
    if not bootstrap(way, songs).above_zero:
        return None
    gains, ways = song_means(gain, songs), song_means(way, songs)
    drawn = resampled(len(ways))
    low, high = np.percentile(gains[drawn].mean(1) / ways[drawn].mean(1), [2.5, 97.5])
    return {"mean": float(gains.mean() / ways.mean()), "low": float(low), "high": float(high)}


def losses(run_dir: Path, figure: str = "train/level1") -> NDArray[np.float64]:
    """A figure of every step of a run that logged each of them; of steps done again after a kill the last."""
    found: dict[int, float] = {}
    versions = (run_dir / "csv").glob("version_*/metrics.csv")
    for file in sorted(versions, key=lambda path: int(path.parent.name.split("_")[1])):
        with open(file, encoding="utf-8") as text:
            found |= {int(row["step"]): float(row[figure]) for row in csv.DictReader(text) if row.get(figure)}
    return np.array([found[step] for step in sorted(found)])


def gains_in_training(control: NDArray[Any], rung: NDArray[Any]) -> list[float]:
    """What the oracle gained at level 1 in each fifth of the training, batch by batch: does it still rise?"""
    steps = min(len(control), len(rung))
    parts = np.array_split(control[:steps] - rung[:steps], FIFTHS)
    return [float(part.mean()) for part in parts if part.size]


def markdown(result: Mapping[str, Any]) -> str:
    """A table per level, and what was gained in training."""
    about = (
        f"{result['windows']} windows of {result['songs']} unseen songs, k = {K:g} s; nats per code, "
        "of level 1 or the mean of all levels; gain = control − rung; "
        f"share of the control's way to t_f = +{T_F[-1]:g} s; 95 % bootstrap intervals over songs."
    )
    parts = [about]
    for history in HISTORIES:
        for level, name in ((1, "Level 1"), (0, "All levels")):
            lines = [[f"{name}, own past {history}", "t_f (s)", "nats", "gain", "share of the way"]]
            rows = [row for row in result["rows"] if (row["history"], row["level"]) == (history, level)]
            lines += [cells(row) for row in rows if row["t_f"] < 0 or row["rung"] in (CONTROL, BEGIN)]
            parts.append(table(lines))
    curves = [
        f"{rung}: " + ", ".join(f"{value:+.3f}".replace("-", "−") for value in curve)
        for rung, curve in result["gain_in_training"].items()
    ]
    parts.append("Gain at level 1 in each fifth of the training: " + "; ".join(curves) + ".")
    return "\n\n".join(parts) + "\n"


def cells(row: Mapping[str, Any]) -> list[str]:
    """A line of the table."""
    told = row["rung"] not in (CONTROL, BEGIN) and row["t_f"] != T_F[-1]
    part = plain(row["share"], 2) if told and row["share"] else "–"
    gain = "–" if row["rung"] == CONTROL else signed(row["gain"])
    return [row["rung"], seconds(row["t_f"]), plain(row["nats"]), gain, part]
