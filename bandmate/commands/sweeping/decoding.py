"""``bandmate sweep decoding``: how codes are best drawn, told by validation songs."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bandmate.commands.parsing import in_range
from bandmate.commands.sweeping.common import progress, seconds_list, set_threads

FOLDER = tyro.conf.arg(metavar="FOLDER")
NETWORK = tyro.conf.arg(metavar="NAME_OR_PATH")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Search guidance, what it may choose among, temperature and top-k for each t_f; print the best as YAML.

    One after the other, from the paper's setting (T = 1, top-k 200, no guidance), which stays as a row. The objective
    is the mean of normalised coherence, beat F1, chroma and onset agreement; docs/sweep.md tells all of it.
    Example: bandmate sweep decoding --model duet-small --rendered rendered --out decoding --t-f -1 -0.4 0 1
    """

    rendered: Annotated[Path, FOLDER]
    """Rendered songs."""
    out: Annotated[Path, FOLDER]
    """Where rows and clips go; what an earlier run tried is not tried again."""
    model: Annotated[str, NETWORK] = "duet-small"
    """A bundled model or a folder with one."""
    t_f: tuple[float, ...] = (-1.0, -0.4, 0.0, 1.0)
    """Seconds."""
    k: float = 0.1
    """Seconds per call."""
    guidance: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    """Tried first."""
    plausible: tuple[int, ...] = (10, 30, 0)
    """Among how many codes, the likeliest without it, guidance chooses, tried next (and the first at once); 0 = all."""
    share: tuple[float, ...] = (0.5, 1.0)
    """How much of the guidance of level 1 the finer levels have, tried next."""
    first: tuple[float, ...] = (0.7, 0.85, 1.0)
    """Temperatures of level 1, tried next."""
    finer: tuple[float, ...] = (0.8, 0.9, 1.0)
    """Temperatures of the other levels, tried next."""
    top_k: tuple[int, ...] = (50, 100, 200)
    """Tried last."""
    rounds: int = 1
    """How often round."""
    split: str = "valid"
    """Which songs; those that the results are told of must not be among them."""
    clips: int = 64
    """How many clips."""
    seconds: float = 10.0
    """Length of each."""
    batch: int = 32
    """How many clips at a time."""
    seed: int = 0
    """Which clips."""
    coherence: Annotated[str, NETWORK] = "auto"
    """As for sweep run."""
    beats: Literal["auto", "beat-this", "librosa"] = "auto"
    """As for sweep run."""
    embedding: Annotated[str, NETWORK] = "auto"
    """As for sweep run."""
    device: str = "cpu"
    """Where to compute."""
    threads: int = 0
    """CPU threads; 0 = as many as torch takes by itself."""


def run(args: Arguments) -> None:
    check(args)
    set_threads(args.threads)
    import yaml

    from bandmate.checkpoint import load_bundle
    from bandmate.commands.files import write_whole
    from bandmate.evaluate.networks import Choice
    from bandmate.sweep.decoding import DecodingConfig, Search, markdown, to_store
    from bandmate.sweep.material import PlacesConfig
    from bandmate.sweep.scoring import ScoreConfig

    scoring = ScoreConfig(
        Choice(args.coherence, args.beats, args.embedding), args.out / "heard", groups=False
    )
    config = DecodingConfig(
        scoring, args.t_f, args.k,
        args.guidance, args.plausible, args.share, args.first, args.finer, args.top_k, args.rounds,
        PlacesConfig(args.split, round(args.seconds * 50), seed=args.seed), args.clips, args.batch, args.device,
    )  # fmt: skip
    bundle = load_bundle(args.model)
    with progress("settings, at most") as tell:
        rows = Search(bundle, args.rendered, args.out, config).run(tell)
    text = yaml.safe_dump(to_store(rows, bundle.codec.levels), sort_keys=False, default_flow_style=None)
    write_whole(args.out / "best.yaml", text.encode())
    print(f"{markdown(rows)}\n{text}", end="")


def check(args: Arguments) -> None:
    seconds_list("--t-f", args.t_f)
    seconds_list("--guidance", args.guidance, 0.0, 100.0)
    seconds_list("--plausible", args.plausible, 0, 1_000_000)
    seconds_list("--share", args.share, 0.0, 1.0)
    seconds_list("--first", args.first, 0.0, 100.0)
    seconds_list("--finer", args.finer, 0.0, 100.0)
    seconds_list("--top-k", args.top_k, 1, 1_000_000)
    in_range(
        {
            "--k": (args.k, 0.02, 60),
            "--rounds": (args.rounds, 1, 10),
            "--clips": (args.clips, 2, 99_999),
            "--seconds": (args.seconds, 1, 600),
            "--batch": (args.batch, 1, 4096),
            "--seed": (args.seed, 0, 2**63 - 1),
            "--threads": (args.threads, 0, 1024),
        }
    )
