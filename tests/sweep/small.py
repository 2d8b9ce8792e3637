"""A tiny model, a few short songs as rendered tracks and as a store: enough to walk every road."""

from pathlib import Path

import numpy as np
import torch

from bandmate.checkpoint import save_bundle
from bandmate.codec.spectral import SpectralCodec
from bandmate.configs import duet_tiny, spectral_tiny
from bandmate.data.render import save_track
from bandmate.data.stems import Stem, Track
from bandmate.data.tokens import write_store
from bandmate.instruments import BASS, PERCUSSIVE
from bandmate.model.duet import Duet
from tests.evaluate.sounds import RATE, chord, clicks

SECONDS = 9.0


def song(index: int) -> Track:
    """Clicks over a soft hiss, a chord with pauses, a bass: each song with its own tempo and key."""
    beat, key = 0.31 + 0.05 * index, 2 * index
    beats = np.arange(0.2, SECONDS - 0.1, beat)
    hiss = (0.003 * np.random.default_rng(index).normal(size=round(SECONDS * RATE))).astype(np.float32)
    gate = np.repeat(np.random.default_rng(index).uniform(size=int(SECONDS * 2)) < 0.9, RATE // 2)
    stems = (
        Stem(clicks(beats, SECONDS) + hiss, PERCUSSIVE, "clicks"),
        Stem(chord(key, key + 4, key + 7, seconds=SECONDS) * gate.astype(np.float32), 0, "chord"),
        Stem(chord(key - 12, seconds=SECONDS), BASS, "bass"),
    )
    name = f"song{index}"
    sounds = {"rendition": {"sounds": [{"soundfont": stem.name} for stem in stems]}}
    meta = {"classes": ["Percussive", "Piano", "Bass"], "beats": beats.tolist(), **sounds}
    return Track(f"{name}__r00", name, name, "test", stems, RATE, meta)


def rendered(folder: Path, songs: int = 4) -> Path:
    """Songs under <folder>/test."""
    for index in range(songs):
        track = song(index)
        save_track(track, folder / "test" / track.id)
    return folder


def bundle(folder: Path) -> Path:
    """Untrained, but with outputs that depend on everything: blocks of a new network put out zeros."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    codec, model = SpectralCodec(spectral_tiny()), Duet(duet_tiny())
    codec.quantizer.codebook.normal_(generator=generator)
    with torch.no_grad():
        for block in [*model.heard, *model.played]:
            block.attention_out.weight.normal_(std=0.3, generator=generator)
            block.mlp.down.weight.normal_(std=0.3, generator=generator)
    save_bundle(folder, codec, model, {"temperature": 1.0, "top_k": 16, "guidance": 1.5}, {}, half=False)
    return folder


def store(folder: Path, model: Duet, songs: int = 4) -> Path:
    """The same songs prepared; codes follow the level of the sound, so that there is something to know."""

    def encode(audio: np.ndarray) -> np.ndarray:
        level = np.abs(audio.reshape(len(audio), -1, 640)).mean(axis=2)
        return (level[:, None] * 1000 * np.arange(1, 5)[:, None]).astype(np.int64) % model.config.codes

    def listen(audio: np.ndarray) -> torch.Tensor:
        with torch.inference_mode():
            return model.hear(torch.from_numpy(audio), model.init_ears(len(audio)))[0]

    failed = write_store(
        [song(index) for index in range(songs)], encode, listen, folder, submixes=3, codes=model.config.codes
    )
    assert not failed
    return folder
