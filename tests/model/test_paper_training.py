"""Fusion, objectives and sizes of the paper's streaming models, and their authors' checkpoints."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bandmate.configs import (
    MODEL_KINDS,
    build,
    decoder,
    decoder_released,
    decoder_tiny,
    describe,
    encoder_decoder,
    encoder_decoder_tiny,
    prefix_decoder,
    prefix_decoder_tiny,
)
from bandmate.model.decoder import Decoder, DecoderConfig
from bandmate.model.encoder_decoder import EncoderDecoder
from bandmate.model.fusion import Fusion
from bandmate.model.import_paper import import_decoder
from bandmate.model.paper import IGNORED
from bandmate.model.prefix_decoder import PrefixDecoder
from bandmate.model.sampling import Sampler
from bandmate.model.tokens import to_columns
from tests.model.learning import learn_to_copy
from tests.model.players import INSTRUMENTS, Fixed, columns_of, inputs, make, play, whole


def test_fusion_is_equation_3_and_begins_with_a_closed_gate() -> None:
    torch.manual_seed(0)
    fusion, x, y = Fusion(8, 16), torch.randn(2, 5, 8), torch.randn(2, 5, 16)
    norm = torch.nn.functional.layer_norm
    heard = norm(norm(x, (8,)) @ fusion.project.weight.T, (16,))
    torch.testing.assert_close(fusion(x, y), heard)
    torch.nn.init.normal_(fusion.gate)
    torch.testing.assert_close(fusion(x, y), heard + fusion.gate * norm(y, (16,)))
    released = Fusion(16, 16, "released")
    torch.nn.init.normal_(released.gate)
    torch.testing.assert_close(
        released(y, y.flip(1)), norm(norm(y, (16,)) + released.gate * norm(y.flip(1), (16,)), (16,))
    )
    assert Fusion(8, 16, "released").project.bias is not None


@pytest.mark.parametrize(("t_f", "k"), [(-7, 2), (0, 5), (4, 3), (1, 10)])
def test_every_chunk_gives_each_chunk_what_its_own_prefix_gives_it(t_f: int, k: int) -> None:
    """Whole batches of one prefix, and a prefix of its own for each row."""
    model, (x, y) = make("prefix_decoder", t_f, k), inputs(40)
    with torch.inference_mode():
        every = model.every_chunk(x, y, INSTRUMENTS)
        assert every.shape == (2, 40 // k * k, 4, 32)
        for prefix in range(0, 40 - k + 1, k):
            starts = torch.tensor([prefix, 40 // k * k - k - prefix])
            one = model.after_prefix(x, y, INSTRUMENTS, starts)
            for row, start in enumerate(starts):
                torch.testing.assert_close(one[row], every[row, start : start + k], rtol=0, atol=1e-9)


@pytest.mark.parametrize("per_example", [False, True])
def test_random_prefix_supervises_the_k_columns_after_it(per_example: bool) -> None:
    model, (x, y) = make("prefix_decoder", 0, 4, per_example=per_example), inputs(22, batch=4)
    instrument = torch.arange(4)
    drawn = set()
    for seed in range(25):
        _, wanted = model.objective(x, y, instrument, np.random.default_rng(seed))
        again = model.objective(x, y, instrument, np.random.default_rng(seed))[1]
        assert torch.equal(wanted, again)
        columns = torch.where(to_columns(y, 99, 22) == 99, IGNORED, to_columns(y, 99, 22)).transpose(1, 2)
        starts = [
            next(p for p in range(0, 20, 4) if torch.equal(columns[row, p : p + 4], wanted[row]))
            for row in range(4)
        ]
        drawn |= set(starts)
        assert per_example or len(set(starts)) == 1
    assert drawn == {0, 4, 8, 12, 16}


@pytest.mark.parametrize(
    ("kind", "t_f", "k", "changes"),
    [("decoder", 2, 1, {}), ("prefix_decoder", 2, 4, {"objective": "every_chunk"}), ("encoder_decoder", 2, 4, {}),
     ("encoder_decoder", None, 1, {})],
)  # fmt: skip
def test_the_objective_is_the_next_code_at_every_cell_that_has_one(
    kind: str, t_f: int, k: int, changes: dict
) -> None:
    model = make(kind, t_f, k, **changes)
    pre, post = model.input_span(20)
    assert (pre, post) == (0, 0 if t_f is None else 4)
    x, y = inputs(20 + post)
    y = y[:, :, :20]
    logits, wanted = model.objective(x, y, INSTRUMENTS, np.random.default_rng(0))
    assert logits.shape == (2, 20, 4, 32)
    assert torch.equal(logits, whole(model, x, y))
    level, column = torch.arange(4), torch.arange(20)[:, None]
    there = column >= level
    assert torch.equal(wanted[0] != IGNORED, there)
    frame = (column - level).clamp(min=0)
    assert torch.equal(
        torch.where(there, wanted[1], 0), torch.where(there, y[1][level.expand(20, -1), frame], 0)
    )


def test_no_gradient_reaches_the_codebooks_and_some_reaches_all_else() -> None:
    for kind, t_f, k in (("decoder", -2, 1), ("prefix_decoder", -2, 3), ("encoder_decoder", 2, 3)):
        model, (x, y) = make(kind, t_f, k), inputs(24)
        drop = torch.tensor([True, False])
        logits, wanted = model.objective(x, y[:, :, :18], INSTRUMENTS, np.random.default_rng(3), drop)
        torch.nn.functional.cross_entropy(logits.flatten(0, 2), wanted.flatten()).backward()
        missing = [name for name, p in model.named_parameters() if p.grad is None]
        assert missing == []
        assert not model.input.codebook.requires_grad


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (decoder_tiny, {"t_f": 1}),
        (prefix_decoder_tiny, {"t_f": 2, "k": 2, "objective": "every_chunk"}),
        (encoder_decoder_tiny, {}),
    ],
)
def test_what_is_heard_is_learned(config: Any, changes: dict) -> None:
    """Nothing but the input tells the codes: log(8) = 2.08 nats without it."""
    torch.manual_seed(0)
    changes = {"codes": 8, "levels": 2, **changes}
    values = {"kind": config.__name__.removesuffix("_tiny")} | dataclasses.asdict(config()) | changes
    model = build(MODEL_KINDS, values, "", "test")
    torch.nn.init.normal_(model.input.codebook)
    assert learn_to_copy(model, 110) < 1.5


def test_sizes() -> None:
    with torch.device("meta"):
        models = [Decoder(decoder()), Decoder(decoder_released()), PrefixDecoder(prefix_decoder())]
        models += [EncoderDecoder(encoder_decoder())]
    own, released, prefix, cross = (sum(p.numel() for p in model.parameters()) for model in models)
    # Theirs: 218 390 604. The heads of 19 special ids are not needed; rows for MASK and for no input are.
    assert released == 218_390_604 - 4 * 19 * 1025 + 4 * 1024 + 1024
    assert own == prefix
    assert 0.95 < own / released < 1.05
    assert cross == 248_631_424  # cross-attention comes on top


def test_offline_limit_hears_everything_before_it_plays() -> None:
    """t_f = T, k = 1: each column sees every frame; played by `generate`, refused as a stream."""
    model, (x, y) = make("encoder_decoder", None, 1), inputs(30)
    with torch.inference_mode():
        before = whole(model, x, y)
        changed = x.clone()
        changed[:, 0, 29] = (changed[:, 0, 29] + 1) % 32
        assert (whole(model, changed, y) != before).any(-1).all()
        sampler = Fixed(columns_of(torch.nn.functional.pad(y, (0, 3))), guidance=2.0)
        codes = model.generate(x, INSTRUMENTS, sampler, 30)
        assert codes.shape == (2, 4, 30)
        null = whole(model, x, y, torch.ones(2, dtype=torch.bool))
        expected = (null + 2 * (before - null)).float()
        torch.testing.assert_close(torch.stack(sampler.logits, 1)[:, :30], expected, rtol=0, atol=1e-4)
        state = model.listen(x.transpose(1, 2), model.init_state(INSTRUMENTS, guided=False))
        _, state = model.play(state, 2, Sampler())
    with pytest.raises(ValueError, match="hear the whole input before"):
        model.listen(x.transpose(1, 2), state)
    from bandmate.spec import StreamSpec

    with pytest.raises(ValueError, match="bandmate generate"):
        model.init_state(INSTRUMENTS, StreamSpec(0, 1))


@pytest.mark.parametrize("name", ["decoder", "prefix_decoder", "encoder_decoder"])
def test_a_config_is_plain_data_and_back(name: str) -> None:
    model = make(name, -5, 1 if name == "decoder" else 3)
    values = describe(MODEL_KINDS, model)
    assert values["kind"] == name
    again = build(MODEL_KINDS, values, "duet", "test")
    assert again.config == model.config
    again.load_state_dict(model.state_dict())


def test_bad_configs_and_codebooks_are_refused() -> None:
    with pytest.raises(ValueError, match="prefix_decoder"):
        DecoderConfig(k=2)
    with pytest.raises(ValueError, match="codebooks are"):
        Decoder(decoder_tiny(), torch.zeros(4, 64, 8))
    with pytest.raises(ValueError, match="no chunk of 50"):
        make("prefix_decoder", 0, 50).objective(*inputs(20), INSTRUMENTS, np.random.default_rng(0))
    with pytest.raises(ValueError, match="windows of 80 frames at most"):
        make("prefix_decoder", 0, 5).every_chunk(*inputs(90), INSTRUMENTS)


# Names and shapes of the authors' streaming decoder: D width, M MLP, H heads, G key heads, X latent, C codes + 19.
TOP = {
    "add_gate": "D", "output_emb.emb.weight": "4C D", "ln_in.weight": "X", "ln_in.bias": "X", "ln_out.weight": "D",
    "ln_out.bias": "D", "ln_fuse.weight": "D", "ln_fuse.bias": "D", "proj_in_to_out.weight": "D X",
    "proj_in_to_out.bias": "D", "input_padding": "P X", "decoder.attn_layers.rotary_pos_emb.inv_freq": "16",
}  # fmt: skip
LAYER = {
    "a.qk_norm_q_scale": "H 1 64", "a.qk_norm_k_scale": "G 1 64", "a.to_q.weight": "D D", "a.to_k.weight": "E D",
    "a.to_v.weight": "E D", "a.to_out.weight": "D D", "b.ff.0.0.weight": "M D", "b.ff.0.0.bias": "M",
    "b.ff.2.weight": "D M", "b.ff.2.bias": "D",
}  # fmt: skip


def their_state(layers: int, device: str, t_f: int, **sizes: int) -> dict[str, Tensor]:
    """A state dict of the authors' model with random weights."""
    s = {"E": 64 * sizes["G"], "4C": 4 * sizes["C"], "P": max(0, 1 - t_f)} | sizes

    def tensor(shape: str) -> Tensor:
        return torch.randn([s[d] if d in s else int(d) for d in shape.split()], device=device) * 0.1

    state = {f"model.{name}": tensor(shape) for name, shape in TOP.items()}
    if sizes["X"] == sizes["D"]:
        del state["model.proj_in_to_out.weight"], state["model.proj_in_to_out.bias"]
    if t_f > 0:
        del state["model.input_padding"]
    for n in range(layers):
        at = {"a": f"{2 * n}.1", "b": f"{2 * n + 1}.1"}
        state |= {
            f"model.decoder.attn_layers.layers.{at[name[0]]}.{name[2:]}": tensor(shape)
            for name, shape in LAYER.items()
        }
    for n in range(4):
        state |= {
            f"model.decoder.to_logits.out_heads.{n}.{kind}": tensor(shape)
            for kind, shape in {"weight": "C D", "bias": "C"}.items()
        }
    return state


PAPER_SIZE = {"D": 1024, "M": 4096, "H": 16, "G": 8, "X": 1024, "C": 4115}
SMALL = {"D": 128, "M": 96, "H": 2, "G": 1, "X": 8, "C": 51}


@pytest.mark.parametrize(("t_f", "k"), [(-100, 1), (0, 1), (100, 1), (100, 50)])
def test_the_authors_checkpoints_fit_at_full_size(t_f: int, k: int) -> None:
    state = their_state(16, "meta", t_f, **PAPER_SIZE)
    assert len(state) == 178 - (t_f > 0)
    config, ours = import_decoder({"state_dict": state}, t_f if t_f > 0 else None, k)
    with torch.device("meta"):
        model = (Decoder if k == 1 else PrefixDecoder)(config)  # type: ignore[arg-type]
    expected = {name: value.shape for name, value in model.state_dict().items() if name != "input.codebook"}
    assert {name: value.shape for name, value in ours.items()} == expected
    assert config == dataclasses.replace(decoder_released(), t_f=t_f) or k > 1


def test_an_imported_model_plays_and_says_what_it_hears_first() -> None:
    torch.manual_seed(0)
    config, state = import_decoder(their_state(2, "cpu", -3, **SMALL))
    assert (config.t_f, config.rotary_share, config.latent, config.codes) == (-3, 0.5, 8, 32)
    model = Decoder(config, torch.randn(4, 32, 8))  # type: ignore[arg-type]
    model.load_state_dict(state, strict=False)
    x, y = inputs(30)
    with torch.inference_mode():
        sampler = Fixed(columns_of(y))
        play(model.eval(), x, 30, sampler)
        torch.testing.assert_close(
            torch.stack(sampler.logits, 1), model(x, y, INSTRUMENTS), rtol=0, atol=1e-4
        )


def test_neighbouring_pairs_become_halves() -> None:
    """Their rotary pairs are channels (2i, 2i + 1), ours (i, i + 16): queries and keys are reordered alike."""
    state = their_state(1, "cpu", 0, **SMALL)
    name = "model.decoder.attn_layers.layers.0.1.to_q.weight"
    state[name] = torch.arange(128.0)[:, None].expand(128, 128)
    own = import_decoder(state)[1]["stack.blocks.0.attention_in.project.weight"][:64, 0]
    assert own.tolist() == [*range(0, 32, 2), *range(1, 32, 2), *range(32, 64)]


@pytest.mark.parametrize(
    ("change", "message"),
    [("missing", "'model.add_gate' is missing|'add_gate' is missing"), ("extra", "'other' is unknown"),
     ("t_f", "made for t_f = -3 frames, not 5"), ("untold", "say how many frames")],
)  # fmt: skip
def test_another_checkpoint_is_refused(change: str, message: str) -> None:
    state = their_state(1, "cpu", 5 if change == "untold" else -3, **SMALL)
    if change == "missing":
        del state["model.add_gate"]
    if change == "extra":
        state["model.other"] = torch.zeros(1)
    with pytest.raises(ValueError, match=message):
        import_decoder(state, 5 if change == "t_f" else None)
