"""``bandmate models``: what can be named after ``--model``."""

from dataclasses import dataclass
from typing import Literal

import tyro

from bandmate.commands.parsing import parse


@dataclass(frozen=True)
class Arguments:
    """The models that come with bandmate.

    Example: bandmate models list
    """

    action: tyro.conf.Positional[Literal["list"]] = "list"
    """What to do."""


def main(argv: list[str]) -> int:
    parse(Arguments, argv, "bandmate models")
    from bandmate.checkpoint import available

    names = available()
    print("\n".join(names) if names else "no models are bundled with this installation")
    return 0
