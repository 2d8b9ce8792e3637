"""Presets: sizes by name, as functions. What trains them is in :mod:`bandmate.train.presets`."""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from bandmate.codec.spectral import SpectralCodec, SpectralConfig
from bandmate.model.decoder import Decoder, DecoderConfig
from bandmate.model.duet import Duet
from bandmate.model.duet_network import DuetConfig
from bandmate.model.prefix_decoder import PrefixDecoder, PrefixDecoderConfig

Config = TypeVar("Config")


def spectral_small() -> SpectralConfig:
    """The bundled codec: 4.7 M parameters."""
    return SpectralConfig()


def spectral_tiny() -> SpectralConfig:
    """For tests: the same parts, narrow and shallow."""
    return SpectralConfig(
        fast_width=16, fast_depth=1, slow_width=24, slow_depth=1,
        decoder_fast_width=16, decoder_fast_depth=1, latent=8, codes=32,
    )  # fmt: skip


def duet_small() -> DuetConfig:
    """The bundled model: 7.1 M parameters."""
    return DuetConfig()


def duet_tiny() -> DuetConfig:
    """For tests: the same parts over the codes of ``spectral_tiny``."""
    return DuetConfig(width=32, layers=2, heads=4, kv_heads=2, hidden=48, window=32, codes=32)


def decoder() -> DecoderConfig:
    """The paper's streaming model (k = 1) over ``dac``: 16 layers, 16 heads, width 1024; set t_f."""
    return DecoderConfig()


def prefix_decoder() -> PrefixDecoderConfig:
    """The paper's chunked model (k > 1), of the same size; set t_f and k."""
    return PrefixDecoderConfig()


# What the authors' code has in place of the paper's words: see docs/models.md.
RELEASED: dict[str, Any] = {
    "hidden": 4096, "mlp": "silu", "rotary_share": 0.5, "fusion": "released", "empty": "instrument", "head_bias": True,
}  # fmt: skip

# The sizes of tests, over the codes of ``spectral_tiny``.
TINY: dict[str, Any] = {
    "width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "hidden": 48, "window": 32, "codes": 32, "latent": 8,
    "dropout": 0.0,
}  # fmt: skip


def decoder_released() -> DecoderConfig:
    """The decoder as the authors' code builds it."""
    return DecoderConfig(**RELEASED)


def prefix_decoder_released() -> PrefixDecoderConfig:
    """The prefix decoder as the authors' code builds it."""
    return PrefixDecoderConfig(**RELEASED)


def decoder_tiny() -> DecoderConfig:
    """For tests."""
    return DecoderConfig(**TINY)


def prefix_decoder_tiny() -> PrefixDecoderConfig:
    """For tests."""
    return PrefixDecoderConfig(**TINY)


CODECS: dict[str, Callable[[], SpectralConfig]] = {
    "spectral-small": spectral_small,
    "spectral-tiny": spectral_tiny,
}
MODELS: dict[str, Callable[[], Any]] = {
    "duet-small": duet_small,
    "duet-tiny": duet_tiny,
    "decoder": decoder,
    "decoder-released": decoder_released,
    "decoder-tiny": decoder_tiny,
    "prefix-decoder": prefix_decoder,
    "prefix-decoder-released": prefix_decoder_released,
    "prefix-decoder-tiny": prefix_decoder_tiny,
}


# What a bundle may hold: kind -> (its config, the module built from it).
CODEC_KINDS: dict[str, tuple[type, Callable[..., nn.Module]]] = {"spectral": (SpectralConfig, SpectralCodec)}
MODEL_KINDS: dict[str, tuple[type, Callable[..., nn.Module]]] = {
    "duet": (DuetConfig, Duet),
    "decoder": (DecoderConfig, Decoder),
    "prefix_decoder": (PrefixDecoderConfig, PrefixDecoder),
}


def build(
    kinds: dict[str, tuple[type, Callable[..., nn.Module]]], values: dict[str, Any], default: str, where: str
) -> Any:
    """The module that plain data describe: ``kind`` (or ``default``) and the fields of its config."""
    fields = dict(values)
    kind = fields.pop("kind", default)
    if kind not in kinds:
        raise ValueError(f"{where}: unknown kind {kind!r}; known are {', '.join(sorted(kinds))}")
    config, module = kinds[kind]
    return module(from_mapping(config, fields, where))


def describe(kinds: dict[str, tuple[type, Callable[..., nn.Module]]], module: nn.Module) -> dict[str, Any]:
    """The plain data from which :func:`build` makes the like of a module."""
    for kind, (config, _) in kinds.items():
        if type(module.config) is config:
            return {"kind": kind} | dataclasses.asdict(module.config)  # type: ignore[call-overload]
    raise ValueError(f"no kind of module is registered for {type(module.config).__name__}")


def preset(table: dict[str, Callable[[], Config]], name: str) -> Config:
    """The preset of that name; ValueError that suggests the nearest one."""
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1, cutoff=0.0)
        raise ValueError(f"there is no preset {name!r}; did you mean {near[0]!r}? Known: {', '.join(table)}")
    return table[name]()


def from_mapping(kind: Callable[..., Config], values: dict[str, Any], where: str) -> Config:
    """A config dataclass from plain data; an unknown key is an error that names it."""
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    return kind(**values)
