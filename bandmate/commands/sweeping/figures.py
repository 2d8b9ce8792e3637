"""``bandmate sweep figures``: what the rows of a sweep look like."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

FILE = tyro.conf.arg(metavar="FILE")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Draw Figures 3 to 7 from the rows of a sweep, the plane with what a machine can hold, and Figures 1 and 2.

    Beside them tables.md: the rows as tables, NC by k and by instrument group.

    Example: bandmate sweep figures --rows sweep/rows.jsonl --latency k002.json k01.json --out figures
    """

    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
    """Where pictures and tables go."""
    rows: Annotated[Path | None, FILE] = None
    """rows.jsonl of bandmate sweep run; without it only Figures 1 and 2 are drawn."""
    latency: Annotated[tuple[Path, ...], FILE] = ()
    """A report of bandmate plan --json, or of bandmate stream --json, one per k: what a machine can play in time."""


def run(args: Arguments) -> None:
    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out {args.out} is a file: give a folder")
    if args.latency and args.rows is None:
        raise ValueError("--latency is laid over a sweep: give its --rows, too")
    from bandmate.commands.files import write_whole
    from bandmate.sweep import machine, paper_figures, plane_figures, report
    from bandmate.sweep.row_store import read_rows

    rows = read_rows(args.rows) if args.rows else []
    plane = plane_figures.read(rows) if rows else None
    held = machine.read(args.latency) if args.latency else None
    made = paper_figures.all_figures()
    if plane:
        made |= plane_figures.all_figures(plane, held) | {"tables.md": report.tables(rows).encode()}
    args.out.mkdir(parents=True, exist_ok=True)
    for name, content in made.items():
        write_whole(args.out / name, content)
        print(args.out / name)
