"""The authors' checkpoints of the two offline models, as a config and a state in our names."""

from typing import Any

import torch

from bandmate.model.import_released import (
    State,
    Taken,
    column_model,
    heads_state,
    plain_state,
    prefixed,
    stack_sizes,
    stack_state,
)
from bandmate.model.offline_prefix import OfflinePrefixConfig
from bandmate.model.stemgen import StemGenConfig

MASK_ROW, CODE_ROW = 1, 2  # of StemGen's table: PAD, MASK, and the codes of all levels without a gap


def import_stemgen(checkpoint: dict[str, Any]) -> tuple[StemGenConfig, State]:
    """A StemGen checkpoint of any number of levels. ValueError for anything else.

    Theirs has one table for all levels, in which the MASK of a level is the last code of the level before; here each is
    a row of its own, with the same value.
    """
    take = Taken(plain_state(checkpoint), "StemGen")
    heads = heads_state(take, "output_layer.output_fc.{}", 0)
    table, instrument = take("input_emb.target_token_emb.weight"), take("input_emb.inst_emb.weight")
    codes = len(take("output_layer.output_fc.0.weight"))
    levels = len(heads["heads.project.weight"]) // codes
    sizes = stack_sizes(take, "encoder.attn_layers")
    project = take("input_emb.input_fc.weight")
    config = StemGenConfig(
        **sizes, levels=levels, codes=codes, latent=project.shape[1], instruments=len(instrument), head_bias=True,
    )  # fmt: skip
    rows = [
        torch.cat([table[CODE_ROW + codes * level :][:codes], table[MASK_ROW + codes * level][None]])
        for level in range(levels)
    ]
    state = {
        "output": torch.stack(rows),
        "instrument.weight": instrument,
        "project.weight": project,
        "project.bias": take("input_emb.input_fc.bias"),
        **heads,
        **prefixed("stack", stack_state(take, "encoder.attn_layers", sizes["layers"])),
    }
    take.finish("encoder.to_logits.")  # the heads by another name
    return config, state


def import_offline_prefix(checkpoint: dict[str, Any]) -> tuple[OfflinePrefixConfig, State]:
    """A checkpoint of the offline prefix decoder. ValueError for anything else.

    It was never trained without input; what stands for none here is the projection of zeros.
    """
    take = Taken(plain_state(checkpoint), "offline prefix decoder")
    sizes, state = column_model(take)
    project, bias = take("input_emb_fc.weight"), take("input_emb_fc.bias")
    take.finish()
    config = OfflinePrefixConfig(**sizes, latent=project.shape[1])
    return config, state | {"project.weight": project, "project.bias": bias, "null": bias.clone()}
