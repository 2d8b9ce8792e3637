"""The authors' offline checkpoints: every name and shape finds its place, and their arithmetic is ours.

released_offline.json holds names and shapes only, taken from the authors' code (MIT) at the sizes of their configs.
"""

import itertools
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bandmate.configs import offline_prefix_released, stemgen_released
from bandmate.model.import_offline import import_offline_prefix, import_stemgen
from bandmate.model.offline_prefix import OfflinePrefix
from bandmate.model.stemgen import StemGen

SHAPES = json.loads((Path(__file__).parent / "released_offline.json").read_text())
State = dict[str, Tensor]


def names_and_shapes(which: str) -> dict[str, list[int]]:
    """Written out for each layer and level."""
    table, full = SHAPES[which], {}
    for name, shape in table["shapes"].items():
        for layer, level in itertools.product(range(table["layers"]), range(table["levels"])):
            full[name.format(attention=2 * layer, mlp=2 * layer + 1, level=level)] = shape
    return full


@pytest.mark.parametrize(
    ("which", "load", "module", "config"),
    [
        ("stemgen", import_stemgen, StemGen, stemgen_released()),
        ("offline_prefix", import_offline_prefix, OfflinePrefix, offline_prefix_released()),
    ],
)
def test_every_parameter_finds_its_place(which, load, module, config) -> None:  # type: ignore[no-untyped-def]
    state = {
        f"model._orig_mod.{n}": torch.empty(s, device="meta") for n, s in names_and_shapes(which).items()
    }
    read, ours = load({"state_dict": state, "epoch": 3})
    assert read == config
    with torch.device("meta"):
        expected = module(config).state_dict()
    expected.pop("input.codebook")
    assert {name: value.shape for name, value in ours.items()} == {
        name: value.shape for name, value in expected.items()
    }


@pytest.mark.parametrize(
    ("load", "other"), [(import_stemgen, "offline_prefix"), (import_offline_prefix, "stemgen")]
)
def test_anything_else_is_refused(load, other) -> None:  # type: ignore[no-untyped-def]
    state = {name: torch.empty(shape, device="meta") for name, shape in names_and_shapes(other).items()}
    with pytest.raises(ValueError, match="not a checkpoint of the authors'"):
        load(state)
    own = {"stemgen": "offline_prefix", "offline_prefix": "stemgen"}[other]
    state = {name: torch.empty(shape, device="meta") for name, shape in names_and_shapes(own).items()}
    with pytest.raises(ValueError, match=r"'extra' is unknown \(1 in all\)"):
        load(state | {"extra": torch.zeros(1)})


def small(which: str, width: int = 256, layers: int = 2) -> State:
    """Random parameters under their names: 4 heads, 2 groups of keys, 20 codes (and 19 other ids where there is a PAD)."""
    generator = torch.Generator().manual_seed(0)
    sizes = {
        1024: width,
        4096: 4 * width if which == "offline_prefix" else 20,
        512: width // 2,
        16: 4,
        8: 2,
        64: 64,
    }
    state = {}
    for name, shape in names_and_shapes(which).items():
        part = name.split(".")
        if "layers" in part and int(part[part.index("layers") + 1]) >= 2 * layers:
            continue
        if name.endswith("inv_freq"):
            continue
        size = [sizes.get(n, n) for n in shape]
        if ".ff." in name:
            size = [4 * width if n == 4096 else width for n in shape]
        size = [{16386: 2 + 4 * 20, 16460: 4 * 39, 4115: 39}.get(n, n) for n in size]
        size[-1] = 24 if name in ("input_emb.input_fc.weight", "input_emb_fc.weight") else size[-1]
        state[name] = torch.randn(size, generator=generator, dtype=torch.float64) * (
            0.3 if size[-1] > 1 else 1
        )
    prefix = "encoder" if which == "stemgen" else "decoder"
    state[f"{prefix}.attn_layers.rotary_pos_emb.inv_freq"] = 10_000.0 ** (
        -torch.arange(16, dtype=torch.float64) / 16
    )
    for name in [n for n in state if "to_k.weight" in n or "to_v.weight" in n]:
        state[name] = torch.randn(128, width, generator=generator, dtype=torch.float64) * 0.3
    return state


def their_stack(state: State, prefix: str, x: Tensor, causal: bool, layers: int = 2) -> Tensor:
    """Their transformer in the plainest words: interleaved rotary pairs, keys of group h mod 2, ten times the cosine."""

    def normal(h: Tensor) -> Tensor:
        return F.normalize(h, dim=-1) * h.shape[-1] ** 0.5

    def turned(h: Tensor) -> Tensor:
        angle = torch.arange(h.shape[2])[:, None] * state[f"{prefix}.rotary_pos_emb.inv_freq"]
        pairs = h[..., :32].unflatten(-1, (16, 2))
        rolled = torch.view_as_real(torch.view_as_complex(pairs) * torch.polar(torch.ones_like(angle), angle))
        return torch.cat([rolled.flatten(-2), h[..., 32:]], dim=-1)

    for layer in range(layers):
        attention, mlp = f"{prefix}.layers.{2 * layer}.1", f"{prefix}.layers.{2 * layer + 1}.1.ff"
        q, k, v = (
            (normal(x) @ state[f"{attention}.to_{n}.weight"].T).unflatten(-1, (-1, 64)).transpose(1, 2)
            for n in "qkv"
        )
        q = turned(F.normalize(q, dim=-1) * state[f"{attention}.qk_norm_q_scale"])
        k = turned(F.normalize(k, dim=-1) * state[f"{attention}.qk_norm_k_scale"])
        score = torch.stack([q[:, h] @ k[:, h % 2].transpose(1, 2) for h in range(4)], dim=1) * 10
        if causal:
            score = score.masked_fill(~torch.ones(score.shape[-2:]).tril().bool(), -torch.inf)
        found = torch.stack([score.softmax(-1)[:, h] @ v[:, h % 2] for h in range(4)], dim=2)
        x = x + found.flatten(2) @ state[f"{attention}.to_out.weight"].T
        h = F.silu(normal(x) @ state[f"{mlp}.0.0.weight"].T + state[f"{mlp}.0.0.bias"])
        x = x + h @ state[f"{mlp}.2.weight"].T + state[f"{mlp}.2.bias"]
    return normal(x)


def draw(seed: int) -> Tensor:
    return torch.randint(20, (2, 4, 9), generator=torch.Generator().manual_seed(seed))


BOOK = torch.randn(4, 20, 24, generator=torch.Generator().manual_seed(9)).double()
INSTRUMENT = torch.tensor([4, 14])


def heard(x: Tensor) -> Tensor:
    return torch.stack([BOOK[level][x[:, level]] for level in range(4)]).sum(0)


def test_stemgen_computes_what_theirs_does() -> None:
    theirs, x, y = small("stemgen"), draw(0), draw(1)
    config, state = import_stemgen(theirs)
    model = StemGen(config, BOOK).double().eval()
    assert model.load_state_dict(state, strict=False).missing_keys == ["input.codebook"]
    model.input.codebook = BOOK
    hidden = draw(2) < 10
    ids = (y + 2).masked_fill(hidden, 1) + 20 * torch.arange(4)[:, None]
    told = theirs["input_emb.inst_emb.weight"][INSTRUMENT][:, None]
    played = theirs["input_emb.target_token_emb.weight"][ids].sum(1) + told
    given = heard(x) @ theirs["input_emb.input_fc.weight"].T + theirs["input_emb.input_fc.bias"] + told
    h = their_stack(theirs, "encoder.attn_layers", torch.cat([given, played], dim=-1), causal=False)
    for level in range(4):
        head = f"output_layer.output_fc.{level}"
        expected = h @ theirs[f"{head}.weight"].T + theirs[f"{head}.bias"]
        ours = model(x, y.masked_fill(hidden, config.mask), INSTRUMENT)[:, :, level]
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_offline_prefix_computes_what_theirs_does() -> None:
    theirs, x, y = small("offline_prefix"), draw(0), draw(1)
    config, state = import_offline_prefix(theirs)
    model = OfflinePrefix(config, BOOK).double().eval()
    assert model.load_state_dict(state, strict=False).missing_keys == ["input.codebook"]
    model.input.codebook = BOOK
    columns = torch.empty(2, 4, 10, dtype=torch.int64)  # the instrument, then nine columns
    columns[:] = 1 + INSTRUMENT[:, None, None]
    for level in range(4):
        columns[:, level, 1 + level :] = 19 + y[:, level, : 9 - level]
    ids = columns + 39 * torch.arange(4)[:, None]
    played = theirs["output_emb.emb.weight"][ids].sum(1)
    given = heard(x) @ theirs["input_emb_fc.weight"].T + theirs["input_emb_fc.bias"]
    h = their_stack(theirs, "decoder.attn_layers", torch.cat([given, played], dim=1), causal=True)[:, 9:]
    ours = model(x, y, INSTRUMENT)
    for level in range(4):
        head = f"decoder.to_logits.out_heads.{level}"
        expected = (h @ theirs[f"{head}.weight"].T + theirs[f"{head}.bias"])[:, :9, 19:]
        torch.testing.assert_close(ours[:, :9, level], expected, atol=1e-5, rtol=1e-5)
