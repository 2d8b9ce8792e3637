"""``bandmate evaluate systems``: folders of generated clips in, one table with all anchors out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

FILE = tyro.conf.arg(metavar="FILE")
FOLDER = tyro.conf.arg(metavar="FOLDER")
NAME = tyro.conf.arg(metavar="NAME")
NETWORK = tyro.conf.arg(metavar="NAME_OR_PATH")


@dataclass(frozen=True)
class Systems:
    """Coherence, beat, Fréchet distance, level, chroma and onsets of systems side by side, with all anchors.

    FOLDERs are what bandmate generate writes. NAME=A,B,C pools three seeds of one system. Without FOLDERs:
    --input, --target and --prediction name plain folders of audio files whose names match.

    Example: bandmate evaluate systems offline=out/offline duet=out/seed0,out/seed1 --markdown table.md
    """

    folders: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[NAME=]FOLDER ...")] = ()
    """Systems, each a folder written by bandmate generate, or several of one system joined by commas."""
    unconditional: Annotated[tuple[str, ...], NAME] = ()
    """Which of them were made with --null-input: they stand among the anchors."""
    input: Annotated[Path | None, FOLDER] = None
    """Plain folder of the mixes that were played to."""
    target: Annotated[Path | None, FOLDER] = None
    """Plain folder of the true stems."""
    prediction: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[NAME=]FOLDER ...")] = ()
    """Plain folders of what was played."""
    coherence: Annotated[str, NETWORK] = "auto"
    """Listening network: cocola, bundled, the path of an encoder; auto = cocola if fetched, else bundled."""
    beats: Literal["auto", "beat-this", "librosa"] = "auto"
    """Beat tracker; auto = Beat This if fetched, else librosa's."""
    embedding: Annotated[str, NETWORK] = "auto"
    """Embeddings of the Fréchet distance: vggish, bundled, a path; auto = VGGish if fetched, else bundled."""
    groups: bool = False
    """A table for each instrument group too."""
    fad_infinity: bool = False
    """Also the Fréchet distance extrapolated to endlessly many clips."""
    common: bool = False
    """Where the systems hold different clips, take those that all have (it is said how many are left out)."""
    trim: bool = False
    """Where the files of a clip differ in length, cut them to the shortest (it is said how many)."""
    cache: Annotated[Path | None, FOLDER] = None
    """Keep what was heard of each file here, by its content: a second run hears only what is new."""
    workers: int = 1
    """Processes that listen."""
    json: Annotated[Path | None, FILE] = None
    """Write everything that was measured."""
    csv: Annotated[Path | None, FILE] = None
    """Write one line per system and table."""
    markdown: Annotated[Path | None, FILE] = None
    """Write the tables that are printed."""
    seed: int = 0
    """Of the bootstrap."""
    threads: int = 0
    """CPU threads; 0 = as many as torch takes by itself. With several --workers each of them has one."""


def systems(args: Systems, tell: Callable[[float], None]) -> tuple[dict[str, Any], str, bytes | None]:
    from bandmate.commands.evaluation.tables import markdown
    from bandmate.evaluate.folders import from_generate, from_plain, named_folders
    from bandmate.evaluate.networks import Choice
    from bandmate.evaluate.systems import Options, measure

    plain = (args.input, args.target, args.prediction)
    if bool(args.folders) == any(plain):
        raise ValueError(
            "give either folders written by bandmate generate, or --input, --target and --prediction"
        )
    if args.folders:
        material = from_generate(named_folders(args.folders), args.unconditional, args.common)
    else:
        if args.input is None or args.target is None or not args.prediction:
            raise ValueError("plain folders come as three: give --input, --target and --prediction")
        names = named_folders(args.prediction)
        material = from_plain(args.input, args.target, names, args.unconditional, args.common)
    if args.workers < 1:
        raise ValueError(f"--workers must be 1 or more, not {args.workers}")
    options = Options(args.groups, args.fad_infinity, args.trim, args.cache, args.workers, args.seed)
    choice = Choice(args.coherence, args.beats, args.embedding)
    report = measure(material, choice, options, tell)
    return report, markdown(report), None
