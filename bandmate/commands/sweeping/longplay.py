"""``bandmate sweep longplay``: what becomes of a session that does not end."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from bandmate.commands.parsing import in_range
from bandmate.commands.sweeping.common import progress, seconds_list, set_threads

FILE = tyro.conf.arg(metavar="FILE")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Play along for half an hour; tell coherence, level, silence, loops and drift in minutes 1, 5, 15 and 30.

    A session is an unseen song, its renditions one after the other and again, joined by cross-fades of half a second.
    Example: bandmate sweep longplay --model duet-small --rendered rendered --songs 8 --json longplay.json
    """

    rendered: Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
    """Rendered songs."""
    model: Annotated[str, tyro.conf.arg(metavar="NAME_OR_PATH")] = "duet-small"
    """A bundled model or a folder with one."""
    t_f: float = -0.4
    """Seconds."""
    k: float = 0.1
    """Seconds per call."""
    minutes: float = 30.0
    """Length of the sessions."""
    marks: tuple[float, ...] = (1.0, 5.0, 15.0, 30.0)
    """Minutes at which is measured; those beyond --minutes are left out."""
    window: float = 60.0
    """Seconds that are measured before each mark."""
    songs: int = 4
    """Sessions side by side, a song each, two or more: the random pairing of one is another's true stem. The marks' sound
    is kept in memory (about 90 MB a song)."""
    split: str = "test"
    """Which songs."""
    seed: int = 0
    """Which songs, and what is played."""
    coherence: Annotated[str, tyro.conf.arg(metavar="NAME_OR_PATH")] = "auto"
    """Listening network: cocola, bundled, a path; auto = cocola if fetched, else bundled."""
    json: Annotated[Path | None, FILE] = None
    """Write everything that was measured."""
    markdown: Annotated[Path | None, FILE] = None
    """Write the tables that are printed."""
    device: str = "cpu"
    """Where to compute."""
    threads: int = 0
    """CPU threads; 0 = as many as torch takes by itself."""


def run(args: Arguments) -> None:
    marks = check(args)
    set_threads(args.threads)
    from bandmate.checkpoint import load_bundle
    from bandmate.commands.files import write_whole
    from bandmate.evaluate import networks
    from bandmate.spec import StreamSpec
    from bandmate.sweep.longplay import LongplayConfig, markdown, measure
    from bandmate.sweep.tables import to_json

    config = LongplayConfig(
        StreamSpec.from_seconds(args.t_f, args.k), args.minutes, marks, args.window, args.songs, args.split,
        args.seed, args.device,
    )  # fmt: skip
    network = networks.coherence(args.coherence)
    with progress("seconds") as tell:
        told = steps(tell, round(args.minutes * 60))
        report = measure(load_bundle(args.model), args.rendered, network, config, told)
    text = markdown(report)
    for path, content in ((args.json, to_json(report)), (args.markdown, text)):
        if path:
            write_whole(path, content.encode())
    print(text, end="")


def steps(tell: Callable[[int, int], None], seconds: int) -> Callable[[float], None]:
    """Shares as seconds that were played, told when another twentieth is done."""
    said = -1

    def share(value: float) -> None:
        nonlocal said
        if int(value * 20 + 1e-9) > said:
            said = int(value * 20 + 1e-9)
            tell(round(said * seconds / 20), seconds)

    return share


def check(args: Arguments) -> tuple[float, ...]:
    """The marks that are reached; ValueError for what cannot work."""
    from bandmate.commands.files import check_targets

    in_range(
        {
            "--t-f": (args.t_f, -60, 60),
            "--k": (args.k, 0.02, 60),
            "--minutes": (args.minutes, 0.05, 24 * 60),
            "--window": (args.window, 2, 3600),
            "--songs": (args.songs, 2, 1024),
            "--seed": (args.seed, 0, 2**63 - 1),
            "--threads": (args.threads, 0, 1024),
        }
    )
    seconds_list("--marks", args.marks, 0.01, 24 * 60)
    check_targets({"--json": args.json, "--markdown": args.markdown})
    marks = tuple(sorted({mark for mark in args.marks if mark <= args.minutes})) or (args.minutes,)
    if marks[0] * 60 < min(args.window, 2):
        raise ValueError(f"--marks {marks[0]:g} is too early: two seconds or more must have been played")
    return marks
