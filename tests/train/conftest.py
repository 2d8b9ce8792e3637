"""Rendered tracks and a prepared store, tiny and made of noise and tones: enough to run every line of training."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bandmate.codec.spectral import SpectralCodec
from bandmate.configs import spectral_tiny
from bandmate.data.stems import Stem, Track
from bandmate.data.tokens import write_store
from bandmate.train.encode import Encoders
from tests.train.code_store import write_code_store

SECONDS = 12


def make_track(index: int, split: str) -> Track:
    """Three stems: a tone, a beat of noise, and another tone."""
    rng = np.random.default_rng(index)
    time = np.arange(SECONDS * 32_000) / 32_000
    beat = (time % 0.5 < 0.1) * rng.normal(0, 0.1, time.size)
    tones = [0.1 * np.sin(2 * np.pi * rng.uniform(100, 800) * time) for _ in range(2)]
    stems = tuple(Stem(audio.astype(np.float32), 4 * i) for i, audio in enumerate([tones[0], beat, tones[1]]))
    return Track(f"t{index}", f"song{index}", f"c{index}", split, stems)


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    for index in range(3):
        stems = make_track(index, "train").audio
        np.save(folder / f"t{index}.npy", np.round(stems * 32767).astype(np.int16))
    return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    codec = SpectralCodec(spectral_tiny()).eval()
    folder = tmp_path_factory.mktemp("store")
    with torch.inference_mode():
        codec.quantizer.codebook.normal_()
        encoders = Encoders(codec)
        tracks = [make_track(index, "valid" if index > 2 else "train") for index in range(6)]
        failed = write_store(
            tracks, encoders.codes, encoders.features, folder, submixes=3, codes=codec.codes,
            submix_codes=True, codebook=codec.quantizer.codebook,
        )  # fmt: skip
    assert not failed
    return folder


@pytest.fixture(scope="session")
def code_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_code_store(tmp_path_factory.mktemp("code_store"))


@pytest.fixture(scope="session")
def spectral() -> SpectralCodec:
    """An untrained codec with codebooks."""
    torch.manual_seed(0)
    codec = SpectralCodec(spectral_tiny()).eval()
    codec.quantizer.codebook.normal_()
    return codec
