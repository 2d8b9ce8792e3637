"""What single settings of duet's training are worth, at small scale: a short training per arm, all judged alike.

An arm is a name and what it sets otherwise, as in "no recall: model.recall=false". The first arm sets nothing. The same
command given again goes on at the arm and epoch where it was stopped.

usage: python runs/ablate.py --data prepared --out ablation [--steps 600 --init RUN --arms "deaf: deaf_share=1" ...]
"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import tyro

from bandmate.cli import MISUSE, USER_ERRORS, complain, sentence
from bandmate.configs import preset
from bandmate.data.tokens import TokenStore
from bandmate.sweep import ablation
from bandmate.sweep.generation import fingerprint
from bandmate.sweep.row_store import check_folder, claim_folder
from bandmate.sweep.tables import to_json
from bandmate.train import presets, runs
from bandmate.train.lm import DuetTrainConfig

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
    "narrower and deeper: model.width=96 model.hidden=192 model.layers=4",  # as much work
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
        if "" in told or len(set(map(folder_of, told))) != 1 + len(self.arms):
            raise ValueError('--arms: each wants a name of its own, as in "deaf: deaf_share=1"')
        return {name: [f"steps={self.steps}", *self.set, *sets.split()] for name, sets in told.items()}


def configs_of(args: Arguments) -> dict[str, DuetTrainConfig]:
    """arm -> what it is trained by. ValueError for a preset or a setting that there is not."""
    begin = preset(presets.LM, args.preset)
    if not isinstance(begin, DuetTrainConfig):
        raise ValueError(f"the preset {args.preset!r} trains another model: ablations are of duet")
    return {name: runs.override(begin, settings) for name, settings in args.settings.items()}


def check(args: Arguments) -> None:
    """Refuses what could not be trained or judged before anything is written: ValueError or FileNotFoundError."""
    configs = configs_of(args)
    TokenStore(args.data, "train")
    ablation.draw(args.data, args.split, configs[BASE].frames, args.windows)
    if args.init is not None:
        runs.find_model(args.init)
    for name, settings in args.settings.items():
        known = remembered(args.out / folder_of(name))
        if known not in (None, settings):
            raise ValueError(
                f"{args.out} holds an arm {name!r} made with other settings: choose another name or --out"
            )


def folder_of(arm: str) -> str:
    return arm.replace(" ", "_")


def remembered(folder: Path) -> list[str] | None:
    """What the arm in a folder was set to; None where there is none. ValueError for one that does not say it."""
    file = folder / "arm.json"
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))
    if (folder / "config.yaml").exists():
        raise ValueError(
            f"{folder} does not say with what settings it was made (no arm.json): choose another --out"
        )
    return None


def claim(args: Arguments) -> None:
    """Arms that are compared were made alike: ValueError for a folder that holds others."""
    wanted = {
        field: str(getattr(args, field)) for field in ("data", "init", "preset", "split", "windows", "set")
    }
    wanted["steps"] = str(args.steps)
    if args.init is not None:
        wanted["begins"] = fingerprint(runs.find_model(args.init))
    check_folder(args.out, wanted)
    check(args)
    claim_folder(args.out, wanted)


def run_arm(args: Arguments, name: str, config: DuetTrainConfig, frames: int) -> ablation.Measured:
    """Trains an arm and judges it on windows of ``frames`` frames, or reads what was judged before."""
    folder = args.out / folder_of(name)
    file = folder / "nats.npz"
    if not file.exists():
        folder.mkdir(exist_ok=True)
        (folder / "arm.json").write_text(json.dumps(args.settings[name]) + "\n", encoding="utf-8")
        begun = time.process_time()
        runs.train(config, args.data, folder, resume=True, progress=False, init=args.init)
        print(f"{name}: trained in {time.process_time() - begun:.0f} s of processor time", flush=True)
        ablation.measure(runs.load_model(folder), args.data, args.split, frames, args.windows).save(file)
    return ablation.Measured.load(file)


def ablate(args: Arguments) -> list[dict[str, Any]]:
    """All arms, judged on windows as long as the first's; the report so far is written after each."""
    claim(args)
    configs = configs_of(args)
    done: dict[str, ablation.Measured] = {}
    rows: list[dict[str, Any]] = []
    for name, config in configs.items():
        done[name] = run_arm(args, name, config, configs[BASE].frames)
        rows = ablation.compared(done)
        (args.out / "ablation.json").write_text(to_json(rows), encoding="utf-8")
        (args.out / "ablation.md").write_text(ablation.markdown(rows), encoding="utf-8")
    return rows


def main() -> None:
    args = tyro.cli(Arguments)
    try:
        print(ablation.markdown(ablate(args)))
    except USER_ERRORS as error:
        sys.exit(complain("ablate", sentence(error), MISUSE))


if __name__ == "__main__":
    main()
