"""What turns audio into the contents of a prepared store."""

import dataclasses
import hashlib
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bandmate.checkpoint import load_bundle, plain
from bandmate.codec.spectral import SpectralCodec
from bandmate.data.parallel import Coder
from bandmate.data.stems import LazyTrack, Track
from bandmate.model.ears import FEATURES, MelEars
from bandmate.nn.precision import is_quick_in_bfloat16

PIECE = 500  # frames: ten seconds at a time through a codec whose activations would fill the memory

Hear = Literal["codes", "mel", "both"]


class Encoders:
    """The codec for what is played, the ears for what is heard; stem by stem, which fits a CPU's cache best."""

    def __init__(self, codec: Any) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.codec, self.ears = codec.to(self.device), MelEars().to(self.device)
        self.fingerprint = encoder_fingerprint(codec)

    @property
    def codebook(self) -> np.ndarray:
        """What the codes stand for [K, V, D]."""
        return self.codec.codebook_table().detach().float().cpu().numpy()

    @torch.inference_mode()
    def codes(self, audio: np.ndarray) -> Tensor:
        """[N, S] -> codes [N, K, T]."""
        return torch.cat([self._encode(row) for row in self._rows(audio)])

    def _encode(self, row: Tensor) -> Tensor:
        if not isinstance(self.codec, SpectralCodec):
            return self._in_pieces(row)
        # The network in bfloat16, nearly twice as fast where it is quick; the search for the nearest code in full width.
        quick = is_quick_in_bfloat16(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=quick):
            latent = self.codec.encoder(row)[0]
        return self.codec.quantizer.encode(latent.float())

    def _in_pieces(self, row: Tensor) -> Tensor:
        """As a stream, which gives the same codes as the whole at once."""
        state, codes = self.codec.init_encoder(1), []
        for piece in row.split(PIECE * self.codec.hop, dim=1):
            part, state = self.codec.encode_chunk(piece, state)
            codes.append(part)
        return torch.cat(codes, dim=2)

    @torch.inference_mode()
    def features(self, audio: np.ndarray) -> Tensor:
        """[N, S] -> uint8 [N, T, F]."""
        return torch.cat([self.ears(row)[0] for row in self._rows(audio)])

    def _rows(self, audio: np.ndarray) -> tuple[Tensor, ...]:
        whole = torch.from_numpy(audio)
        padded = torch.nn.functional.pad(whole, (0, -whole.shape[1] % self.codec.hop))
        return padded.to(self.device).split(1)

    def shortened(self, track: LazyTrack, seconds: float) -> LazyTrack:
        """The first part of a track, and that only."""
        return dataclasses.replace(track, load=Shortened(track, seconds, self.codec.hop))


@dataclasses.dataclass(frozen=True)
class Shortened:
    """Loads the first seconds of a track, in whole frames."""

    track: LazyTrack
    seconds: float
    hop: int = 640

    def __call__(self) -> Track:
        whole = self.track.load()
        samples = min(whole.samples, round(self.seconds * whole.sample_rate) // self.hop * self.hop)
        stems = tuple(dataclasses.replace(stem, audio=stem.audio[:samples]) for stem in whole.stems)
        return dataclasses.replace(whole, stems=stems)


@dataclasses.dataclass(frozen=True)
class CoderOf:
    """Makes, in whichever process, what a store is written with: a codec by name, and what is heard."""

    codec: str
    hear: Hear = "codes"

    def __call__(self) -> Coder:
        """One thread: processes are many, and the last bits of a sum would depend on the number of threads."""
        torch.set_num_threads(1)
        encoders = encoders_of(self.codec)
        return Coder(encoders.codes, None if self.hear == "codes" else encoders.features)

    @property
    def features(self) -> int:
        """Features per frame, 0 without."""
        return 0 if self.hear == "codes" else FEATURES


@cache
def encoders_of(name: str) -> Encoders:
    """Encoders with the codec of that name, read once in a process."""
    return Encoders(load_codec(name))


def load_codec(name: str) -> Any:
    """From a run's folder, else from a bundle."""
    if (Path(name) / "last.ckpt").exists():
        from bandmate.train import runs  # Lightning, which is not needed to use a bundle

        return runs.load_codec(Path(name))
    return load_bundle(name).codec


def encoder_fingerprint(codec: torch.nn.Module) -> str:
    """Names what makes the codes: encoder and codebooks, not the decoder, which may go on learning."""
    digest = hashlib.sha256()
    for name, value in sorted(plain(codec, half=False).items()):
        if name.startswith(("encoder.", "quantizer.")):
            digest.update(name.encode() + value.cpu().numpy().tobytes())
    if not isinstance(codec, SpectralCodec):  # its weights say all; others may scale or shift what comes in
        digest.update(repr(codec.config).encode())
    return digest.hexdigest()[:16]
