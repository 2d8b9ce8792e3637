"""What ``--set FIELD=VALUE`` may give a field: a value of the field's type, no count of nothing, heads that fit."""

import dataclasses
import types
import typing
from typing import Any

COUNTS = frozenset(
    {
        "batch", "fit_batches", "frames", "groups", "log_every", "only_k", "parts", "steps", "steps_per_epoch",
        "validate_every",
        "code_latent", "codes", "encoder_layers", "heads", "hidden", "instruments", "k", "kv_heads", "latent", "layers",
        "levels", "width", "window",
        "code_width", "decoder_fast_width", "decoder_width", "encoder_width", "fast_bands", "fast_width", "levels_used",
        "noise_bands", "slow_bands", "slow_width",
        "expansion", "mixtures", "stroke_size", "stroke_width", "summary_size", "targets", "tone_size", "tone_width",
    }
)  # fmt: skip
AMOUNTS = frozenset(
    {
        "adversarial_steps", "decoder_steps", "noise_steps", "seed", "sinks", "validation_batches", "warm", "warmup",
        "workers", "decoder_fast_depth", "fast_depth", "slow_depth", "stroke_depth", "tone_depth",
    }
)  # fmt: skip


def fitting(config: Any, field: str, value: Any, setting: str) -> Any:
    """The value as the field takes it: lists as tuples, 1e-4 as a number. ValueError in one line for what does not fit."""
    hint = typing.get_type_hints(type(config))[field]
    value = typed(value, hint)
    if hint is str:
        value = setting.partition("=")[2]  # as it was typed, whatever YAML makes of it
    within = getattr(config, field)
    if dataclasses.is_dataclass(within):
        names = ", ".join(each.name for each in dataclasses.fields(within))
        raise ValueError(f"{setting}: {field} has fields of its own, set one of them: {names}")
    if not is_one(value, hint):
        raise ValueError(f"{setting}: {field} takes {told(hint)}")
    least = 1 if field in COUNTS else 0 if field in AMOUNTS else None
    if least is not None and isinstance(value, int) and value < least:
        raise ValueError(f"{setting}: {field} must be {least} or more")
    return value


def check_heads(config: Any, name: str = "") -> None:
    """ValueError for a model, alone or within a config, whose heads do not go into its width, or into one another."""
    own = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    if {"width", "heads", "kv_heads"} <= set(own):
        for whole, part in (("width", "heads"), ("heads", "kv_heads")):
            if own[whole] % own[part]:
                raise ValueError(
                    f"{name}{whole}={own[whole]} is no multiple of {name}{part}={own[part]}: set both"
                )
        if "rotary_share" not in own and own["width"] // own["heads"] % 2:
            raise ValueError(f"{name}width={own['width']} gives each of {own['heads']} heads an odd width")
    for inner, value in own.items():
        if dataclasses.is_dataclass(value):
            check_heads(value, f"{name}{inner}.")


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
