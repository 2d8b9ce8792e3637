"""``bandmate sweep page``: audio examples side by side, to be opened in a browser or put on any web server."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from bandmate.commands.parsing import in_range
from bandmate.commands.sweeping.common import progress

MOST = 12  # clips, unless more are asked for


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Make a static page of audio examples: input, true stem, each system; alone, mixed, and as a picture.

    Example: bandmate sweep page --folders ahead=sweep/clips/k0.1_tf-0.4/seed0 sync=sweep/clips/k0.1_tf+0/seed0 --out page
    """

    folders: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=FOLDER")]
    """Folders of bandmate generate, or of one point and seed of a sweep; all of the same clips."""
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
    """Where the page goes: index.html, audio/, pictures/."""
    clips: int | None = None
    """How many clips, of as many songs as there are; default: 12, or all where there are fewer."""
    seed: int = 0
    """Which clips."""


def run(args: Arguments) -> None:
    in_range(
        {
            "--clips": (MOST if args.clips is None else args.clips, 1, 9999),
            "--seed": (args.seed, 0, 2**63 - 1),
        }
    )
    if not args.folders:
        raise ValueError("--folders needs one or more, as in mine=clips/duet")
    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out {args.out} is a file: give a folder")
    if args.out.is_dir() and any(args.out.iterdir()) and not (args.out / "index.html").is_file():
        raise ValueError(f"--out {args.out} holds something else: give an empty or a new folder")
    from bandmate.evaluate.folders import named_folders
    from bandmate.sweep.page import write_page

    with progress("clips") as tell:
        folders = named_folders(args.folders)
        count = MOST if args.clips is None else args.clips
        chosen = write_page(folders, args.out, count, args.seed, tell, fewer=args.clips is None)
    print(f"{args.out / 'index.html'}: {len(chosen)} clips")
