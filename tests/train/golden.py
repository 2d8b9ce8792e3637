"""Loss curves that every machine must give again: those of the tiny presets of models, on the store of a rule.

Regenerate, after a change that is meant to alter them:  python -m tests.train.golden [NAME ...]
"""

import csv
import json
import sys
import tempfile
from pathlib import Path

from bandmate.train import presets, runs

FILE = Path(__file__).with_name("golden.json")
TOLERANCE = (
    2e-3  # of a loss in nats: other CPUs and thread counts round differently, and training amplifies it
)
STEPS = 20

# name -> (preset, fields set)
CURVES: dict[str, tuple[str, list[str]]] = {
    "duet": ("tiny", []),
    "decoder": ("decoder-tiny", []),
    "decoder, ahead": ("decoder-tiny", ["model.t_f=-20"]),
    "prefix decoder": ("prefix-decoder-tiny", []),
    "prefix decoder, every chunk": ("prefix-decoder-tiny", ["model.objective=every_chunk"]),
    "encoder-decoder": ("encoder-decoder-tiny", []),
    "offline prefix": ("offline-prefix-tiny", []),
    "stemgen": ("stemgen-tiny", []),
}


def train(name: str, store: Path, run_dir: Path, *settings: str) -> None:
    preset, changed = CURVES[name]
    short = [f"steps={STEPS}", "steps_per_epoch=10", "validation_batches=2"]
    config = runs.override(presets.LM[preset](), [*short, *changed, *settings])
    runs.train(config, store, run_dir, resume=False, progress=False)


def logged(run_dir: Path, name: str) -> list[float]:
    """All values of a figure that a run logged, over its resumes, in order."""
    versions = sorted((run_dir / "csv").iterdir(), key=lambda path: int(path.name.split("_")[1]))
    values = []
    for version in versions:
        if (version / "metrics.csv").is_file():
            with open(version / "metrics.csv", encoding="utf-8") as file:
                values += [float(row[name]) for row in csv.DictReader(file) if row.get(name)]
    return values


def main(names: list[str]) -> None:
    """Writes the curves of the given names anew; of all without any."""
    from tests.train.code_store import write_code_store

    curves = json.loads(FILE.read_text(encoding="utf-8")) if names and FILE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        store = write_code_store(Path(folder) / "store")
        for name in names or CURVES:
            train(name, store, Path(folder) / name)
            curves[name] = [round(value, 5) for value in logged(Path(folder) / name, "train/loss")]
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(curves[name])}" for name in CURVES)
    FILE.write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
