"""VGGish (Hershey et al., ICASSP 2017): 128 numbers for each 0.96 s of sound, for the Fréchet audio distance.

Front end as in TensorFlow's release; parameter names as in the PyTorch weights of torchvggish. No PCA and no 8-bit
rounding. The last ReLU is off by default: the paper, like most published distances since 2020, goes without.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bandmate import weights
from bandmate.perceive.loading import load_published
from bandmate.perceive.mel import mel_filters

NAME = "vggish"
RATE, WINDOW, HOP, N_FFT = 16_000, 400, 160, 512  # Hz, samples
BANDS, LOW, HIGH = 64, 125.0, 7500.0  # mel bands, Hz
FRAMES = 96  # of one example: 0.96 s
SHORTEST = ((FRAMES - 1) * HOP + WINDOW) / RATE  # s of sound that one example needs: 0.975
OFFSET = 0.01  # added before the logarithm
WIDTH = 128
CHANNELS = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool")
BATCH = 32  # examples at once


def _features() -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 1
    for item in CHANNELS:
        if isinstance(item, int):
            layers += [nn.Conv2d(inputs, item, 3, padding=1), nn.ReLU()]
            inputs = item
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class VGGish(nn.Module):
    """Examples [B, 96, 64] -> embeddings [B, 128]. ``relu``: clip them at 0, as the first releases did."""

    def __init__(self, relu: bool = False):
        super().__init__()
        self.relu = relu
        self.features = _features()
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 6 * 4, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, WIDTH)
        )

    def forward(self, examples: Tensor) -> Tensor:
        image = self.features(examples[:, None])  # [B, 512, 6, 4]
        flat = image.permute(0, 2, 3, 1).flatten(1)  # TensorFlow's order: channels last
        embedding = self.embeddings(flat)
        return functional.relu(embedding) if self.relu else embedding


def examples(audio: Tensor) -> Tensor:
    """Audio at 16 kHz [S] -> log-mel examples [n, 96, 64], one per whole 0.96 s; what is left over is dropped.

    Nothing is padded: 96 frames need 0.975 s, so 10 s give 10 examples and anything shorter than 0.975 s none.
    """
    if len(audio) < WINDOW:
        return audio.new_zeros(0, FRAMES, BANDS).float()
    window = torch.hann_window(WINDOW, dtype=torch.float64, device=audio.device)
    spectrum = torch.fft.rfft(audio.double().unfold(0, WINDOW, HOP) * window, n=N_FFT).abs()
    filters = mel_filters(RATE, N_FFT, BANDS, LOW, HIGH, "htk").to(audio.device)
    frames = torch.log(spectrum @ filters + OFFSET).float()
    count = len(frames) // FRAMES
    return frames[: count * FRAMES].reshape(count, FRAMES, BANDS)


@torch.inference_mode()
def embeddings(audio: NDArray[np.floating], rate: int, network: VGGish | None = None) -> NDArray[np.float32]:
    """Mono audio [S] at `rate` Hz -> [n, 128], one row per whole 0.96 s.

    ``network``: default the fetched one. ValueError for audio that is too short for a single row.
    """
    network = published() if network is None else network
    if audio.ndim != 1:
        raise ValueError(f"one channel of audio [S] is wanted, not {list(audio.shape)}")
    samples = np.asarray(audio, dtype=np.float64)
    if rate != RATE:
        samples = soxr.resample(samples, rate, RATE)
    shown = examples(torch.from_numpy(samples).to(next(network.parameters()).device))
    if not len(shown):
        raise ValueError(f"VGGish needs {SHORTEST:g} s of audio, not {len(audio) / rate:.3f} s")
    return torch.cat([network(batch) for batch in shown.split(BATCH)]).cpu().numpy()


def load(path: Path | None = None, relu: bool = False) -> VGGish:
    """The published weights at `path`, or as fetched by ``bandmate models fetch vggish``.

    FileNotFoundError when they were not fetched, ValueError when the file is damaged or another network's.
    """
    network = VGGish(relu)
    load_published(network, path or weights.find(NAME))
    return network


@lru_cache(maxsize=1)
def published() -> VGGish:
    """The fetched network, read once."""
    return load()
