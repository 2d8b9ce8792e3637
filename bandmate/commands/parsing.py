"""Arguments by tyro, its boxed complaints reduced to one line; and what options may be."""

import contextlib
import io
from collections.abc import Mapping
from typing import Any, TypeVar

import tyro

Arguments = TypeVar("Arguments")

FRAME, RULE = "╭╮╰╯│|+ ", "─-"  # tyro falls back to ASCII where the terminal knows no more


def parse(kind: type[Arguments], argv: list[str], prog: str) -> Arguments:
    """argv as a dataclass. ``--help`` prints and exits 0; ValueError in one line for what makes no sense."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, args=argv, prog=prog, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as leave:
        if not leave.code:
            raise
        raise ValueError(f"{one_line(complaint.getvalue())}; see {prog} --help") from None


def in_range(ranges: Mapping[str, tuple[float | None, float, float]]) -> None:
    """option -> (value, least, most). ValueError with one sentence for the first that is given and out of range."""
    for name, (value, low, high) in ranges.items():
        if value is not None and not low <= value <= high:
            raise ValueError(f"{name} {value:g} is out of range: give {low:g} to {high:g}")


def drawing_in_range(args: Any) -> None:
    """The same for the options that say how codes are drawn."""
    in_range(
        {
            "--guidance": (args.guidance, 0, 100),
            "--temperature": (args.temperature, 0, 100),
            "--top-k": (args.top_k, 1, 1_000_000),
            "--plausible": (args.plausible, 1, 1_000_000),
        }
    )


def one_line(box: str) -> str:
    """What a box says: its first paragraph, and the nearest option when it offers one."""
    paragraphs: list[list[str]] = [[]]
    for line in box.splitlines()[1:]:
        text = line.strip(FRAME)
        if text.strip(RULE):
            paragraphs[-1].append(text)
        else:
            paragraphs.append([])
    paragraphs = [lines for lines in paragraphs if lines]
    message = " ".join(paragraphs[0]).rstrip(".:")
    for paragraph in paragraphs[1:]:
        if paragraph[0].startswith("Perhaps you meant") and len(paragraph) > 1:
            option = next((word for word in paragraph[1].split() if word.startswith("--")), "")
            message += f"; did you mean {option}?" if option else ""
    return message.removesuffix(" (required)")
