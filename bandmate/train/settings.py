"""What ``--set FIELD=VALUE`` may give a field: a value of the field's type, and no count of nothing."""

import dataclasses
import types
import typing
from typing import Any

COUNTS = frozenset(
    {"batch", "frames", "groups", "heads", "layers", "only_k", "parts", "steps", "steps_per_epoch", "width"}
)


def fitting(config: Any, field: str, value: Any, setting: str) -> Any:
    """The value as the field takes it: lists as tuples, 1e-4 as a number. ValueError in one line for what does not fit."""
    hint = typing.get_type_hints(type(config))[field]
    value = typed(value, hint)
    if hint is str:
        value = setting.partition("=")[2]  # as it was typed, whatever YAML makes of it
    if dataclasses.is_dataclass(hint):
        names = ", ".join(each.name for each in dataclasses.fields(hint))
        raise ValueError(f"{setting}: {field} has fields of its own, set one of them: {names}")
    if not is_one(value, hint):
        raise ValueError(f"{setting}: {field} takes {told(hint)}")
    if field in COUNTS and isinstance(value, int) and value < 1:
        raise ValueError(f"{setting}: {field} must be 1 or more")
    return value


def typed(value: Any, hint: Any) -> Any:
    """Lists as tuples, all the way down, and words such as 1e-4 as numbers where the type asks for one."""
    hints = options(hint)
    if isinstance(value, str) and float in hints:
        return number(value)  # YAML reads 1e-4 as a word
    if isinstance(value, list):
        inner = next((of_each(each, len(value)) for each in hints if typing.get_origin(each) is tuple), ())
        return tuple(map(typed, value, inner)) if len(inner) == len(value) else tuple(value)
    return value


def options(hint: Any) -> tuple[Any, ...]:
    """The types that a type allows: those of a union, else itself."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def of_each(hint: Any, count: int) -> tuple[Any, ...]:
    """The types of a tuple's entries, ``count`` of them where it may be of any length."""
    inner = typing.get_args(hint)
    return inner[:1] * count if inner[1:] == (...,) else inner


def number(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        return word


def is_one(value: Any, hint: Any) -> bool:
    """Whether a value is of a type: bool, int, float, str, None, Literal, tuple, or one of several. Others pass."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(is_one(value, each) for each in inner)
    if origin is typing.Literal:
        return value in inner
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        each = of_each(hint, len(value))
        return len(each) == len(value) and all(map(is_one, value, each))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (bool, str, types.NoneType) else True


def told(hint: Any) -> str:
    """A type in plain words."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(told(each) for each in inner)
    if origin is typing.Literal:
        return " or ".join(map(str, inner))
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a word",
        types.NoneType: "null",
    }
    if origin is tuple:
        kinds = {
            int: "whole numbers such as [1, 2]",
            float: "numbers such as [1, 0.5]",
            str: "words such as [a, b]",
        }
        count = "" if inner[1:] == (...,) else f"{len(inner)} "
        return f"a list of {count}{kinds.get(inner[0], 'lists')}"
    return words.get(hint, str(hint))
