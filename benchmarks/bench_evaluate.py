"""What `bandmate evaluate systems` costs: seconds per clip and measure, and what that makes of 1024 clips.

    python benchmarks/bench_evaluate.py --clips 2 --json bench_evaluate.json

Networks of random weights and the published sizes: what they answer does not matter here. One core, by
processor time, so that other work on the machine does not count. A system is heard as five files per clip
(input, target, its codec version, random stem, prediction); each further system adds one.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandmate.evaluate.beat import librosa_beats
from bandmate.evaluate.coherence import embed
from bandmate.evaluate.fad import combined, fad, frechet_distance, moments
from bandmate.evaluate.features import RATE, sound
from bandmate.evaluate.networks import Published
from bandmate.perceive.beat_this import BeatThis, beats
from bandmate.perceive.cocola import Cocola
from bandmate.perceive.coherence import CoherenceEncoder
from bandmate.perceive.vggish import VGGish, embeddings

SECONDS, PROJECTED, CORES, FILES = 10, 1024, 2, 5
WIDTH, SONGS, DRAWS = 128, 150, 50  # of VGGish; of Slakh's test split; of the bootstrap


def clip(seed: int) -> np.ndarray:
    """10 s of noise bursts and tones: something to analyse in every frame."""
    rng = np.random.default_rng(seed)
    at = np.arange(SECONDS * RATE) / RATE
    tones = sum(np.sin(2 * np.pi * hertz * at) for hertz in rng.uniform(80, 2000, 6))
    bursts = rng.normal(size=len(at)) * np.exp(-((at * 2) % 1) * 20)
    return (0.03 * tones + 0.1 * bursts).astype(np.float32)


def measures() -> dict[str, Callable[[np.ndarray], Any]]:
    torch.manual_seed(0)
    cocola, encoder = Published(Cocola().eval()), CoherenceEncoder().eval()
    tracker, vggish = BeatThis().eval(), VGGish().eval()
    return {
        "levels, onsets, chroma": lambda audio: sound(audio, 0),
        "coherence, COCOLA (three modes)": lambda audio: embed(cocola, audio, RATE),
        "coherence, bundled encoder (three modes)": lambda audio: embed(encoder, audio, RATE),
        "beats, Beat This final0": lambda audio: beats(audio, RATE, tracker),
        "beats, librosa": lambda audio: librosa_beats(audio, RATE),
        "FAD embeddings, VGGish": lambda audio: embeddings(audio, RATE, vggish),
        "Fréchet embeddings, bundled encoder": lambda audio: encoder.embeddings(audio, RATE),
    }


def per_clip(clips: int) -> dict[str, float]:
    """Core seconds per 10 s of audio, after one warm-up; the quickest of the clips."""
    sounds, result = [clip(seed) for seed in range(clips + 1)], {}
    for name, measure in measures().items():
        measure(sounds[0])
        times = []
        for audio in sounds[1:]:
            began = time.process_time()
            measure(audio)
            times.append(time.process_time() - began)
        result[name] = min(times)
        print(f"{name}: {result[name]:.3f} core seconds per clip", flush=True)
    return result


def distance() -> float:
    """Core seconds of one system's Fréchet distance over 1024 clips with its bootstrap."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, PROJECTED * SECONDS, WIDTH))
    song = np.arange(len(a)) * SONGS // len(a)
    began = time.process_time()
    fad(a, b)
    sides = [moments(side, song, SONGS) for side in (a, b)]
    for _ in range(DRAWS):
        times = np.bincount(rng.integers(SONGS, size=SONGS), minlength=SONGS)
        frechet_distance(combined(sides[0], times, a[0] * 0), combined(sides[1], times, a[0] * 0))
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    each = per_clip(args.clips)
    minutes = {name: value * PROJECTED * FILES / CORES / 60 for name, value in each.items()}
    for name, value in minutes.items():
        print(f"{name}: {value:.1f} min for {PROJECTED} clips x {FILES} files on {CORES} cores (projected)")
    fad_seconds = distance()
    print(f"one Fréchet distance of {PROJECTED} clips with its interval: {fad_seconds:.1f} core seconds")
    if args.json:
        told = {
            "core_seconds_per_clip": each,
            "minutes_projected": minutes,
            "distance_core_seconds": fad_seconds,
        }
        args.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
