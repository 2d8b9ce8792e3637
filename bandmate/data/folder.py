"""Any folder of stems, described by a small YAML file:

    stems: "{split}/{song}/{stem}.wav"    # where the files are, below the folder; * and ? stand for anything else
    classes:                              # name of a stem, * and ? allowed, the first that fits -> class, or "ignore"
      drum*: Percussive
      gtr_?: Guitar
      mix: ignore
    splits: {dev: valid, extra: ignore}   # optional: name of a split -> train, valid, test or "ignore"
    cluster: "{artist}"                   # optional: what must stay on one side of the split; default "{song}"

`{song}` and `{stem}` are wanted; further names in braces may serve in `cluster`. Without `{split}`, clusters are
split 80, 8, 12 % by their names.
"""

import fnmatch
import re
from collections import defaultdict
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from bandmate.data import stem_files
from bandmate.data.stem_files import Listing, StemFiles, TrackFiles, numbered, slug, split_of
from bandmate.instruments import lookup

IGNORE = "ignore"
SPLITS = ("train", "valid", "test")
USUAL = {name: name for name in SPLITS} | {"validation": "valid", "val": "valid", "dev": "valid"}


@dataclass(frozen=True)
class Layout:
    """Where the stems of a folder are and what they are. `where` names the file in messages."""

    stems: str
    classes: dict[str, str]
    splits: dict[str, str] = field(default_factory=dict)
    cluster: str = "{song}"
    where: str = "the layout"

    def __post_init__(self) -> None:
        named = set(re.findall(r"\{(\w+)\}", self.stems))
        if missing := {"song", "stem"} - named:
            raise ValueError(
                f"{self.where}: stems must hold {{{min(missing)}}}, as in '{{song}}/{{stem}}.wav'"
            )
        if unknown := set(re.findall(r"\{(\w+)\}", self.cluster)) - named:
            raise ValueError(f"{self.where}: cluster names {{{min(unknown)}}}, which stems does not hold")
        for name in self.classes.values():
            if name != IGNORE:
                _told(self.where, lookup, name)
        for name, split in self.splits.items():
            if split not in (*SPLITS, IGNORE):
                raise ValueError(
                    f"{self.where}: split {name!r} is {split!r}, not train, valid, test or ignore"
                )

    def instrument(self, stem: str) -> int | None:
        """Class id of a stem, None for one to ignore. ValueError when no pattern fits."""
        for pattern, name in self.classes.items():
            if fnmatch.fnmatchcase(stem.lower(), pattern.lower()):
                return None if name == IGNORE else lookup(name)
        raise ValueError(
            f"{self.where} has no class for the stem {stem!r}: add it under classes, or as ignore"
        )

    def split(self, name: str | None, cluster: str) -> str:
        """Split of a track. ValueError for a name that is neither usual nor told."""
        if name is None:
            return split_of(cluster)
        found = {**USUAL, **self.splits}.get(name)
        if found is None:
            raise ValueError(f"{self.where} does not say which split {name!r} is: add it under splits")
        return found


def _told(where: str, call: Any, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def read_layout(file: Path) -> Layout:
    """A layout from its YAML file. FileNotFoundError without it, ValueError for one that is broken."""
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no layout {file}: write one (docs/data.md) or give it with --layout"
        )
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is broken YAML: {' '.join(str(error).split())}") from None
    known = {each.name: each.type for each in fields(Layout) if each.name != "where"}
    if not isinstance(values, dict):
        raise ValueError(f"{file} must hold the keys stems and classes")
    if unknown := sorted(set(map(str, values)) - set(known)):
        raise ValueError(f"{file}: unknown key {unknown[0]!r}; known are {', '.join(known)}")
    for name, kind in {"stems": str, "classes": dict, "splits": dict, "cluster": str}.items():
        if not isinstance(values.get(name, kind()), kind) or (
            name in ("stems", "classes") and name not in values
        ):
            raise ValueError(f"{file}: {name} must be {'text' if kind is str else 'a mapping'}")
    mappings = {
        name: {str(k): str(v) for k, v in values.get(name, {}).items()} for name in ("classes", "splits")
    }
    return Layout(values["stems"], **mappings, cluster=values.get("cluster", "{song}"), where=str(file))


def read(root: Path, layout: Layout) -> Listing:
    """All tracks of a folder. FileNotFoundError when no file fits the pattern."""
    stem_files.folder(root)
    pattern = _pattern(layout.stems)
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    matches = [
        (path, match) for path in files if (match := pattern.fullmatch(path.relative_to(root).as_posix()))
    ]
    if not matches:
        raise FileNotFoundError(f"no file below {root} fits {layout.stems!r} of {layout.where}")
    groups: dict[tuple[str, ...], list[tuple[Path, dict[str, str]]]] = defaultdict(list)
    for path, match in matches:
        place = match.groupdict()
        groups[tuple(value for name, value in place.items() if name != "stem")].append((path, place))
    tracks = (_track(found, layout) for found in groups.values())
    return Listing(numbered(track for track in tracks if track is not None))


def _pattern(text: str) -> re.Pattern[str]:
    """'{song}/{stem}.wav' as a regular expression; a name in braces does not reach across folders."""
    seen: set[str] = set()

    def piece(part: str) -> str:
        if part in ("*", "?"):
            return "[^/]*" if part == "*" else "[^/]"
        if not part.startswith("{"):
            return re.escape(part)
        name, again = part[1:-1], part[1:-1] in seen
        seen.add(name)
        return f"(?P={name})" if again else f"(?P<{name}>[^/]+?)"

    return re.compile("".join(piece(part) for part in re.split(r"(\{\w+\}|[*?])", text) if part))


def _track(found: list[tuple[Path, dict[str, str]]], layout: Layout) -> TrackFiles | None:
    """The track of the files that share all names but the stem's; None when its split or all stems are ignored."""
    place = found[0][1]
    cluster = layout.cluster.format(**place)
    split = layout.split(place.get("split"), cluster)
    kinds = [(path, names["stem"], layout.instrument(names["stem"])) for path, names in found]
    stems = tuple(StemFiles(name, kind, (path,)) for path, name, kind in kinds if kind is not None)
    if split == IGNORE or not stems:
        return None
    name = slug(*(value for key, value in place.items() if key != "stem" and key != "split"))
    return TrackFiles(name, name, slug(cluster), split, stems)
