"""How the shipped checkpoints are trained, by name: sizes, steps and rates as functions."""

from collections.abc import Callable
from typing import Any

from bandmate.codec.adversaries import AdversaryConfig
from bandmate.configs import dac, dac_tiny, duet_small, duet_tiny, spectral_small, spectral_tiny
from bandmate.perceive.coherence import CoherenceConfig
from bandmate.train.augment import AugmentConfig
from bandmate.train.codec import CodecTrainConfig
from bandmate.train.coherence import CoherenceTrainConfig
from bandmate.train.dac import DacTrainConfig
from bandmate.train.lm import DuetTrainConfig
from bandmate.train.paper_presets import PAPER
from bandmate.train.spectra import SpectraConfig


def codec_cpu() -> CodecTrainConfig:
    """What two cores can do in about two hours. No adversarial stage: 1000 steps of it brought nothing."""
    return CodecTrainConfig(codec=spectral_small(), noise_steps=6000, decoder_steps=3500, adversarial_steps=0)


def codec_gpu() -> CodecTrainConfig:
    """For 12 minutes of one large GPU: more of everything, four times the batch."""
    return CodecTrainConfig(
        codec=spectral_small(),
        noise_steps=8000,
        decoder_steps=5000,
        adversarial_steps=5000,
        batch=32,
        steps_per_epoch=500,
    )


def codec_tiny() -> CodecTrainConfig:
    """For tests: all three stages in seconds."""
    return CodecTrainConfig(
        codec=spectral_tiny(), noise_steps=6, decoder_steps=4, adversarial_steps=2, batch=2, frames=32, warm=4,
        fit_batches=4, steps_per_epoch=2, precision="32-true",
    )  # fmt: skip


def dac_run() -> DacTrainConfig:
    """The paper's codec, by Descript's settings: 400 000 steps, as the name of the released weights has it."""
    return DacTrainConfig(codec=dac())


def dac_tiny_run() -> DacTrainConfig:
    """For tests: codec and discriminators, some seconds."""
    return DacTrainConfig(
        codec=dac_tiny(), adversaries=AdversaryConfig((2, 3), (512, 256), 2), steps=24, steps_per_epoch=8,
        batch=2, frames=8, rate=2e-3, decay=0.999, log_every=1, validation_batches=2,
    )  # fmt: skip


def duet_cpu() -> DuetTrainConfig:
    """What two cores can do in two hours. The input goes through other equipment now and then: a light hand."""
    light = AugmentConfig(equaliser=0.25, room=0.15, noise=0.15, drive=0.1, bandwidth=0.1)
    return DuetTrainConfig(model=duet_small(), steps=6000, hidden_history=0.4, deaf_share=0.1, augment=light)


def duet_gpu() -> DuetTrainConfig:
    """For 10 minutes of one large GPU."""
    return DuetTrainConfig(model=duet_small(), steps=20_000, batch=64, steps_per_epoch=500, validate_every=2)


def duet_tiny_run() -> DuetTrainConfig:
    """For tests: some seconds on short windows."""
    return DuetTrainConfig(
        model=duet_tiny(), steps=40, warmup=4, batch=8, frames=40, steps_per_epoch=10, validate_every=1,
        precision="32-true", log_every=1,
    )  # fmt: skip


def coherence_cpu() -> CoherenceTrainConfig:
    """The bundled encoder: half an hour of one core, beside the spectra of the songs (an hour and more)."""
    return CoherenceTrainConfig(steps=3000)


def coherence_gpu() -> CoherenceTrainConfig:
    """For 10 minutes of one large GPU: not tried yet."""
    return CoherenceTrainConfig(steps=20_000, batch=128, groups=4, workers=12, steps_per_epoch=500)


def coherence_tiny() -> CoherenceTrainConfig:
    """For tests: a few steps of a narrow encoder."""
    return CoherenceTrainConfig(
        steps=6, steps_per_epoch=3, validate_every=1, precision="32-true", batch=4, groups=1, ema=0.9,
        encoder=CoherenceConfig(16, 1, 16, 1, 2, 4, 8), making=SpectraConfig(mixtures=2, coded=0.0),
        validation_batches=1, log_every=1,
    )  # fmt: skip


CODEC: dict[str, Callable[[], Any]] = {
    "cpu": codec_cpu,
    "gpu": codec_gpu,
    "tiny": codec_tiny,
    "dac": dac_run,
    "dac-tiny": dac_tiny_run,
}
LM: dict[str, Callable[[], Any]] = {"cpu": duet_cpu, "gpu": duet_gpu, "tiny": duet_tiny_run, **PAPER}

COHERENCE: dict[str, Callable[[], Any]] = {
    "cpu": coherence_cpu,
    "gpu": coherence_gpu,
    "tiny": coherence_tiny,
}

# What `bandmate train` trains -> its presets. A preset is a config whose build(data) gives its Training.
TABLES: dict[str, dict[str, Callable[[], Any]]] = {"codec": CODEC, "coherence": COHERENCE, "lm": LM}
