"""The rows of a sweep as a table to read."""

from collections.abc import Mapping, Sequence
from typing import Any

from bandmate.sweep.tables import count, plain, seconds, table

COLUMNS = {
    "coherence_both": ("coherence", 2), "nc_both": ("NC", 2), "nc_harmonic": ("NC harmonic", 2),
    "nc_percussive": ("NC percussive", 2), "beat_f1": ("beat F1", 3), "nb": ("NB", 2), "fad": ("Fréchet distance", 2),
    "silent": ("silent share", 3),
}  # fmt: skip
KINDS = {"shuffled": "another song's input", "unconditional": "no input", "offline": "offline"}


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Anchors first, then the points; means with 95 % intervals over songs."""
    used = [name for name in COLUMNS if any(row.get(name) for row in rows)]
    lines = [["", "t_f (s)", "k (s)", *(COLUMNS[name][0] for name in used)]]
    for row in rows:
        cells = [plain(row[name], COLUMNS[name][1]) if row.get(name) else "–" for name in used]
        lines.append(
            [title(row), *((seconds(row["t_f"]), seconds(row["k"])) if in_plane(row) else ("–", "–")), *cells]
        )
    return "\n\n".join([head(rows), table(lines), *notes(rows)]) + "\n"


def in_plane(row: Mapping[str, Any]) -> bool:
    """Whether the row has a t_f and a k that say something."""
    return row["kind"] in ("system", "shuffled") and row.get("t_f") is not None


def title(row: Mapping[str, Any]) -> str:
    if row["kind"] in ("anchor", "offline"):
        return str(row["point"])
    return KINDS.get(row["kind"], "")


def head(rows: Sequence[Mapping[str, Any]]) -> str:
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


def notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was remarked of the clips, once."""
    told = list(dict.fromkeys(note for row in rows for note in row.get("notes", ())))
    return ["\n".join(f"- {note}" for note in told)] if told else []
