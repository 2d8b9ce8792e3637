"""How the shipped checkpoints are trained, by name: sizes, steps and rates as functions."""

from collections.abc import Callable

from bandmate.configs import duet_small, duet_tiny, spectral_small, spectral_tiny
from bandmate.train.codec import CodecTrainConfig
from bandmate.train.lm import DuetTrainConfig


def codec_cpu() -> CodecTrainConfig:
    """What two cores can do in about an hour. No adversarial stage: it has not been tried on real data yet."""
    return CodecTrainConfig(spectral_small(), noise_steps=3000, decoder_steps=4000, adversarial_steps=0)


def codec_gpu() -> CodecTrainConfig:
    """For 12 minutes of one large GPU: more of everything, four times the batch."""
    return CodecTrainConfig(
        spectral_small(),
        noise_steps=8000,
        decoder_steps=5000,
        adversarial_steps=5000,
        batch=32,
        steps_per_epoch=500,
    )


def codec_tiny() -> CodecTrainConfig:
    """For tests: all three stages in seconds."""
    return CodecTrainConfig(
        spectral_tiny(), noise_steps=6, decoder_steps=4, adversarial_steps=2, batch=2, frames=32, warm=4,
        fit_batches=4, steps_per_epoch=2, precision="32-true",
    )  # fmt: skip


def duet_cpu() -> DuetTrainConfig:
    """What two cores can do in an hour and more."""
    return DuetTrainConfig(duet_small(), steps=6000)


def duet_gpu() -> DuetTrainConfig:
    """For 10 minutes of one large GPU."""
    return DuetTrainConfig(duet_small(), steps=20_000, batch=64, steps_per_epoch=500, validate_every=2)


def duet_tiny_run() -> DuetTrainConfig:
    """For tests: a few steps on short windows."""
    return DuetTrainConfig(
        duet_tiny(), steps=6, batch=2, frames=40, steps_per_epoch=3, validate_every=1, precision="32-true"
    )


CODEC: dict[str, Callable[[], CodecTrainConfig]] = {"cpu": codec_cpu, "gpu": codec_gpu, "tiny": codec_tiny}
DUET: dict[str, Callable[[], DuetTrainConfig]] = {"cpu": duet_cpu, "gpu": duet_gpu, "tiny": duet_tiny_run}
