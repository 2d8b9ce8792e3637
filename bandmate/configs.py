"""Presets: sizes by name, as functions. What trains them is in :mod:`bandmate.train.presets`."""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from bandmate.codec.dac import DacCodec, DacConfig
from bandmate.codec.spectral import SpectralCodec, SpectralConfig
from bandmate.model.decoder import Decoder, DecoderConfig
from bandmate.model.duet import Duet
from bandmate.model.duet_network import DuetConfig
from bandmate.model.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from bandmate.model.offline_prefix import OfflinePrefix, OfflinePrefixConfig
from bandmate.model.prefix_decoder import PrefixDecoder, PrefixDecoderConfig
from bandmate.model.stemgen import StemGen, StemGenConfig

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


def dac() -> DacConfig:
    """The paper's codec: 84 M parameters, 10 levels of 4096 codes of which 4 are used."""
    return DacConfig()


def dac_tiny() -> DacConfig:
    """For tests: the same parts, narrow."""
    return DacConfig(encoder_width=2, latent=8, decoder_width=32, levels=5, codes=32, code_width=4)


def duet_small() -> DuetConfig:
    """The bundled model: 7.5 M parameters."""
    return DuetConfig(recall=True)


def duet_tiny() -> DuetConfig:
    """For tests: the same parts over the codes of ``spectral_tiny``."""
    return DuetConfig(width=32, layers=2, heads=4, kv_heads=2, hidden=48, window=32, codes=32, recall=True)


def decoder() -> DecoderConfig:
    """The paper's streaming model (k = 1) over ``dac``: 16 layers, 16 heads, width 1024; set t_f."""
    return DecoderConfig()


def prefix_decoder() -> PrefixDecoderConfig:
    """The paper's chunked model (k > 1), of the same size; set t_f and k."""
    return PrefixDecoderConfig()


def offline_prefix() -> OfflinePrefixConfig:
    """The paper's offline prefix decoder, of the same size."""
    return OfflinePrefixConfig()


def stemgen() -> StemGenConfig:
    """The paper's masked model: 20 layers."""
    return StemGenConfig()


# What the authors' code has in place of the paper's words: see docs/models.md.
RELEASED: dict[str, Any] = {
    "hidden": 4096, "mlp": "silu", "rotary_share": 0.5, "fusion": "released", "empty": "instrument", "head_bias": True,
    "norm_eps": 1e-12,
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


def offline_prefix_released() -> OfflinePrefixConfig:
    """The offline prefix decoder as the authors' code builds it."""
    return OfflinePrefixConfig(**{name: value for name, value in RELEASED.items() if name != "fusion"})


def stemgen_released() -> StemGenConfig:
    """StemGen as the authors' code builds it; with no delay pattern no cell is empty."""
    return StemGenConfig(
        **{name: value for name, value in RELEASED.items() if name not in ("fusion", "empty")}
    )


def encoder_decoder() -> EncoderDecoderConfig:
    """A limit of the plane: t_f = T, k = 1, by cross-attention; 8 + 8 layers. With t_f and k set it streams."""
    return EncoderDecoderConfig()


def encoder_decoder_tiny() -> EncoderDecoderConfig:
    """For tests."""
    return EncoderDecoderConfig(**TINY, encoder_layers=2)


def decoder_tiny() -> DecoderConfig:
    """For tests."""
    return DecoderConfig(**TINY)


def prefix_decoder_tiny() -> PrefixDecoderConfig:
    """For tests."""
    return PrefixDecoderConfig(**TINY)


def offline_prefix_tiny() -> OfflinePrefixConfig:
    """For tests."""
    return OfflinePrefixConfig(**TINY)


def stemgen_tiny() -> StemGenConfig:
    """For tests: few steps, too."""
    return StemGenConfig(**TINY, steps=(8, 4, 2, 2))


CODECS: dict[str, Callable[[], Any]] = {
    "spectral-small": spectral_small,
    "spectral-tiny": spectral_tiny,
    "dac": dac,
    "dac-tiny": dac_tiny,
}
MODELS: dict[str, Callable[[], Any]] = {
    "duet-small": duet_small,
    "duet-tiny": duet_tiny,
    "decoder": decoder,
    "decoder-released": decoder_released,
    "decoder-tiny": decoder_tiny,
    "encoder-decoder": encoder_decoder,
    "encoder-decoder-tiny": encoder_decoder_tiny,
    "prefix-decoder": prefix_decoder,
    "prefix-decoder-released": prefix_decoder_released,
    "prefix-decoder-tiny": prefix_decoder_tiny,
    "offline-prefix": offline_prefix,
    "offline-prefix-released": offline_prefix_released,
    "offline-prefix-tiny": offline_prefix_tiny,
    "stemgen": stemgen,
    "stemgen-released": stemgen_released,
    "stemgen-tiny": stemgen_tiny,
}


# What a bundle may hold: kind -> (its config, the module built from it).
CODEC_KINDS: dict[str, tuple[type, Callable[..., nn.Module]]] = {
    "spectral": (SpectralConfig, SpectralCodec),
    "dac": (DacConfig, DacCodec),
}
MODEL_KINDS: dict[str, tuple[type, Callable[..., nn.Module]]] = {
    "duet": (DuetConfig, Duet),
    "decoder": (DecoderConfig, Decoder),
    "prefix_decoder": (PrefixDecoderConfig, PrefixDecoder),
    "encoder_decoder": (EncoderDecoderConfig, EncoderDecoder),
    "offline_prefix": (OfflinePrefixConfig, OfflinePrefix),
    "stemgen": (StemGenConfig, StemGen),
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
    config: Any = module.config
    return {"kind": describe_config(kinds, config)} | dataclasses.asdict(config)


def describe_config(kinds: dict[str, tuple[type, Callable[..., nn.Module]]], config: Any) -> str:
    """The kind that a config is of."""
    for kind, (known, _) in kinds.items():
        if type(config) is known:
            return kind
    raise ValueError(f"no kind of module is registered for {type(config).__name__}")


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
