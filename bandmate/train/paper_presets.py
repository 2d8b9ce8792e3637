"""How the paper's models are trained: its hyperparameters, and the same on a CPU in seconds.

Batches, rates and warm-up are the paper's; steps, dropout and weight decay, which it does not give, the authors' code's.
A step's batch is cut into four parts: as many prefix lengths a step as the authors' four GPUs drew.
"""

from collections.abc import Callable
from typing import Any

from bandmate import configs
from bandmate.train.paper import PaperTrainConfig


def decoder() -> PaperTrainConfig:
    """k = 1: 100 000 steps of 64 windows of 10 s; set model.t_f (or --t-f in seconds)."""
    return PaperTrainConfig(model=configs.decoder(), parts=4)


def prefix_decoder() -> PaperTrainConfig:
    """k > 1: 200 000 steps; set model.t_f and model.k. model.objective=every_chunk supervises all chunks at once."""
    return PaperTrainConfig(model=configs.prefix_decoder(), steps=200_000, parts=4)


def encoder_decoder() -> PaperTrainConfig:
    """The input seen by cross-attention; a fifth of the windows deaf, as in the authors' code."""
    return PaperTrainConfig(model=configs.encoder_decoder(), parts=4, deaf_share=0.2)


def offline_prefix() -> PaperTrainConfig:
    """The offline baseline of the streaming models' size."""
    return PaperTrainConfig(model=configs.offline_prefix(), parts=4)


def stemgen() -> PaperTrainConfig:
    """The masked baseline: 96 windows a step, a fifth of them deaf."""
    return PaperTrainConfig(model=configs.stemgen(), steps=200_000, batch=96, parts=4, deaf_share=0.2)


def tiny(model: Any, **others: Any) -> PaperTrainConfig:
    """A model of test size, in seconds; k, where it may be chosen, is 5 frames."""
    settings: dict[str, Any] = {
        "steps": 40, "batch": 8, "parts": 2, "frames": 30, "rate": 5e-3, "warmup": 4, "steps_per_epoch": 10,
        "validation_batches": 4, "workers": 0, "precision": "32-true", "log_every": 1,
    }  # fmt: skip
    return PaperTrainConfig(model=model, **settings | others)


def decoder_tiny() -> PaperTrainConfig:
    return tiny(configs.decoder_tiny())


def prefix_decoder_tiny() -> PaperTrainConfig:
    return tiny(configs.prefix_decoder_tiny())


def encoder_decoder_tiny() -> PaperTrainConfig:
    return tiny(configs.encoder_decoder_tiny(), deaf_share=0.2)


def offline_prefix_tiny() -> PaperTrainConfig:
    return tiny(configs.offline_prefix_tiny())


def stemgen_tiny() -> PaperTrainConfig:
    return tiny(configs.stemgen_tiny(), deaf_share=0.2)


PAPER: dict[str, Callable[[], PaperTrainConfig]] = {
    "decoder": decoder,
    "prefix-decoder": prefix_decoder,
    "encoder-decoder": encoder_decoder,
    "offline-prefix": offline_prefix,
    "stemgen": stemgen,
    "decoder-tiny": decoder_tiny,
    "prefix-decoder-tiny": prefix_decoder_tiny,
    "encoder-decoder-tiny": encoder_decoder_tiny,
    "offline-prefix-tiny": offline_prefix_tiny,
    "stemgen-tiny": stemgen_tiny,
}
