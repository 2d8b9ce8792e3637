"""The small, fast codec bundled with the product: log spectra in, sinusoids plus noise out.

32 kHz mono, 50 frames/s, 4 levels of 1024 codes: 2 kbit/s. Encoder and decoder are causal. The encoder sees levels and
no phase: at this rate there are no bits for phase, and codes free of it are far easier to predict for a language model.
"""

import dataclasses
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bandmate.codec.quantize import ResidualVectorQuantizer
from bandmate.codec.synthesis import (
    BINS,
    HOP,
    OVERLAP,
    NoiseBank,
    OscillatorBank,
    SynthesisState,
    overlap_add,
)
from bandmate.nn.conv import ConvNeXtStack
from bandmate.nn.spectrogram import CausalLogSpectrum, contrast

SUBFRAMES = 4  # hops of 5 ms in a frame of 20 ms


@dataclasses.dataclass(frozen=True)
class SpectralConfig:
    """Widths and depths at 200 and 50 frames/s; the latent is what the codes quantise."""

    fast_width: int = 160
    fast_depth: int = 2
    slow_width: int = 256
    slow_depth: int = 4
    decoder_fast_width: int = 192
    decoder_fast_depth: int = 3
    latent: int = 64
    levels: int = 4
    codes: int = 1024
    fast_bands: int = 80
    slow_bands: int = 192
    noise_bands: int = 64


class Controls(NamedTuple):
    """What the decoder tells the synthesiser at each hop: amplitudes and places of the oscillators, gains of the noise."""

    amplitude: Tensor  # [B, H, N]
    offset: Tensor  # [B, H, N], bins
    noise: Tensor  # [B, H, BINS]


class Encoder(nn.Module):
    """audio -> latent [B, T, latent], of unit RMS in every frame."""

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        self.fast_spectrum = CausalLogSpectrum(640, HOP, config.fast_bands, 40.0, 15_000.0)
        self.slow_spectrum = CausalLogSpectrum(
            4096, HOP * SUBFRAMES, config.slow_bands, 27.5, 27.5 * 2 ** ((config.slow_bands - 1) / 24)
        )
        self.fast_in = nn.Linear(2 * config.fast_bands, config.fast_width)
        self.fast = ConvNeXtStack(config.fast_width, config.fast_depth)
        self.down = nn.Linear(SUBFRAMES * config.fast_width, config.slow_width)
        self.slow_in = nn.Linear(2 * config.slow_bands, config.slow_width)
        self.slow = ConvNeXtStack(config.slow_width, config.slow_depth)
        self.out = nn.Linear(config.slow_width, config.latent)

    def init_state(self, batch: int) -> list:
        return [m.init_state(batch) for m in (self.fast_spectrum, self.slow_spectrum, self.fast, self.slow)]

    def forward(self, audio: Tensor, state: list | None = None) -> tuple[Tensor, list]:
        """audio [B, T * 640] -> latent [B, T, D]."""
        spectrum_f, spectrum_s, fast_state, slow_state = state or self.init_state(audio.shape[0])
        levels, spectrum_f = self.fast_spectrum(audio, spectrum_f)
        fast, fast_state = self.fast(self.fast_in(contrast(levels, 6)), fast_state)
        levels, spectrum_s = self.slow_spectrum(audio, spectrum_s)
        x = self.down(fast.unflatten(1, (-1, SUBFRAMES)).flatten(2)) + self.slow_in(contrast(levels, 12))
        x, slow_state = self.slow(x, slow_state)
        latent = widen(self.out(x))
        latent = latent * torch.rsqrt(latent.square().mean(-1, keepdim=True) + 1e-6)
        return latent, [spectrum_f, spectrum_s, fast_state, slow_state]


class Decoder(nn.Module):
    """latent [B, T, D] -> controls at 4 hops per frame."""

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        self.bank = OscillatorBank()
        width = config.decoder_fast_width
        self.inp = nn.Linear(config.latent, config.slow_width)
        self.slow = ConvNeXtStack(config.slow_width, config.slow_depth)
        self.up = nn.Linear(config.slow_width, SUBFRAMES * width)
        self.fast = ConvNeXtStack(width, config.decoder_fast_depth)
        self.norm = nn.LayerNorm(width)
        self.amplitude = nn.Linear(width, self.bank.count)
        self.offset = nn.Linear(width, self.bank.count)
        self.noise = nn.Linear(width, config.noise_bands)
        # Start quiet, in the middle of each bin, with noise and tones of like level.
        for head, bias in ((self.amplitude, -7.0), (self.offset, 0.0), (self.noise, -7.0)):
            nn.init.normal_(head.weight, std=0.02)
            nn.init.constant_(head.bias, bias)
        self.register_buffer("noise_shape", noise_interpolation(config.noise_bands), persistent=False)

    noise_shape: Tensor

    def init_state(self, batch: int) -> list:
        return [self.slow.init_state(batch), self.fast.init_state(batch)]

    def forward(self, latent: Tensor, state: list | None = None) -> tuple[Controls, list]:
        slow_state, fast_state = state or self.init_state(latent.shape[0])
        x, slow_state = self.slow(self.inp(latent), slow_state)
        x = self.up(x).unflatten(2, (SUBFRAMES, -1)).flatten(1, 2)
        x, fast_state = self.fast(x, fast_state)
        x = self.norm(x)
        amplitude, offset, noise = (widen(head(x)) for head in (self.amplitude, self.offset, self.noise))
        with torch.autocast(x.device.type, enabled=False):
            gain = (noise.clamp(-14.0, 1.0) @ self.noise_shape).exp()
            controls = Controls(amplitude.clamp(-14.0, 1.0).exp(), torch.tanh(offset) * self.bank.reach, gain)
        return controls, [slow_state, fast_state]


class DecoderState(NamedTuple):
    """Network and synthesiser of one decoded stream."""

    network: list
    synthesis: SynthesisState


class SpectralCodec(nn.Module):
    """Encoder, quantiser, decoder and synthesiser; see the module's first lines."""

    sample_rate = 32_000
    hop = HOP * SUBFRAMES
    synthesis_delay = OVERLAP  # samples

    def __init__(self, config: SpectralConfig | None = None) -> None:
        super().__init__()
        self.config = config or SpectralConfig()
        self.encoder = Encoder(self.config)
        self.quantizer = ResidualVectorQuantizer(self.config.levels, self.config.codes, self.config.latent)
        self.decoder = Decoder(self.config)
        self.noise_bank = NoiseBank()

    @property
    def levels(self) -> int:
        return self.config.levels

    @property
    def codes(self) -> int:
        return self.config.codes

    def codebook_table(self) -> Tensor:
        """[K, V, D]: what each code stands for in the latent."""
        return self.quantizer.codebook

    def encode(self, audio: Tensor) -> Tensor:
        """audio [B, S] -> codes [B, K, ceil(S / 640)]; the last frame is filled up with silence."""
        padded = nn.functional.pad(audio, (0, -audio.shape[1] % self.hop))
        return self.quantizer.encode(self.encoder(padded)[0])

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B, K, T] -> audio [B, T * 640] on the input's clock, the synthesis delay trimmed."""
        audio, state = self.decode_chunk(codes, self.init_decoder(codes.shape[0]))
        return torch.cat([audio, self.flush(state)], dim=1)[:, self.synthesis_delay :]

    def init_encoder(self, batch: int) -> list:
        return self.encoder.init_state(batch)

    def encode_chunk(self, audio: Tensor, state: list) -> tuple[Tensor, list]:
        """audio [B, n * 640] -> codes [B, K, n]."""
        latent, state = self.encoder(audio, state)
        return self.quantizer.encode(latent), state

    def init_decoder(self, batch: int) -> DecoderState:
        phase = torch.zeros(batch, self.decoder.bank.count, dtype=torch.float64)
        tail = torch.zeros(batch, OVERLAP, dtype=self.quantizer.codebook.dtype)
        return DecoderState(self.decoder.init_state(batch), SynthesisState(phase, tail, 0))

    def decode_chunk(self, codes: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """codes [B, K, n] -> audio [B, n * 640], ``synthesis_delay`` samples behind the frames' own place."""
        controls, network = self.decoder(self.quantizer.decode(codes), state.network)
        audio, synthesis = self.synthesise(controls, state.synthesis)
        return audio, DecoderState(network, synthesis)

    def flush(self, state: DecoderState) -> Tensor:
        """The samples that wait for a next frame, as they would be were it silent: [B, synthesis_delay]."""
        return state.synthesis.tail

    def synthesise(self, controls: Controls, state: SynthesisState) -> tuple[Tensor, SynthesisState]:
        """Controls of H hops -> audio [B, H * 160]."""
        hops = controls.amplitude.shape[1]
        tones, phase = self.decoder.bank(
            controls.amplitude, controls.offset, state.phase.to(controls.amplitude.device)
        )
        spectra = tones + self.noise_bank(state.hop, hops, controls.noise)
        audio, tail = overlap_add(spectra, state.tail.to(spectra.device))
        return audio, SynthesisState(phase, tail, state.hop + hops)


def widen(x: Tensor) -> Tensor:
    """Out of the half-width types of autocast; latents, phases and spectra need the precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def noise_interpolation(bands: int) -> Tensor:
    """[bands, BINS]: log gains at log-spaced centres, linearly interpolated to every bin."""
    centre = torch.cat([torch.zeros(1), torch.logspace(math.log10(1.0), math.log10(BINS - 1.0), bands - 1)])
    position = torch.arange(BINS, dtype=torch.float32)
    right = torch.searchsorted(centre, position).clamp(1, bands - 1)
    share = ((position - centre[right - 1]) / (centre[right] - centre[right - 1]).clamp(min=1e-6)).clamp(0, 1)
    weight = torch.zeros(bands, BINS)
    weight[right - 1, torch.arange(BINS)] += 1 - share
    weight[right, torch.arange(BINS)] += share
    return weight
