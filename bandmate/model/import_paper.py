"""The authors' checkpoints of the two streaming models, as a config and a state in our names."""

from typing import Any

import torch
from torch import Tensor

from bandmate.model.decoder import DecoderConfig
from bandmate.model.import_released import State, Taken, column_model, plain_state, prefixed
from bandmate.model.prefix_decoder import PrefixDecoderConfig

NORMS = {"ln_in": "norm_x", "ln_out": "norm_y", "ln_fuse": "norm_out"}  # theirs: ours


def import_decoder(
    checkpoint: dict[str, Any], t_f: int | None = None, k: int = 1
) -> tuple[DecoderConfig | PrefixDecoderConfig, State]:
    """A checkpoint of the streaming decoder, or for k > 1 of the streaming prefix decoder.

    Args:
        checkpoint: what was saved by Lightning, or a state dict.
        t_f: frames. For t_f <= 0 the number of learned rows tells it; a positive one, and k, must be said.
    ValueError for anything else. Input rows for "nothing" were never trained; zeros stand for them.
    """
    take = Taken(plain_state(checkpoint), "streaming decoder")
    sizes, state = column_model(take)
    fusion = fusion_state(take)
    latent = len(fusion["norm_x.weight"])
    learned = "input_padding" in take.state  # t_f <= 0
    before = take("input_padding") if learned else fusion["norm_x.weight"].new_zeros(0, latent)
    take.finish()
    kind = DecoderConfig if k == 1 else PrefixDecoderConfig
    config = kind(**sizes, latent=latent, fusion="released", t_f=visibility(len(before), t_f), k=k)
    return config, state | {"before": before, "null": torch.zeros(latent), **prefixed("fusion", fusion)}


def fusion_state(take: Taken) -> State:
    """The parameters of :class:`bandmate.model.fusion.Fusion`; no projection where the widths are equal."""
    ours: dict[str, Tensor] = {"gate": take("add_gate")}
    for theirs, own in NORMS.items():
        ours |= {f"{own}.{kind}": take(f"{theirs}.{kind}") for kind in ("weight", "bias")}
    if "proj_in_to_out.weight" in take.state:
        ours |= {f"project.{kind}": take(f"proj_in_to_out.{kind}") for kind in ("weight", "bias")}
    return ours


def visibility(rows: int, told: int | None) -> int:
    """t_f in frames from the number of learned rows before the input, 1 - t_f, and what was told."""
    if rows:
        if told not in (None, 1 - rows):
            raise ValueError(
                f"the checkpoint was made for t_f = {1 - rows} frames, not {told}: leave t_f out"
            )
        return 1 - rows
    if told is None or told <= 0:
        raise ValueError(
            "the checkpoint was made for a t_f above 0, which it does not tell: say how many frames"
        )
    return told
