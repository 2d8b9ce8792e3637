"""The paper's codec: causal to the sample, streaming equal to whole clip, its levels, gain and numbering."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

import bandmate.codec.dac
from bandmate.checkpoint import load_bundle, save_bundle
from bandmate.codec.dac import DacCodec, DacConfig
from bandmate.codec.dac_layers import Chain, Conv, Pointwise, ResidualUnit, Snake
from bandmate.configs import CODEC_KINDS, build, dac, dac_tiny, describe, duet_tiny
from bandmate.model.duet import Duet

FRAMES = 16
SPLITS = [[1] * FRAMES, [4] * 4, [1, 3, 2, 10], [15, 1]]


def lively(config: DacConfig) -> DacCodec:
    """Random weights at which much of the range is used, in float64 where equality is exact."""
    torch.manual_seed(0)
    codec = DacCodec(config)
    with torch.no_grad():
        for name, parameter in codec.named_parameters():
            if name.endswith(("alpha", "weight_g")):
                parameter.mul_(torch.rand_like(parameter) + 0.8)
            elif name.endswith("bias"):
                parameter.normal_(std=0.05)
    return codec.double().eval()


@pytest.fixture(scope="module", params=[0, 1], ids=["ours", "shifted"])
def codec(request: pytest.FixtureRequest) -> DacCodec:
    return lively(dataclasses.replace(dac_tiny(), input_shift=request.param))


@pytest.fixture(scope="module")
def audio() -> Tensor:
    return torch.randn(2, 640 * FRAMES, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.2


def streamed(codec: DacCodec, audio: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Codes and audio of a clip that arrives in chunks of so many frames."""
    encoder, decoder = codec.init_encoder(len(audio)), codec.init_decoder(len(audio))
    codes, sounds = [], []
    for piece in audio.split([640 * size for size in sizes], dim=1):
        code, encoder = codec.encode_chunk(piece, encoder)
        sound, decoder = codec.decode_chunk(code, decoder)
        codes.append(code)
        sounds.append(sound)
    return torch.cat(codes, dim=2), torch.cat([*sounds, codec.flush(decoder)], dim=1)


@pytest.mark.parametrize("sizes", SPLITS)
@torch.inference_mode()
def test_a_stream_in_any_chunks_equals_the_whole_clip(
    codec: DacCodec, audio: Tensor, sizes: list[int]
) -> None:
    codes, sound = streamed(codec, audio, sizes)
    assert torch.equal(codes, codec.encode(audio))
    assert codes.unique().numel() > 8
    torch.testing.assert_close(sound, codec.decode(codes), rtol=0, atol=1e-12)
    assert sound.std() > 1e-3


@torch.inference_mode()
def test_a_stream_in_float32_is_equal_within_1e_5(codec: DacCodec, audio: Tensor) -> None:
    single = DacCodec(codec.config).eval()
    single.load_state_dict(codec.state_dict())
    codes, sound = streamed(single, audio.float(), [1] * FRAMES)
    assert float((sound - single.decode(codes)).abs().max()) < 1e-5


@torch.no_grad()
def test_a_long_clip_goes_through_in_pieces_to_the_same_end(
    codec: DacCodec, audio: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = codec.encode(audio)
    whole = codec.decode(codes)
    monkeypatch.setattr(bandmate.codec.dac, "PIECE", 3)
    assert torch.equal(codec.encode(audio), codes)
    torch.testing.assert_close(codec.decode(codes), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("samples", [1, 639, 640, 641])
@torch.inference_mode()
def test_frames_are_the_samples_rounded_up(codec: DacCodec, samples: int) -> None:
    codes = codec.encode(torch.zeros(1, samples, dtype=torch.float64))
    assert codes.shape == (1, 4, -(-samples // 640))
    assert codec.decode(codes).shape == (1, 640 * codes.shape[2])


def receptive_field(codec: DacCodec) -> int:
    """Samples that a latent of the encoder has seen, by walking back through its convolutions."""
    field = 1
    for conv in reversed([m for m in codec.encoder.modules() if isinstance(m, Conv)]):
        field = (field - 1) * conv.stride + conv.span
    return field


@torch.inference_mode()
def test_a_frame_hears_up_to_its_last_sample_and_as_far_back_as_its_receptive_field() -> None:
    """NaN spreads to all that depends on it and to nothing else: the poison marks the dependence to the sample."""
    codec = lively(dac_tiny())
    field = receptive_field(codec)
    assert field == 8490  # 0.27 s; of the full size, too: it depends on kernels and strides only
    frames = 20
    frame, end = 16, 640 * 17  # the frame looked at, and the first sample that it must not have heard
    for sample, heard in ((end - 1, True), (end, False), (end - field, True), (end - field - 1, False)):
        clip = torch.zeros(1, 640 * frames, dtype=torch.float64)
        clip[0, sample] = torch.nan
        latent = codec.encoder(clip)[0]
        assert bool(latent[0, frame].isnan().all()) is heard, sample
        assert bool(latent[0, frame].isnan().any()) is heard, sample


@torch.inference_mode()
def test_a_code_sounds_from_the_first_sample_of_its_frame_on_and_not_before() -> None:
    codec = lively(dac_tiny())
    latent = torch.zeros(1, 30, 8, dtype=torch.float64)
    latent[0, 5] = torch.nan
    touched = codec.decoder(latent)[0][0].isnan()
    assert not touched[: 640 * 5].any()
    assert touched[640 * 5]
    last = int(touched.nonzero().max())
    assert touched[640 * 5 : last + 1].all()
    assert last + 1 - 640 * 5 == 11_050  # 0.35 s for which a code rings on


@torch.inference_mode()
def test_later_codes_leave_earlier_audio_alone(codec: DacCodec, audio: Tensor) -> None:
    codes = codec.encode(audio)
    changed = codes.clone()
    changed[:, :, 9:] = (changed[:, :, 9:] + 1) % codec.codes
    before, after = codec.decode(codes), codec.decode(changed)
    assert torch.equal(before[:, : 640 * 9], after[:, : 640 * 9])
    assert not torch.allclose(before[:, 640 * 9 : 640 * 10], after[:, 640 * 9 : 640 * 10])


def released_latent(chain: nn.Module, x: Tensor) -> Tensor:
    """The encoder as the authors' release pads it, whole clip at once: each output sees up to its stride's first input."""
    for part in chain.children():
        if isinstance(part, Conv):
            padded = F.pad(x, (part.span - 1, 0))
            x = F.conv1d(padded, part.weight(), part.bias, part.stride, dilation=part.dilation)
        elif isinstance(part, ResidualUnit):
            x = x + released_latent_of(part, x)
        elif isinstance(part, Chain):
            x = released_latent(part, x)
        else:
            assert isinstance(part, Snake | Pointwise)
            x = part(x)
    return x


def released_latent_of(unit: ResidualUnit, x: Tensor) -> Tensor:
    return unit.pointwise(unit.snake_out(released_latent(nn.Sequential(unit.snake, unit.conv), x)))  # type: ignore[operator]


@torch.inference_mode()
def test_a_shifted_numbering_is_undone_exactly(audio: Tensor) -> None:
    """Code i here is code i + 1 there, of the same audio one sample later; so are the sounds."""
    codec = lively(dataclasses.replace(dac_tiny(), input_shift=1))
    later = F.pad(audio, (1, 639))[:, None]
    theirs = released_latent(codec.encoder, later).transpose(1, 2)
    assert theirs.shape[1] == FRAMES + 1
    torch.testing.assert_close(codec.encoder(audio)[0], theirs[:, 1:], rtol=0, atol=1e-12)
    codes = codec.quantizer.encode(theirs)
    raw = codec.decoder(codec.quantizer.decode(codes))[
        0
    ]  # theirs is cut by 639 samples, and one sample later
    torch.testing.assert_close(codec.decode(codec.encode(audio)), raw[:, 640:], rtol=0, atol=1e-12)


@torch.inference_mode()
def test_the_served_levels_are_the_first_ones(codec: DacCodec, audio: Tensor) -> None:
    latent = codec.encoder(audio)[0]
    full = codec.quantizer(latent, torch.full((2,), codec.config.levels))
    assert codec.levels == 4
    assert torch.equal(codec.quantizer.encode(latent), full.codes[:, :4])
    torch.testing.assert_close(codec.quantizer.decode(full.codes), full.latent, rtol=0, atol=1e-12)
    errors = [float((codec.quantizer.decode(full.codes[:, :k]) - full.latent).norm()) for k in range(1, 6)]
    assert errors[-1] < 1e-9 < errors[-2]


@torch.inference_mode()
def test_the_table_holds_what_each_code_adds_to_the_latent(codec: DacCodec, audio: Tensor) -> None:
    table, codes = codec.codebook_table(), codec.encode(audio)
    assert table.shape == (4, 32, 8)
    total = sum(table[k][codes[:, k]] for k in range(4))
    torch.testing.assert_close(total, codec.quantizer.decode(codes), rtol=0, atol=1e-12)


@torch.inference_mode()
def test_codes_are_the_entries_of_the_nearest_direction(codec: DacCodec) -> None:
    level = codec.quantizer.levels[0]
    projected = level.codebook[[3, 7]].T[None] * torch.tensor([0.1, 9.0])
    assert level.nearest(projected).tolist() == [[3, 7]]


@torch.inference_mode()
def test_a_gain_is_put_on_before_and_taken_back_after(audio: Tensor) -> None:
    plain = lively(dac_tiny())
    louder = DacCodec(dataclasses.replace(dac_tiny(), gain_db=6.0)).double().eval()
    louder.load_state_dict(plain.state_dict())
    gain = 10 ** (6 / 20)
    codes = louder.encode(audio)
    assert torch.equal(codes, plain.encode(audio * gain))
    torch.testing.assert_close(louder.decode(codes) * gain, plain.decode(codes))


def test_quantizer_dropout_silences_the_deep_levels_of_shallow_examples() -> None:
    quantizer = lively(dac_tiny()).quantizer
    latent = torch.randn(3, 7, 8, dtype=torch.float64)
    mixed = quantizer(latent, torch.tensor([2, 5, 1]))
    for example, depth in enumerate([2, 5, 1]):
        alone = quantizer.decode(mixed.codes[example : example + 1, :depth])
        torch.testing.assert_close(mixed.latent[example], alone[0], rtol=0, atol=1e-12)
    all_levels = quantizer(latent, torch.full((3,), 5))
    assert 0 < mixed.commitment < all_levels.commitment


def test_gradients_pass_the_quantiser_straight_through_and_reach_every_parameter() -> None:
    codec = lively(dac_tiny()).float().train()
    made = codec.reconstruct(torch.randn(1, 6400) * 0.1, torch.tensor([5]))
    (made.audio.square().mean() + made.commitment + made.codebook).backward()
    without = [name for name, p in codec.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without


@torch.no_grad()
def test_kept_weights_follow_every_change() -> None:
    conv = Conv(3, 4, 5, causal=True).eval()
    assert conv.weight() is conv.weight()  # kept
    conv.weight_g.mul_(2.0)
    torch.testing.assert_close(conv.weight().norm(dim=(1, 2)), conv.weight_g.flatten())
    conv.load_state_dict(Conv(3, 4, 5, causal=True).state_dict())
    torch.testing.assert_close(conv.weight(), conv.weight_v)  # as at the start
    assert conv.double().weight().dtype == torch.float64
    with torch.enable_grad():
        assert conv.weight().requires_grad


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_full_size_has_the_published_number_of_parameters() -> None:
    """24.4 and 58.8 million in encoder and decoder."""
    with torch.device("meta"):
        codec = DacCodec(dac())
    assert (codec.hop, codec.sample_rate, codec.levels, codec.codes) == (640, 32_000, 4, 4096)
    assert (count(codec.encoder), count(codec.decoder)) == (24_405_120, 58_822_754)
    assert count(codec) == 83_740_034
    with torch.device("meta"):  # Descript's own, 76.65 million
        descript = DacConfig(
            strides=(2, 4, 8, 8), decoder_strides=(8, 8, 4, 2), levels=9, codes=1024, causal=False
        )
        assert count(DacCodec(descript)) == 76_651_890


@pytest.mark.parametrize("strides", [(2, 4, 8, 10), (2, 4, 5, 8)])
@torch.inference_mode()
def test_a_codec_that_is_not_causal_takes_whole_clips_only(strides: tuple[int, ...]) -> None:
    config = dataclasses.replace(dac_tiny(), strides=strides, decoder_strides=strides[::-1], causal=False)
    codec, hop = lively(config), math.prod(strides)
    codes = codec.encode(torch.randn(1, 10 * hop - 3, dtype=torch.float64))
    assert codes.shape == (1, 4, 10)
    assert codec.decode(codes).shape == (1, 10 * hop)
    for begin in (codec.init_encoder, codec.init_decoder):
        with pytest.raises(ValueError, match="cannot stream"):
            begin(1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"strides": (2, 4, 8, 8)}, "same hop"),
        ({"decoder_width": 36}, "multiple"),
        ({"levels_used": 6}, "between 1 and levels = 5"),
        ({"input_shift": 2}, "input_shift"),
    ],
)
def test_a_config_that_cannot_be_is_refused(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(dac_tiny(), **change)


def test_a_codec_is_rebuilt_from_plain_data() -> None:
    codec = DacCodec(dac_tiny())
    lists = {"strides": [2, 4, 8, 10], "decoder_strides": [10, 8, 4, 2]}
    data = yaml.safe_load(yaml.safe_dump(describe(CODEC_KINDS, codec) | lists))
    again = build(CODEC_KINDS, data, "spectral", "here")
    assert again.config == codec.config
    assert set(again.state_dict()) == set(codec.state_dict())


def test_a_bundle_with_this_codec_is_read_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    codec = DacCodec(dac_tiny())
    save_bundle(tmp_path / "b", codec, Duet(duet_tiny()), {"temperature": 1.0}, {}, half=False)
    again = load_bundle(str(tmp_path / "b")).codec
    clip = torch.randn(1, 3200)
    assert torch.equal(again.encode(clip), codec.encode(clip))
