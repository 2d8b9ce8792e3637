"""The rows of a sweep on disk: there as soon as they are known, complete after a kill, JSON lines and CSV."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bandmate.data.files import replacing
from bandmate.sweep.tables import finite

Row = dict[str, Any]


class RowStore:
    """rows.jsonl, rows.csv and settings.json in a folder; a row is known by its ``key``."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], key: str, metrics: Sequence[str]) -> None:
        """ValueError when something else lies there, or rows of other settings do."""
        self.folder, self.key, self.metrics = folder, key, metrics
        self.rows: dict[str, Row] = {}
        claim_folder(folder, finite(settings))
        if (folder / "rows.jsonl").is_file():
            self.rows = {str(row[key]): row for row in read_rows(folder / "rows.jsonl")}

    def __contains__(self, name: str) -> bool:
        return name in self.rows

    def add(self, *rows: Mapping[str, Any]) -> None:
        """All of the rows at once: both files are written anew under other names and renamed."""
        for row in rows:
            plain: Row = finite(row)
            self.rows[str(plain[self.key])] = plain
        with replacing(self.folder / "rows.jsonl") as file:
            file.write_text("".join(json.dumps(each) + "\n" for each in self.rows.values()), encoding="utf-8")
        with replacing(self.folder / "rows.csv") as file:
            file.write_text(as_csv(list(self.rows.values()), self.metrics), encoding="utf-8")


def claim_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Makes the folder, or goes on with it, and writes settings.json; what is not among the settings stays as it was.

    ValueError as :func:`check_folder`.
    """
    check_folder(folder, settings)
    folder.mkdir(parents=True, exist_ok=True)
    kept = (settings_of(folder) or {}) | dict(settings)
    with replacing(folder / "settings.json") as file:
        file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def check_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """ValueError for a folder that holds something else, or what was made with other settings."""
    settings = json.loads(json.dumps(settings))
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder} is a file: give a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    earlier = settings_of(folder)
    if earlier is None:
        raise ValueError(f"--out {folder} holds something else: give an empty or a new folder")
    for name, value in settings.items():
        if earlier.get(name) != value:
            raise ValueError(
                f"{folder} was begun with {name} = {earlier.get(name)!r}, not {value!r}: give another --out"
            )


def settings_of(folder: Path) -> dict[str, Any] | None:
    """What a folder was begun with; None for one without settings.json, ValueError for a damaged one."""
    file = folder / "settings.json"
    if not file.is_file():
        return None
    try:
        earlier = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        earlier = None
    if not isinstance(earlier, dict):
        raise ValueError(f"{file} is damaged: give another --out")
    return earlier


def read_rows(path: Path) -> list[Row]:
    """JSON lines. FileNotFoundError without the file, ValueError for a damaged line."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: bandmate sweep run writes rows.jsonl")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            rows.append(None)
        if not isinstance(rows[-1], dict):
            raise ValueError(f"{path}, line {number} is damaged: remove it and run the sweep again")
    if not rows:
        raise ValueError(f"{path} holds no rows: run the sweep first")
    return rows


def as_csv(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """One line per row: everything that is a plain value, and of each metric its mean, interval and number.

    The number is that of the clips that had the metric, of the Fréchet distance that of its embeddings.
    """
    head = list(
        dict.fromkeys(
            name for row in rows for name, value in row.items() if not isinstance(value, dict | list)
        )
    )
    head = [name for name in head if name not in metrics]
    text = io.StringIO()
    columns = [*head, *(f"{metric}{suffix}" for metric in metrics for suffix in ("", "_low", "_high", "_of"))]
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        line = {name: row.get(name) for name in head}
        for metric in metrics:
            value = row.get(metric) or {}
            line |= {
                metric: value.get("mean"),
                f"{metric}_low": value.get("low"),
                f"{metric}_high": value.get("high"),
                f"{metric}_of": value.get("values", value.get("embeddings")),
            }
        writer.writerow(line)
    return text.getvalue()
