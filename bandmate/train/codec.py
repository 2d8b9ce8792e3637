"""Training of the ``spectral`` codec in three stages.

noise    encoder and decoder together; the latent passes a channel of white noise that carries as many bits as the codes will
decoder  codebooks by residual k-means on the finished encoder's latents, then encoder and codebooks stay as they are
adversarial  the same, with discriminators
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bandmate.codec.discriminator import (
    MultiResolutionDiscriminator,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
)
from bandmate.codec.loss import LONG, SHORT, MultiScaleSpectralLoss, PartialsLoss
from bandmate.codec.spectral import Controls, SpectralCodec, SpectralConfig
from bandmate.codec.synthesis import OVERLAP, SynthesisState
from bandmate.train.loop import LoopConfig, Training, cosine_with_warmup, set_rate, split_parameters
from bandmate.train.optimizers import Muon

PARTS_APART = 100_000_007  # more than steps, so that no two parts of a run draw alike


@dataclasses.dataclass(frozen=True)
class CodecTrainConfig(LoopConfig):
    """Stages in steps, the batch in crops of ``frames`` of 20 ms, of which the first ``warm`` carry no loss.

    steps: of all stages.
    """

    steps: int = dataclasses.field(init=False)
    codec: SpectralConfig = SpectralConfig()
    noise_steps: int = 3000
    decoder_steps: int = 3000
    adversarial_steps: int = 1000
    batch: int = 8
    frames: int = 64
    warm: int = 15
    rate: float = 3e-3
    decoder_rate: float = 2e-3
    adversarial_rate: float = 3e-4
    noise: float = 0.85  # 64 / 2 * log2(1 + 1 / 0.85^2) = 40 bits, what 4 levels of 1024 codes carry
    noise_start: float = 0.1  # loud noise from the first step on teaches envelopes and no pitch
    noise_ramp: tuple[float, float] = (
        0.4,
        0.9,
    )  # shares of the noise stage between which it rises, evenly in dB
    partials_weight: float = 1.0
    pitch_weight: float = 1.0
    fit_batches: int = 120

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", self.noise_steps + self.decoder_steps + self.adversarial_steps)

    def build(self, data: Path) -> "CodecTraining":
        """Its training on a folder of rendered tracks, or on one with the part train."""
        return CodecTraining(self, data)


class RenderedCrops:
    """Crops of stems and of random submixes from a folder of rendered tracks (int16 [stems, S] each)."""

    def __init__(self, folder: Path, frames: int, hop: int = 640) -> None:
        self.paths = sorted(Path(folder).glob("*.npy"))
        if not self.paths:
            raise FileNotFoundError(f"no rendered tracks in {folder}: run `bandmate prepare` first")
        self.samples = frames * hop

    def draw(self, batch: int, *key: int) -> Tensor:
        """audio [batch, S], a pure function of the key."""
        rng = np.random.default_rng(key)
        return torch.from_numpy(np.stack([self._crop(rng) for _ in range(batch)]))

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        for _ in range(20):
            stems = np.load(self.paths[rng.integers(len(self.paths))], mmap_mode="r")
            start = int(rng.integers(max(1, stems.shape[1] - self.samples)))
            size = 1 if rng.random() < 0.4 else int(rng.integers(1, len(stems) + 1))
            chosen = rng.permutation(len(stems))[:size]
            piece = stems[np.sort(chosen), start : start + self.samples].astype(np.float32).sum(0) / 32768
            if piece.shape[0] == self.samples and np.sqrt(np.mean(piece**2)) > 1e-3:
                break
        gain = 10 ** (rng.uniform(-9, 6) / 20)
        return piece * min(gain, 0.99 / max(1e-6, float(np.abs(piece).max())))


def parts_of(folder: Path) -> tuple[Path, Path | None]:
    """The folders of the songs to learn from and of those to be judged by: of ``folder`` or of its part train."""
    train = folder / "train" if (folder / "train").is_dir() else folder
    valid = train.parent / "valid"
    return train, valid if train.name == "train" and any(valid.glob("*.npy")) else None


class CodecTraining(Training):
    """Lightning module of the three stages."""

    product = "codec"
    all_parameters_used = False  # by stages

    def __init__(self, config: CodecTrainConfig, folder: Path) -> None:
        super().__init__()
        if config.batch % config.parts:
            raise ValueError(f"a batch of {config.batch} crops cannot be cut into {config.parts} parts")
        self.automatic_optimization = False
        self.config = config
        self.loop = LoopConfig(
            **{each.name: getattr(config, each.name) for each in dataclasses.fields(LoopConfig)}
        )
        self.crops = RenderedCrops(parts_of(Path(folder))[0], config.frames)
        self.codec = SpectralCodec(config.codec)
        self.spectral = MultiScaleSpectralLoss()
        self.partials = PartialsLoss(self.codec.decoder.bank.centre)
        self.discriminator = MultiResolutionDiscriminator()
        self.register_buffer("fitted", torch.tensor(False))

    fitted: Tensor

    def draw_part(self, step: int, part: int) -> Tensor:
        # In the key, 0: to learn from; 2: for the codebooks; 3: to be heard.
        return self.crops.draw(self.config.batch // self.config.parts, self.config.seed, step, 0, part)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        heads = {"amplitude", "offset", "noise"}
        matrices, others = split_parameters(self.codec, lambda name: not heads & set(name.split(".")))
        judge = self.discriminator.parameters()
        return [
            Muon(matrices, self.config.rate, weight_decay=0.01),
            torch.optim.AdamW(others, self.config.rate, betas=(0.8, 0.99), weight_decay=1e-3, foreach=True),
            torch.optim.AdamW(judge, 3e-4, betas=(0.8, 0.99), weight_decay=1e-3, foreach=True),
        ]

    def stage(self, step: int) -> tuple[str, int, int, float]:
        """Name, step within it, its length, its peak rate."""
        c = self.config
        for name, length, rate in (
            ("noise", c.noise_steps, c.rate),
            ("decoder", c.decoder_steps, c.decoder_rate),
            ("adversarial", c.adversarial_steps, c.adversarial_rate),
        ):
            if step < length:
                return name, step, length, rate
            step -= length
        return "adversarial", step, c.adversarial_steps, c.adversarial_rate

    def training_step(self, audio: Tensor, index: int) -> dict[str, Tensor]:
        optimizers: Any = self.optimizers()
        *codec_optimizers, judge_optimizer = optimizers
        stage, step, length, rate = self.stage(self.step)
        set_rate(codec_optimizers, rate * cosine_with_warmup(step, length))
        if stage != "noise" and not self.fitted:
            self.fit_codebooks()
        controls = self.codec.decoder(self.latent(audio, stage))[0]
        made = self.sound(controls)
        target = audio[:, : made.shape[1]]
        first = self.config.warm * self.codec.hop
        made, target = made[:, first:], target[:, first:]
        with torch.autocast(audio.device.type, enabled=False):
            loss, terms = self.losses(controls, audio, made, target)
        if stage == "adversarial":
            loss = loss + self.adversarial(made, target, judge_optimizer)
        self.codec.zero_grad()
        self.manual_backward(loss)
        torch.nn.utils.clip_grad_norm_(self.codec.parameters(), 1.0)
        for optimizer in codec_optimizers:
            optimizer.step()
        self.log_dict(terms, prog_bar=True)
        return {"loss": loss.detach()}

    def latent(self, audio: Tensor, stage: str) -> Tensor:
        """What the decoder is given: noisy while the encoder learns, quantised ever after."""
        if stage == "noise":
            latent = self.codec.encoder(audio)[0]
            noise = torch.randn(latent.shape, generator=self.chance()).to(latent.device)
            return latent + self.noise_level() * noise
        with torch.no_grad(), torch.autocast(audio.device.type, enabled=False):
            return self.codec.quantizer.decode(self.codec.encode(audio))

    def chance(self) -> torch.Generator:
        """A generator for the part at hand, which is the process's own: see ``Machine.check``."""
        return torch.Generator(device="cpu").manual_seed(self.step + PARTS_APART * self.global_rank)

    def noise_level(self) -> float:
        """Standard deviation of the channel's noise at this step; the latent's own is 1."""
        c = self.config
        begin, end = c.noise_ramp
        rise = min(1.0, max(0.0, (self.step / c.noise_steps - begin) / (end - begin)))
        return c.noise_start * (c.noise / c.noise_start) ** rise

    def sound(self, controls: Controls) -> Tensor:
        """Audio on the input's clock; the oscillators start at random phases, as they would in mid-stream."""
        with torch.autocast(controls.amplitude.device.type, enabled=False):
            batch, device = controls.amplitude.shape[0], controls.amplitude.device
            phase = torch.rand(
                batch, self.codec.decoder.bank.count, dtype=torch.float64, generator=self.chance()
            ).to(device)
            tail = torch.zeros(batch, OVERLAP, device=device)
            audio, _ = self.codec.synthesise(
                controls, SynthesisState(phase, tail, int(self.step * 97 % 4096))
            )
        return audio[:, OVERLAP:]

    def losses(
        self, controls: Controls, audio: Tensor, made: Tensor, target: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        rng = np.random.default_rng([self.config.seed, self.step, 1])
        windows = (int(rng.choice(SHORT)), int(rng.choice(LONG)))
        spectral = self.spectral(made, target, windows)
        hops, half = (
            self.config.warm * 4,
            max(1, len(audio) // 2),
        )  # half of the batch is enough, and half the cost
        late = Controls(*(part[:half, hops:] for part in controls))
        partials, pitch = self.partials(late, audio[:half, self.config.warm * self.codec.hop :])
        loss = spectral + self.config.partials_weight * partials + self.config.pitch_weight * pitch
        return loss, {"spectral": spectral, "partials": partials, "pitch": pitch}

    def adversarial(self, made: Tensor, target: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """One discriminator step, then what the codec owes it, by half of the batch: the discriminators cost most."""
        half = max(1, len(made) // 2)
        made, target = made[:half], target[:half]
        loss = discriminator_loss(self.discriminator(target), self.discriminator(made.detach()))
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        fake, real = self.discriminator(made), self.discriminator(target)
        self.log("discriminator", loss, prog_bar=True)
        return 0.05 * adversarial_loss(fake) + 0.2 * feature_matching_loss(real, fake)

    def samples(self, codec: Any) -> dict[str, Tensor]:
        """Two crops and what comes back through the codes, once there are codes."""
        if not self.fitted:
            return {}
        audio = self.crops.draw(2, self.config.seed, 0, 3).to(self.device)
        ours: Any = self.best
        back = ours.decode(ours.encode(audio))
        pairs = {"true": audio, "coded": back}
        return {f"crop{i}/{name}": row for name, rows in pairs.items() for i, row in enumerate(rows)}

    @torch.no_grad()
    def fit_codebooks(self) -> None:
        """Residual k-means on fresh crops; the encoder is final from here on."""
        latents = []
        for index in range(self.config.fit_batches):
            audio = self.crops.draw(self.config.batch, self.config.seed, index, 2).to(self.device)
            with torch.autocast(self.device.type, enabled=False):
                latents.append(self.codec.encoder(audio)[0][:, self.config.warm :].flatten(0, 1))
        report = self.codec.quantizer.fit(
            torch.cat(latents), generator=torch.Generator().manual_seed(self.config.seed)
        )
        for level, row in enumerate(report, 1):
            self.say(f"codebook {level}: " + ", ".join(f"{name} {value:.3g}" for name, value in row.items()))
            if row["usage"] < 0.5 or row["perplexity"] < 0.1 * self.config.codec.codes:
                self.say(f"warning: codebook {level} is hardly used; the latents are too much alike")
        self.codec.encoder.requires_grad_(False)
        self.fitted.fill_(True)
