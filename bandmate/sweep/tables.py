"""Reports as plain data and as Markdown."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

Cells = Sequence[str]


def table(rows: Sequence[Cells]) -> str:
    """A Markdown table; the first row is its head, numbers stand right."""
    head, *body = rows
    rule = ["---" if index == 0 else "---:" for index in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body))


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """A number, or a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def count(number: int, what: str) -> str:
    """So many of something: "1 seed", "3 seeds"."""
    return f"{number} {what}{'s' * (number != 1)}"


def seconds(value: float | None) -> str:
    """A place in time, as short as it goes."""
    return "–" if value is None else f"{value:g}".replace("-", "−")


def plain(interval: Mapping[str, Any], digits: int = 3, sign: bool = False) -> str:
    """mean [low, high]."""
    mean, low, high = (number(interval[key], digits, sign) for key in ("mean", "low", "high"))
    return mean if "–" in (low, high) else f"{mean} [{low}, {high}]"


def signed(interval: Mapping[str, Any], digits: int = 3) -> str:
    """mean [low, high] of a difference, each with its sign."""
    return plain(interval, digits, sign=True)


def to_json(value: Any) -> str:
    """JSON text; what is not finite becomes null, for NaN is no JSON."""
    return json.dumps(finite(value), indent=1, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
