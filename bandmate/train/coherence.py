"""Training of the coherence encoder: among many stems, find the one that belongs to a mix, and the other way round.

Batch-wise contrastive cross-entropy as COCOLA's, in one of the three modes a step. Stems of a set are of one class, so
that missing instruments give nothing away, and each mix is also offered its own stem at the wrong time or in the
wrong key.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from bandmate.instruments import PERCUSSIVE
from bandmate.perceive.coherence import CoherenceConfig, CoherenceEncoder, save_weights
from bandmate.perceive.hpss import MODES, Mode
from bandmate.train.loop import LoopConfig, Training, clip, cosine_with_warmup, set_rate
from bandmate.train.pairs import WRONG, Pairs, PairStore
from bandmate.train.spectra import SpectraConfig, write_spectra

SHARES = (0.4, 0.35, 0.25)  # of the steps, for MODES
JUDGED: dict[Mode, tuple[str, ...]] = {  # a chord may last, so early is no fault there; strokes have no key
    "both": WRONG,
    "harmonic": ("elsewhere", "transposed"),
    "percussive": ("shifted", "elsewhere"),
}


@dataclasses.dataclass(frozen=True)
class CoherenceTrainConfig(LoopConfig):
    """``batch`` pairs a step; each part of them in ``groups`` sets of one class each, told apart within the part only.

    columns: weight of finding the mix of a stem.

    spectra: folder with the parts train and valid of spectra that were made before, used as they are; empty: made
    beside the data, whatever is missing.
    """

    steps: int = 3000
    ema: float = 0.995
    encoder: CoherenceConfig = CoherenceConfig()
    making: SpectraConfig = SpectraConfig()
    spectra: str = ""
    batch: int = 40
    groups: int = 2
    rate: float = 2e-3
    weight_decay: float = 0.05
    columns: float = 0.5
    clip: float = 1.0
    validation_batches: int = 12
    seed: int = 0

    def build(self, data: Path) -> "CoherenceTraining":
        """Its training on a folder of rendered tracks with the splits train and valid."""
        if self.spectra:
            return CoherenceTraining(self, Path(self.spectra))
        folder = data.resolve().with_name(data.resolve().name + "-spectra")
        for split in ("valid", "train"):
            for share in write_spectra(data, folder / split, split, self.making):
                print(f"\rspectra of {split}: {100 * share:.0f} %", end="" if share < 1 else "\n", flush=True)
        return CoherenceTraining(self, folder)


class CoherenceTraining(Training):
    """AdamW; validated on songs that were not trained on, by how often the true stem stands above each wrong one."""

    product = "encoder"
    all_parameters_used = False

    def __init__(self, config: CoherenceTrainConfig, spectra: Path) -> None:
        super().__init__()
        if config.batch % config.parts:
            raise ValueError(f"a batch of {config.batch} pairs cannot be cut into {config.parts} parts")
        if config.batch // config.parts < config.groups:
            raise ValueError(
                f"{config.batch // config.parts} pairs, a part of the batch, make no {config.groups} groups"
            )
        self.config = self.loop = config
        self.store, self.valid = PairStore(spectra / "train"), PairStore(spectra / "valid")
        self.encoder = CoherenceEncoder(config.encoder)

    def draw_part(self, step: int, part: int) -> Pairs:
        keyless = (PERCUSSIVE,) if self.mode(step) == "harmonic" else ()
        c = self.config  # in the key, 0: to learn from; 2: to be judged by
        return self.store.draw(c.batch // c.parts, c.groups, (c.seed, step, 0, part), without=keyless)

    def mode(self, step: int) -> Mode:
        """Which halves are heard in a step."""
        return MODES[int(np.random.default_rng([self.config.seed, step, 1]).choice(3, p=SHARES))]

    def training_step(self, batch: Pairs, index: int) -> dict[str, Tensor]:
        mode = self.mode(self.step)
        loss = contrastive_loss(*scores(self.encoder, batch, mode), self.config.columns)
        self.log("train/loss", loss, prog_bar=True, batch_size=1)
        self.log(f"train/{mode}", loss, batch_size=1)
        return {"loss": loss}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        c = self.config
        decayed = [p for p in self.encoder.parameters() if p.dim() > 1]
        rest = [p for p in self.encoder.parameters() if p.dim() <= 1]
        groups = [{"params": decayed, "weight_decay": c.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, c.rate, betas=(0.9, 0.98), foreach=True)

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        clip(self.encoder.parameters(), self.config.clip)
        set_rate([optimizer], self.config.rate * cosine_with_warmup(self.step, self.config.steps))

    def val_dataloader(self) -> DataLoader:
        return DataLoader(range(self.config.validation_batches), batch_size=None)  # type: ignore[arg-type]

    def validation_step(self, index: int, _: int) -> None:
        c = self.config
        pairs = self.valid.draw(c.batch, 1, (c.seed, index, 2), disguised=False)
        pairs = Pairs(*(part.to(self.device) for part in pairs))
        for mode in MODES:
            right, wrong, usable = scores(self.best, pairs, mode)
            for name, value in ranks(right, wrong, usable, JUDGED[mode]).items():
                if not np.isnan(value):
                    self.log(f"valid/{mode}/{name}", value, batch_size=len(right))

    def on_train_end(self) -> None:
        """The run's folder can be given wherever a coherence encoder is wanted."""
        if self.global_rank == 0:
            save_weights(Path(self.trainer.checkpoint_callback.dirpath), self.best)  # type: ignore[union-attr,arg-type]


def scores(encoder: Any, pairs: Pairs, mode: Mode) -> tuple[Tensor, Tensor, Tensor]:
    """Of mixes with stems [B, B], with wrong stems [kinds, B, B], and which own wrong ones are wrong here [kinds, B]."""
    kinds, count = [WRONG.index(kind) for kind in JUDGED[mode]], len(pairs.mix)
    sounds = torch.cat([pairs.mix, pairs.stem, pairs.wrong[kinds].flatten(0, 1)])
    embedded = encoder.embed(sounds, mode)
    mix, stems = embedded[:count], embedded[count:]
    with torch.autocast(mix.device.type, enabled=False):
        found = encoder.similarity(mix.float(), stems.float())
    right, wrong = found[:, :count], found[:, count:].unflatten(1, (len(kinds), count)).transpose(0, 1)
    return right, wrong, tells(pairs, mode)


def tells(pairs: Pairs, mode: Mode) -> Tensor:
    """Which wrong stems of the kinds that a mode judges can be known for wrong in it, [kinds, B]."""
    heard = {
        "shifted": pairs.percussive,
        "elsewhere": {
            "both": pairs.harmonic | pairs.percussive,
            "harmonic": pairs.harmonic,
            "percussive": pairs.percussive,
        }[mode],
        "transposed": pairs.harmonic,
    }
    return torch.stack([heard[kind][WRONG.index(kind)] for kind in JUDGED[mode]])


def contrastive_loss(right: Tensor, wrong: Tensor, usable: Tensor, columns: float) -> Tensor:
    """Nats to find the true stem of each mix among all stems, wrong ones included, plus its mix among all mixes."""
    count = len(right)
    own = torch.eye(count, dtype=torch.bool, device=right.device)
    hidden = own & ~usable[:, None, :]  # [kinds, B, B]: own stems that are not really wrong
    offered = torch.cat([right, wrong.masked_fill(hidden, -torch.inf).transpose(0, 1).flatten(1)], dim=1)
    truth = torch.arange(count, device=right.device)
    return F.cross_entropy(offered, truth) + columns * F.cross_entropy(right.T, truth)


def ranks(right: Tensor, wrong: Tensor, usable: Tensor, kinds: tuple[str, ...]) -> dict[str, float]:
    """How often the true stem stands above another song's of its class, and above each own wrong one; NaN for none."""
    true = right.diagonal()
    others = ~torch.eye(len(right), dtype=torch.bool, device=right.device)
    report = {"other": mean((true[:, None] > right)[others])}
    for kind, name in enumerate(kinds):
        report[name] = mean((true > wrong[kind].diagonal())[usable[kind]])
    return report


def mean(flags: Tensor) -> float:
    return float(flags.float().mean()) if flags.numel() else float("nan")
