"""``bandmate sweep run``: a grid of (t_f, k) through one model, or through one model per point."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bandmate.commands.parsing import in_range
from bandmate.commands.sweeping.common import progress

if TYPE_CHECKING:
    from bandmate.sweep.grid import Grid
    from bandmate.sweep.plane import Models, Sweep
    from bandmate.sweep.specialists import Training

FOLDER = tyro.conf.arg(metavar="FOLDER")
NAME = tyro.conf.arg(metavar="NAME_OR_PATH")
NETWORKS = ("auto", "bundled", "cocola", "vggish")
NETWORK = tyro.conf.arg(metavar="NAME_OR_PATH")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Play and measure at every point of the (t_f, k) plane; one row per point as soon as it is there.

    Writes rows.jsonl and rows.csv into --out, the clips beside them. Goes on where it was stopped; the grid may grow.
    Example: bandmate sweep run --grid plane --model duet-small --rendered rendered --out sweep --clips 256 --seeds 3
    """

    rendered: Annotated[Path, FOLDER]
    """Rendered songs, as bandmate prepare midi makes them."""
    out: Annotated[Path, FOLDER]
    """Where rows and clips go; what an earlier run finished stays."""
    grid: Annotated[str, tyro.conf.arg(metavar="paper|plane|small|FILE")] = "small"
    """Which points: paper (56, as the paper has them), plane (26, for one model), small (8), or a YAML file of your own."""
    model: Annotated[str, NAME] = "duet-small"
    """One model for all points."""
    specialists: Annotated[Path | None, FOLDER] = None
    """Instead: a folder with one model per point, such as k0.1_tf-0.4 in it."""
    train: bool = False
    """Train the specialists that are not there yet; needs --data and --codec. Goes on where it was stopped."""
    data: Annotated[Path | None, FOLDER] = None
    """--train: the prepared store."""
    codec: Annotated[str | None, NAME] = None
    """--train: the run or bundle with the codec of that store."""
    presets: tuple[str, str] = ("decoder", "prefix-decoder")
    """--train: presets for k = 1 frame and for larger k."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=VALUE")] = ()
    """--train: other values for fields of the preset."""
    also: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=MODEL")] = ()
    """Offline models to be measured on the same clips, as in offline-stemgen=models/stemgen."""
    split: str = "test"
    """Which songs."""
    clips: int = 256
    """How many clips, spread evenly over the songs."""
    seconds: float = 10.0
    """Length of each."""
    seeds: int = 3
    """How often each clip is played, every time with other draws; the rows hold the mean."""
    batch: int = 32
    """How many clips at a time."""
    seed: int = 0
    """Which clips."""
    coherence: Annotated[str, NETWORK] = "auto"
    """Listening network: cocola, bundled, a path; auto = cocola if fetched, else bundled."""
    beats: Literal["auto", "beat-this", "librosa"] = "auto"
    """Beat tracker; auto = Beat This if fetched, else librosa's."""
    embedding: Annotated[str, NETWORK] = "auto"
    """Embeddings of the Fréchet distance: vggish, bundled, a path; auto = VGGish if fetched, else bundled."""
    discard: bool = False
    """Delete what a point played once it is measured (a point of 256 clips and 3 seeds is about 0.4 GB)."""
    workers: int = 1
    """Processes on this machine, a point each."""
    cluster: str = ""
    """Ray address (auto, host:port, or local); all machines must see --rendered, --out and the models."""
    gpus: float = 0.0
    """--cluster: GPUs for each point."""
    device: str = "cpu"
    """Where to compute: cpu, cuda ..."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the model's weights while it plays: bf16 is quicker in large batches where there are instructions for it."""
    threads: int = 0
    """CPU threads of each process; 0 = as many as torch takes by itself, 1 with several workers."""


def run(args: Arguments) -> None:
    check(args)
    from bandmate.commands.precision import warn_of_slow_bfloat16
    from bandmate.sweep import grid as grids
    from bandmate.sweep import plane
    from bandmate.sweep.report import markdown
    from bandmate.sweep.spread import Spread

    points = grids.load(args.grid)
    grid, sweep = plane.begin((*points, *offline(args, {point.name for point in points})), sweep_of(args))
    warn_of_slow_bfloat16(args.precision, args.device)
    with progress("points") as tell:
        rows = plane.run(sweep, grid, Spread(args.workers, args.cluster, args.gpus), tell)
    print(markdown(rows), end="")


def check(args: Arguments) -> None:
    """Refuses what cannot work before anything is loaded."""
    in_range(
        {
            "--clips": (args.clips, 2, 99_999),
            "--seconds": (args.seconds, 1, 600),
            "--seeds": (args.seeds, 1, 1000),
            "--batch": (args.batch, 1, 4096),
            "--seed": (args.seed, 0, 2**63 - 1),
            "--workers": (args.workers, 1, 1024),
            "--gpus": (args.gpus, 0, 64),
            "--threads": (args.threads, 0, 1024),
        }
    )
    if args.train and args.specialists is None:
        raise ValueError("--train makes specialists: say where they go by --specialists FOLDER")
    if args.train and (args.data is None or args.codec is None):
        raise ValueError("--train needs --data, a prepared store, and --codec, what made its codes")
    if not args.train and (args.data or args.codec or args.set):
        raise ValueError("--data, --codec and --set belong to --train: give it, too, or leave them out")


def sweep_of(args: Arguments) -> "Sweep":
    from bandmate.evaluate.networks import Choice
    from bandmate.spec import StreamSpec
    from bandmate.sweep.grid import Point
    from bandmate.sweep.material import PlacesConfig
    from bandmate.sweep.plane import PlaneConfig, Sweep
    from bandmate.sweep.scoring import ScoreConfig

    choice = Choice(located(args.coherence), args.beats, located(args.embedding))
    threads = args.threads or int(args.workers > 1)
    config = PlaneConfig(
        ScoreConfig(choice, args.out.resolve() / "heard"),
        PlacesConfig(split=args.split, frames=round(args.seconds * 50), seed=args.seed),
        args.clips, args.seeds, args.batch, args.device, threads, args.discard, args.precision,
    )  # fmt: skip
    base = Point(StreamSpec(0, 1))  # replaced by the first point of the grid
    return Sweep(args.rendered.resolve(), args.out.resolve(), models(args), config, base)


def models(args: Arguments) -> "Models":
    from bandmate.sweep.specialists import OneModel, Specialists

    if args.specialists is None:
        return OneModel(located(args.model))
    if not args.train and not args.specialists.is_dir():
        raise FileNotFoundError(
            f"there is no folder {args.specialists}: check the name, or train models into it by --train"
        )
    return Specialists(args.specialists.resolve(), training(args))


def training(args: Arguments) -> "Training | None":
    from bandmate.sweep.specialists import Training

    if not args.train or args.data is None or args.codec is None:
        return None
    return Training(args.data.resolve(), located(args.codec), args.presets, args.set)


def located(name_or_path: str) -> str:
    """A path as it is from anywhere, for workers that begin elsewhere; a name as it is."""
    from bandmate.checkpoint import available

    path, names = Path(name_or_path), (*available(), *NETWORKS)
    return str(path.resolve()) if path.exists() and name_or_path not in names else name_or_path


def offline(args: Arguments, taken: set[str]) -> "Grid":
    """Offline models as points of their own, by names that no other row has."""
    from bandmate.evaluate.systems import ANCHOR_NAMES
    from bandmate.sweep.grid import Point

    points: list[Point] = []
    for each in args.also:
        name, sign, model = each.partition("=")
        if not sign or not name or not model or "/" in name:
            raise ValueError(f"--also {each!r}: write NAME=MODEL, as in offline-prefix=models/prefix")
        if name in {*taken, *ANCHOR_NAMES, *(point.name for point in points)}:
            raise ValueError(f"--also {each!r}: another row is called {name!r}; choose another name")
        points.append(Point(None, "offline", name, located(model)))
    return tuple(points)
