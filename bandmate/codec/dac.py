"""The paper's codec: the Descript Audio Codec (Kumar et al. 2023) made causal, 32 kHz mono, 50 frames/s.

Code i is made from the samples before 640 (i + 1) and none after, and is heard from sample 640 i on: no synthesis delay.
The authors' release numbers its frames one later (``input_shift=1``, docs/codecs.md).
"""

import dataclasses
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bandmate.codec.dac_layers import Chain, Conv, Snake, TransposedConv, residual_units
from bandmate.codec.dac_quantize import ResidualCosineQuantizer

PIECE = (
    250  # frames that pass through at once while inferring: 5 s, so that memory does not grow with the clip
)


@dataclasses.dataclass(frozen=True)
class DacConfig:
    """The paper's size by default.

    encoder_width doubles and decoder_width halves with every stride; the latent is what the codes quantise. ``levels``
    are trained, the first ``levels_used`` of them served. ``input_shift=1``: for weights whose code i stands for audio frame
    i - 1, as in the authors' release; undone here, so that code i is frame i to every user. ``gain_db``: a fixed gain
    before the encoder, taken back after the decoder. ``causal=False`` is for Descript's own releases: whole clips only.
    """

    encoder_width: int = 64
    strides: tuple[int, ...] = (2, 4, 8, 10)
    latent: int = 1024
    decoder_width: int = 1536
    decoder_strides: tuple[int, ...] = (10, 8, 4, 2)
    levels: int = 10
    levels_used: int = 4
    codes: int = 4096
    code_width: int = 8
    input_shift: int = 0
    gain_db: float = 0.0
    causal: bool = True
    sample_rate: int = 32_000

    def __post_init__(self) -> None:
        for name in ("strides", "decoder_strides"):  # plain data say tuples as lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if math.prod(self.strides) != math.prod(self.decoder_strides):
            raise ValueError("dac: strides and decoder_strides must multiply to the same hop")
        if self.decoder_width % 2 ** len(self.decoder_strides):
            raise ValueError("dac: decoder_width must be a multiple of 2 to the number of strides")
        if not 1 <= self.levels_used <= self.levels:
            raise ValueError(f"dac: levels_used must lie between 1 and levels = {self.levels}")
        if self.input_shift not in (0, 1):
            raise ValueError("dac: input_shift must be 0 or 1 frames")

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return math.prod(self.strides)

    @property
    def gain(self) -> float:
        return 10 ** (self.gain_db / 20)


class Encoder(Chain):
    """audio -> latent; each stage halves nothing but time, and doubles the channels."""

    def __init__(self, config: DacConfig) -> None:
        width, causal = config.encoder_width, config.causal
        parts: dict[str, nn.Module] = {"first": Conv(1, width, 7, causal=causal)}
        for i, stride in enumerate(config.strides):
            down = Conv(width, 2 * width, 2 * stride, stride=stride, causal=causal)
            parts[f"stage{i}"] = Chain(residual_units(width, causal) | {"snake": Snake(width), "down": down})
            width *= 2
        parts |= {"snake": Snake(width), "last": Conv(width, config.latent, 3, causal=causal)}
        super().__init__(parts)
        self.config = config

    def begin(self, batch: int) -> tuple[Tensor | None, list[Any]]:
        """State before the first sample; with a shifted numbering also the latent [B, 1, D] of the frame before it.

        That frame is what such weights make of one sample of silence, and its code is never given out.
        """
        if not self.config.input_shift:
            return None, self.init_state(batch)
        silence = self.first.bias.new_zeros(batch, 1, 1)  # type: ignore[union-attr,operator]
        latent, state = self.run(silence, self.init_state(batch, early=True))
        return latent.transpose(1, 2), state

    def forward(self, audio: Tensor, state: list[Any] | None = None) -> tuple[Tensor, list[Any]]:
        """audio [B, T * hop] -> latent [B, T, D]."""
        state = self.begin(audio.shape[0])[1] if state is None else state
        latents = []
        for piece in in_pieces(
            audio[:, None] * self.config.gain, PIECE * self.config.hop, self.config.causal
        ):
            latent, state = self.run(piece, state)
            latents.append(latent.transpose(1, 2))
        return torch.cat(latents, dim=1), state


class Decoder(Chain):
    """latent -> audio, the encoder's mirror image."""

    def __init__(self, config: DacConfig) -> None:
        width, causal = config.decoder_width, config.causal
        parts: dict[str, nn.Module] = {"first": Conv(config.latent, width, 7, causal=causal)}
        for i, stride in enumerate(config.decoder_strides):
            up = TransposedConv(width, width // 2, stride, causal=causal)
            parts[f"stage{i}"] = Chain({"snake": Snake(width), "up": up} | residual_units(width // 2, causal))
            width //= 2
        parts |= {"snake": Snake(width), "last": Conv(width, 1, 7, causal=causal)}
        super().__init__(parts)
        self.config = config

    def forward(self, latent: Tensor, state: list[Any] | None = None) -> tuple[Tensor, list[Any]]:
        """latent [B, T, D] -> audio [B, T * hop], within 1 before the gain is taken back."""
        after, sounds = state, []
        for piece in in_pieces(latent.transpose(1, 2), PIECE, self.config.causal):
            sound, after = self.run(piece, after)
            sounds.append(torch.tanh(sound[:, 0]))
        return torch.cat(sounds, dim=1) / self.config.gain, after or []


class Reconstruction(NamedTuple):
    """audio [B, S]; codes [B, levels, T] of all trained levels; the two losses of the quantiser."""

    audio: Tensor
    codes: Tensor
    commitment: Tensor
    codebook: Tensor


class DacCodec(nn.Module):
    """Encoder, quantiser and decoder; see the module's first lines."""

    synthesis_delay = 0  # samples

    def __init__(self, config: DacConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or DacConfig()
        self.encoder = Encoder(c)
        self.quantizer = ResidualCosineQuantizer(c.levels, c.levels_used, c.codes, c.latent, c.code_width)
        self.decoder = Decoder(c)

    @property
    def sample_rate(self) -> int:
        return self.config.sample_rate

    @property
    def hop(self) -> int:
        return self.config.hop

    @property
    def levels(self) -> int:
        return self.config.levels_used

    @property
    def codes(self) -> int:
        return self.config.codes

    def codebook_table(self) -> Tensor:
        """[K, V, D]: what each code stands for in the latent."""
        return self.quantizer.table()

    def encode(self, audio: Tensor) -> Tensor:
        """audio [B, S] -> codes [B, K, ceil(S / 640)]; the last frame is filled up with silence."""
        return self.quantizer.encode(self.encoder(self.filled(audio))[0])

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B, K, T], of any number of levels -> audio [B, T * 640] on the input's clock."""
        state = self.init_decoder(codes.shape[0]) if self.config.causal else None
        audio = self.decoder(self.quantizer.decode(codes), state)[0]
        return self.filled(audio)  # an odd stride without causality loses samples at the end

    def filled(self, audio: Tensor) -> Tensor:
        """Silence added up to whole frames."""
        return nn.functional.pad(audio, (0, -audio.shape[1] % self.hop))

    def reconstruct(self, audio: Tensor, depth: Tensor) -> Reconstruction:
        """For training: audio [B, T * 640] there and back through depth [B] levels of each example."""
        latent = self.encoder(audio)[0]
        with torch.autocast(audio.device.type, enabled=False):
            quantised = self.quantizer(latent.float() if latent.dtype == torch.bfloat16 else latent, depth)
        sound = self.decoder(quantised.latent)[0]
        sound = nn.functional.pad(sound, (0, audio.shape[1] - sound.shape[1]))
        return Reconstruction(sound, quantised.codes, quantised.commitment, quantised.codebook)

    def init_encoder(self, batch: int) -> list[Any]:
        self._wants_causality()
        return self.encoder.begin(batch)[1]

    def encode_chunk(self, audio: Tensor, state: list[Any]) -> tuple[Tensor, list[Any]]:
        """audio [B, n * 640] -> codes [B, K, n]."""
        latent, state = self.encoder(audio, state)
        return self.quantizer.encode(latent), state

    def init_decoder(self, batch: int) -> list[Any]:
        self._wants_causality()
        state = self.decoder.init_state(batch)
        before = self.encoder.begin(batch)[0]
        if before is None:
            return state
        return self.decoder(self.quantizer.decode(self.quantizer.encode(before)), state)[1]

    def decode_chunk(self, codes: Tensor, state: list[Any]) -> tuple[Tensor, list[Any]]:
        """codes [B, K, n] -> audio [B, n * 640]."""
        return self.decoder(self.quantizer.decode(codes), state)

    def flush(self, state: list[Any]) -> Tensor:
        """Nothing waits for a next frame: [B, 0]."""
        tail: Tensor = state[0]
        return tail.new_zeros(tail.shape[0], 0)

    def _wants_causality(self) -> None:
        if not self.config.causal:
            raise ValueError("this codec is not causal and cannot stream: use one with causal: true")


def in_pieces(x: Tensor, size: int, causal: bool) -> tuple[Tensor, ...]:
    """x [B, C, T] cut along time, unless gradients must flow or the layers look both ways."""
    whole = torch.is_grad_enabled() or not causal or x.shape[2] <= size
    return (x,) if whole else x.split(size, dim=2)
