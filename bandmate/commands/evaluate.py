"""``bandmate evaluate``: what a model is worth on unseen songs, as tables, JSON and a figure."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from bandmate.commands.evaluation.coherence import Coherence, coherence
from bandmate.commands.evaluation.systems import Systems, systems
from bandmate.commands.files import check_targets, write_whole
from bandmate.commands.parsing import in_range, parse

if TYPE_CHECKING:
    from bandmate.sweep.music import Record

FILE = tyro.conf.arg(metavar="FILE")
FOLDER = tyro.conf.arg(metavar="FOLDER")
SECONDS = tyro.conf.arg(metavar="SECONDS ...")
NAME = tyro.conf.arg(metavar="NAME_OR_PATH")

USAGE = """usage: bandmate evaluate codec|listening|music|systems|coherence [options]

What a model is worth on unseen songs.

  codec      what its codec keeps of mixes and stems, beside Opus
  listening  how much better it predicts the true stem when it hears the right input
  music      whether what it plays goes with what it heard
  systems    folders of generated clips side by side: coherence, beat, Fréchet distance, with all anchors
  coherence  whether a coherence network tells the true stem from wrong ones

bandmate evaluate codec --help tells more, and so on.

example:
  bandmate evaluate music --rendered rendered --t-f 0 1 --json music.json --markdown music.md"""


@dataclass(frozen=True)
class Common:
    """What all of them take."""

    model: Annotated[str, NAME] = "duet-small"
    """A bundled model (see bandmate models) or a folder with one."""
    split: str = "test"
    """Which songs."""
    json: Annotated[Path | None, FILE] = None
    """Write everything that was measured."""
    markdown: Annotated[Path | None, FILE] = None
    """Write the tables that are printed."""
    seed: int = 0
    """Which excerpts, and what is played."""
    threads: int = 0
    """CPU threads; 0 = as many as torch takes by itself."""


@dataclass(frozen=True)
class Codec(Common):
    """Onsets, chroma, mel distance, level and SI-SDR of the codec's reconstructions, by class, beside Opus.

    Example: bandmate evaluate codec --rendered rendered --json codec.json --markdown codec.md
    """

    rendered: Annotated[Path, FOLDER] = tyro.MISSING
    """Rendered songs, as bandmate prepare midi makes them."""
    songs: int = 39
    """How many mixes, one per track, first renditions first."""
    stems: int = 2
    """How many of each track's stems."""
    seconds: float = 10.0
    """Length of each."""


@dataclass(frozen=True)
class Listening(Common):
    """Nats per code of the true stem given its own mixture, another song's that sounds as often, and none.

    Example: bandmate evaluate listening --store store --json listening.json --plot listening.png
    """

    store: Annotated[Path, FOLDER] = tyro.MISSING
    """The prepared store."""
    t_f: Annotated[tuple[float, ...], SECONDS] = (-4.0, -2.0, -1.0, -0.4, -0.2, 0.0, 0.2, 0.4, 1.0, 4.0)
    """How far the model hears ahead of what it plays."""
    k: Annotated[tuple[float, ...], SECONDS] = (0.02, 0.2, 1.0)
    """How much is played per call."""
    windows: int = 4
    """How many windows of each song."""
    seconds: float = 5.0
    """Length of each."""
    listen: float = 0.0
    """Seconds of input before the window begins."""
    plot: Annotated[Path | None, FILE] = None
    """Draw the gaps at level 1 (.png)."""


@dataclass(frozen=True)
class Music(Common):
    """Agreement in chroma and onsets of what is played with its own input and with other songs'; levels.

    Example: bandmate evaluate music --rendered rendered --clips 128 --t-f 0 1 --k 0.1 --json music.json
    """

    rendered: Annotated[Path, FOLDER] = tyro.MISSING
    """Rendered songs, as bandmate prepare midi makes them."""
    clips: int = 128
    """How many clips, spread evenly over the songs."""
    t_f: Annotated[tuple[float, ...], SECONDS] = (0.0, 1.0)
    """How far the model hears ahead of what it plays."""
    k: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 0.1
    """How much is played per call."""
    seconds: float = 5.0
    """Length of each clip."""
    audio: Annotated[Path | None, FOLDER] = None
    """Write what was played, and what with, as WAV files: input left, output right."""


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if argv[0] not in KINDS:
        raise ValueError(f"unknown kind of evaluation {argv[0]!r}: give {', '.join(KINDS)}")
    kind, run = KINDS[argv[0]]
    args: Any = parse(kind, argv[1:], f"bandmate evaluate {argv[0]}")
    began = time.perf_counter()
    check(args)
    set_threads(args.threads)
    with progress(argv[0]) as tell:
        report, text, picture = run(args, tell)
    told = {name: getattr(args, name) for name in ("model", "split") if hasattr(args, name)}
    report = told | {"took_seconds": round(time.perf_counter() - began, 1)} | report
    write(args, report, text, picture)
    return 0


def check(args: Any) -> None:
    """Refuses what cannot work before anything is loaded."""
    counts = {name: getattr(args, name, 1) for name in ("songs", "clips", "windows")}
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"--{name} must be 1 or more, not {value}")
    if getattr(args, "stems", 0) < 0 or args.threads < 0 or args.seed < 0:
        raise ValueError("--stems, --threads and --seed must be 0 or more")
    in_range(
        {
            "--seconds": (getattr(args, "seconds", None), 1, 600),
            "--listen": (getattr(args, "listen", None), 0, 60),
        }
    )
    plot = getattr(args, "plot", None)
    if plot and plot.suffix.lower() != ".png":
        raise ValueError(f"--plot writes PNG only: name the file {plot.with_suffix('.png')}")
    for name, least in (("t_f", -60.0), ("k", 0.02)):
        given = getattr(args, name, ())
        values = given if isinstance(given, tuple) else (given,)
        if any(not least <= value <= 60.0 for value in values):
            raise ValueError(f"--{name.replace('_', '-')} takes seconds from {least:g} to 60")
        if isinstance(given, tuple) and hasattr(args, name) and not given:
            raise ValueError(f"--{name.replace('_', '-')} needs at least one value")
    audio = getattr(args, "audio", None)
    if audio and audio.exists() and not audio.is_dir():
        raise ValueError(f"--audio {audio} is a file: give a folder")
    targets = {"--json": args.json, "--markdown": args.markdown, "--plot": plot}
    check_targets(targets | {"--csv": getattr(args, "csv", None)})


Result = tuple[dict[str, Any], str, bytes | None]  # report, tables, picture
Tell = Callable[[float], None]


def codec(args: Codec, tell: Tell) -> Result:
    from bandmate.checkpoint import load_bundle
    from bandmate.sweep.codec import CodecConfig, markdown, measure

    config = CodecConfig(args.songs, args.stems, frames_of(args.seconds), seed=args.seed)
    report = measure(load_bundle(args.model).codec, args.rendered, args.split, config, tell)
    return report, markdown(report), None


def listening(args: Listening, tell: Tell) -> Result:
    from bandmate.checkpoint import load_bundle
    from bandmate.data.tokens import TokenStore
    from bandmate.sweep.figures import listening_figure
    from bandmate.sweep.listening import ListeningConfig, markdown, measure
    from bandmate.sweep.listening import report as summarise

    frames, pre = frames_of(args.seconds), frames_of(args.listen)
    t_f, k = (tuple(sorted(set(values))) for values in (args.t_f, args.k))
    config = ListeningConfig(t_f, k, args.windows, frames, pre, seed=args.seed)
    measured = measure(load_bundle(args.model).model, TokenStore(args.store, args.split), config, tell)
    report = summarise(measured, config)
    return report, markdown(report), listening_figure(report) if args.plot else None


def music(args: Music, tell: Tell) -> Result:
    from bandmate.checkpoint import load_bundle
    from bandmate.sweep.music import MusicConfig, markdown, measure

    config = MusicConfig(args.clips, args.t_f, args.k, frames_of(args.seconds), seed=args.seed)
    if args.audio:
        args.audio.mkdir(parents=True, exist_ok=True)
    record = recorder(args.audio) if args.audio else None
    report = measure(load_bundle(args.model), args.rendered, args.split, config, tell, record)
    return report, markdown(report), None


KINDS: dict[str, tuple[type, Callable[[Any, Tell], Result]]] = {
    "codec": (Codec, codec),
    "listening": (Listening, listening),
    "music": (Music, music),
    "systems": (Systems, systems),
    "coherence": (Coherence, coherence),
}


def recorder(folder: Path) -> "Record":
    """Writes each output beside its input as <clip>_<instrument>_tf<t_f>.wav."""
    import numpy as np
    import soundfile

    from bandmate.instruments import INSTRUMENTS

    def record(spec: Any, index: int, clip: Any, played: Any) -> None:
        name = f"{index:03d}_{INSTRUMENTS[clip.instrument].replace(' ', '-')}_tf{spec.t_f_seconds:+g}.wav"
        both = np.stack([clip.mixture[: len(played)], np.nan_to_num(played)], axis=1)
        soundfile.write(folder / name, both / max(1.0, float(np.abs(both).max())), 32_000)

    return record


def frames_of(seconds: float) -> int:
    return round(seconds * 50)


def write(args: Any, report: dict[str, Any], text: str, picture: bytes | None) -> None:
    """Files first, then the tables to the terminal."""
    from bandmate.sweep.tables import to_json

    if picture is not None:
        write_whole(args.plot, picture)
    if args.markdown:
        write_whole(args.markdown, text.encode())
    if getattr(args, "csv", None):
        from bandmate.commands.evaluation.tables import csv_text

        write_whole(args.csv, csv_text(report).encode())
    if args.json:
        write_whole(args.json, to_json(report).encode())
    print(text, end="")


def set_threads(threads: int) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)


@contextlib.contextmanager
def progress(what: str) -> Iterator[Tell]:
    """A bar on stderr when that is a terminal; a line each tenth otherwise."""
    if not sys.stderr.isatty():
        yield tenths(what)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def tenths(what: str) -> Tell:
    """Says on stderr when another tenth is done, and what it took."""
    began, said = time.perf_counter(), 0

    def tell(share: float) -> None:
        nonlocal said
        if int(share * 10 + 1e-9) > said:
            said = int(share * 10 + 1e-9)
            print(
                f"{what}: {said * 10} % after {time.perf_counter() - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )

    return tell
