"""``bandmate models``: what can be named after ``--model``, and the weights of others."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from bandmate.commands import importing
from bandmate.commands.parsing import parse

USAGE = """usage: bandmate models list|fetch|import [options]

  list    the bundled models, and the weights of others that can be fetched
  fetch   fetch weights from their publisher, checked by their hash
  import  turn the checkpoints of the paper's authors into a folder that --model takes

bandmate models fetch --help tells more, and so on.

example:
  bandmate models fetch beat-this"""


@dataclass(frozen=True)
class List:
    """The models that come with bandmate: kind, size, where they play, how to draw. Weights of others: licence, size.

    Example: bandmate models list
    """


@dataclass(frozen=True)
class Fetch:
    """Fetch weights from their publisher, or take them from a file that was fetched by hand. Goes on where it was cut.

    They go to $BANDMATE_WEIGHTS, by default ~/.cache/bandmate/weights, and are not part of bandmate: mind their licences.

    Example: bandmate models fetch beat-this
    """

    names: tyro.conf.Positional[tuple[str, ...]]
    """See bandmate models list. stream-music-gen/PATH is any file of the paper's authors on the hub."""
    from_: Annotated[Path | None, tyro.conf.arg(name="from", metavar="FILE")] = None
    """Take this file instead of fetching; it is copied."""


def main(argv: list[str]) -> int:
    if argv and argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    action = argv[0] if argv else "list"
    if action not in ACTIONS:
        raise ValueError(f"unknown action {action!r}: give {', '.join(ACTIONS)}")
    kind, run = ACTIONS[action]
    run(parse(kind, argv[1:], f"bandmate models {action}"))
    return 0


def about(name: str) -> str:
    """A bundled model in three lines: what it is and how large, where in the plane it plays, how it is drawn from."""
    from bandmate.checkpoint import read_card, resolve
    from bandmate.configs import CODEC_KINDS, MODEL_KINDS, build

    folder = resolve(name)
    card = read_card(folder / "config.yaml")
    sizes = []
    for part, kinds in (("model", MODEL_KINDS), ("codec", CODEC_KINDS)):
        module = build(kinds, card[part], "", f"{folder / 'config.yaml'}, {part}")
        millions = sum(parameter.numel() for parameter in module.parameters()) / 1e6
        sizes.append(f"{card[part]['kind']}, {millions:.1f} M parameters")
    megabytes = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6
    return (
        f"{name}\n  {sizes[0]}; codec {sizes[1]}; {megabytes:.0f} MB\n"
        f"  {place_of(card['model'])}\n  advised: {drawing(card['sampling'])}"
    )


def place_of(model: dict[str, Any]) -> str:
    """Where in the plane a model can be asked to play, by the section of its card."""
    from bandmate.spec import FRAME_RATE

    if model["kind"] == "duet":
        return "any t_f and k, in one model"
    if model.get("t_f") is None:
        return "offline: hears the whole clip"
    return f"t_f = {model['t_f'] / FRAME_RATE:g} s, k = {model.get('k', 1) / FRAME_RATE:g} s"


def drawing(sampling: dict[str, Any]) -> str:
    """The advice of a card, in one line; what differs by t_f in brackets."""
    told = {name: value for name, value in sampling.items() if name != "by_t_f"}
    places = [
        f"near t_f = {t_f:g} s: {pairs(own)}" for t_f, own in (sampling.get("by_t_f") or {}).items() if own
    ]
    return (pairs(told) or "nothing") + (f" ({'; '.join(places)})" if places else "")


def pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def show(_: List) -> None:
    from bandmate import weights
    from bandmate.checkpoint import available

    names = available()
    print("\n".join(map(about, names)) if names else "no models are bundled with this installation")
    print(f"\nweights of others, kept in {weights.folder()}:")
    for source in weights.SOURCES.values():
        here = "here" if weights.path_of(source.name).is_file() else "not fetched"
        size = f"{source.megabytes} MB" if source.megabytes else "size unknown"
        print(f"  {source.name:<21} {source.what}\n  {'':<21} {size}, licence {source.licence}, {here}")
    print(f"  {weights.PAPER_PREFIX + 'PATH':<21} any file of {weights.HUB}/{weights.PAPER}")


def fetch(args: Fetch) -> None:
    from bandmate import weights

    if not args.names:
        raise ValueError(f"name the weights to fetch: {', '.join(weights.SOURCES)}")
    if args.from_ is not None and len(args.names) > 1:
        raise ValueError(f"--from is one file, so give one name instead of {len(args.names)}")
    for name in args.names:
        entry = weights.source(name)
        if args.from_ is not None:
            path = weights.register(name, args.from_)
        else:
            with progress(name) as tell:
                path = weights.fetch(name, tell)
        print(f"{name}: {path}\n  licence {entry.licence}; hash from: {entry.sha256_from}")


@contextlib.contextmanager
def progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar of bytes on the terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


# What follows `bandmate models` -> its arguments, and what it does with them.
ACTIONS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "list": (List, show),
    "fetch": (Fetch, fetch),
    "import": (importing.Import, importing.run),
}
