"""A small encoder that says how well a stem goes with a mix: trained as COCOLA is, on this project's rendered stems.

Like COCOLA (Ciranni et al. 2024, arXiv 2404.16969) it embeds the harmonic and the percussive half of 5 s of sound and
compares a mix with a stem by a bilinear form that contrastive training shaped. Unlike COCOLA it keeps time in the
embedding, so that being late or in another key costs. The parts of an embedding, each of unit length and with a bilinear
form of its own that is the same at all instants: onsets and chroma, computed; strokes, tones and a summary, learned.

A measure only: no model is ever trained against it. Its numbers compare with each other, not with COCOLA's.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
import yaml
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from bandmate.perceive.hpss import FLOOR_DB, MODES, RATE, Mode, chunks
from bandmate.perceive.two_windows import BANDS, FRAMES, tones_and_strokes

ASSET = Path(__file__).parents[1] / "assets" / "coherence"
BLOCK = 32  # chunks embedded at a time
ONSET_GROUPS, ONSET_RANGE_DB = 4, -60.0
CHROMA_RANGE_DB = -40.0


@dataclasses.dataclass(frozen=True)
class CoherenceConfig:
    """Widths and depths of the two branches, and sizes of the learned parts of an embedding, per instant."""

    stroke_width: int = 72
    stroke_depth: int = 3
    tone_width: int = 128
    tone_depth: int = 3
    stroke_size: int = 8  # at 25 Hz
    tone_size: int = 24  # at 6.25 Hz
    summary_size: int = 128
    expansion: int = 2
    dropout: float = 0.1  # in training only


def onsets(level: Tensor) -> Tensor:
    """Strokes in dB [N, 64, 250] -> how much they rise, in four groups of bands, at 25 Hz [N, 4, 125]."""
    heard = level.clamp(min=ONSET_RANGE_DB)
    rise = (
        F.pad(F.relu(heard[:, :, 1:] - heard[:, :, :-1]), (1, 0)).unflatten(1, (ONSET_GROUPS, -1)).mean(dim=2)
    )
    return centred(F.avg_pool1d(rise, 2), 2)


def chroma(level: Tensor) -> Tensor:
    """Tones in dB [N, 64, 125] -> what stands out of its neighbours, folded into pitch classes from A on [N, 12, 31]."""
    heard = level.clamp(min=CHROMA_RANGE_DB)
    around = F.avg_pool2d(F.pad(heard[:, None], (0, 0, 3, 3), mode="replicate"), (7, 1), 1)[:, 0]
    folded = F.pad(F.relu(heard - around), (0, 0, 0, -BANDS % 12)).unflatten(1, (-1, 12)).sum(dim=1)
    return centred(F.avg_pool1d(folded, 4), 1)


def centred(x: Tensor, dim: int) -> Tensor:
    return x - x.mean(dim=dim, keepdim=True)


class Block1d(nn.Module):
    """Depthwise convolution in time, then a pointwise pair, residual; [B, C, T], normalised over channels only."""

    def __init__(self, width: int, kernel: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, width * expansion)
        self.narrow = nn.Linear(width * expansion, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm(self.depthwise(x).transpose(1, 2))
        inner = self.narrow(self.dropout(F.gelu(self.widen(inner)))) * self.scale
        return x + inner.transpose(1, 2)


class Branch(nn.Module):
    """One half of the features [B, 64, T] -> [B, C, T / stride]; bands are channels from the first layer on."""

    def __init__(
        self, width: int, depth: int, kernel: int, stride: int, expansion: int, dropout: float
    ) -> None:
        super().__init__()
        self.stem = nn.Conv1d(BANDS, width, 2 * stride + 1, stride, padding=stride)
        self.blocks = nn.Sequential(*(Block1d(width, kernel, expansion, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)

    def forward(self, level: Tensor) -> Tensor:
        x = self.blocks(self.stem(1 + level / (-FLOOR_DB / 2)))  # dB -80 ... 0 -> -1 ... 1
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class CoherenceEncoder(nn.Module):
    """``features`` -> ``embed`` -> ``similarity``."""

    def __init__(self, config: CoherenceConfig = CoherenceConfig()) -> None:
        super().__init__()
        c = self.config = config
        self.strokes = Branch(c.stroke_width, c.stroke_depth, 9, 2, c.expansion, c.dropout)
        self.tones = Branch(c.tone_width, c.tone_depth, 5, 2, c.expansion, c.dropout)
        self.stroke_head = nn.Conv1d(c.stroke_width, c.stroke_size, 1)
        self.tone_head = nn.Conv1d(c.tone_width, c.tone_size, 1)
        pooled = 2 * (c.stroke_width + c.tone_width)
        self.summary = nn.Sequential(
            nn.Linear(pooled, 2 * c.summary_size), nn.GELU(), nn.Linear(2 * c.summary_size, c.summary_size)
        )
        self.sizes = (ONSET_GROUPS, 12, c.stroke_size, c.tone_size, c.summary_size)  # per instant
        self.instants = (FRAMES // 2, FRAMES // 8, FRAMES // 2, FRAMES // 8, 1)
        self.forms = nn.ParameterList(nn.Parameter(torch.eye(size)) for size in self.sizes)
        self.weights = nn.Parameter(
            torch.tensor([10.0, 10.0, 5.0, 5.0, 3.0]).log()
        )  # the learned parts come second

    def features(self, audio: Tensor) -> Tensor:
        """Its front end: chunks at 16 kHz [N, 80 000] -> [N, 2, 64, 250] dB, tones then strokes."""
        return tones_and_strokes(audio)

    def embed(self, features: Tensor, mode: Mode = "both") -> Tensor:
        """features [N, 2, 64, 250] -> [N, D]. In mode "harmonic" the strokes are at their floor, and the other way round.

        ValueError for features of another front end or an unknown mode.
        """
        if features.shape[1:] != (2, BANDS, FRAMES):
            raise ValueError(
                f"these are not this encoder's features: [N, 2, {BANDS}, {FRAMES}] is wanted, "
                f"not {list(features.shape)}; take its own `features`"
            )
        if mode not in MODES:
            raise ValueError(f"there is no mode {mode!r}: it is one of {', '.join(MODES)}")
        return torch.cat([F.normalize(part.flatten(1), dim=1) for part in self.parts(features, mode)], dim=1)

    def parts(self, features: Tensor, mode: Mode = "both") -> tuple[Tensor, ...]:
        """Onsets [N, 125, 4], chroma [N, 31, 12], strokes [N, 125, 8], tones [N, 31, 24], summary [N, 128].

        As they are before they are scaled to unit length. What is masked has neither onsets nor chroma: zeros.
        """
        level, struck = features[:, 0, :, ::2], features[:, 1]
        tone = self.run(self.tones, level, mode == "percussive")
        stroke = self.run(self.strokes, struck, mode == "harmonic")
        pooled = [torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1) for x in (stroke, tone)]
        tracks = (
            onsets(struck) * (mode != "harmonic"),
            chroma(level) * (mode != "percussive"),
            centred(self.stroke_head(stroke), 2),  # what never changes says nothing of time
            self.tone_head(F.avg_pool1d(tone, 2)),
        )
        return *(track.transpose(1, 2) for track in tracks), self.summary(torch.cat(pooled, dim=1))

    def run(self, branch: Branch, level: Tensor, masked: bool) -> Tensor:
        """What a branch makes of its half; of the floor, the same for all, where that half is masked."""
        if not masked:
            return branch(level)
        return branch(torch.full_like(level[:1], FLOOR_DB)).expand(len(level), -1, -1)

    def similarity(self, mix: Tensor, stem: Tensor) -> Tensor:
        """Embeddings mix [N, D], stem [M, D] -> scores [N, M]. The order of the pair matters."""
        turned = [
            (part.unflatten(1, (-1, len(form))) @ form).flatten(1) * weight
            for part, form, weight in zip(self.split(mix), self.forms, self.weights.exp(), strict=True)
        ]
        return torch.cat(turned, dim=1) @ stem.T

    def split(self, embedding: Tensor) -> tuple[Tensor, ...]:
        """[N, D] -> its parts, flat."""
        return embedding.split([n * size for n, size in zip(self.instants, self.sizes, strict=True)], dim=1)

    @torch.inference_mode()
    def embeddings(self, audio: NDArray[np.floating], rate: int) -> NDArray[np.float32]:
        """Summaries [n, 128] of mono audio [S], one every 2.5 s, not scaled: what a Fréchet distance is made of."""
        sound = np.asarray(audio, dtype=np.float32)
        cut = chunks(torch.from_numpy(sound if rate == RATE else soxr.resample(sound, rate, RATE)))
        return torch.cat([self.parts(self.features(part))[-1] for part in cut.split(BLOCK)]).numpy()


def load_encoder(name_or_path: str | Path | None = None) -> CoherenceEncoder:
    """The bundled encoder, or that of a folder with encoder.safetensors and config.yaml. Float32, ready for use.

    FileNotFoundError for a folder without them, ValueError for files that are damaged or do not fit each other.
    """
    folder = ASSET if name_or_path is None else Path(name_or_path)
    for name in ("config.yaml", "encoder.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} holds no {name}: a folder written by bandmate train coherence is wanted"
            )
    encoder = CoherenceEncoder(read_config(folder / "config.yaml"))
    try:
        state = load_file(folder / "encoder.safetensors")
        encoder.load_state_dict({name: value.float() for name, value in state.items()})
    except (SafetensorError, OSError, RuntimeError) as error:
        told = " ".join(str(error).split())[:200]
        raise ValueError(f"{folder}/encoder.safetensors does not fit its config.yaml: {told}") from None
    return encoder.eval().requires_grad_(False)


def read_config(path: Path) -> CoherenceConfig:
    """The section ``encoder`` of a config.yaml; an unknown key is an error that names it."""
    values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    section = values.get("encoder") if isinstance(values, dict) else None
    if not isinstance(section, dict):
        raise ValueError(f"{path} has no section encoder")
    unknown = sorted(set(section) - {field.name for field in dataclasses.fields(CoherenceConfig)})
    if unknown:
        raise ValueError(f"{path}: unknown key {unknown[0]!r} in encoder")
    return CoherenceConfig(**section)


def save_encoder(folder: Path, encoder: CoherenceEncoder, about: dict[str, Any]) -> None:
    """encoder.safetensors in float16 and config.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(folder, encoder)
    card = {"encoder": dataclasses.asdict(encoder.config), "about": about}
    (folder / "config.yaml").write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8")


def save_weights(folder: Path, encoder: CoherenceEncoder) -> None:
    state = {name: value.half().cpu().contiguous() for name, value in encoder.state_dict().items()}
    save_file(state, folder / "encoder.safetensors")
