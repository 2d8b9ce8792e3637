"""Points of the (t_f, k) plane: the paper's grid, smaller ones, and any other as a YAML file."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from bandmate.spec import FRAME_RATE, StreamSpec

Kind = Literal["system", "shuffled", "unconditional", "offline"]
FRAME = 1 / FRAME_RATE  # seconds: the paper's k = 1
PAPER_T_F = (-4.0, -2.0, -1.0, -0.4, -0.2, 0.0, 0.2, 0.4, 1.0, 2.0, 4.0)  # section 5, k = 1
PAPER_K = (0.04, 0.1, 0.2, 1.0, 2.0)
LIMIT = 60.0  # seconds, of t_f to either side and of k


@dataclasses.dataclass(frozen=True)
class Point:
    """One system of a sweep. ``spec`` is None for an offline model, which hears the whole clip.

    shuffled: it hears another song. unconditional: it hears nothing. model: a bundle for this point alone.
    """

    spec: StreamSpec | None
    kind: Kind = "system"
    label: str = ""
    model: str = ""

    @property
    def name(self) -> str:
        """Unique in a grid, and the name of its folder."""
        if self.spec is None:
            return self.label or self.kind
        if self.kind == "unconditional":
            return f"unconditional_k{self.spec.k_seconds:g}"
        place = f"k{self.spec.k_seconds:g}_tf{self.spec.t_f_seconds:+g}"
        return place if self.kind == "system" else f"{self.kind}_{place}"


Grid = tuple[Point, ...]


def cross(t_f: Iterable[float], k: Iterable[float], kind: Kind = "system") -> Grid:
    """Every t_f with every k, in seconds; by k, then t_f."""
    t_fs = sorted(set(t_f))
    return tuple(Point(StreamSpec.from_seconds(a, b), kind) for b in sorted(set(k)) for a in t_fs)


def controls(k: float) -> Grid:
    """What tells whether a model listens at all: nothing heard, and another song heard at t_f = 0 and +1 s."""
    return (Point(StreamSpec.from_seconds(0, k), "unconditional"), *cross((0, 1), (k,), "shuffled"))


def paper() -> Grid:
    """Section 5: 11 t_f at k = 1 frame, 9 t_f at five larger k."""
    return (*cross(PAPER_T_F, (FRAME,)), *cross(PAPER_T_F[1:-1], PAPER_K), *controls(FRAME))


def plane() -> Grid:
    """11 t_f at k = 0.1 s, and six k at t_f = -0.4, 0 and +1 s."""
    few = cross((-0.4, 0, 1), (FRAME, *PAPER_K))
    return (
        *cross(PAPER_T_F, (0.1,)),
        *(each for each in few if each.spec and each.spec.k != 5),
        *controls(0.1),
    )


def small() -> Grid:
    """Four t_f at two k: a first look."""
    return (*cross((-1, -0.4, 0, 1), (0.1, 1)), *controls(0.1))


NAMED: dict[str, Callable[[], Grid]] = {"paper": paper, "plane": plane, "small": small}


def load(name: str) -> Grid:
    """A grid by name, or from a YAML file. ValueError or FileNotFoundError in one line."""
    if name in NAMED:
        return NAMED[name]()
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"there is no grid {name!r}: give {', '.join(NAMED)} or a YAML file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    return from_plain(content, str(path))


def from_plain(content: Any, where: str) -> Grid:
    """{"points": [{"t_f": seconds or a list, "k": ...}], "shuffled": the same, "unconditional": bool} -> grid."""
    known = {"points", "shuffled", "unconditional"}
    if not isinstance(content, dict) or not content.get("points"):
        raise ValueError(f"{where} must hold 'points', a list such as [{{t_f: [-1, 0, 1], k: 0.1}}]")
    if unknown := sorted(map(str, set(content) - known)):
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    if not isinstance(content.get("unconditional", False), bool):
        raise ValueError(f"{where}: 'unconditional' is true or false")
    systems = blocks(content["points"], "system", where)
    result = (*systems, *blocks(content.get("shuffled") or [], "shuffled", where))
    if content.get("unconditional"):
        result = (*result, Point(systems[0].spec, "unconditional"))
    return tuple({each.name: each for each in result}.values())


def blocks(given: Any, kind: Kind, where: str) -> Grid:
    if not isinstance(given, list) or not all(
        isinstance(each, dict) and set(each) == {"t_f", "k"} for each in given
    ):
        raise ValueError(f"{where}: every entry is {{t_f: seconds or a list, k: seconds or a list}}")
    parts = [
        cross(numbers(e["t_f"], "t_f", -LIMIT, where), numbers(e["k"], "k", FRAME, where), kind)
        for e in given
    ]
    return tuple(point for part in parts for point in part)


def numbers(value: Any, name: str, least: float, where: str) -> list[float]:
    """A number or a list of them, in range."""
    values = value if isinstance(value, list) else [value]
    for each in values:
        good = isinstance(each, int | float) and not isinstance(each, bool) and math.isfinite(each)
        if not good or not least <= each <= LIMIT:
            raise ValueError(f"{where}: {name} takes seconds from {least:g} to {LIMIT:g}, not {each!r}")
    if not values:
        raise ValueError(f"{where}: {name} is empty: give a number or more")
    return [float(each) for each in values]


def frames_after(grid: Sequence[Point], frames: int, levels: int = 4) -> int:
    """Frames that the inputs must go on after a clip of ``frames``, so that every point hears what it may."""
    from bandmate.generate import frames_needed

    needed = [frames_needed(each.spec, frames, levels=levels) - frames for each in grid if each.spec]
    return max(0, *needed) if needed else 0
