"""Loss curves that every machine must give again: those of the tiny presets, on a store of a rule or on a few songs.

Regenerate, after a change that is meant to alter them:  python -m tests.train.golden [NAME ...]
"""

import csv
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from bandmate.data.render import save_track
from bandmate.train import presets, runs
from tests.sweep.small import song
from tests.train.code_store import write_code_store

FILE = Path(__file__).with_name("golden.json")
STEPS = 20
SHORT = (f"steps={STEPS}", "steps_per_epoch=10", "validation_batches=2")


@dataclasses.dataclass(frozen=True)
class Curve:
    """A preset of a table with some fields set, and the figure of each step that is kept.

    judged: a figure of validation that must fall, by the share ``falls`` at least; none where it is empty. tolerance: of
    a value, as a share of it: other CPUs and thread counts round differently, and training amplifies it.
    """

    table: str
    preset: str
    settings: tuple[str, ...] = ()
    figure: str = "train/loss"
    judged: str = "valid/loss"
    falls: float = 0.008
    tolerance: float = 6e-4


def model(preset: str, *settings: str, judged: str = "valid/loss") -> Curve:
    return Curve("lm", preset, (*SHORT, *settings), judged=judged)


CURVES: dict[str, Curve] = {
    "duet": model("tiny", judged="valid/level1"),
    "decoder": model("decoder-tiny"),
    "decoder, ahead": model("decoder-tiny", "model.t_f=-20"),
    "prefix decoder": model("prefix-decoder-tiny"),
    "prefix decoder, every chunk": model("prefix-decoder-tiny", "model.objective=every_chunk"),
    "encoder-decoder": model("encoder-decoder-tiny"),
    "offline prefix": model("offline-prefix-tiny"),
    "stemgen": model("stemgen-tiny"),
    "spectral": Curve("codec", "tiny", figure="spectral", judged="", tolerance=2e-3),
    # Discriminators and codes that change amplify a last bit by 10 000 in 12 steps, and by 1000 in 8.
    "dac": Curve("codec", "dac-tiny", ("steps=8", "steps_per_epoch=4"), judged="", tolerance=5e-3),
    "coherence": Curve("coherence", "tiny", ("steps=12", "steps_per_epoch=6"), judged="", tolerance=2e-3),
}


def write_songs(folder: Path) -> Path:
    """Three songs to learn from and two to be judged by."""
    for index in range(5):
        track = dataclasses.replace(song(index), split="train" if index < 3 else "valid")
        save_track(track, folder / track.split / track.id)
    return folder


# table -> what its presets are trained on
DATA: dict[str, Callable[[Path], Path]] = {
    "lm": write_code_store,
    "codec": write_songs,
    "coherence": write_songs,
}


def train(name: str, data: Path, run_dir: Path) -> list[float]:
    """Trains one of them and gives its curve, with the figures of every step logged."""
    curve = CURVES[name]
    config = runs.override(presets.TABLES[curve.table][curve.preset](), list(curve.settings))
    torch.manual_seed(config.seed)
    training = config.build(data / "train" if curve.preset == "tiny" and curve.table == "codec" else data)
    training.loop = dataclasses.replace(training.loop, log_every=1)
    runs.fit(training, runs.remember(training.config, run_dir), progress=False)
    return logged(run_dir, curve.figure)


def logged(run_dir: Path, name: str) -> list[float]:
    """All values of a figure that a run logged, over its resumes, in order."""
    versions = sorted((run_dir / "csv").iterdir(), key=lambda path: int(path.name.split("_")[1]))
    values = []
    for version in versions:
        if (version / "metrics.csv").is_file():
            with open(version / "metrics.csv", encoding="utf-8") as file:
                values += [float(row[name]) for row in csv.DictReader(file) if row.get(name)]
    return values


def tensorboard_tags(run_dir: Path) -> dict[str, set[str]]:
    """Names of the sounds and pictures that a run has shown."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next((run_dir / "tensorboard").iterdir())))
    events.Reload()
    return {kind: set(events.Tags()[kind]) for kind in ("audio", "images")}


def main(names: list[str]) -> None:
    """Writes the curves of the given names anew; of all without any."""
    curves = json.loads(FILE.read_text(encoding="utf-8")) if names and FILE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        data = cache(lambda table: DATA[table](Path(folder) / table))
        for name in names or CURVES:
            values = train(name, data(CURVES[name].table), Path(folder) / name)
            curves[name] = [round(value, 5) for value in values]
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(curves[name])}" for name in CURVES)
    FILE.write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
