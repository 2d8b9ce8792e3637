"""What the authors' checkpoints of all models have in common: names, the transformer, the vocabulary.

The codec's codebooks are not among them: build a module with those of the codec, and load an imported state with
``strict=False`` or with ``input.codebook`` added.

Their transformer is that of x-transformers 2.7: attention and MLP alternate in one list of layers, rotary pairs are
neighbouring channels (ours: halves of the part that turns), query head h shares the keys of group h mod groups (ours: h
div the group's size), and the cosine of query and key is multiplied by 10.
"""

from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]

HEAD_WIDTH = 64  # x-transformers' default, which the authors keep
INSTRUMENT_ID, CODE_ID = 1, 19  # first ids of the vocabulary of the models with a delay pattern; 0 is PAD


def plain_state(checkpoint: dict[str, Any]) -> State:
    """The tensors of a Lightning checkpoint, or of a state dict, without what Lightning and compiling put before names."""
    state = checkpoint.get("state_dict", checkpoint)
    tensors = {name: value.detach() for name, value in state.items() if isinstance(value, Tensor)}
    return {name.removeprefix("model.").removeprefix("_orig_mod."): value for name, value in tensors.items()}


class Taken:
    """A state dict from which parameters are taken one by one, so that what nobody asked for can be told."""

    def __init__(self, state: State, what: str) -> None:
        self.state, self.what, self.used = state, what, set[str]()

    def __call__(self, name: str) -> Tensor:
        """ValueError when there is no such parameter."""
        if name not in self.state:
            raise ValueError(f"not a checkpoint of the authors' {self.what}: parameter {name!r} is missing")
        self.used.add(name)
        return self.state[name].clone()

    def finish(self, *ignored: str) -> None:
        """ValueError for a parameter that was never taken, but for those with one of these beginnings."""
        left = sorted(name for name in set(self.state) - self.used if not name.startswith(ignored))
        if left:
            raise ValueError(
                f"not a checkpoint of the authors' {self.what}: parameter {left[0]!r} is unknown ({len(left)} in all)"
            )


def stack_sizes(take: Taken, prefix: str) -> dict[str, Any]:
    """The fields of a StackConfig that the shapes under ``prefix`` tell. ValueError for a head width that is not 64."""
    gain, mlp = take(f"{prefix}.layers.0.1.qk_norm_q_scale"), take(f"{prefix}.layers.1.1.ff.0.0.weight")
    heads, width, layers = gain.shape[0], mlp.shape[1], 0
    if gain.shape[-1] != HEAD_WIDTH or heads * HEAD_WIDTH != width:
        raise ValueError(
            f"heads of {HEAD_WIDTH} channels are expected, not {heads} of {gain.shape[-1]} at width {width}"
        )
    while f"{prefix}.layers.{2 * layers}.1.to_q.weight" in take.state:
        layers += 1
    return {
        "width": width,
        "layers": layers,
        "heads": heads,
        "kv_heads": take(f"{prefix}.layers.0.1.qk_norm_k_scale").shape[0],
        "hidden": mlp.shape[0],
        "mlp": "silu",
        "norm_gain": False,
        "norm_eps": 1e-12,
        "rotary_share": 2 * len(take(f"{prefix}.rotary_pos_emb.inv_freq")) / HEAD_WIDTH,
        "qk_scale": 10.0,
    }


def stack_state(take: Taken, prefix: str, layers: int) -> State:
    """The parameters of a :class:`~bandmate.nn.stack.Stack` from those under ``prefix``."""
    order = head_order(2 * len(take(f"{prefix}.rotary_pos_emb.inv_freq")))
    heads, groups = (len(take(f"{prefix}.layers.0.1.qk_norm_{name}_scale")) for name in "qk")
    regroup = torch.arange(heads).reshape(-1, groups).t().flatten()  # their query heads in our order
    ours: State = {}
    for layer in range(layers):
        block, attention, mlp = (
            f"blocks.{layer}",
            f"{prefix}.layers.{2 * layer}.1",
            f"{prefix}.layers.{2 * layer + 1}.1.ff",
        )
        q, k = (
            take(f"{attention}.to_{name}.weight").unflatten(0, (-1, HEAD_WIDTH))[:, order] for name in "qk"
        )
        ours[f"{block}.attention_in.project.weight"] = torch.cat(
            [q[regroup].flatten(0, 1), k.flatten(0, 1), take(f"{attention}.to_v.weight")]
        )
        ours[f"{block}.attention_in.query_gain"] = take(f"{attention}.qk_norm_q_scale")[regroup][..., order]
        ours[f"{block}.attention_in.key_gain"] = take(f"{attention}.qk_norm_k_scale")[..., order]
        out = take(f"{attention}.to_out.weight").unflatten(1, (-1, HEAD_WIDTH))
        ours[f"{block}.attention_out.weight"] = out[:, regroup].flatten(1)
        for name, part in (("0.0", "up"), ("2", "down")):
            for kind in ("weight", "bias"):
                ours[f"{block}.mlp.{part}.{kind}"] = take(f"{mlp}.{name}.{kind}")
    return ours


def head_order(turned: int) -> Tensor:
    """Their channel at each of ours within a head: the even ones of those that turn, the odd ones, the rest."""
    return torch.cat(
        [torch.arange(0, turned, 2), torch.arange(1, turned, 2), torch.arange(turned, HEAD_WIDTH)]
    )


def heads_state(take: Taken, name: str, first: int) -> State:
    """Heads of all levels, named name.format(level), from the id ``first`` on: special ids are never sampled."""
    levels, ours = 1, {}
    while f"{name.format(levels)}.weight" in take.state:
        levels += 1
    for kind in ("weight", "bias"):
        ours[f"heads.project.{kind}"] = torch.cat(
            [take(f"{name.format(n)}.{kind}")[first:] for n in range(levels)]
        )
    return ours


def prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}.{name}": value for name, value in state.items()}


def column_table(table: Tensor, levels: int, instruments: int) -> Tensor:
    """Their embedding [levels * ids, D] as ours [levels, codes, PAD, MASK, instruments, D]; MASK, unknown there, is PAD."""
    theirs = table.unflatten(0, (levels, -1))
    pad = theirs[:, :1]
    own = theirs[:, INSTRUMENT_ID : INSTRUMENT_ID + instruments]
    return torch.cat([theirs[:, CODE_ID:], pad, pad, own], dim=1)


def column_model(take: Taken) -> tuple[dict[str, Any], State]:
    """Config fields and parameters of a model that plays columns: embedding, transformer and heads."""
    heads = heads_state(take, "decoder.to_logits.out_heads.{}", CODE_ID)
    codes = len(take("decoder.to_logits.out_heads.0.weight")) - CODE_ID
    levels, instruments = len(heads["heads.project.weight"]) // codes, CODE_ID - INSTRUMENT_ID
    sizes = stack_sizes(take, "decoder.attn_layers")
    state = {
        "output.table": column_table(take("output_emb.emb.weight"), levels, instruments),
        **heads,
        **prefixed("stack", stack_state(take, "decoder.attn_layers", sizes["layers"])),
    }
    fields = {"levels": levels, "codes": codes, "instruments": instruments, "head_bias": True}
    return {**sizes, **fields, "empty": "instrument"}, state
