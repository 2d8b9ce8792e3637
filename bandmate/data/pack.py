"""The bundled MIDI pack, or a folder of MIDI files: its songs, near-duplicate clusters and split."""

import csv
import hashlib
import io
import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bandmate.data.midi import Song, read_midi
from bandmate.instruments import DRUMS_PROGRAM

ASSETS = Path(__file__).parents[1] / "assets" / "midi"
ARCHIVE = ASSETS / "midi-train.tar.xz"
SPLIT_TABLE = ASSETS / "split.csv"
OWN_SPLIT = "split.csv"  # in a folder of songs: a split table that is taken as it is
COLUMNS = ("path", "slug", "cluster", "split")  # of a split table
SPLITS = ("valid", "test", "train")
SHINGLE = 10  # melodic intervals
DISTINCT = 5  # intervals that a run must have to count: scales, pedal notes and power chords are everybody's
LEAST_RUNS = 30  # runs a part must have to be compared
COMMON = 8  # a run found in more songs than this is a figure of style, not a sign of kinship
SHARED = 0.15  # part of a channel's shingles found in another song that makes two songs near duplicates


@dataclass(frozen=True)
class Entry:
    """One song of a pack. `path` is relative to the pack's folder; `slug` names its files."""

    path: str
    slug: str
    cluster: str
    split: str


def slug_of(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", str(Path(path).with_suffix("")).replace("/", "-"))


def unpack(archive: Path, cache: Path) -> Path:
    """Unpack a .tar.xz of MIDI files under `cache`; a second call finds it there. Returns the folder."""
    if not archive.is_file():
        raise FileNotFoundError(f"no MIDI archive at {archive}")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()[:12]
    folder = cache / f"midi-{digest}"
    if not (folder / ".complete").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive, "r:xz") as tar:
            tar.extractall(folder, filter="data")
        (folder / ".complete").touch()
    return folder


def midi_paths(folder: Path) -> list[str]:
    """Sorted relative paths of all .mid and .midi files under a folder. FileNotFoundError if none."""
    found = sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix.lower() in (".mid", ".midi")
    )
    if not found:
        raise FileNotFoundError(f"no .mid or .midi files under {folder}")
    return found


def build_split(folder: Path) -> tuple[list[Entry], dict[str, str]]:
    """Cluster and split all songs of a folder: (entries, {path: why it could not be read}).

    A split.csv in the folder, as :func:`split_csv` writes it, is taken as it is. ValueError when two songs would
    be rendered under one name.
    """
    if (folder / OWN_SPLIT).is_file():
        return read_split(folder / OWN_SPLIT), {}
    songs: dict[str, Song] = {}
    failed: dict[str, str] = {}
    for path in midi_paths(folder):
        try:
            songs[path] = read_midi(folder / path, slug_of(path))
        except ValueError as error:
            failed[path] = str(error)
    refuse_equal_names(folder, {path: slug_of(path) for path in songs})
    clusters = cluster_songs(songs)
    splits = assign_splits(clusters)
    return [Entry(path, slug_of(path), clusters[path], splits[clusters[path]]) for path in songs], failed


def refuse_equal_names(folder: Path, slugs: Mapping[str, str]) -> None:
    """slugs: path -> name of its tracks. ValueError when two songs have one: the second would never be rendered."""
    first: dict[str, str] = {}
    pairs = [(first[slug], path) for path, slug in slugs.items() if first.setdefault(slug, path) != path]
    if pairs:
        one, other = pairs[0]
        more = f" (and {len(pairs) - 1} more such songs)" if pairs[1:] else ""
        raise ValueError(
            f"two songs under {folder} would both be named {slugs[one]!r}: {one} and {other}{more}; rename one"
        )


def title_of(path: str) -> str:
    """The name that versions of one song share: lower case, without commit hash or the prefix d_."""
    stem = re.sub(r"_[0-9a-f]{7,}$", "", Path(path).stem.lower())
    return re.sub(r"[^a-z0-9]+", "", re.sub(r"^d_", "", stem))


def shingles(song: Song) -> list[set[bytes]]:
    """For every pitched part the set of its telling runs of ten intervals."""
    sets = []
    for part in song.parts:
        keys = [note.key for note in part.notes]
        steps = bytes(((b - a) + 128) % 256 for a, b in pairwise(keys))
        runs = {steps[at : at + SHINGLE] for at in range(len(steps) - SHINGLE + 1)}
        runs = {run for run in runs if len(set(run)) >= DISTINCT}
        if part.program != DRUMS_PROGRAM and len(runs) >= LEAST_RUNS:
            sets.append(runs)
    return sets


def cluster_songs(songs: Mapping[str, Song]) -> dict[str, str]:
    """path -> cluster name. Two songs join by title, or when a part of one shares > 15 % of its runs."""
    leader = {path: path for path in songs}

    def find(path: str) -> str:
        while leader[path] != path:
            path = leader[path]
        return path

    def join(one: str, other: str) -> None:
        low, high = sorted((find(one), find(other)))
        leader[high] = low

    for group in _by_title(songs).values():
        for path in group[1:]:
            join(group[0], path)
    for one, other in _similar(songs):
        join(one, other)
    return {path: slug_of(find(path)) for path in songs}


def _by_title(paths: Iterable[str]) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for path in paths:
        groups[title_of(path)].append(path)
    return groups


def _similar(songs: Mapping[str, Song]) -> list[tuple[str, str]]:
    owners: dict[bytes, set[str]] = defaultdict(set)
    parts = {path: shingles(song) for path, song in songs.items()}
    for path, sets in parts.items():
        for run in set().union(*sets):
            owners[run].add(path)
    pairs = []
    for path, sets in parts.items():
        for runs in sets:
            shared = Counter(
                other for run in runs if len(owners[run]) <= COMMON for other in owners[run] if other != path
            )
            pairs += [(path, other) for other, count in shared.items() if count > SHARED * len(runs)]
    return sorted(pairs)


def assign_splits(clusters: Mapping[str, str], valid: float = 0.08, test: float = 0.12) -> dict[str, str]:
    """cluster -> split. Per source, clusters in the order of a hash fill test, then valid; the rest is train.

    A cluster larger than what is left of the quota, or larger than a quarter of it, goes to train,
    so that the unseen songs are many and different.
    """
    sizes = Counter(clusters.values())
    sources: dict[str, list[str]] = defaultdict(list)
    for path in sorted(clusters):
        if clusters[path] == slug_of(path):
            sources[path.split("/")[0].split("-")[0]].append(clusters[path])
    split = {}
    for names in sources.values():
        total = sum(sizes[name] for name in names)
        quota = {"test": test * total, "valid": valid * total}
        largest = {part: max(2, room / 4) for part, room in quota.items()}
        for name in sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
            fits = [part for part, room in quota.items() if sizes[name] <= min(room + 0.5, largest[part])]
            split[name] = fits[0] if fits else "train"
            if fits:
                quota[fits[0]] -= sizes[name]
    return split


def split_csv(entries: Iterable[Entry]) -> str:
    """The split table as CSV text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((e.path, e.slug, e.cluster, e.split) for e in sorted(entries, key=lambda e: e.path))
    return out.getvalue()


def read_split(path: Path = SPLIT_TABLE) -> list[Entry]:
    """Entries of a split table written by `split_csv`. ValueError for a file that is none."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # as spreadsheets write it, too
            rows = csv.DictReader(file)
            entries = [_entry(row, f"{path}, line {rows.line_num}") for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no table of songs ({error}); mend it or name it otherwise") from None
    if not entries:
        raise ValueError(f"{path} lists no songs; delete it, and the songs are split anew")
    refuse_equal_names(path.parent, {entry.path: entry.slug for entry in entries})
    return entries


def _entry(row: Mapping[str, str | None], where: str) -> Entry:
    """One row of a split table; ValueError that says `where` for one that no song can be rendered by."""
    song, slug, cluster, split = (row.get(column) for column in COLUMNS)
    if not (song and slug and cluster and split):
        raise ValueError(
            f"{where}: a table of songs has {', '.join(COLUMNS)}; mend it or name the file otherwise"
        )
    if split not in SPLITS:
        raise ValueError(f"{where}: there is no split {split!r}; give {', '.join(SPLITS)}")
    if Path(slug).name != slug:
        raise ValueError(f"{where}: {slug!r} cannot name files; give a slug without folders")
    return Entry(song, slug, cluster, split)
