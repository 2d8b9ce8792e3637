"""Something to hear and to see while a model trains: clips of the validation songs in TensorBoard."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor


class Samples(Callback):
    """After every ``every``-th validation, what ``module.samples(codec)`` gives: name -> audio [S] at 32 kHz.

    codec: decodes what models play; trainings of codecs bring their own.
    """

    def __init__(self, codec: Any = None, every: int = 1) -> None:
        self.codec, self.every, self.seen = codec, every, 0

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        due = (trainer.current_epoch + 1) % (module.loop.validate_every * self.every) == 0
        if (
            due and trainer.is_global_zero and module.device_mesh is None
        ):  # shards cannot be played on one process
            training = module.training
            module.eval()
            with torch.inference_mode():
                log_sounds(trainer, module.samples(self.codec))
            module.train(training)


def log_sounds(trainer: L.Trainer, sounds: Mapping[str, Tensor]) -> None:
    """Each as audio and as the picture of its spectrum."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            for name, audio in sounds.items():
                logger.experiment.add_audio(name, audio.float().cpu()[None], trainer.global_step, 32_000)
                logger.experiment.add_image(name, picture(audio), trainer.global_step)


def picture(audio: Tensor, floor: float = -80.0) -> np.ndarray:
    """audio [S] -> grey levels [1, F, T], low frequencies below; 80 dB from black to white."""
    window = torch.hann_window(1024)
    spectrum = torch.stft(audio.float().cpu(), 1024, 320, window=window, return_complex=True).abs()
    level = 20 * torch.log10(spectrum / spectrum.max().clamp(min=1e-8) + 1e-8)
    return (1 - level.clamp(min=floor) / floor).flip(0)[None, ::2].numpy()
