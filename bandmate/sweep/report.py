"""The rows of a sweep as tables to read."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bandmate.sweep.tables import count, plain, seconds, table

COLUMNS = {
    "coherence_both": ("coherence", 2), "nc_both": ("NC", 2), "nc_harmonic": ("NC harmonic", 2),
    "nc_percussive": ("NC percussive", 2), "beat_f1": ("beat F1", 3), "nb": ("NB", 2), "fad": ("Fréchet distance", 2),
    "silent": ("silent share", 3),
}  # fmt: skip
MORE = {
    "chroma": ("chroma", 3), "onset_f1": ("onset F1", 3), "level": ("level (dB)", 1),
    "first_half": ("NC, first half", 2), "second_half": ("NC, second half", 2),
}  # fmt: skip
ORDER = ("anchor", "system", "offline", "unconditional", "shuffled")
KINDS = {"shuffled": "another song's input", "unconditional": "no input", "offline": "offline"}


Rows = Sequence[Mapping[str, Any]]


def markdown(rows: Rows) -> str:
    """Anchors first, then the points; means with 95 % intervals over songs."""
    return "\n\n".join([head(rows), by_row(rows, COLUMNS), *notes(rows)]) + "\n"


def tables(rows: Rows) -> str:
    """All that is told of a plane: the table of :func:`markdown`, a second one of other measures, NC by k and by group."""
    rows = sorted(rows, key=place)
    parts = [head(rows), by_row(rows, COLUMNS), by_row(rows, MORE), by_k(rows), by_group(rows), *notes(rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def place(row: Mapping[str, Any]) -> tuple[int, float, float]:
    """Sorts rows: the anchors as they are, points by k and t_f, then what they are compared with."""
    return ORDER.index(row["kind"]), row.get("k") or 0.0, row.get("t_f") or 0.0


def by_row(rows: Rows, columns: Mapping[str, tuple[str, int]]) -> str:
    """A line per row: where it is in the plane, and those of the columns that any row has."""
    used = [name for name in columns if any(measured(row, name) for row in rows)]
    lines = [["", "t_f (s)", "k (s)", *(columns[name][0] for name in used)]]
    for row in rows:
        where = (seconds(row["t_f"]), seconds(row["k"])) if in_plane(row) else ("–", "–")
        lines.append([title(row), *where, *(cell(measured(row, name), columns[name][1]) for name in used)])
    return table(lines)


def measured(row: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """An interval of a row; NC of its halves."""
    return (row.get(name) or {}).get("nc_both") if name.endswith("half") else row.get(name)


def cell(interval: Mapping[str, Any] | None, digits: int = 2) -> str:
    return plain(interval, digits) if interval else "–"


def by_k(rows: Rows) -> str:
    """NC of the points with a t_f that was measured at several k; nothing without any."""
    points = {(row["t_f"], row["k"]): row for row in rows if row["kind"] == "system"}
    often = Counter(t_f for t_f, _ in points)
    several = sorted(t_f for t_f, times in often.items() if times > 1)
    ks = sorted({k for t_f, k in points if t_f in several})
    return grid(
        "NC by t_f (s) and k (s)", several, ks, lambda t_f, k: points.get((t_f, k), {}).get("nc_both")
    )


def by_group(rows: Rows) -> str:
    """NC by instrument group and t_f, at the k with the most t_f; nothing without groups."""
    points = [row for row in rows if row["kind"] == "system" and row.get("groups")]
    if not points:
        return ""
    k = Counter(row["k"] for row in points).most_common(1)[0][0]
    of_t_f = {row["t_f"]: row["groups"] for row in points if row["k"] == k}
    clips = {name: group["clips"] for groups in of_t_f.values() for name, group in groups.items()}
    return grid(
        f"NC by group (clips) and t_f (s), k = {k:g} s", sorted(clips), sorted(of_t_f),
        lambda name, t_f: of_t_f[t_f].get(name, {}).get("nc_both"), lambda name: f"{name} ({clips[name]})",
    )  # fmt: skip


def grid(
    about: str,
    lines: Sequence[Any],
    columns: Sequence[float],
    value: Callable[[Any, float], Mapping[str, Any] | None],
    name: Callable[[Any], str] = seconds,
) -> str:
    """A table of value(line, column); nothing without lines."""
    body = [[name(line), *(cell(value(line, column)) for column in columns)] for line in lines]
    return table([[about, *map(seconds, columns)], *body]) if body else ""


def in_plane(row: Mapping[str, Any]) -> bool:
    """Whether the row has a t_f and a k that say something."""
    return row["kind"] in ("system", "shuffled") and row.get("t_f") is not None


def title(row: Mapping[str, Any]) -> str:
    if row["kind"] in ("anchor", "offline"):
        return str(row["point"])
    return KINDS.get(row["kind"], "")


def head(rows: Rows) -> str:
    """How much was heard, and by which networks."""
    anchor = next((row for row in rows if row["kind"] == "anchor"), None)
    seeds = max((row.get("seeds", 1) for row in rows if row["kind"] == "system"), default=1)
    if anchor is None:
        return f"{len(rows)} rows, {count(seeds, 'sampling seed')} each."
    names = {measure: network["name"] for measure, network in anchor["networks"].items()}
    heard = (anchor.get("fad") or {}).get("embeddings", 0)
    return (
        f"{anchor['clips']} clips of {anchor['seconds_per_clip']:g} s of {anchor['songs']} songs, "
        f"{count(seeds, 'sampling seed')}. Coherence: {names['coherence']}. Beats: {names['beats']}. "
        f"Fréchet distance: {names['embedding']}, {heard} embeddings a seed. "
        "95 % intervals over songs. NC, NB: 0 is random pairing, 1 the ground truth."
    )


def notes(rows: Rows) -> list[str]:
    """What was remarked of the clips, once."""
    told = list(dict.fromkeys(note for row in rows for note in row.get("notes", ())))
    return ["\n".join(f"- {note}" for note in told)] if told else []
