"""Training of the ``dac`` codec as Descript trained theirs: codec and discriminators take turns in every step.

What the defaults say is their configuration (44 kHz); they keep windows and weights for other sample rates, too.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from bandmate.codec.adversaries import (
    Adversaries,
    AdversaryConfig,
    least_squares_adversarial_loss,
    least_squares_discriminator_loss,
    summed_feature_loss,
)
from bandmate.codec.dac import DacCodec, DacConfig, Reconstruction
from bandmate.codec.mel import MultiScaleMelLoss
from bandmate.codec.quantize import codebook_usage
from bandmate.train.codec import RenderedCrops, parts_of
from bandmate.train.loop import LoopConfig, Training, clip, set_rate


@dataclasses.dataclass(frozen=True)
class DacTrainConfig(LoopConfig):
    """``batch`` crops of ``frames`` of 20 ms a step, stems and submixes.

    rate falls by the factor ``decay`` with every step. dropout: share of the crops that pass a random number of levels
    only. The weights are of the losses; clip and adversary_clip: largest norm of a step's gradients. alarm: the
    smallest perplexity of a codebook, as a share of what it could be, that passes without a word. sample_frames: length
    of the clips to be heard in TensorBoard.
    """

    steps: int = 400_000
    steps_per_epoch: int = 1000
    validate_every: int = 1
    precision: str = "32-true"
    codec: DacConfig = DacConfig()
    adversaries: AdversaryConfig = AdversaryConfig()
    batch: int = 72
    frames: int = 19  # 0.38 s
    rate: float = 1e-4
    decay: float = 0.999996
    dropout: float = 0.5
    mel_weight: float = 15.0
    feature_weight: float = 2.0
    adversarial_weight: float = 1.0
    commitment_weight: float = 0.25
    codebook_weight: float = 1.0
    clip: float = 1000.0
    adversary_clip: float = 10.0
    alarm: float = 0.1
    validation_batches: int = 4
    sample_frames: int = 200

    def build(self, data: Path) -> "DacTraining":
        """Its training on a folder of rendered tracks, or on one with the parts train and valid."""
        return DacTraining(self, data)


class DacTraining(Training):
    """Two AdamW optimisers; validated on songs that were not trained on, where there are any, through the served levels."""

    product = "codec"
    all_parameters_used = False  # while one side learns the other gets no gradient
    heard: Tensor

    def __init__(self, config: DacTrainConfig, folder: Path) -> None:
        super().__init__()
        if config.batch % config.parts:
            raise ValueError(f"a batch of {config.batch} crops cannot be cut into {config.parts} parts")
        self.automatic_optimization = False
        self.config = self.loop = config
        train, valid = parts_of(Path(folder))
        self.crops = RenderedCrops(train, config.frames, config.codec.hop)
        self.unseen = RenderedCrops(valid, config.frames, config.codec.hop) if valid else None
        self.clips = RenderedCrops(valid or train, config.sample_frames, config.codec.hop)
        self.codec = DacCodec(config.codec)
        self.adversaries = Adversaries(config.adversaries)
        self.mel = MultiScaleMelLoss(config.codec.sample_rate)
        used = torch.zeros(config.codec.levels, config.codec.codes, dtype=torch.long)
        self.register_buffer("heard", used, persistent=False)

    def draw_part(self, step: int, part: int) -> Tensor:
        return self.crops.draw(self.config.batch // self.config.parts, self.config.seed, step, part)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [
            torch.optim.AdamW(module.parameters(), self.config.rate, betas=(0.8, 0.99))
            for module in (self.codec, self.adversaries)
        ]

    def depth(self, step: int, part: int) -> Tensor:
        """How many levels each crop of a part passes, [B]: the first ones a random number, the others all."""
        c = self.config
        size = c.batch // c.parts
        rng = np.random.default_rng([c.seed, step, part, 1])
        shallow = rng.integers(1, c.codec.levels + 1, int(size * c.dropout))
        return torch.from_numpy(np.concatenate([shallow, np.full(size - len(shallow), c.codec.levels)]))

    def training_step(self, audio: Tensor, index: int) -> dict[str, Tensor]:
        optimizers: Any = self.optimizers()
        set_rate(optimizers, self.config.rate * self.config.decay**self.step)
        depth = self.depth(self.step, self.global_rank).to(audio.device)
        made = self.codec.reconstruct(audio, depth)
        self.count(made.codes)
        judged = self.teach_adversaries(audio, made.audio.detach(), optimizers[1])
        terms = self.terms(audio, made)
        loss = self.weighed(terms)
        self.codec.zero_grad()
        self.manual_backward(loss)
        clip(self.codec.parameters(), self.config.clip)
        optimizers[0].step()
        self.log_dict({f"train/{name}": value.detach() for name, value in terms.items()}, prog_bar=True)
        self.log_dict({"train/loss": loss.detach(), "train/discriminator": judged}, prog_bar=True)
        return {"loss": loss.detach()}

    def teach_adversaries(self, real: Tensor, fake: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """One step of the discriminators."""
        loss = least_squares_discriminator_loss(self.adversaries(real), self.adversaries(fake))
        self.adversaries.zero_grad()
        self.manual_backward(loss)
        clip(self.adversaries.parameters(), self.config.adversary_clip)
        optimizer.step()
        return loss.detach()

    def terms(self, audio: Tensor, made: Reconstruction) -> dict[str, Tensor]:
        """Each loss of the codec by name."""
        self.adversaries.requires_grad_(False)  # they are asked here, not taught
        fake = self.adversaries(made.audio)
        with torch.no_grad():
            real = self.adversaries(audio)
        self.adversaries.requires_grad_(True)
        with torch.autocast(audio.device.type, enabled=False):
            mel = self.mel(made.audio.float(), audio)
        return {
            "mel": mel,
            "feature": summed_feature_loss(real, fake),
            "adversarial": least_squares_adversarial_loss(fake),
            "commitment": made.commitment,
            "codebook": made.codebook,
        }

    def weighed(self, terms: dict[str, Tensor]) -> Tensor:
        """The sum of the losses, each with its weight."""
        weights = [getattr(self.config, f"{name}_weight") for name in terms]
        return torch.stack([w * term for w, term in zip(weights, terms.values(), strict=True)]).sum()

    def samples(self, codec: Any) -> dict[str, Tensor]:
        """Two crops, of unseen songs where there are any, and what comes back through the served levels."""
        ours: Any = self.best
        sounds: dict[str, Tensor] = {}
        for index in range(2):  # one by one: of a short song there is less
            audio = self.clips.draw(1, self.config.seed, index, 3).to(self.device)
            sounds |= {
                f"crop{index}/true": audio[0],
                f"crop{index}/coded": ours.decode(ours.encode(audio))[0],
            }
        return sounds

    def count(self, codes: Tensor) -> None:
        """Adds codes [B, K, T] to what was heard of each codebook."""
        for level, index in enumerate(codes.unbind(1)):
            self.heard[level] += torch.bincount(index.flatten(), minlength=self.config.codec.codes)

    def on_train_epoch_end(self) -> None:
        """Logs how evenly the codebooks were used, and gives the alarm for one that collapses."""
        for level, count in enumerate(self.heard, 1):
            seen = torch.arange(len(count), device=count.device).repeat_interleave(count)
            perplexity = codebook_usage(seen, len(count))["perplexity"]
            self.log(f"codebook/perplexity{level}", perplexity)
            if perplexity < self.config.alarm * min(len(count), int(count.sum())):
                self.say(
                    f"warning: codebook {level} is hardly used: perplexity {perplexity:.1f} of {len(count)}"
                )
        self.heard.zero_()

    def val_dataloader(self) -> Any:
        """Indices of batches; each process takes as many as the others."""
        if self.unseen is None:
            return []
        world = self.trainer.world_size
        count = -(-self.config.validation_batches // world) * world
        return DataLoader(range(self.global_rank, count, world), batch_size=None)  # type: ignore[arg-type]

    def validation_step(self, index: int, _: int) -> None:
        """The mel distance of what a listener will get: through the served levels, averaged weights where there are."""
        assert self.unseen is not None
        audio = self.unseen.draw(self.config.batch, self.config.seed, index, 2).to(self.device)
        codec: Any = self.best
        with torch.autocast(audio.device.type, enabled=False):
            distance = self.mel(codec.decode(codec.encode(audio)), audio)
        self.log("valid/mel", distance, batch_size=1, sync_dist=self.trainer.world_size > 1)
