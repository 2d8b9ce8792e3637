"""What single settings of duet's training are worth, at small scale: a short training per arm, all judged alike.

An arm is a name and what it sets otherwise, as in "no recall: model.recall=false". The first arm sets nothing. The same
command given again goes on at the arm and epoch where it was stopped.

usage: python runs/ablate.py --data prepared --out ablation [--steps 600 --init RUN --arms "deaf: deaf_share=1" ...]
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Annotated, Any

import tyro

from bandmate.sweep import ablation
from bandmate.sweep.tables import to_json
from bandmate.train import presets, runs

BASE = "as it is"
SMALL = (
    "model.width=128", "model.heads=2", "model.kv_heads=2", "model.hidden=256", "model.layers=2",
    "validate_every=10000", "steps_per_epoch=100", "long_share=0",
)  # fmt: skip
ARMS = (
    "no recall: model.recall=false",
    "own past always known: hidden_history=0 hidden_spans=0 noisy_tokens=0",
    "input never dropped: deaf_share=0",
    "input always as it is: augment.equaliser=0 augment.room=0 augment.noise=0 augment.drive=0 augment.bandwidth=0",
    "all levels alike: level_weights=[1,1,1,1]",
    "made for t_f = 0 alone: only_t_f=0 only_k=5",
    "twice as deep: model.layers=4",
)


@dataclasses.dataclass(frozen=True)
class Arguments:
    data: Path
    out: Path
    arms: tuple[str, ...] = ARMS
    steps: int = 600
    init: str | None = None
    """Run or bundle that all arms begin with; its sizes must then be set."""
    preset: str = "cpu"
    split: str = "valid"
    windows: int = 4
    """Of each song, to be judged by."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=VALUE")] = SMALL
    """Of all arms."""

    @property
    def settings(self) -> dict[str, list[str]]:
        """arm -> what it sets. ValueError for an arm without a name."""
        told = {BASE: ""} | {
            name.strip(): sets for name, _, sets in (arm.partition(":") for arm in self.arms)
        }
        if "" in told or len(told) != 1 + len(self.arms):
            raise ValueError('--arms: each wants a name of its own, as in "deaf: deaf_share=1"')
        return {name: [f"steps={self.steps}", *self.set, *sets.split()] for name, sets in told.items()}


def claim(args: Arguments) -> None:
    """Arms that are compared were made alike: ValueError for a folder that holds others."""
    wanted = {
        field: str(getattr(args, field)) for field in ("data", "init", "preset", "split", "windows", "set")
    }
    wanted["steps"] = str(args.steps)
    file = args.out / "settings.json"
    args.out.mkdir(parents=True, exist_ok=True)
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) != wanted:
        raise ValueError(f"{args.out} holds arms made with other settings: choose another --out")
    file.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")


def run_arm(args: Arguments, name: str, settings: list[str]) -> ablation.Measured:
    """Trains and judges an arm, or reads what was judged before."""
    folder = args.out / name.replace(" ", "_")
    file = folder / "nats.npz"
    if not file.exists():
        config = runs.override(presets.LM[args.preset](), settings)
        begun = time.process_time()
        runs.train(config, args.data, folder, resume=True, progress=False, init=args.init)
        print(f"{name}: trained in {time.process_time() - begun:.0f} s of processor time", flush=True)
        measured = ablation.measure(
            runs.load_model(folder), args.data, args.split, config.frames, args.windows
        )
        measured.save(file)
    return ablation.Measured.load(file)


def ablate(args: Arguments) -> list[dict[str, Any]]:
    """All arms; the report so far is written after each."""
    claim(args)
    done: dict[str, ablation.Measured] = {}
    rows: list[dict[str, Any]] = []
    for name, settings in args.settings.items():
        done[name] = run_arm(args, name, settings)
        rows = ablation.compared(done)
        (args.out / "ablation.json").write_text(to_json(rows), encoding="utf-8")
        (args.out / "ablation.md").write_text(ablation.markdown(rows), encoding="utf-8")
    return rows


def main() -> None:
    args = tyro.cli(Arguments)
    try:
        print(ablation.markdown(ablate(args)))
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
