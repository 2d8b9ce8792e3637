"""``bandmate generate``: clips of unseen songs through a model, as folders to be measured and listened to."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from bandmate.commands.parsing import drawing_in_range, in_range, parse

if TYPE_CHECKING:
    from bandmate.checkpoint import Bundle
    from bandmate.spec import StreamSpec
    from bandmate.sweep.material import PlacesConfig

FOLDER = tyro.conf.arg(metavar="FOLDER")
SECONDS = tyro.conf.arg(metavar="SECONDS")
T_F, K = -0.4, 0.1  # seconds, for models that may be played in any way


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Play along with clips of unseen songs; write inputs, true stems and what was played, ready to be measured.

    Goes on where it was stopped. The same seed takes the same clips for every model, t_f and k.
    Example: bandmate generate --rendered rendered --out clips/duet --clips 256 --t-f 0 --k 0.1
    """

    rendered: Annotated[Path, FOLDER]
    """Rendered songs, as bandmate prepare midi makes them."""
    out: Annotated[Path, FOLDER]
    """Where to write; a folder that an earlier run began is completed."""
    model: Annotated[str, tyro.conf.arg(metavar="NAME_OR_PATH")] = "duet-small"
    """A bundled model (see bandmate models) or a folder with one."""
    split: str | None = None
    """Which songs; default: test."""
    clips: int = 256
    """How many clips, spread evenly over the songs."""
    seconds: Annotated[float | None, SECONDS] = None
    """Length of each; default: 10."""
    t_f: Annotated[float | None, SECONDS] = None
    """How far the model hears ahead of what it plays; default: what it was trained for, else -0.4."""
    k: Annotated[float | None, SECONDS] = None
    """How much is played per call; default: what the model was trained for, else 0.1."""
    post: Annotated[float | None, SECONDS] = None
    """How long the songs go on after a clip, so that a model may hear ahead; default: 4.5."""
    max_inputs: int | None = None
    """Most stems in the input; default: 6, 0 = any number."""
    seed: int = 0
    """Which clips, and what is played; with --like what is played only."""
    like: Annotated[Path | None, FOLDER] = None
    """Take the clips of a folder made before, and share its sounds (as hard links) instead of writing them again."""
    batch: int = 32
    """How many clips at a time; does not change the result."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, cuda:1 ..."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the model's weights while it plays: bf16 is quicker in large batches where there are
    instructions for it, and draws other codes now and then."""
    threads: int = 0
    """CPU threads; 0 = as many as torch takes by itself."""
    guidance: float | None = None
    """How much stronger than usual the model follows the input; default: the model's own."""
    temperature: float | None = None
    """Of the sampling, 0 = always the likeliest; default: the model's own."""
    top_k: int | None = None
    """Sample among this many; default: the model's own."""
    plausible: int | None = None
    """Guidance chooses among this many codes, the likeliest without it; default: the model's own."""
    null_input: bool = False
    """The model hears nothing: the unconditional system."""
    shuffle_input: bool = False
    """The model hears another song; the folder keeps the true input. What it plays must then fit worse."""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "bandmate generate")
    check(args)
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    from bandmate.checkpoint import load_bundle
    from bandmate.commands.precision import warn_of_slow_bfloat16
    from bandmate.sweep.generation import GenerationConfig, generate_folder

    places = places_of(args)
    bundle = load_bundle(args.model)
    spec = spec_of(bundle, args)
    bundle = with_sampling(bundle, spec, args)
    config = GenerationConfig(
        places, args.clips, spec, args.seed, args.batch, args.device,
        args.null_input, args.shuffle_input, args.like, args.precision,
    )  # fmt: skip
    warn_of_slow_bfloat16(args.precision, args.device)
    with progress() as tell:
        folder = generate_folder(bundle, args.rendered, args.out, config, tell)
    print(summary(list(folder.rows.values()), args.out))
    return 0


def check(args: Arguments) -> None:
    """Refuses what cannot work before anything is loaded; ValueError with one sentence."""
    in_range(
        {
            "--clips": (args.clips, 1, 99_999),
            "--seconds": (args.seconds, 1.0, 600.0),
            "--t-f": (args.t_f, -60.0, 60.0),
            "--k": (args.k, 0.02, 60.0),
            "--post": (args.post, 0.0, 600.0),
            "--max-inputs": (args.max_inputs, 0, 1000),
            "--seed": (args.seed, 0, 2**63 - 1),
            "--batch": (args.batch, 1, 4096),
            "--threads": (args.threads, 0, 1024),
        }
    )
    drawing_in_range(args)
    if args.null_input and args.shuffle_input:
        raise ValueError("--null-input hears nothing, --shuffle-input another song: choose one of them")
    if args.null_input and args.guidance is not None:
        raise ValueError("--null-input leaves nothing for --guidance to strengthen: leave one of them out")
    if args.like is not None and args.like.resolve() == args.out.resolve():
        raise ValueError("--like and --out are the same folder: name another --out")


def places_of(args: Arguments) -> "PlacesConfig":
    """Which clips: as the flags say, or as ``--like`` has them, which flags must not contradict."""
    from bandmate.sweep.generation import places_like
    from bandmate.sweep.material import PlacesConfig

    given: dict[str, Any] = {
        "split": args.split,
        "frames": None if args.seconds is None else round(args.seconds * 50),
        "post": None if args.post is None else round(args.post * 50),
        "most": args.max_inputs,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("most") == 0:
        given["most"] = None
    if args.like is None:
        return PlacesConfig(seed=args.seed, **given)
    places = places_like(args.like)
    flags = {"split": "--split", "frames": "--seconds", "post": "--post", "most": "--max-inputs"}
    for name, value in given.items():
        if getattr(places, name) != value:
            raise ValueError(f"{flags[name]} is not what {args.like} was made with: leave it out")
    return places


def with_sampling(bundle: "Bundle", spec: "StreamSpec | None", args: Arguments) -> "Bundle":
    """The bundle with the sampling that the flags ask for, over its own for this t_f."""
    from bandmate.checkpoint import DRAWING, sampling_for

    given = {name: getattr(args, name) for name in DRAWING if getattr(args, name) is not None}
    own = sampling_for(bundle.card, spec.t_f_seconds if spec else None)
    return dataclasses.replace(bundle, card=bundle.card | {"sampling": own | given})


def spec_of(bundle: "Bundle", args: Arguments) -> "StreamSpec | None":
    """(t_f, k): the flags', else what the model was made for, else the usual; None for an offline one without flags."""
    from bandmate.checkpoint import made_for
    from bandmate.spec import StreamSpec

    if not hasattr(bundle.model, "play") and args.t_f is None and args.k is None:
        return None
    given = {name: getattr(args, name) for name in ("t_f", "k") if getattr(args, name) is not None}
    seconds = {"t_f": T_F, "k": K} | made_for(bundle.card) | given
    own = {name: getattr(bundle.model.config, name, None) for name in ("t_f", "k") if name not in given}
    frames = {name: value for name, value in own.items() if value is not None}
    return dataclasses.replace(StreamSpec.from_seconds(seconds["t_f"], seconds["k"]), **frames)


def summary(rows: list[dict[str, Any]], out: Path) -> str:
    """What lies there now, and what one should know of it."""
    lines = [f"{len(rows)} clips of {len({row['song'] for row in rows})} songs in {out}"]
    strange = sum(row["random"]["instrument"] != row["instrument"] for row in rows)
    if strange:
        lines.append(f"{strange} random pairings are of another class: no other song has one of theirs")
    for name, what in (
        ("not_finite", "samples that are no numbers, written as 0"),
        ("clipped", "clipped samples"),
    ):
        count = sum(row[name] > 0 for row in rows)
        if count:
            lines.append(f"{count} predictions hold {what}")
    return "\n".join(lines)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[int, int], None]]:
    """A bar with an estimate on stderr when that is a terminal; else a line per batch."""
    if not sys.stderr.isatty():
        yield batches()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    columns = ("clips", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), "left", TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=3600) as bar:
        task = bar.add_task("clips", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def batches() -> Callable[[int, int], None]:
    """Says on stderr how many clips are done, and how long the rest will take."""
    began, first = time.perf_counter(), -1

    def tell(done: int, total: int) -> None:
        nonlocal first
        took = time.perf_counter() - began
        if first < 0:
            first = done
        left = f", about {took / (done - first) * (total - done):.0f} s left" if done > first else ""
        print(f"generate: {done} of {total} clips after {took:.0f} s{left}", file=sys.stderr, flush=True)

    return tell
