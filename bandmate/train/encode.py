"""What turns rendered audio into the contents of a prepared store."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from bandmate.codec.spectral import SpectralCodec
from bandmate.data.stems import LazyTrack, Track
from bandmate.model.ears import MelEars
from bandmate.train.runs import encoder_fingerprint


class Encoders:
    """The codec for what is played, the ears for what is heard; stem by stem, which fits a CPU's cache best."""

    def __init__(self, codec: SpectralCodec) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.codec, self.ears = codec.to(self.device), MelEars().to(self.device)
        self.fingerprint = encoder_fingerprint(codec)

    def codes(self, audio: np.ndarray) -> Tensor:
        """[N, S] -> codes [N, K, T]."""
        return torch.cat([self._encode(row) for row in self._rows(audio)])

    def _encode(self, row: Tensor) -> Tensor:
        """The network in bfloat16, nearly twice as fast here; the search for the nearest code in full width."""
        with torch.autocast(self.device.type, torch.bfloat16):
            latent = self.codec.encoder(row)[0]
        return self.codec.quantizer.encode(latent.float())

    def features(self, audio: np.ndarray) -> Tensor:
        """[N, S] -> uint8 [N, T, F]."""
        return torch.cat([self.ears(row)[0] for row in self._rows(audio)])

    def _rows(self, audio: np.ndarray) -> tuple[Tensor, ...]:
        whole = torch.from_numpy(audio)
        padded = torch.nn.functional.pad(whole, (0, -whole.shape[1] % self.codec.hop))
        return padded.to(self.device).split(1)

    def shortened(self, track: LazyTrack, seconds: float) -> LazyTrack:
        """The first part of a track, and that only."""

        def load() -> Track:
            whole = track.load()
            samples = min(
                whole.samples, round(seconds * whole.sample_rate) // self.codec.hop * self.codec.hop
            )
            stems = tuple(dataclasses.replace(stem, audio=stem.audio[:samples]) for stem in whole.stems)
            return dataclasses.replace(whole, stems=stems)

        return LazyTrack(track.id, load)
