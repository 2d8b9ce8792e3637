"""``bandmate evaluate coherence``: what the scores of a coherence network are worth."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

FILE = tyro.conf.arg(metavar="FILE")
FOLDER = tyro.conf.arg(metavar="FOLDER")
NETWORK = tyro.conf.arg(metavar="NAME_OR_PATH")


@dataclass(frozen=True)
class Coherence:
    """How often a coherence network scores the true stem of unseen songs above a wrong one.

    Wrong: a stem of the same class of another song, the true stem half a beat off, a semitone off.

    Example: bandmate evaluate coherence --rendered rendered --markdown coherence.md
    """

    rendered: Annotated[Path, FOLDER] = tyro.MISSING
    """Rendered songs, as bandmate prepare midi makes them."""
    network: Annotated[str, NETWORK] = "bundled"
    """Listening network: bundled, cocola (if fetched), or a folder written by bandmate train coherence."""
    split: str = "test"
    """Which songs."""
    clips: int = 256
    """How many clips of 5 s, spread evenly over the songs."""
    json: Annotated[Path | None, FILE] = None
    """Write everything that was measured."""
    markdown: Annotated[Path | None, FILE] = None
    """Write the table that is printed."""
    seed: int = 0
    """Which clips."""
    threads: int = 0
    """CPU threads; 0 = as many as torch takes by itself."""


def coherence(args: Coherence, tell: Callable[[float], None]) -> tuple[dict[str, Any], str, bytes | None]:
    from bandmate.evaluate.networks import coherence as listener
    from bandmate.sweep.coherence import RankingConfig, markdown, measure

    network = listener(args.network)
    config = RankingConfig(args.clips, args.seed)
    report = measure(network.call, args.rendered, args.split, config, tell)
    report = {"network": network.about()} | report
    return report, f"{network.name}. {markdown(report)}", None
