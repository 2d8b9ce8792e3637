"""Arguments by tyro, its boxed complaints reduced to one line."""

import contextlib
import io
from typing import TypeVar

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
