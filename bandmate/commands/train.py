"""``bandmate train``: codec, model, and the bundle of both."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bandmate.commands.parsing import parse


@dataclass(frozen=True)
class Arguments:
    """Train a codec on rendered tracks, or a model on a prepared store; or bundle the two for playing.

    Example: bandmate train lm --preset cpu --data prepared --out runs/duet --resume --set steps=2000 model.layers=6
    """

    what: tyro.conf.Positional[Literal["codec", "lm", "bundle"]]
    """What to train; ``bundle`` trains nothing and writes a folder for --model."""
    out: Path
    """Folder of the run (or of the bundle)."""
    data: Path | None = None
    """codec: folder of rendered tracks (its train part); lm: prepared store."""
    preset: str = "cpu"
    """cpu, gpu or tiny."""
    resume: bool = False
    """Go on with the run in --out, or begin it where there is none."""
    set: Annotated[list[str], tyro.conf.arg(metavar="FIELD=VALUE")] = field(default_factory=list)
    """Other values for fields of the preset."""
    codec: Path | None = None
    """bundle: folder of the codec's run."""
    lm: Path | None = None
    """bundle: folder of the model's run."""
    threads: int = 0
    """CPU threads; 0 = as many as torch takes by itself."""
    quiet: bool = False
    """No progress bar."""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "bandmate train")
    if args.what == "bundle":
        return bundle(args)
    if args.data is None:
        raise ValueError(f"--data is missing: train {args.what} needs to know what to learn from")
    set_up(args.threads)
    from bandmate.configs import preset
    from bandmate.train import presets, runs

    if args.what == "codec":
        codec_config = runs.override(preset(presets.CODEC, args.preset), args.set)
        runs.train_codec(codec_config, args.data, args.out, args.resume, not args.quiet)
    else:
        duet_config = runs.override(preset(presets.DUET, args.preset), args.set)
        runs.train_duet(duet_config, args.data, args.out, args.resume, not args.quiet)
    return 0


def set_up(threads: int) -> None:
    """Threads, and a clear word when the extra is missing."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    if importlib.util.find_spec("lightning") is None:
        raise ValueError("training needs the extra packages: pip install 'bandmate[train]'")


def bundle(args: Arguments) -> int:
    if args.codec is None or args.lm is None:
        raise ValueError("bundle needs --codec and --lm, the folders of the two runs")
    from bandmate.train import runs

    runs.bundle(args.codec, args.lm, args.out, {"temperature": 1.0, "top_k": 200, "guidance": 1.5}, {})
    print(f"{args.out} can be given to --model")
    return 0
