"""Playing copies: how near they come to the networks they stand for, and that they are as good a stream."""

import dataclasses

import pytest
import torch
from torch import Tensor

from bandmate.checkpoint import Bundle, load_bundle
from bandmate.codec.spectral import SpectralCodec
from bandmate.configs import duet_tiny, spectral_tiny
from bandmate.model.duet import Duet
from bandmate.model.sampling import Sampler
from bandmate.nn.conv import ConvNeXtBlock
from bandmate.nn.linear import Linear
from bandmate.nn.packed import (
    PackedBlock,
    PackedConvNeXtBlock,
    PackedLinear,
    PackedNorm,
    PackedProjections,
    packed,
    quantise_rows,
)
from bandmate.nn.transformer import (
    FEW_QUERIES,
    Block,
    RMSNorm,
    Style,
    additive,
    attend,
    attend_few,
    rotary_angles,
)
from bandmate.stream import quick as quick_module
from bandmate.stream.quick import quick

NEAR = 0.03  # of the largest value: eight bits of weights and of inputs, over the few layers of a block


@pytest.fixture(autouse=True)
def _inference() -> object:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def assert_near(a: Tensor, b: Tensor, share: float = NEAR) -> None:
    assert (a - b).abs().max() < share * b.abs().max()


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """Every parameter drawn anew: gains are not one, biases not zero."""
    for parameter in module.parameters():
        parameter.copy_(torch.randn(parameter.shape) * 0.2 + (parameter.dim() == 1))
    return module


def test_quantised_rows_are_within_half_a_step() -> None:
    weight = torch.randn(20, 64) * torch.logspace(-6, 2, 20)[:, None]
    codes, scale = quantise_rows(weight)
    error = (codes.float() * scale.float()[:, None] - weight).abs()
    assert (error <= 0.51 * scale.float()[:, None]).logical_or(codes.abs() == 127).all()
    assert codes.abs().amax(1).min() >= 126, "every row uses its range"
    assert torch.equal(quantise_rows(torch.zeros(3, 16))[0], torch.zeros(3, 16, dtype=torch.int8))


@pytest.mark.parametrize(("inputs", "outputs"), [(16, 1), (48, 33), (256, 98), (512, 256)])
def test_products_are_near_and_rows_do_not_depend_on_each_other(inputs: int, outputs: int) -> None:
    plain = Linear(inputs, outputs, bias=True)
    quick_one, x = PackedLinear(plain.weight, plain.bias), torch.randn(3, 7, inputs)
    together = quick_one(x)
    assert_near(together, plain(x))
    assert together.dtype == torch.float32
    alone = torch.cat([quick_one(row) for row in x.flatten(0, 1).split(1)])
    assert torch.equal(together.flatten(0, 1), alone)


def test_a_width_the_kernel_cannot_take_stays_as_it_is() -> None:
    network = torch.nn.Sequential(Linear(24, 32), Linear(32, 24))
    kinds = [type(layer) for layer in packed(network)]
    assert kinds == [Linear, PackedLinear]
    assert [type(layer) for layer in network] == [Linear, Linear], "the network itself is left alone"


@pytest.mark.parametrize("gain", [True, False])
def test_norm(gain: bool) -> None:
    plain, x = shaken(RMSNorm(48, gain)), torch.randn(2, 5, 48)
    x[0, 0] = 0
    torch.testing.assert_close(packed(torch.nn.Sequential(plain))[0](x), plain(x))
    assert isinstance(packed(torch.nn.Sequential(plain))[0], PackedNorm)


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_block_attends_and_finishes_as_the_plain_one(kv_heads: int) -> None:
    plain = shaken(Block(64, 4, kv_heads, 96))
    copy = packed(torch.nn.ModuleList([plain]))[0]
    assert isinstance(copy, PackedBlock)
    x, angles = torch.randn(2, 6, 64), tuple(a.float() for a in rotary_angles(torch.arange(90, 96), 16))
    results = []
    for block in (plain, copy):
        q, k, v = block.attention_in(x, angles)
        results.append((v, block.finish(x, attend(q, k, v, None, causal=True))))
    for given, wanted in zip(results[1], results[0], strict=True):
        assert_near(given, wanted)


def test_blocks_of_another_style_and_cross_attention_keep_their_form() -> None:
    others = [
        Block(64, 4, 4, 96, style=Style(qk_gain="channel")),
        Block(64, 4, 4, 96, style=Style(mlp="silu")),
        Block(64, 4, 4, 96, cross=True),
    ]
    for block in others:
        copy = packed(torch.nn.ModuleList([block]))[0]
        assert isinstance(copy, Block)
        assert isinstance(copy.attention_out, PackedLinear)
        assert isinstance(copy.attention_in, PackedProjections) == (block.cross is not None)


def test_convolution_carries_its_state_as_the_plain_one() -> None:
    plain = shaken(ConvNeXtBlock(48, expansion=2))
    copy = packed(torch.nn.Sequential(plain))[0]
    assert isinstance(copy, PackedConvNeXtBlock)
    x = torch.randn(1, 20, 48)
    whole, after = copy(x)
    assert_near(whole, plain(x)[0])
    torch.testing.assert_close(after, plain(x)[1])
    first, state = copy(x[:, :3])
    second, state = copy(x[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=0, atol=1e-5 * whole.abs().max())
    assert torch.equal(state, after)


@pytest.mark.parametrize("queries", [1, FEW_QUERIES, FEW_QUERIES + 1])
def test_attention_of_few_queries(queries: int) -> None:
    q, k, v = (torch.randn(2, 4, n, 16) for n in (queries, 40, 40))
    visible = torch.rand(queries, 40) < 0.3
    visible[:, 7] = True
    torch.testing.assert_close(attend_few(q, k, v, additive(visible)), attend(q, k, v, visible[None, None]))


def kl(a: Tensor, b: Tensor) -> float:
    """Mean divergence in nats of the distributions with logits b from those with a."""
    a, b = a.log_softmax(-1), b.log_softmax(-1)
    return float((a.exp() * (a - b)).sum(-1).mean())


class Told:
    """Plays given columns and keeps the logits."""

    guidance, guided, plausible, guide = 1.0, True, None, Sampler.guide

    def __init__(self, columns: Tensor) -> None:
        self.columns, self.logits = columns, []  # type: ignore[var-annotated]

    def __call__(self, logits: Tensor, column: int) -> Tensor:
        self.logits.append(logits)
        return self.columns[:, :, column]


def test_the_bundled_model_means_the_same() -> None:
    bundle = load_bundle()
    copies = dataclasses.replace(bundle, codec=packed(bundle.codec), model=packed(bundle.model))
    rng = torch.Generator().manual_seed(1)
    audio, columns = (
        0.1 * torch.randn(1, 30 * 640, generator=rng),
        torch.randint(0, 1024, (1, 4, 30), generator=rng),
    )
    logits = []
    for model in (bundle.model, copies.model):
        told = Told(columns)
        state = model.init_state(torch.tensor([4]))
        state = model.listen(model.hear(audio, model.init_ears(1))[0], state)
        _, state = model.play(state, 30, told)  # type: ignore[arg-type]
        logits.append(torch.stack(told.logits))
    divergence = kl(*logits)
    assert 0 < divergence < 1e-3, "against 1.8 to 5.8 nats that a code costs"
    spectra = [torch.stft(c.codec.decode(columns)[0], 1024, window=torch.hann_window(1024), return_complex=True)
               for c in (bundle, copies)]  # fmt: skip
    plain, copy = (20 * torch.log10(s.abs() + 1e-4) for s in spectra)
    assert 0 < (plain - copy).abs().mean() < 1.0, "decibels; the codec itself is off by 8"


def test_a_packed_stream_does_not_depend_on_its_chunks() -> None:
    model = packed(shaken(Duet(duet_tiny())).eval())  # type: ignore[arg-type]
    x, sampler = (
        torch.randint(0, 255, (1, 40, 176), dtype=torch.uint8),
        Sampler(top_k=8, seed=2, guidance=1.5),
    )
    played = []
    for split in ((40,), (1,) * 40, (7, 13, 20)):
        state = model.init_state(torch.tensor([3]))
        state = model.listen(x, state)
        pieces = []
        for n in split:
            piece, state = model.play(state, n, sampler)
            pieces.append(piece)
        played.append(torch.cat(pieces, dim=2))
    assert torch.equal(played[0], played[1])
    assert torch.equal(played[0], played[2])


def test_only_what_was_measured_is_played_from_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_module, "can_pack", lambda: True)
    bundle = Bundle("x", SpectralCodec(spectral_tiny()), torch.nn.Linear(16, 16), {})
    copies = quick(bundle)
    assert copies.model is bundle.model
    assert copies.codec is not bundle.codec
    other = dataclasses.replace(bundle, codec=bundle.model)
    assert quick(other) is other
    monkeypatch.setattr(quick_module, "can_pack", lambda: False)
    assert quick(bundle) is bundle
