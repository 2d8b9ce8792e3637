"""``bandmate prepare``: MIDI songs or a data set of stems to tracks; tracks or a data set to the prepared store."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from bandmate.commands.parsing import in_range, parse

if TYPE_CHECKING:
    from bandmate.data.parallel import Job
    from bandmate.data.space import Extent
    from bandmate.data.stem_files import Listing
    from bandmate.data.stems import LazyTrack

TOLD = 20  # of what was left out, so many are printed; the file has all
SUBMIXES = {"store": 6}  # else as the paper, 20
DATA_SETS = ("slakh", "musdb", "moises", "cocochorales", "folder")
STORED = ("store", *DATA_SETS)
MEANT_FOR = {  # option -> what it means something for, where that is not all
    "--data": ("midi", *STORED), "--as tracks": DATA_SETS, "--split": DATA_SETS, "--layout": ("folder",),
    "--codec": STORED, "--hear": STORED, "--submixes": STORED, "--seconds": ("midi", *STORED),
    "--renditions": ("midi",), "--songs": ("band",), "--workers": ("midi", *STORED), "--cluster": STORED,
}  # fmt: skip
OF_A_STORE = ("--codec", "--hear", "--submixes", "--seed")  # not of tracks


@dataclass(frozen=True)
class Arguments:
    """Render MIDI through SoundFonts to aligned stems, or encode stems into the store that models train on.

    Goes on where it was stopped. What cannot be read is left out and listed. Example: bandmate prepare slakh
    --data slakh2100_flac_redux --codec duet-small --out prepared
    """

    what: tyro.conf.Positional[
        Literal["band", "midi", "store", "slakh", "musdb", "moises", "cocochorales", "folder"]
    ]
    """band: have MMA arrange generated songs, as MIDI; midi: render songs; store: encode rendered tracks;
    the others: a data set of stems (slakh: Slakh2100, redux or babyslakh; musdb: MUSDB18-HQ;
    moises: MoisesDB; folder: any, described by --layout)."""
    out: Path
    """Folder to write to."""
    data: Path | None = None
    """Folder of the data set or of rendered tracks; midi: of your own songs (default: the bundled pack)."""
    as_: Annotated[Literal["store", "tracks"], tyro.conf.arg(name="as")] = "store"
    """A data set as the store that models train on, or as tracks to measure on, laid out as midi does it (no codec)."""
    split: tuple[Literal["train", "valid", "test"], ...] = ()
    """Only these splits of a data set (default: all)."""
    codec: str | None = None
    """Folder of a codec's run, or a model (bundled or a folder) whose codec to use. For a store."""
    layout: Path | None = None
    """folder: the YAML file that describes it (default: layout.yaml in the folder)."""
    hear: Literal["codes", "mel", "both"] | None = None
    """What the store holds of the mixtures: codes for the paper's models, mel for duet (default: store: mel)."""
    submixes: int | None = None
    """Random mixtures per track (default: 20; store: 6)."""
    seconds: float | None = None
    """Only so much of each track; midi: length of a rendition's excerpt (default: 40)."""
    renditions: int = 8
    """midi: of each training song; songs for validation and test get 2 at most."""
    songs: int = 300
    """band: how many."""
    workers: int = 0
    """Processes; 0 = one per core."""
    cluster: str | None = None
    """Work on the Ray cluster at this address, or on the one that this machine belongs to when none is given."""
    seed: int = 0
    """The same seed gives the same bytes."""


def main(argv: list[str]) -> int:
    args = parse(Arguments, with_address(argv), "bandmate prepare")
    check(args)
    usual = write_tracks if args.as_ == "tracks" else encode
    return {"band": arrange, "midi": render}.get(args.what, usual)(args)


def check(args: Arguments) -> None:
    """Refuses what cannot work before anything is read or written; ValueError with one sentence."""
    in_range(
        {
            "--submixes": (args.submixes or 0, 0, 10_000),
            "--seconds": (
                args.seconds if args.seconds is not None else 40.0,
                1.0 if args.what == "midi" else 0.02,
                86_400.0,
            ),
            "--renditions": (args.renditions, 1, 99),
            "--songs": (args.songs, 1, 99_999),
            "--workers": (args.workers, 0, 4096),
            "--seed": (args.seed, 0, 2**63 - 1),
        }
    )
    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out {args.out} is a file: give a folder")
    refuse_idle(args)


def refuse_idle(args: Arguments) -> None:
    """ValueError for an option that would change nothing."""
    asked = given(args)
    for option in asked:
        meant_for = MEANT_FOR.get(option)
        if meant_for and args.what not in meant_for:
            raise ValueError(f"{option} is for {', '.join(meant_for)}, not for {args.what}: leave it out")
        if args.as_ == "tracks" and option in OF_A_STORE:
            raise ValueError(f"{option} is for a store: leave it out with --as tracks")
    if "--cluster" in asked and "--workers" in asked:
        raise ValueError("--workers is for this machine, not for --cluster: leave one of them out")


def given(args: Arguments) -> list[str]:
    """The options that differ from their defaults."""
    options = (each for each in fields(Arguments) if each.name not in ("what", "out"))
    differing = [each.name for each in options if getattr(args, each.name) != each.default]
    return ["--as tracks" if name == "as_" else f"--{name}" for name in differing]


def with_address(argv: list[str]) -> list[str]:
    """A lone --cluster means the address "auto"."""
    made: list[str] = []
    for here, following in zip(argv, [*argv[1:], "--"]):
        made += [here, "auto"] if here == "--cluster" and following.startswith("--") else [here]
    return made


def arrange(args: Arguments) -> int:
    """Generated songs, those that are there already left as they are."""
    from bandmate.data.band import write_songs

    with progress(args.songs) as report:
        for done, path in enumerate(write_songs(args.out, args.songs, args.seed), 1):
            report(done, path.stem)
    print(
        f"{args.songs} songs in {args.out}; render them with: bandmate prepare midi --data {args.out} --out FOLDER"
    )
    return 0


def render(args: Arguments) -> int:
    from bandmate.data.render import render_songs

    seconds, workers = args.seconds or 40.0, args.workers or os.cpu_count() or 1
    render_songs(args.out, args.data, args.renditions, seconds, args.seed, workers)
    return 0


def encode(args: Arguments) -> int:
    """From stems to the store: list, check the room, encode what is not there yet, say what was left out."""
    if args.data is None or args.codec is None:
        raise ValueError(f"{args.what} needs --data, the folder of stems, and --codec, what encodes them")
    from bandmate.data.layout import StoreConfig
    from bandmate.data.parallel import Work
    from bandmate.data.prepare import claim, write_left_out
    from bandmate.data.space import check_space, expected_bytes
    from bandmate.data.tokens import TokenStore
    from bandmate.train.encode import CoderOf, encoders_of

    tracks, left_out, extent = found(args)
    hear = args.hear or ("mel" if args.what == "store" else "codes")
    make = CoderOf(absolute(args.codec), hear)
    encoders = encoders_of(make.codec)
    config = StoreConfig(
        codes=encoders.codec.codes, submixes=SUBMIXES.get(args.what, 20) if args.submixes is None else args.submixes,
        submix_codes=hear != "mel", features=hear != "codes", seed=args.seed, source=encoders.fingerprint,
        seconds=args.seconds,
    )  # fmt: skip
    work = Work(args.out.absolute(), config, make)
    todo = work.unfinished(tracks)
    check_space(args.out, expected_bytes(extent(len(todo)), config, encoders.codec.levels, make.features))
    claim(work.path, config, encoders.codebook)
    left_out |= shared_out(args, work, todo)
    tell(write_left_out(work.path, left_out))
    return told(args, TokenStore(work.path).stats(), left_out)


def write_tracks(args: Arguments) -> int:
    """The same for a folder of tracks, without a codec."""
    if args.data is None:
        raise ValueError(f"{args.what} needs --data, the folder of stems")
    from bandmate.data.space import check_space, expected_track_bytes
    from bandmate.data.track_folder import TrackFolder

    tracks, left_out, extent = found(args)
    folder = TrackFolder(args.out.absolute(), args.seconds)
    todo = folder.unfinished(tracks)
    check_space(args.out, expected_track_bytes(extent(len(todo))))
    folder.claim()
    left_out |= shared_out(args, folder, todo)
    tell(folder.write_left_out(left_out))
    return told(args, folder.stats(), left_out)


def shared_out(args: Arguments, job: "Job", todo: list["LazyTrack"]) -> dict[str, str]:
    """Do the job with each track, here or on the cluster; {track id: why it was left out}."""
    from bandmate.data.parallel import on_cluster, on_this_machine

    with progress(len(todo)) as report:
        if args.cluster:
            return on_cluster(job, todo, args.cluster, report)
        return on_this_machine(job, todo, args.workers or os.cpu_count() or 1, report)


def told(args: Arguments, stats: dict[str, Any], left_out: dict[str, str]) -> int:
    """Prints what lies there now. ValueError when nothing does."""
    if not stats["tracks"]:
        raise ValueError(
            f"no track of {args.data} could be used: {next(iter(left_out.values()), 'there is none')}"
        )
    print(stats)
    return 0


Found = tuple[list["LazyTrack"], dict[str, str], Callable[[int], "Extent"]]


def found(args: Arguments) -> Found:
    """Tracks, what was left out already {name: why}, and the extent of so many of the tracks."""
    from bandmate.data.space import Extent

    assert args.data is not None
    data = args.data.absolute()
    if args.what == "store":
        from bandmate.data.render import extent_of, lazy_tracks

        tracks, left_out, (seconds, stems) = lazy_tracks(data), {}, extent_of(data)
    else:
        listing = of_splits(list_tracks(args, data), args.split)
        for note in listing.notes:
            print(f"note: {note}", file=sys.stderr)
        tracks, left_out = [track.lazy() for track in listing.tracks], dict(listing.left_out)
        seconds, stems = listing.mean_seconds(), listing.mean_stems()
    if args.seconds is not None:
        from bandmate.train.encode import Shortened

        tracks = [type(track)(track.id, Shortened(track, args.seconds)) for track in tracks]
        seconds = min(seconds, args.seconds)
    return tracks, left_out, lambda count: Extent(count, seconds, stems)


def list_tracks(args: Arguments, data: Path) -> "Listing":
    """What the reader of the data set finds."""
    from bandmate.data import cocochorales, folder, moises, musdb, slakh

    if args.what == "folder":
        return folder.read(data, folder.read_layout(args.layout or data / "layout.yaml"))
    readers: dict[str, Any] = {
        "slakh": slakh, "musdb": musdb, "moises": moises, "cocochorales": cocochorales
    }  # fmt: skip
    return readers[args.what].read(data)


def of_splits(listing: "Listing", splits: tuple[str, ...]) -> "Listing":
    """The tracks of these splits, of all for none. ValueError when there are none of them."""
    kept = tuple(track for track in listing.tracks if not splits or track.split in splits)
    if splits and not kept:
        there = ", ".join(sorted({track.split for track in listing.tracks})) or "none"
        raise ValueError(f"the data set has no track of the split {' or '.join(splits)}; there are: {there}")
    return replace(listing, tracks=kept)


def absolute(codec: str) -> str:
    """A path that other processes, perhaps on other machines, find too; the name of a bundled model as it is."""
    return str(Path(codec).absolute()) if Path(codec).exists() else codec


def tell(left_out: list[str]) -> None:
    for line in left_out[:TOLD]:
        print(f"left out: {line}", file=sys.stderr)
    if len(left_out) > TOLD:
        print(f"and {len(left_out) - TOLD} more: see left_out.jsonl in --out", file=sys.stderr)


@contextmanager
def progress(total: int) -> Iterator[Callable[[int, str], None]]:
    """A bar with the time left on stderr when that is a terminal; a line each twentieth otherwise."""
    if not sys.stderr.isatty():
        yield twentieths(total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("preparing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda done, name: bar.update(task, completed=done, description=name)


def twentieths(total: int) -> Callable[[int, str], None]:
    """Says how many tracks are done and how long the others will take."""
    import time

    began = time.monotonic()

    def report(done: int, name: str) -> None:
        if done == total or done * 20 // total > (done - 1) * 20 // total:
            left = (time.monotonic() - began) / done * (total - done) / 60
            print(
                f"{done} of {total} tracks, about {left:.0f} min left ({name})", file=sys.stderr, flush=True
            )

    return report
