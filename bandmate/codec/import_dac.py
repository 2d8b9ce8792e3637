"""Published weights of the Descript Audio Codec, causal or not, for :class:`~bandmate.codec.dac.DacCodec`.

Their modules are numbered lists in which the causal fork counts its padding layers, so the numbers alone say whether a
checkpoint is causal; sizes, strides and levels are read off the shapes. Nothing about dilations can be read off: the
"frame-independent" encoder of the same fork has other ones, and says so in the file's metadata only.
"""

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bandmate.codec.dac import DacConfig

State = dict[str, Tensor]
FOREIGN = (
    "frame_indep_encoder",
    "frame_indep_decoder",
    "use_s4",
)  # options of the fork that are not built here


def import_dac(
    state_dict: dict[str, Any], levels_used: int = 4, gain_db: float = 0.0
) -> tuple[DacConfig, State]:
    """A published state dict, or the whole file with ``state_dict`` and ``metadata``, in our names.

    The authors' causal weights come with ``input_shift=1``. They were trained on clips set to -16 LUFS as a whole;
    ``gain_db`` is the fixed gain that brings a live input there. Raises ValueError for anything that is not such a
    codec.
    """
    settings: dict[str, Any] = {}
    if "state_dict" in state_dict:
        settings = dict((state_dict.get("metadata") or {}).get("kwargs") or {})
        state_dict = state_dict["state_dict"]
    refuse_foreign(settings)
    theirs = {old_name(name): value for name, value in state_dict.items() if isinstance(value, Tensor)}
    config = read_config(theirs, settings, levels_used, gain_db)
    names = dict(parameter_names(config))
    wrong = sorted(set(names) ^ set(theirs))
    if wrong:
        raise ValueError(f"not a Descript Audio Codec: parameter {wrong[0]!r} differs ({len(wrong)} in all)")
    return config, {ours: theirs[name].detach().clone() for name, ours in names.items()}


def refuse_foreign(settings: dict[str, Any]) -> None:
    """ValueError for the variants that have the same parameters or nearly so, but compute something else."""
    for option in FOREIGN:
        if settings.get(option):
            raise ValueError(f"this codec was made with {option}, which is not supported here")
    if bool(settings.get("causal_encoder")) != bool(settings.get("causal_decoder")):
        raise ValueError("this codec is causal on one side only, which is not supported here")


def old_name(name: str) -> str:
    """torch's two ways to name the halves of a normed weight, as one."""
    name = name.replace("parametrizations.weight.original0", "weight_g")
    return name.replace("parametrizations.weight.original1", "weight_v")


def read_config(theirs: State, settings: dict[str, Any], levels_used: int, gain_db: float) -> DacConfig:
    """The config whose shapes these are."""
    causal = "encoder.block.1.weight_v" in theirs  # 0 is the padding then
    try:
        first = theirs[f"encoder.block.{int(causal)}.weight_v"]
        wide = theirs[f"decoder.model.{int(causal)}.weight_v"]
        codebook = theirs["quantizer.quantizers.0.codebook.weight"]
    except KeyError as error:
        raise ValueError(f"not a Descript Audio Codec: parameter {error.args[0]!r} is missing") from None
    levels = numbers(theirs, r"quantizer\.quantizers\.(\d+)\.codebook\.weight")
    return DacConfig(
        encoder_width=first.shape[0],
        strides=kernel_halves(theirs, rf"encoder\.block\.(\d+)\.block\.{4 + causal}\.weight_v"),
        latent=wide.shape[1],
        decoder_width=wide.shape[0],
        decoder_strides=kernel_halves(theirs, r"decoder\.model\.(\d+)\.block\.1\.weight_v"),
        levels=len(levels),
        levels_used=min(levels_used, len(levels)),
        codes=codebook.shape[0],
        code_width=codebook.shape[1],
        input_shift=int(causal),
        gain_db=gain_db,
        causal=causal,
        sample_rate=int(settings.get("sample_rate", 32_000 if causal else 44_100)),
    )


def numbers(theirs: State, pattern: str) -> list[int]:
    """The numbers that occur in parameter names of a pattern, in order."""
    return sorted(int(match[1]) for name in theirs if (match := re.fullmatch(pattern, name)))


def kernel_halves(theirs: State, pattern: str) -> tuple[int, ...]:
    """Strides: every resampling kernel is twice as long as its stride."""
    found = (
        (int(match[1]), value) for name, value in theirs.items() if (match := re.fullmatch(pattern, name))
    )
    return tuple(value.shape[2] // 2 for _, value in sorted(found, key=lambda pair: pair[0]))


NORMED = ("weight_g", "weight_v", "bias")


def parameter_names(config: DacConfig) -> Iterator[tuple[str, str]]:
    """(their name, ours) of every parameter of such a codec."""
    for theirs, ours in module_names(config):
        parts = ("alpha",) if ours.rsplit(".", 1)[-1].startswith("snake") else NORMED
        yield from ((f"{theirs}.{part}", f"{ours}.{part}") for part in parts)
    for k in range(config.levels):
        yield f"quantizer.quantizers.{k}.codebook.weight", f"quantizer.levels.{k}.codebook"


def module_names(config: DacConfig) -> Iterator[tuple[str, str]]:
    """(their name, ours) of every module with parameters, codebooks aside."""
    pad = int(config.causal)  # a padding layer stands before each convolution that needs one
    end = len(config.strides) + pad + 1
    yield f"encoder.block.{pad}", "encoder.first"
    for i in range(len(config.strides)):
        theirs, ours = f"encoder.block.{1 + pad + i}.block", f"encoder.stage{i}"
        yield from unit_names(theirs, ours, 0, pad)
        yield from ((f"{theirs}.3", f"{ours}.snake"), (f"{theirs}.{4 + pad}", f"{ours}.down"))
    yield from ((f"encoder.block.{end}", "encoder.snake"), (f"encoder.block.{end + 1 + pad}", "encoder.last"))
    for k in range(config.levels):
        for part in ("in_proj", "out_proj"):
            yield f"quantizer.quantizers.{k}.{part}", f"quantizer.levels.{k}.{part}"
    end = len(config.decoder_strides) + pad + 1
    yield f"decoder.model.{pad}", "decoder.first"
    for i in range(len(config.decoder_strides)):
        theirs, ours = f"decoder.model.{1 + pad + i}.block", f"decoder.stage{i}"
        yield from ((f"{theirs}.0", f"{ours}.snake"), (f"{theirs}.1", f"{ours}.up"))
        yield from unit_names(theirs, ours, 2, pad)
    yield from ((f"decoder.model.{end}", "decoder.snake"), (f"decoder.model.{end + 1 + pad}", "decoder.last"))


def unit_names(theirs: str, ours: str, first: int, pad: int) -> Iterator[tuple[str, str]]:
    """The three residual units of a stage."""
    inner = {"snake": 0, "conv": 1 + pad, "snake_out": 2 + pad, "pointwise": 3 + pad}
    for i in range(3):
        for name, index in inner.items():
            yield f"{theirs}.{first + i}.block.{index}", f"{ours}.unit{i}.{name}"


def read_weights(path: Any) -> dict[str, Any]:
    """A published .pth file, read as plain data; ValueError when it is damaged or holds anything else."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} cannot be read as weights ({first})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no weights of a codec")
    return content
