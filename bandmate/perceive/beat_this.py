"""Beat This (Foscarin, Schlüter and Widmer, ISMIR 2024): where the beats of a recording are, without a tempo model.

The network of the published checkpoints (``final0`` and ``small0``, MIT) with their parameter names, its log-mel front end
and its simple peak picking: a beat is a frame above probability 0.5 that is the highest within 70 ms.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bandmate import weights
from bandmate.perceive.loading import load_published
from bandmate.perceive.mel import mel_filters
from bandmate.perceive.roformer import Attention, FeedForward, Rotary, Transformer

NAME, SMALL = "beat-this", "beat-this-small"
RATE, N_FFT, HOP, BANDS = 22_050, 1024, 441, 128  # Hz, samples, samples, mel bands
LOW, HIGH = 30.0, 11_000.0  # Hz
FPS = RATE / HOP  # 50
CHUNK, BORDER = 1500, 6  # frames worked on at once (30 s), and how many at each side are not trusted
SPREAD = 3  # frames to each side among which a beat is the highest: 60 ms, the paper's 70 ms in whole frames


@dataclass(frozen=True)
class BeatThisConfig:
    """``final0`` by default; ``small0`` has width 128."""

    width: int = 512
    layers: int = 6
    head: int = 32
    stem: int = 32


SMALL_CONFIG = BeatThisConfig(width=128)


class FrequencyTime(nn.Module):
    """Attention among the frequencies of a frame, then among the frames of a frequency; [B, C, F, T] kept."""

    def __init__(self, width: int, head: int, rotary: Rotary):
        super().__init__()
        self.attnF, self.ffF = Attention(width, head, rotary), FeedForward(width)
        self.attnT, self.ffT = Attention(width, head, rotary), FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, bands, frames = x.shape
        x = x.permute(0, 3, 2, 1).flatten(0, 1)  # [B * T, F, C]
        x = x + self.attnF(x)
        x = x + self.ffF(x)
        x = x.unflatten(0, (batch, frames)).transpose(1, 2).flatten(0, 1)  # [B * F, T, C]
        x = x + self.attnT(x)
        x = x + self.ffT(x)
        return x.unflatten(0, (batch, bands)).permute(0, 3, 1, 2)


class Stem(nn.Module):
    """[B, T, BANDS] -> [B, stem, BANDS / 4, T]."""

    def __init__(self, width: int):
        super().__init__()
        self.bn1d = nn.BatchNorm1d(BANDS)
        self.conv2d = nn.Conv2d(1, width, (4, 3), (4, 1), (0, 1), bias=False)
        self.bn2d = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1d(x.transpose(1, 2))
        return functional.gelu(self.bn2d(self.conv2d(x[:, None])))


def _frontend_block(width: int, head: int, rotary: Rotary) -> nn.Module:
    """[B, C, F, T] -> [B, 2 C, F / 2, T]."""
    return nn.Sequential(
        OrderedDict(
            partial=FrequencyTime(width, head, rotary),
            conv2d=nn.Conv2d(width, 2 * width, (2, 3), (2, 1), (0, 1), bias=False),
            norm=nn.BatchNorm2d(2 * width),
            activation=nn.GELU(),
        )
    )


class Heads(nn.Module):
    """[B, T, D] -> logits of beat and downbeat, each [B, T]; a downbeat counts as a beat."""

    def __init__(self, width: int):
        super().__init__()
        self.beat_downbeat_lin = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        beat, downbeat = self.beat_downbeat_lin(x).float().unbind(-1)
        return beat + downbeat, downbeat


class BeatThis(nn.Module):
    """Log-mel spectra [B, T, 128] at 50 frames/s -> logits of beat and downbeat, each [B, T]."""

    def __init__(self, config: BeatThisConfig | None = None):
        super().__init__()
        self.config = config or BeatThisConfig()
        head, stem = self.config.head, self.config.stem
        rotary = Rotary(head)  # one for all layers
        blocks = [_frontend_block(stem * 2**index, head, rotary) for index in range(3)]
        flat = stem * 8 * BANDS // 32  # channels times the bands that are left
        self.frontend = nn.ModuleDict(
            {
                "stem": Stem(stem),
                "blocks": nn.Sequential(*blocks),
                "linear": nn.Linear(flat, self.config.width),
            }
        )
        self.transformer_blocks = Transformer(self.config.width, self.config.layers, head, rotary)
        self.task_heads = Heads(self.config.width)

    def forward(self, spectra: Tensor) -> tuple[Tensor, Tensor]:
        x = self.frontend["blocks"](self.frontend["stem"](spectra))  # [B, C, F, T]
        x = self.frontend["linear"](x.permute(0, 3, 1, 2).flatten(-2))
        return self.task_heads(self.transformer_blocks(x))

    @torch.inference_mode()
    def logits(self, spectrum: Tensor) -> Tensor:
        """Beat logits of a whole recording [T, 128] -> [T]: 30 s at a time, an earlier piece before a later one."""
        logits = torch.empty(len(spectrum), device=spectrum.device)
        trusted = CHUNK - 2 * BORDER
        starts = list(range(0, len(spectrum), trusted))
        if len(spectrum) > trusted:  # the last piece is not cut short but begins earlier
            starts[-1] = len(spectrum) - trusted
        for start in reversed(starts):
            end = min(start + trusted, len(spectrum))
            piece = spectrum[max(0, start - BORDER) : end + BORDER]
            left, right = max(0, BORDER - start), max(0, end + BORDER - len(spectrum))
            beat, _ = self(functional.pad(piece, (0, 0, left, right))[None])
            logits[start:end] = beat[0, BORDER : BORDER + end - start]
        return logits


def log_mel(audio: Tensor) -> Tensor:
    """Audio at 22.05 kHz [S] -> log(1 + 1000 x) of mel magnitudes [S // 441 + 1, 128]; S above 512."""
    window = torch.hann_window(N_FFT, dtype=torch.float64, device=audio.device)
    spectrum = torch.stft(
        audio.double(), N_FFT, HOP, window=window, pad_mode="reflect", normalized=True, return_complex=True
    )
    filters = mel_filters(RATE, N_FFT, BANDS, LOW, HIGH, "slaney").to(audio.device)
    return torch.log1p(1000 * (spectrum.abs().T @ filters)).float()


def peaks(logits: Tensor, spread: int = SPREAD) -> NDArray[np.float64]:
    """Frames of the beats in logits [T] -> [n]: above 0 and the highest within `spread`; neighbours are averaged."""
    highest = functional.max_pool1d(logits[None], 2 * spread + 1, 1, spread)[0]
    groups: list[list[int]] = []
    for frame in torch.nonzero((logits == highest) & (logits > 0))[:, 0].tolist():
        if groups and frame - np.mean(groups[-1]) <= 1:
            groups[-1].append(frame)
        else:
            groups.append([frame])
    return np.array([np.mean(group) for group in groups])


def beats(audio: NDArray[np.floating], rate: int, network: BeatThis | None = None) -> NDArray[np.float64]:
    """Beats of mono audio [S] at `rate` Hz -> instants in seconds [n], ascending; none in silence.

    ``network``: default the fetched ``final0``. FileNotFoundError when it was not fetched.
    """
    network = published() if network is None else network
    if audio.ndim != 1:
        raise ValueError(f"one channel of audio [S] is wanted, not {list(audio.shape)}")
    samples = np.asarray(audio, dtype=np.float64)
    if rate != RATE:
        samples = soxr.resample(samples, rate, RATE)
    if len(samples) <= N_FFT // 2:  # shorter than half a window: nothing to analyse
        return np.zeros(0)
    device = next(network.parameters()).device
    return peaks(network.logits(log_mel(torch.from_numpy(samples).to(device)))) / FPS


def load(path: Path | None = None, name: str = NAME) -> BeatThis:
    """A published checkpoint at `path`, or the one that ``bandmate models fetch`` knows as `name`.

    FileNotFoundError when it was not fetched, ValueError when the file is damaged or not such a network.
    """
    path = path or weights.find(name)
    config = described(weights.read_pickled(path).get("hyper_parameters", {}), path)
    network = BeatThis(config)
    load_published(network, path, prefix="model.")
    return network


def described(parameters: dict[str, Any], path: Path) -> BeatThisConfig:
    """The config that a checkpoint's hyper-parameters ask for; ValueError for the ablations that are not supported."""
    for flag in ("sum_head", "partial_transformers"):
        if not parameters.get(flag, True):
            raise ValueError(f"{path} is an ablation of Beat This without {flag}: take final0 or small0")
    names = {"transformer_dim": "width", "n_layers": "layers", "head_dim": "head", "stem_dim": "stem"}
    return BeatThisConfig(**{ours: parameters[name] for name, ours in names.items() if name in parameters})


@lru_cache(maxsize=1)
def published() -> BeatThis:
    """The fetched ``final0``, read once."""
    return load()
