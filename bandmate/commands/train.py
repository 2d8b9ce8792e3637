"""``bandmate train``: codec, model, listening network, and the bundle of codec and model."""

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from bandmate.commands.parsing import parse


@dataclass(frozen=True)
class Arguments:
    """Train a codec on rendered tracks, or a model on a prepared store; or bundle the two for playing.

    Example: bandmate train lm --preset cpu --data prepared --out runs/duet --resume --set steps=2000 model.layers=6

    On several GPUs: bandmate train lm --preset decoder --devices 8 --set parts=8 --data prepared --out runs/decoder
    """

    what: tyro.conf.Positional[Literal["codec", "lm", "coherence", "bundle"]]
    """What to train; ``bundle`` trains nothing and writes a folder for --model."""
    out: Path
    """Folder of the run (or of the bundle, whose place a new one takes)."""
    data: Path | None = None
    """codec, coherence: folder of rendered tracks, as bandmate prepare midi writes it; lm: prepared store."""
    preset: str | None = None
    """A preset of what is trained, default cpu: cpu, gpu and tiny are there for all; an unknown name lists the others."""
    resume: bool = False
    """Go on with the run in --out, or begin it where there is none."""
    init: str | None = None
    """codec, lm: a run's folder or a bundle whose weights a new run begins with, where they fit."""
    set: Annotated[list[str], tyro.conf.arg(metavar="FIELD=VALUE")] = field(default_factory=list)
    """Other values for fields of the preset."""
    t_f: float | None = None
    """lm, models made for one (t_f, k), and specialists of duet: future visibility in seconds."""
    k: float | None = None
    """lm: the same, seconds per call."""
    codec: str | None = None
    """bundle: folder of the codec's run, or a bundle whose codec to take. lm: the same, to hear samples in TensorBoard."""
    lm: Path | None = None
    """bundle: folder of the model's run."""
    average: bool = False
    """bundle: take the averaged weights (presets with ema > 0) instead of the last."""
    devices: int = 1
    """Processes on this machine, one for each GPU. Under torchrun: as many as it starts."""
    nodes: int = 1
    """Machines; each runs the same command, best under torchrun."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """auto, ddp (a copy of the model in each process), fsdp (a share of it)."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """auto, cpu or gpu."""
    wandb: str = ""
    """Weights & Biases project to log to."""
    threads: int = 0
    """CPU threads; 0 = as many as torch takes by itself."""
    quiet: bool = False
    """No progress bar."""


DEFAULT_PRESET = "cpu"
TRAININGS = ("codec", "lm", "coherence")
# option -> what it is for; those that are not here are for all, or told by themselves
USERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "data",
            "preset",
            "resume",
            "set",
            "devices",
            "nodes",
            "strategy",
            "accelerator",
            "wandb",
            "threads",
        ),
        TRAININGS,
    ),
    "init": ("codec", "lm"),
    "codec": ("lm", "bundle"),
    "lm": ("bundle",),
    "average": ("bundle",),
}


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "bandmate train")
    check(args)
    if args.what == "bundle":
        return bundle(args)
    if args.data is None:
        raise ValueError(f"--data is missing: train {args.what} needs to know what to learn from")
    set_up(args.threads, args.accelerator)
    from bandmate.train import machine, runs

    config = config_of(args)
    place = machine.Machine(args.devices, args.nodes, args.strategy, args.accelerator, args.wandb)
    try:
        runs.train(
            config, args.data, args.out, args.resume, not args.quiet, place, listeners(args), args.init
        )
    except (
        FloatingPointError
    ) as error:  # the run has gone astray: nobody's misuse, and a traceback helps nobody
        print(f"bandmate train: {error}", file=sys.stderr)
        return 1
    return 0


def check(args: Arguments) -> None:
    """Refuses what cannot work before anything is loaded; ValueError with one sentence."""
    for name, value, least in (
        ("--threads", args.threads, 0),
        ("--devices", args.devices, 1),
        ("--nodes", args.nodes, 1),
    ):
        if value < least:
            raise ValueError(f"{name} must be {least} or more, not {value}")
    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out {args.out} is a file: give a folder")
    if args.what != "lm" and (args.t_f, args.k) != (None, None):
        raise ValueError(f"--t-f and --k are for train lm: leave them out of train {args.what}")
    refuse_unused(args)
    if args.k is not None and not args.k > 0:
        raise ValueError(f"--k {args.k:g} is out of range: a call plays for more than 0 seconds")


def refuse_unused(args: Arguments) -> None:
    """ValueError for an option that is given and means nothing to what is done."""
    defaults = Arguments(args.what, args.out)
    for name, users in USERS.items():
        if args.what not in users and getattr(args, name) != getattr(defaults, name):
            raise ValueError(f"--{name} is for train {', '.join(users)}: leave it out of train {args.what}")


def config_of(args: Arguments) -> Any:
    """The preset with what the command line changes."""
    from bandmate.configs import preset
    from bandmate.spec import FRAME_RATE, StreamSpec
    from bandmate.train import presets, runs

    if args.what not in presets.TABLES:
        raise ValueError(f"there are no presets for {args.what}; known are {', '.join(presets.TABLES)}")
    name = DEFAULT_PRESET if args.preset is None else args.preset
    config = preset(presets.TABLES[args.what], name)
    t_f, k = 0.0 if args.t_f is None else args.t_f, 1 / FRAME_RATE if args.k is None else args.k
    spec = StreamSpec.from_seconds(t_f, k)
    place = (None if args.t_f is None else spec.t_f, None if args.k is None else spec.k)
    for flag, frames, part in (("--t-f", place[0], "t_f"), ("--k", place[1], "k")):
        if frames is not None and not runs.has_place(config, part):
            raise ValueError(f"{flag} is not for --preset {name}: its model is not made for one {part}")
    return runs.override(config, [*args.set, *runs.placed(config, *place)])


def set_up(threads: int, accelerator: str) -> None:
    """Threads, and a clear word when the extra or the GPU is missing."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    if importlib.util.find_spec("lightning") is None:
        raise ValueError("training needs the extra packages: pip install 'bandmate[train]'")
    if accelerator == "gpu" and not torch.accelerator.is_available():
        raise ValueError(
            "--accelerator gpu: torch sees no GPU on this machine; leave it out to take what there is"
        )
    torch.set_float32_matmul_precision("high")  # tensor cores for what stays in float32; no change on a CPU


def listeners(args: Arguments) -> tuple[Any, ...]:
    """What lets a model be heard while it is trained."""
    from bandmate.train.runs import find_codec
    from bandmate.train.samples import Samples

    return (Samples(find_codec(args.codec) if args.codec else None),)


def bundle(args: Arguments) -> int:
    if args.codec is None or args.lm is None:
        raise ValueError("bundle needs --codec and --lm, the folders of the two runs")
    from bandmate.checkpoint import advised_sampling
    from bandmate.train import runs

    model = runs.load_model(args.lm, args.average)
    runs.bundle(runs.find_codec(args.codec), model, args.out, advised_sampling(model), runs.about(args.lm))
    print(f"{args.out} can be given to --model")
    return 0
