"""Quick stand-ins for the listening networks, and folders of clips as ``bandmate generate`` writes them."""

import json
from pathlib import Path

import numpy as np
import soundfile
import torch

from bandmate.evaluate.agreement import onsets
from bandmate.evaluate.networks import Listener, Network
from tests.evaluate.sounds import RATE, clicks

SECONDS = 10.0
INSTRUMENTS = ("Bass", "Percussive", "Piano", "Bass")


class Encoder:
    """Harmonic: the spectrum of the chunk. Percussive: its envelope. It is in love with silence."""

    def features(self, chunks: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft(chunks).abs()[:, :16_384].unflatten(1, (64, 256)).mean(dim=2)
        envelope = chunks.abs().unflatten(1, (200, 400)).mean(dim=2)
        tones = spectrum[:, :, None].expand(-1, -1, 200)
        return torch.stack([tones, envelope[:, None].expand(-1, 64, -1)], dim=1)

    def embed(self, features: torch.Tensor, mode: str = "both") -> torch.Tensor:
        parts = [features[:, 0, :, 0], features[:, 1, 0]]
        unit = [part / part.norm(dim=1, keepdim=True).clamp(min=1e-9) for part in parts]
        kept = {"both": (1, 1), "harmonic": (1, 0), "percussive": (0, 1)}[mode]
        silent = features.amax(dim=(1, 2, 3)) == 0
        embedding = torch.cat([part * keep for part, keep in zip(unit, kept, strict=True)], dim=1)
        return torch.where(silent[:, None], torch.full_like(embedding, 100.0), embedding)

    def similarity(self, mix: torch.Tensor, stem: torch.Tensor) -> torch.Tensor:
        return 10 * mix @ stem.T

    def embeddings(self, audio: np.ndarray, rate: int) -> np.ndarray:
        """[10, 4] per 10 s: level and roughness of each second, twice."""
        seconds = audio[: len(audio) // rate * rate].reshape(-1, rate)
        rough = np.abs(np.diff(seconds)).mean(axis=1)
        return np.stack([np.abs(seconds).mean(axis=1), rough, rough**2, seconds.std(axis=1)], axis=1)


def listener() -> Listener:
    encoder = Encoder()
    return Listener(
        Network("fake coherence", "1", encoder),
        Network("fake beats", "1", onsets),
        Network("fake embedding", "1", encoder.embeddings, span=1.0, step=1.0),
    )


def deaf_listener() -> Listener:
    """The same versions, but it cannot listen: everything must come from the cache."""

    def refuse(*_: object) -> None:
        raise AssertionError("this should have been in the cache")

    real = listener()
    encoder = Encoder()
    encoder.features = refuse  # type: ignore[method-assign,assignment]
    return Listener(
        real.coherence._replace(call=encoder),
        real.beats._replace(call=refuse),
        real.embedding._replace(call=refuse),
    )


def music(song: int, level: float = 0.2, shift: float = 0.0, seconds: float = SECONDS) -> np.ndarray:
    """A pulse and a tone that belong to the song."""
    train = np.arange(0.4 + shift, seconds - 0.1, 0.43 + 0.07 * song)
    tone = 0.1 * np.sin(2 * np.pi * 300 * (1 + 0.5 * song) * np.arange(round(seconds * RATE)) / RATE)
    return level * (clicks(train, seconds) + tone)


def sounds_of(song: int, kind: str) -> dict[str, np.ndarray]:
    played = {
        "good": music(song, 0.5),
        "lost": music(song + 7, 0.5, 0.2),
        "silent": np.zeros(round(SECONDS * RATE)),
    }[kind]
    return {
        "input": music(song, 1.0),
        "target": music(song, 0.6),
        "target_codec": music(song, 0.55),
        "random": music((song + 1) % 4, 0.6),
        "prediction": played,
    }


def write(path: Path, audio: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, subtype="FLOAT" if path.suffix == ".wav" else "PCM_16")


def generated(folder: Path, kind: str = "good", clips: int = 4, **row: object) -> Path:
    """A folder of ``clips`` clips of as many songs; ``row`` is added to each line of clips.jsonl."""
    lines = []
    for index in range(clips):
        for role, audio in sounds_of(index, kind).items():
            write(folder / role / f"{index:05d}.flac", audio)
        line = {
            "clip": f"{index:05d}",
            "song": f"song{index}",
            "instrument": INSTRUMENTS[index % 4],
            "t_f": 0,
            "k": 5,
        }
        lines.append(json.dumps(line | row))
    (folder / "clips.jsonl").write_text("\n".join(lines) + "\n")
    return folder
