"""The report of ``bandmate evaluate systems`` as Markdown and as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from bandmate.sweep.tables import finite, number, plain, table

MATCH = {
    "coherence_both": ("coherence", 2),
    "nc_both": ("NC", 2),
    "coherence_harmonic": ("harmonic", 2),
    "nc_harmonic": ("NC", 2),
    "coherence_percussive": ("percussive", 2),
    "nc_percussive": ("NC", 2),
    "beat_f1": ("beat F1", 3),
    "nb": ("NB", 2),
}
SOUND = {
    "fad": ("", 2),
    "level": ("level (dB)", 1),
    "silent": ("silent share", 3),
    "chroma": ("chroma", 3),
    "onset_f1": ("onset F1", 3),
}
BOUNDS = ("mean", "low", "high")


def markdown(report: Mapping[str, Any]) -> str:
    """All tables, under what was measured by which network and what could not be told."""
    names = {measure: network["name"] for measure, network in report["networks"].items()}
    head = [
        f"{report['clips']} clips of {report['seconds_per_clip']:g} s of {report['songs']} songs. "
        f"Coherence: {names['coherence']}. Beats: {names['beats']}. Fréchet distance: {names['embedding']}. "
        "95 % intervals over songs. NC, NB: 0 is random pairing, 1 the ground truth.",
    ]
    if report["notes"]:
        head.append("\n".join(f"- {note}" for note in report["notes"]))
    parts = [section(each, names["embedding"]) for each in report["tables"]]
    return "\n\n".join([*head, *parts]) + "\n"


def section(each: Mapping[str, Any], embedding: str) -> str:
    title = {"whole": "Whole clips", "first half": "First half", "second half": "Second half"}[each["part"]]
    group = "" if each["group"] == "all" else f", {each['group']}"
    infinity = any("infinity" in (row["fad"] or {}) for row in each["rows"])
    return "\n\n".join(
        [
            f"### {title}{group}: {each['clips']} clips of {each['songs']} songs",
            match_table(each["rows"]),
            sound_table(each["rows"], "FAD" if embedding == "VGGish" else "Fréchet distance", infinity),
        ]
    )


def match_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """How what was played goes with the input."""
    lines = [["", *(title for title, _ in MATCH.values())]]
    lines += [
        [label(row), *(cell(row.get(key), digits) for key, (_, digits) in MATCH.items())] for row in rows
    ]
    return table(lines)


def sound_table(rows: Sequence[Mapping[str, Any]], distance: str, infinity: bool) -> str:
    """How it sounds beside the true stem, and how it agrees with the input without any network."""
    count = max((row["fad"]["embeddings"] for row in rows if row["fad"]), default=0)
    head = ["", f"{distance} (N = {count})"] + [f"{distance}, N → ∞"] * infinity
    lines = [[*head, *(title for key, (title, _) in SOUND.items() if key != "fad")]]
    for row in rows:
        cells = [label(row), cell(row["fad"], SOUND["fad"][1])]
        if infinity:
            cells.append(number((row["fad"] or {}).get("infinity"), 2))
        cells += [
            cell(row[key], digits, key == "level") for key, (_, digits) in SOUND.items() if key != "fad"
        ]
        lines.append(cells)
    return table(lines)


def label(row: Mapping[str, Any]) -> str:
    """The system's name, where it stands in the plane, and how many seeds."""
    told = {"unconditional": " (no input)", "shuffled": " (another song's input)"}
    name = row["system"] + told.get(row["kind"], "")
    if row["seeds"] > 1:
        name += f", {row['seeds']} seeds"
    return name


def cell(value: Mapping[str, Any] | None, digits: int, sign: bool = False) -> str:
    return "–" if value is None else plain(value, digits, sign)


def csv_text(report: Mapping[str, Any]) -> str:
    """One line per table and row; three columns per metric and how many clips entered."""
    text = io.StringIO()
    metrics = [*MATCH, *SOUND]
    head = ["part", "group", "system", "kind", "seeds", "clips", "songs", "t_f", "k"]
    head += [f"{metric}{suffix}" for metric in metrics for suffix in ("", "_low", "_high")]
    head += [
        f"{metric}_clips" for metric in (*MATCH, *SOUND) if not metric.startswith("n") and metric != "fad"
    ]
    head += ["fad_embeddings", "fad_infinity", *(f"{measure}_network" for measure in report["networks"])]
    writer = csv.DictWriter(text, head, lineterminator="\n")
    writer.writeheader()
    for each in report["tables"]:
        for row in each["rows"]:
            writer.writerow(csv_row(each, row, report["networks"], head))
    return text.getvalue()


def csv_row(
    each: Mapping[str, Any], row: Mapping[str, Any], networks: Mapping[str, Any], head: Sequence[str]
) -> dict[str, Any]:
    line = {key: row.get(key) for key in head} | {key: each[key] for key in ("part", "group", "songs")}
    for metric in (*MATCH, *SOUND):
        value = finite(row.get(metric)) or {}
        line |= {f"{metric}{'' if bound == 'mean' else '_' + bound}": value.get(bound) for bound in BOUNDS}
        if f"{metric}_clips" in line:
            line[f"{metric}_clips"] = value.get("values")
    distance = finite(row["fad"]) or {}
    line |= {"fad_embeddings": distance.get("embeddings"), "fad_infinity": distance.get("infinity")}
    return line | {f"{measure}_network": network["name"] for measure, network in networks.items()}
