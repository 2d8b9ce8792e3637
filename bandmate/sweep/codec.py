"""What the codec keeps of unseen music, as mixes and as single stems, beside Opus."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from bandmate.codec.loss import MultiScaleSpectralLoss
from bandmate.codec.spectral import SpectralCodec
from bandmate.evaluate.codec import code_statistics, fidelity
from bandmate.evaluate.folders import named
from bandmate.evaluate.intervals import bootstrap
from bandmate.instruments import BASS, INSTRUMENTS, PERCUSSIVE
from bandmate.sweep.clips import HOP, Excerpt, solo_excerpts
from bandmate.sweep.tables import number, plain, table

Mono = NDArray[np.float32]  # [S]
System = Callable[[Mono], Mono]  # audio [S] -> its reconstruction [S]

BATCH = 4
LEAST_FRAMES = 25  # that an excerpt must have to be scored
METRICS = {  # name -> (head of its column, digits)
    "onset_f1": ("onset F1", 3),
    "chroma": ("chroma cosine", 3),
    "mel_l1": ("mel L1", 3),
    "level": ("level (dB)", 1),
    "si_sdr": ("SI-SDR (dB)", 1),
}


@dataclass(frozen=True)
class CodecConfig:
    """One place of ``songs`` tracks.

    Its mix and ``stems`` stems. The first ``lead`` frames are coded, not scored.
    """

    songs: int = 39
    stems: int = 2
    frames: int = 500
    lead: int = 25
    seed: int = 0
    opus_kbps: tuple[int, ...] = (8, 12)


def measure(
    codec: SpectralCodec,
    folder: Path,
    split: str,
    config: CodecConfig,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """The report: a row for each kind of sound and system, and the statistics of the codes."""
    excerpts, skipped = draw_excerpts(folder, split, config)
    systems = {f"Opus {kbps} kb/s": opus(kbps) for kbps in config.opus_kbps} if has_opus() else {}
    distance = MultiScaleSpectralLoss(codec.sample_rate).mel_distance
    values: dict[tuple[str, str], list[dict[str, Any]]] = {}
    codes: list[NDArray[np.int64]] = []
    for done, (excerpt, own, reconstruction) in enumerate(run_codec(codec, excerpts, config), 1):
        codes.append(own)
        for name, audio in ({"codec": reconstruction} | run_all(systems, excerpt.audio)).items():
            scores = score(excerpt, audio, config.lead * HOP, distance, codec.sample_rate)
            for row in rows_of(excerpt):
                values.setdefault((row, name), []).append(scores)
        if progress:
            progress(done / len(excerpts))
    mixes = [own for own, excerpt in zip(codes, excerpts, strict=True) if excerpt.instrument is None]
    return {
        "songs": len({excerpt.song for excerpt in excerpts}),
        "skipped_tracks": skipped,
        "seconds_per_clip": config.frames * HOP / codec.sample_rate,
        "seed": config.seed,
        "opus": bool(systems),
        "code_frames": sum(own.shape[1] for own in codes),
        "codebooks": code_statistics(np.concatenate(codes, axis=1), codec.codes),
        "codebooks_mixes_only": code_statistics(np.concatenate(mixes, axis=1), codec.codes),
        "rows": summarise(values),
    }


def draw_excerpts(folder: Path, split: str, config: CodecConfig) -> tuple[list[Excerpt], list[str]]:
    """All excerpts, and the tracks that have none. ValueError when no track has one."""
    span, favoured = config.lead + config.frames, (PERCUSSIVE, BASS)
    excerpts: list[Excerpt] = []
    skipped = []
    for track, found in solo_excerpts(folder, split, config.songs, span, config.stems, favoured, config.seed):
        scored = [each for each in found if len(each.audio) >= (config.lead + LEAST_FRAMES) * HOP]
        excerpts += scored
        if not scored:
            skipped.append(track)
    if not excerpts:
        raise ValueError(f"every track of the split {split!r} in {folder} is silent or shorter than 1 s")
    return excerpts, skipped


def rows_of(excerpt: Excerpt) -> tuple[str, ...]:
    """The rows of the table in which an excerpt counts."""
    return ("mix",) if excerpt.instrument is None else ("stems", INSTRUMENTS[excerpt.instrument])


def run_all(systems: Mapping[str, System], audio: Mono) -> dict[str, Mono]:
    """The reconstructions by programs of their own, side by side."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(systems, pool.map(lambda system: system(audio), systems.values()), strict=True))


@torch.inference_mode()
def run_codec(
    codec: SpectralCodec, excerpts: list[Excerpt], config: CodecConfig
) -> Iterator[tuple[Excerpt, NDArray[np.int64], Mono]]:
    """Each excerpt with its codes [K, T] after the lead, and its reconstruction [S]."""
    samples = (config.lead + config.frames) * HOP
    for start in range(0, len(excerpts), BATCH):
        batch = excerpts[start : start + BATCH]
        audio = torch.from_numpy(np.stack([np.pad(e.audio, (0, samples - len(e.audio))) for e in batch]))
        codes = codec.encode(audio)
        for excerpt, own, sound in zip(batch, codes.numpy(), codec.decode(codes).numpy(), strict=True):
            yield excerpt, own[:, config.lead : len(excerpt.audio) // HOP], sound[: len(excerpt.audio)]


def score(
    excerpt: Excerpt,
    audio: Mono,
    lead: int,
    distance: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    rate: int,
) -> dict[str, Any]:
    """All metrics of one reconstruction, after the lead."""
    original, copy = excerpt.audio[lead:], audio[lead:]
    tensors = (torch.from_numpy(np.ascontiguousarray(each))[None] for each in (copy, original))
    with torch.inference_mode():
        mel = float(distance(*tensors))
    return {"song": excerpt.song, "mel_l1": mel} | fidelity(original, copy, rate)._asdict()


def summarise(values: Mapping[tuple[str, str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Means and intervals; mixes first, all stems, drums, bass, then the other classes by name."""
    first = ["mix", "stems", INSTRUMENTS[PERCUSSIVE], INSTRUMENTS[BASS]]
    order = first + sorted({kind for kind, _ in values} - set(first))
    rows = []
    for kind, system in sorted(values, key=lambda key: order.index(key[0])):
        scores = values[kind, system]
        songs = [each["song"] for each in scores]
        intervals = {name: bootstrap([each[name] for each in scores], songs)._asdict() for name in METRICS}
        rows.append(
            {"sound": kind, "system": system, "clips": len(scores), "songs": len(set(songs))} | intervals
        )
    return rows


def has_opus() -> bool:
    """Whether the programs opusenc and opusdec (Debian: opus-tools) can be run."""
    return all(shutil.which(program) for program in ("opusenc", "opusdec"))


def opus(kbps: int, rate: int = 32_000) -> System:
    """Opus at that many kbit/s (variable rate, as is its default), by the reference programs."""

    def reconstruct(audio: Mono) -> Mono:
        with tempfile.TemporaryDirectory() as folder:
            source, coded, decoded = (Path(folder) / name for name in ("in.wav", "coded.opus", "out.wav"))
            soundfile.write(source, audio, rate, subtype="FLOAT")
            for command in (
                ["opusenc", "--quiet", "--bitrate", str(kbps), str(source), str(coded)],
                ["opusdec", "--quiet", "--rate", str(rate), "--float", str(coded), str(decoded)],
            ):
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise OSError(f"{command[0]} failed: {' '.join(done.stderr.split()) or done.returncode}")
            sound = soundfile.read(decoded, dtype="float32")[0]
        return np.pad(sound[: len(audio)], (0, max(0, len(audio) - len(sound))))

    return reconstruct


def markdown(result: Mapping[str, Any]) -> str:
    """The tables of the report."""
    head = ["sound", "system", "clips", *(title for title, _ in METRICS.values())]
    lines = [head]
    for row in result["rows"]:
        cells = [
            plain(row[name], digits, sign=name in ("level", "si_sdr"))
            for name, (_, digits) in METRICS.items()
        ]
        lines.append([row["sound"], row["system"], str(row["clips"]), *cells])
    books = [["level", "usage", "perplexity", "usage (mixes)", "perplexity (mixes)"]]
    pairs = zip(result["codebooks"], result["codebooks_mixes_only"], strict=True)
    for level, (one, mixes) in enumerate(pairs, 1):
        share = (f"{each['usage']:.1%}" for each in (one, mixes))
        size = (number(each["perplexity"], 0) for each in (one, mixes))
        books.append([str(level), *(cell for pair in zip(share, size, strict=True) for cell in pair)])
    text = (
        f"{result['songs']} songs, {result['seconds_per_clip']:g} s each; "
        f"95 % bootstrap intervals over songs. Codebooks over {result['code_frames']} frames."
    )
    notes = []
    if skipped := result["skipped_tracks"]:
        notes.append(f"Left out, as silent or shorter than 1 s: {len(skipped)} tracks: {named(skipped)}.")
    if not result["opus"]:
        notes.append("Opus was left out: opusenc and opusdec (Debian: opus-tools) were not found.")
    return "\n\n".join([text, table(lines), table(books), *notes]) + "\n"
