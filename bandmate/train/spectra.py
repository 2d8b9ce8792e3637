"""The front end's spectra of rendered tracks, made once: mixtures and stems that were left out of them.

<out>/<track>.safetensors holds the dB of :mod:`bandmate.perceive.two_windows` in steps of half a dB, for whole tracks, so
that windows can be cut anywhere; a track is there when its file is, and what is there is skipped. <out>/making.json tells
how they were made.
"""

import dataclasses
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from bandmate.audio.loudness import activity
from bandmate.data.files import replacing
from bandmate.data.render import load_track, rendered_tracks
from bandmate.data.stems import Track
from bandmate.data.windows import draw_submix, playable
from bandmate.perceive.hpss import RATE
from bandmate.perceive.two_windows import powers

MAKING = "making.json"
LOWEST_DB, STEP_DB = -110.0, 0.5  # value q means LOWEST_DB + q * STEP_DB


@dataclass(frozen=True)
class SpectraConfig:
    """What is kept of a track: ``mixtures`` submixes and up to ``targets`` left-out stems for each.

    A share ``coded`` of all sounds went through Ogg Vorbis at a low rate, so that traces of a codec, which the two
    sides of a true pair never share here, tell nothing.
    """

    mixtures: int = 2
    targets: int = 2
    coded: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class Choice:
    """Which stems are heard and which are set against them."""

    mixtures: tuple[tuple[int, ...], ...]
    targets: tuple[tuple[int, ...], ...]  # of each mixture

    @property
    def stems(self) -> tuple[int, ...]:
        """All targets, each once."""
        return tuple(sorted({stem for left_out in self.targets for stem in left_out}))


def choose(track: Track, config: SpectraConfig, rng: np.random.Generator) -> Choice:
    """Draws submixes; their targets are drawn from what they leave out, no vocals."""
    mixtures, targets = [], []
    for _ in range(config.mixtures):
        members = draw_submix(track.instruments, rng)
        left = [stem for stem in playable(track.instruments) if stem not in members]
        targets.append(tuple(sorted(rng.permutation(left)[: config.targets].tolist())))
        mixtures.append(members)
    return Choice(tuple(mixtures), tuple(targets))


def vorbis(audio: NDArray[np.float32], level: float) -> NDArray[np.float32]:
    """Audio [S] at 16 kHz coded and decoded on the same clock; level 0.4 is about 50 kb/s, 1 about 25."""
    coded = io.BytesIO()
    soundfile.write(coded, audio, RATE, format="OGG", subtype="VORBIS", compression_level=level)
    coded.seek(0)
    return soundfile.read(coded, dtype="float32")[0][: len(audio)]


def spectra(audio: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Audio [S] at 16 kHz -> tones [76, T / 2], strokes [64, T]."""
    return tuple(quantised(part.numpy()) for part in powers(torch.from_numpy(audio)))  # type: ignore[return-value]


def quantised(level: NDArray[np.float32]) -> NDArray[np.uint8]:
    """In C order: safetensors writes an array's memory as it lies, whatever its strides."""
    return np.ascontiguousarray(np.round((level - LOWEST_DB) / STEP_DB).clip(0, 255), dtype=np.uint8)


def write_track(track: Track, path: Path, config: SpectraConfig) -> None:
    """One track's file. Coded sounds and submixes are drawn from the seed and the track's name."""
    rng = np.random.default_rng([config.seed, zlib.crc32(track.id.encode())])
    choice = choose(track, config, rng)
    sounds = [track.submix(members) for members in choice.mixtures]
    sounds += [track.stems[stem].audio for stem in choice.stems]
    made, active = [], []
    for sound in sounds:
        audio = soxr.resample(sound, track.sample_rate, RATE, quality="MQ").astype(np.float32)
        audio = audio[: len(audio) // 640 * 640]
        active.append(activity(audio, RATE))
        made.append(spectra(vorbis(audio, rng.uniform(0.4, 1.0)) if rng.random() < config.coded else audio))
    arrays = {
        "tones": np.stack([tones for tones, _ in made]),
        "strokes": np.stack([strokes for _, strokes in made]),
        "active": np.stack(active).astype(np.uint8),
    }
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"track": json.dumps(describe(track, choice))})


def describe(track: Track, choice: Choice) -> dict[str, object]:
    """What a file says of itself; ``beat`` is the beat period in frames of 20 ms, 0 where it is not known."""
    beats = np.asarray(track.meta.get("beats", []), dtype=float)
    return {
        "song": track.song,
        "cluster": track.cluster,
        "beat": float(np.median(np.diff(beats)) * 50) if len(beats) > 2 else 0.0,
        "members": choice.mixtures,
        "targets": choice.targets,
        "stems": choice.stems,
        "classes": [track.instruments[stem] for stem in choice.stems],
    }


def claim(out: Path, config: SpectraConfig) -> None:
    """Writes down how a folder's spectra are made, or compares; those of folders that do not tell are taken as they are."""
    out.mkdir(parents=True, exist_ok=True)
    file, wanted = out / MAKING, dataclasses.asdict(config)
    if not file.is_file():
        if not any(out.glob("*.safetensors")):
            with replacing(file) as temporary:
                temporary.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
        return
    try:
        found = dataclasses.asdict(SpectraConfig()) | json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, TypeError):
        raise ValueError(f"{file} is damaged: remove the spectra in {out}, and they are made anew") from None
    for name, value in wanted.items():
        if found[name] != value:
            raise ValueError(
                f"{out} holds spectra made with making.{name} = {found[name]}, not {value}: remove them, set "
                f"making.{name}={found[name]}, or name others with spectra=FOLDER"
            )


def write_spectra(
    rendered: Path, out: Path, split: str, config: SpectraConfig | None = None
) -> Iterator[float]:
    """Makes what is missing of a split, first renditions first; yields the share that is done.

    ValueError for a folder whose spectra were made in another way.
    """
    config = config or SpectraConfig()
    claim(out, config)
    found = [path for path in rendered_tracks(rendered) if path.parent.name == split]
    found.sort(key=lambda path: (path.stem.rsplit("__r", 1)[-1], path.stem))
    for done, path in enumerate(found, 1):
        target = out / f"{path.stem}.safetensors"
        if not target.exists():
            track = load_track(path)
            if len(track.stems) > 1 and playable(track.instruments):
                write_track(track, target, config)
        yield done / len(found)
