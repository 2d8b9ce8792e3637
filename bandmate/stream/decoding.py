"""Codes to sound, chunk by chunk, across frames that were never generated."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

FADE = 256  # samples, 8 ms


def rise(length: int) -> np.ndarray:
    """Raised cosine from 0 to 1, both ends left out: [length]."""
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 1) / (length + 1))).astype(np.float32)


class ChunkDecoder:
    """Decodes one stream; lags by the codec's synthesis delay.

    A frame of codes -1 was never generated: what the codec still holds fades out, silence follows, and the
    next valid frame starts the codec afresh and fades in.
    """

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self._state = codec.init_decoder(1)
        self._sounding = True  # the codec's state carries on from the frame before
        self._started = False

    def decode(self, codes: Tensor) -> np.ndarray:
        """codes [1, K, m] -> samples [m * hop], ``synthesis_delay`` samples behind the frames' own place."""
        if not codes.shape[2]:
            return np.zeros(0, dtype=np.float32)
        valid = (codes[0] >= 0).all(0)
        runs = torch.tensor_split(codes, (torch.nonzero(valid[1:] != valid[:-1])[:, 0] + 1).tolist(), dim=2)
        return np.concatenate([self._run(run, bool((run[0, :, 0] >= 0).all())) for run in runs])

    def tail(self) -> np.ndarray:
        """What the codec would still sound were there no further frame: [synthesis_delay]."""
        if not (self._sounding and self._started):
            return np.zeros(self._codec.synthesis_delay, dtype=np.float32)
        return self._codec.flush(self._state)[0].float().cpu().numpy().copy()

    def _run(self, codes: Tensor, valid: bool) -> np.ndarray:
        if valid:
            return self._sound(codes)
        silence = np.zeros(codes.shape[2] * self._codec.hop, dtype=np.float32)
        tail = self.tail()
        silence[: len(tail)] = tail * rise(len(tail))[::-1]
        self._sounding, self._started = False, True
        return silence

    def _sound(self, codes: Tensor) -> np.ndarray:
        fresh = not self._sounding
        if fresh:
            self._state = self._codec.init_decoder(1)
        audio, self._state = self._codec.decode_chunk(codes, self._state)
        samples = audio[0].float().cpu().numpy().copy()
        if fresh:  # the codec's first samples belong before its first frame
            delay = self._codec.synthesis_delay
            samples[:delay] = 0.0
            ramp = rise(FADE)[: max(0, len(samples) - delay)]
            samples[delay : delay + len(ramp)] *= ramp
        self._sounding = self._started = True
        return samples
