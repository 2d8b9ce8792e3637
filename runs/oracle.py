"""The oracle ladder from a trained duet, end to end: a short training per rung, then all of them on unseen songs.

A rung is what its model is told of the true future: beat, chroma, input, or several of them (beat+chroma). "control" is
told nothing and trained as long; "begin" is the model they all begin with. The same command given again goes on at the
rung and epoch where it was stopped.

usage: python runs/oracle.py --data prepared --init duet-small --out oracle [--steps 300 --set batch=8 pre=250 ...]
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from bandmate.cli import MISUSE, USER_ERRORS, complain, sentence
from bandmate.data.tokens import TokenStore
from bandmate.model.duet_network import DuetConfig
from bandmate.sweep import oracle
from bandmate.sweep.generation import fingerprint
from bandmate.sweep.row_store import check_folder, claim_folder
from bandmate.sweep.tables import to_json
from bandmate.train import runs
from bandmate.train.oracle import OracleConfig, told_width

RUNGS = (oracle.BEGIN, oracle.CONTROL, "beat", "chroma", "input")


@dataclasses.dataclass(frozen=True)
class Arguments:
    data: Path
    init: str
    """Run or bundle with the duet that all rungs begin with."""
    out: Path
    rungs: tuple[str, ...] = RUNGS
    steps: int = 300
    split: str = "test"
    windows: int = 4
    """Of each song, to be measured by."""
    measure_batch: int = 16
    set: Annotated[list[str], tyro.conf.arg(metavar="FIELD=VALUE")] = dataclasses.field(default_factory=list)


def config_of(args: Arguments, rung: str) -> OracleConfig:
    model = runs.find_model(args.init).config
    if not isinstance(model, DuetConfig):
        raise ValueError(f"{args.init} is not a duet: there is no ladder for other models")
    base = OracleConfig(model=model, steps=args.steps, told=oracle.told_of(rung))
    return runs.override(base, args.set)


def check(args: Arguments) -> None:
    """Refuses what could not be trained or measured before anything is written: ValueError or FileNotFoundError."""
    for rung in args.rungs:
        told_width(oracle.told_of(rung))
    config = config_of(args, oracle.CONTROL)
    runs.begin_with(config.build(args.data), args.init)
    if args.windows < 1 or args.measure_batch < 1:
        raise ValueError("--windows and --measure-batch must be 1 or more")
    oracle.draw_examples(
        TokenStore(args.data, args.split), oracle.windows_of(config, args.windows, args.measure_batch)
    )


def claim(args: Arguments) -> None:
    """Rungs that are compared were made alike: ValueError for a folder that holds another ladder."""
    wanted = {
        "data": str(args.data), "init": args.init, "begins": fingerprint(runs.find_model(args.init)),
        "split": args.split, "windows": args.windows,
        "config": runs.listed(dataclasses.asdict(config_of(args, oracle.CONTROL))),
    }  # fmt: skip
    check_folder(args.out, wanted)
    check(args)
    claim_folder(args.out, wanted)


def climb(args: Arguments, rung: str) -> oracle.Measured:
    """Trains and measures a rung, or reads what was measured before."""
    folder = args.out / rung
    file = folder / "nats.npz"
    if file.exists():
        return oracle.Measured.load(file)
    config, begun = config_of(args, rung), time.process_time()
    if rung == oracle.BEGIN:
        module = config.build(args.data)
        runs.begin_with(module, args.init)
        folder.mkdir(exist_ok=True)
    else:
        runs.train(config, args.data, folder, resume=True, progress=False, init=args.init)
        module = config.build(args.data)
        module.load_state_dict(runs.read_run(folder)[1])
        print(f"{rung}: trained in {time.process_time() - begun:.0f} s of processor time", flush=True)
    store = TokenStore(args.data, args.split)
    windows = oracle.windows_of(config, args.windows, args.measure_batch)
    begun = time.process_time()
    measured = oracle.measure(module.model.eval(), config.told, store, windows)
    measured.save(file)
    print(f"{rung}: measured in {time.process_time() - begun:.0f} s of processor time", flush=True)
    return measured


def curves(args: Arguments, done: Any) -> dict[str, list[float]]:
    """What every rung that was told something gained in training."""
    told = [rung for rung in done if oracle.told_of(rung)]
    if not told:
        return {}
    control = oracle.losses(args.out / oracle.CONTROL)
    return {rung: oracle.gains_in_training(control, oracle.losses(args.out / rung)) for rung in told}


def ladder(args: Arguments) -> dict[str, Any]:
    """All rungs; the report so far is written after each, beginning with the control's."""
    claim(args)
    done: dict[str, oracle.Measured] = {}
    result: dict[str, Any] = {}
    for rung in dict.fromkeys((oracle.CONTROL, *args.rungs)):
        done[rung] = climb(args, rung)
        result = oracle.report(done, curves(args, done))
        (args.out / "ladder.json").write_text(to_json(result), encoding="utf-8")
        (args.out / "ladder.md").write_text(oracle.markdown(result), encoding="utf-8")
    return result


def main() -> None:
    args = tyro.cli(Arguments)
    torch.set_num_threads(1)
    try:
        print(oracle.markdown(ladder(args)))
    except USER_ERRORS as error:
        sys.exit(complain("oracle", sentence(error), MISUSE))


if __name__ == "__main__":
    main()
