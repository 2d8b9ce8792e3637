"""What a model hears: the live input need never be quantised, so it may enter as levels of a causal spectrum."""

import torch
from torch import Tensor, nn

from bandmate.nn.conv import ConvNeXtBlock
from bandmate.nn.spectrogram import CausalLogSpectrum, contrast, dequantise_db, quantise_db

HOP = 640  # samples per input frame
PITCH_BANDS, ATTACK_BANDS = 96, 40  # one per semitone of equal temperament from A0 up; log-spaced
FEATURES = PITCH_BANDS + 2 * ATTACK_BANDS


class MelEars(nn.Module):
    """Levels in dB at 50 frames/s: a 4096-sample window for pitch, two 640-sample windows per frame for attacks.

    The same 8-bit steps of half a dB are used live and in the prepared store, so that training hears what is heard live.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pitch = CausalLogSpectrum(4096, HOP, PITCH_BANDS, 27.5, 27.5 * 2 ** ((PITCH_BANDS - 1) / 12))
        self.attack = CausalLogSpectrum(640, HOP // 2, ATTACK_BANDS, 60.0, 15_000.0)

    def init_state(self, batch: int) -> tuple[Tensor, Tensor]:
        return self.pitch.init_state(batch), self.attack.init_state(batch)

    def forward(
        self, audio: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """audio [B, n * 640] at 32 kHz -> uint8 levels [B, n, FEATURES], and the next state."""
        pitch_state, attack_state = state or self.init_state(audio.shape[0])
        pitch, pitch_state = self.pitch(audio, pitch_state)
        attack, attack_state = self.attack(audio, attack_state)
        levels = torch.cat([pitch, attack.unflatten(1, (-1, 2)).flatten(2)], dim=2)
        return quantise_db(levels), (pitch_state, attack_state)


class MelFront(nn.Module):
    """From 8-bit levels to the model's width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inp = nn.Linear(2 * FEATURES, width)
        self.context = ConvNeXtBlock(width, expansion=2)

    def init_state(self, batch: int) -> Tensor:
        return self.context.init_state(batch)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B, T, FEATURES] uint8 -> [B, T, D]."""
        parts = dequantise_db(x).split([PITCH_BANDS, ATTACK_BANDS, ATTACK_BANDS], dim=-1)
        levels = torch.cat([contrast(part, 6) for part in parts], dim=-1)
        return self.context(self.inp(levels.to(self.inp.weight.dtype)), state)


class CodeFront(nn.Module):
    """From codes to the model's width, through the codec's own frozen codebooks, summed over levels."""

    codebook: Tensor

    def __init__(self, width: int, levels: int, codes: int, latent: int) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.zeros(levels, codes, latent))
        self.inp = nn.Linear(latent, width)
        self.context = ConvNeXtBlock(width, expansion=2)

    def init_state(self, batch: int) -> Tensor:
        return self.context.init_state(batch)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B, T, K] codes -> [B, T, D]."""
        latent = sum(book[x[..., level].long()] for level, book in enumerate(self.codebook))
        return self.context(self.inp(latent), state)  # type: ignore[arg-type]
