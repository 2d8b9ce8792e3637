"""``bandmate study``: blind pairs to listen to, the page that asks, and what the answers tell."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from bandmate.commands.files import check_targets, write_whole
from bandmate.commands.parsing import parse

if TYPE_CHECKING:
    from bandmate.sweep.listening_study.server import Server

FILE = tyro.conf.arg(metavar="FILE")
FOLDER = tyro.conf.arg(metavar="FOLDER")
SYSTEM = tyro.conf.arg(metavar="NAME=FOLDER")
ANSWERS = "answers.jsonl"

USAGE = """usage: bandmate study build|serve|analyse [options]

Which accompaniment do people prefer? A blind comparison by pairs.

  build    folders of bandmate generate to a study: mixes under opaque names, trials drawn at random
  serve    the page that plays them and stores the answers
  analyse  preferences, Kruskal-Wallis, Wilcoxon signed-rank with Bonferroni; Table 1 and Figure 3d of the paper

bandmate study build --help tells more, and so on.

example:
  bandmate study build live=clips/live offline=clips/offline --out study
  bandmate study serve study
  bandmate study analyse study --markdown study.md --plot preference.png"""


@dataclass(frozen=True)
class Build:
    """Mix the clips that all systems played (-18 LUFS, what was played 5 dB over each stem) and draw the trials.

    Ground truth and random pairing join by themselves, so the paper's seven systems are five folders and these.

    Example: bandmate study build "t_f = 0=clips/zero" "t_f = 1=clips/one" --out study --participants 24
    """

    systems: tyro.conf.Positional[Annotated[tuple[str, ...], SYSTEM]]
    """Folders written by bandmate generate; NAME=FOLDER/target_codec takes another of its sounds than the prediction."""
    out: Annotated[Path, FOLDER] = tyro.MISSING
    """The study: a new folder."""
    no_anchors: bool = False
    """Leave out ground truth and random pairing."""
    clips: int = 42
    """How many clips, drawn from those that all folders have."""
    max_inputs: int = 6
    """Only clips with at most so many stems in their input."""
    trials: int = 21
    """How many pairs each participant hears; 21 is each pair of seven systems once."""
    participants: int = 24
    """How many lists of trials are drawn; balanced over all of them. Later participants get the same lists again."""
    listen: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 3.0
    """How long A and B must each be heard before an answer."""
    no_headphone_check: bool = False
    """Do not ask for headphones first."""
    sound: Annotated[str, tyro.conf.arg(metavar="flac|wav|mp3")] = "flac"
    """Type of the sound files."""
    title: str = "Which accompaniment fits better?"
    """What the page is called."""
    seed: int = 0
    """Which clips and trials."""


@dataclass(frozen=True)
class Serve:
    """Serve a study, by default to this machine only. Answers go to answers.jsonl in its folder.

    For others, run it behind a web server that speaks HTTPS; nothing about a participant is kept but a random number.

    Example: bandmate study serve study --port 8000
    """

    study: Annotated[tyro.conf.Positional[Path], FOLDER]
    """Made by bandmate study build."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 opens it to the network."""
    port: int = 8000
    """Port to listen at; 0 takes a free one."""


@dataclass(frozen=True)
class Analyse:
    """Preferences, tests over the participants' win rates, Table 1 and Figure 3d. May run while the study goes on.

    Example: bandmate study analyse study --json study.json --csv study.csv --markdown study.md --plot preference.png
    """

    study: Annotated[tyro.conf.Positional[Path], FOLDER]
    """Made by bandmate study build."""
    answers: Annotated[Path | None, FILE] = None
    """Answers from elsewhere than answers.jsonl in its folder."""
    json: Annotated[Path | None, FILE] = None
    """Write everything."""
    csv: Annotated[Path | None, FILE] = None
    """Write one line per ordered pair of systems."""
    markdown: Annotated[Path | None, FILE] = None
    """Write the tables that are printed."""
    plot: Annotated[Path | None, FILE] = None
    """Draw the preferences (.png)."""
    seed: int = 0
    """Seed of the bootstrap."""


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if argv[0] not in ACTIONS:
        raise ValueError(f"unknown action {argv[0]!r}: give {', '.join(ACTIONS)}")
    kind, run = ACTIONS[argv[0]]
    run(parse(kind, argv[1:], f"bandmate study {argv[0]}"))
    return 0


def build(args: Build) -> None:
    from bandmate.commands.evaluate import progress
    from bandmate.sweep.listening_study.build import BuildConfig, sources_of
    from bandmate.sweep.listening_study.build import build as build_study

    if args.participants < 1:
        raise ValueError(f"--participants must be 1 or more, not {args.participants}")
    config = BuildConfig(
        args.clips, args.trials, args.participants, args.max_inputs, args.listen, not args.no_headphone_check,
        args.sound, args.title, args.seed,
    )  # fmt: skip
    with progress("study") as tell:
        study, notes = build_study(sources_of(args.systems, not args.no_anchors), args.out, config, tell)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    pairs = len(study.systems) * (len(study.systems) - 1) // 2
    print(
        f"{args.out}: {len(study.systems)} systems ({', '.join(study.systems)}), {pairs} pairs, {len(study.clips)} clips, "
        f"{len(study.lists)} lists of {len(study.lists[0])} trials\nbandmate study serve {args.out}"
    )


def serve(args: Serve) -> None:
    from bandmate.sweep.listening_study.answers import Store
    from bandmate.sweep.listening_study.desk import Desk
    from bandmate.sweep.listening_study.study import load_study, missing_sounds

    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port {args.port} is out of range: give 0 to 65535")
    study = load_study(args.study)
    if missing := missing_sounds(args.study, study):
        raise ValueError(
            f"{args.study}: {len(missing)} sounds are missing, such as {missing[0]}: build the study anew"
        )
    with Store(args.study / ANSWERS, study) as store:
        for number in store.answers.damaged:
            print(f"note: line {number} of {store.path} cannot be read and does not count", file=sys.stderr)
        server = open_server(args.host, args.port, Desk(study, store))
        host = f"[{args.host}]" if ":" in args.host else args.host
        print(f"http://{host}:{server.server_port}/ serves {args.study}; Ctrl-C ends it", flush=True)
        try:
            server.serve_forever(poll_interval=0.2)
        finally:
            server.server_close()
            counted = store.answers
            print(f"{len(counted.given)} answers of {len(counted.participants)} participants in {store.path}")


def open_server(host: str, port: int, desk: Any) -> "Server":
    """ValueError in one line when the address cannot be had."""
    from bandmate.sweep.listening_study.server import Server

    try:
        return Server((host, port), desk)
    except OSError as error:
        raise ValueError(
            f"cannot listen at {host}, port {port} ({error.strerror or error}): give another --port, 0 for a free one"
        ) from None


def analyse(args: Analyse) -> None:
    from bandmate.sweep.listening_study.answers import read_answers
    from bandmate.sweep.listening_study.report import csv_text, markdown, measure
    from bandmate.sweep.listening_study.study import load_study
    from bandmate.sweep.tables import to_json

    if args.plot and args.plot.suffix.lower() != ".png":
        raise ValueError(f"--plot writes PNG only: name the file {args.plot.with_suffix('.png')}")
    if args.seed < 0:
        raise ValueError(f"--seed must be 0 or more, not {args.seed}")
    targets = {"--json": args.json, "--csv": args.csv, "--markdown": args.markdown, "--plot": args.plot}
    check_targets(targets, args.answers or args.study / ANSWERS)
    study = load_study(args.study)
    report = measure(study, read_answers(args.answers or args.study / ANSWERS, study), args.seed)
    text = markdown(report)
    if args.plot:
        from bandmate.sweep.listening_study.figure import preference_figure

        write_whole(args.plot, preference_figure(report))
    for path, content in ((args.json, to_json(report)), (args.csv, csv_text(report)), (args.markdown, text)):
        if path:
            write_whole(path, content.encode())
    print(text, end="")


ACTIONS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "build": (Build, build),
    "serve": (Serve, serve),
    "analyse": (Analyse, analyse),
}
