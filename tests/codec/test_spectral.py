"""The spectral codec: causal, streaming equal to whole-clip, aligned, its parts doing what they say."""

from pathlib import Path

import pytest
import soundfile
import torch
from torch import Tensor

import bandmate
from bandmate.checkpoint import load_bundle
from bandmate.codec.spectral import SpectralCodec
from bandmate.codec.synthesis import BINS, HOP, OVERLAP, NoiseBank, OscillatorBank, overlap_add
from bandmate.configs import spectral_tiny

FRAMES = 30
DEMO = Path(bandmate.__file__).parent / "assets" / "demo" / "demo.flac"


@pytest.fixture(scope="module")
def codec() -> SpectralCodec:
    """Random weights, codebooks fitted to noise, in float64 where equality is exact."""
    torch.manual_seed(0)
    codec = SpectralCodec(spectral_tiny()).double().eval()
    with torch.inference_mode():
        latent = codec.encoder(torch.randn(4, 640 * 200, dtype=torch.float64))[0].flatten(0, 1)
        codec.quantizer.fit(latent, iterations=3, generator=torch.Generator().manual_seed(0))
        codec.decoder.amplitude.bias.fill_(-4.0)
        codec.decoder.offset.weight.normal_(std=0.05)
    return codec


@pytest.fixture(scope="module")
def audio() -> Tensor:
    return torch.randn(2, 640 * FRAMES, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.2


SPLITS = [[1] * FRAMES, [5] * 6, [1, 4, 2, 7, 16], [29, 1]]


@pytest.mark.parametrize("sizes", SPLITS)
@torch.inference_mode()
def test_streamed_codes_equal_whole_clip_codes(codec: SpectralCodec, audio: Tensor, sizes: list[int]) -> None:
    state, codes, at = codec.init_encoder(2), [], 0
    for size in sizes:
        piece, state = codec.encode_chunk(audio[:, at * 640 : (at + size) * 640], state)
        codes.append(piece)
        at += size
    assert torch.equal(torch.cat(codes, 2), codec.encode(audio))


@pytest.mark.parametrize("sizes", SPLITS)
@torch.inference_mode()
def test_streamed_audio_lags_by_the_declared_delay_and_is_else_equal(
    codec: SpectralCodec, audio: Tensor, sizes: list[int]
) -> None:
    codes = codec.encode(audio)
    whole = codec.decode(codes)
    state, pieces, at = codec.init_decoder(2), [], 0
    for size in sizes:
        piece, state = codec.decode_chunk(codes[:, :, at : at + size], state)
        pieces.append(piece)
        at += size
    streamed = torch.cat([*pieces, codec.flush(state)], dim=1)
    assert streamed.shape[1] == whole.shape[1] + codec.synthesis_delay
    torch.testing.assert_close(streamed[:, codec.synthesis_delay :], whole, rtol=0, atol=1e-9)
    assert whole.abs().max() > 1e-3


@torch.inference_mode()
def test_streamed_audio_in_float32_is_equal_within_1e_5(codec: SpectralCodec, audio: Tensor) -> None:
    single = SpectralCodec(spectral_tiny())
    single.load_state_dict({name: value.float() for name, value in codec.state_dict().items()})
    codes = codec.encode(audio).repeat(1, 1, 10)  # 6 s: the phases run on
    whole = single.decode(codes)
    state, pieces = single.init_decoder(2), []
    for frame in range(codes.shape[2]):
        piece, state = single.decode_chunk(codes[:, :, frame : frame + 1], state)
        pieces.append(piece)
    streamed = torch.cat([*pieces, single.flush(state)], dim=1)[:, single.synthesis_delay :]
    assert float((streamed - whole).abs().max()) < 1e-5


@torch.inference_mode()
def test_the_bundled_codec_streams_music_within_1e_5_of_the_whole_clip() -> None:
    codec = load_bundle().codec
    audio = torch.from_numpy(soundfile.read(DEMO, dtype="float32", frames=8 * 32_000)[0])[None]
    codes = codec.encode(audio)
    encoder, decoder = codec.init_encoder(1), codec.init_decoder(1)
    streamed_codes, pieces = [], []
    for start in range(0, audio.shape[1], 5 * 640):
        piece, encoder = codec.encode_chunk(audio[:, start : start + 5 * 640], encoder)
        sound, decoder = codec.decode_chunk(piece, decoder)
        streamed_codes.append(piece)
        pieces.append(sound)
    streamed = torch.cat([*pieces, codec.flush(decoder)], dim=1)[:, codec.synthesis_delay :]
    assert torch.equal(torch.cat(streamed_codes, dim=2), codes)
    assert float((streamed - codec.decode(codes)).abs().max()) < 1e-5


@torch.inference_mode()
def test_codes_do_not_depend_on_later_samples(codec: SpectralCodec, audio: Tensor) -> None:
    changed = audio.clone()
    changed[:, 640 * 12 :] = 0.0
    before, after = codec.encode(audio), codec.encode(changed)
    assert torch.equal(before[:, :, :12], after[:, :, :12])
    assert not torch.equal(before, after)


@torch.inference_mode()
def test_audio_of_a_frame_needs_later_codes_only_within_the_synthesis_delay(
    codec: SpectralCodec, audio: Tensor
) -> None:
    codes = codec.encode(audio)
    changed = codes.clone()
    changed[:, :, 12:] = (changed[:, :, 12:] + 1) % codec.codes
    before, after = codec.decode(codes), codec.decode(changed)
    first = 640 * 12 - codec.synthesis_delay
    torch.testing.assert_close(before[:, :first], after[:, :first], rtol=0, atol=1e-12)
    assert not torch.allclose(before[:, first : 640 * 12], after[:, first : 640 * 12])


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 6400])
@torch.inference_mode()
def test_frames_are_the_samples_rounded_up(codec: SpectralCodec, samples: int) -> None:
    assert codec.encode(torch.zeros(1, samples, dtype=torch.float64)).shape == (1, 4, -(-samples // 640))


def hold(bank: OscillatorBank, index: int, offset: float, hops: int = 400) -> Tensor:
    """A steady tone of one oscillator, amplitude 0.5, the half-built ends cut off."""
    amplitude, off = torch.zeros(1, hops, bank.count), torch.zeros(1, hops, bank.count)
    amplitude[:, :, index], off[:, :, index] = 0.5, offset
    spectra, _ = bank(amplitude, off, torch.zeros(1, bank.count, dtype=torch.float64))
    return overlap_add(spectra, torch.zeros(1, OVERLAP))[0][0, OVERLAP:]


@pytest.mark.parametrize(
    ("index", "offset"), [(12, 0.0), (24, 0.05), (48, 0.0), (48, -0.2), (80, 1.0), (97, 0.0)]
)
def test_oscillator_sounds_at_its_pitch_and_level(index: int, offset: float) -> None:
    bank = OscillatorBank()
    sound = hold(bank, index, offset)[: 160 * 350]
    wanted = (float(bank.centre[index]) + offset) * 50.0
    spectrum = torch.fft.rfft(sound * torch.hann_window(len(sound))).abs()
    assert abs(float(spectrum.argmax()) * 32_000 / len(sound) - wanted) < 1.0
    assert 0.48 < float(sound.square().mean().sqrt()) * 2**0.5 < 0.52


def test_a_steady_tone_is_steady_off_the_bins() -> None:
    """The point of carried phases: no beating at the hop, no pull to the 50 Hz grid."""
    sound = hold(OscillatorBank(), 49, 0.17)
    spectrum = torch.fft.rfft(sound[:32_000] * torch.hann_window(32_000)).abs()
    peak = int(spectrum.argmax())
    spectrum[peak - 4 : peak + 5] = 0
    assert 20 * torch.log10(spectrum.max() / 8_000 / 0.5 * 2) < -35.0


def test_noise_has_the_level_it_is_told_and_is_the_same_every_time() -> None:
    gain = torch.full((1, 400, BINS), 0.01)
    sound = overlap_add(NoiseBank()(7, 400, gain), torch.zeros(1, OVERLAP))[0]
    again = overlap_add(NoiseBank()(7, 400, gain), torch.zeros(1, OVERLAP))[0]
    assert torch.equal(sound, again)
    assert 0.05 < float(sound[0, OVERLAP:].std()) < 0.2
    flatness = torch.fft.rfft(sound[0, OVERLAP:]).abs().view(-1)[100:-100].unfold(0, 500, 500).mean(1)
    assert float(flatness.max() / flatness.min()) < 1.5


def test_overlap_add_of_constant_windows_has_no_ripple() -> None:
    spectra = torch.zeros(1, 40, BINS, dtype=torch.complex64)
    spectra[:, :, 0], spectra[:, :, 1] = 1.0, 0.5  # a windowed constant
    sound, tail = overlap_add(spectra, torch.zeros(1, OVERLAP))
    middle = sound[0, OVERLAP:]
    assert tail.shape == (1, OVERLAP)
    assert float(middle.max() - middle.min()) < 1e-5
    assert len(sound[0]) == 40 * HOP
