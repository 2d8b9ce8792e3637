"""Coherence of a stem with the mix it is played to, as a contrastive network hears it (COCOLA).

COCOLA: Ciranni et al. 2024. A clip is cut into chunks of 5 s every 2.5 s at 16 kHz; the network embeds
the harmonic and the percussive half of each chunk, or one of them with the other masked, and a bilinear
form scores the chunk of the mix against the chunk of the stem. A clip scores the mean over its chunks.
Scores have no unit: they compare under one network only.
"""

from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from bandmate.audio.loudness import activity
from bandmate.perceive.hpss import CHUNK, HOP, MODES, RATE
from bandmate.perceive.hpss import chunks as cut

SOUNDING_SHARE = 0.02  # of a chunk's 20 ms frames: a chunk that sounds less is silent (0.1 s of 5 s)
FLOOR_PERCENTILE = 5.0
BLOCK = 64  # pairs scored at a time
FRAME_RATE = 50  # activity values per second

Audio = NDArray[np.floating]
Scores = NDArray[np.float64]


def chunks(audio: Audio, rate: int) -> torch.Tensor:
    """Mono audio [S] at any rate -> [N, 80 000] at 16 kHz, a chunk every 2.5 s, the last filled up with zeros.

    10 s are 3 chunks. ValueError for NaN and for nothing at all.
    """
    if audio.ndim != 1 or not len(audio) or not np.isfinite(audio).all():
        raise ValueError("coherence wants mono audio [S] of finite numbers, one or more")
    sound = np.asarray(audio, dtype=np.float32)
    return cut(torch.from_numpy(sound if rate == RATE else soxr.resample(sound, rate, RATE)))


def sounding_chunks(audio: Audio, rate: int, count: int) -> NDArray[np.bool_]:
    """Which of the ``count`` chunks of audio [S] sound: [N].

    A chunk sounds when 2 % of its 20 ms frames lie at -60 dB (A-weighted) or above.
    """
    active = activity(audio, rate, FRAME_RATE)
    size, hop = CHUNK * FRAME_RATE // RATE, HOP * FRAME_RATE // RATE
    return np.array(
        [np.sum(active[index * hop : index * hop + size]) >= SOUNDING_SHARE * size for index in range(count)]
    )


def embed(network: Any, audio: Audio, rate: int) -> dict[str, NDArray[np.float32]]:
    """Mode -> embeddings [N, D] of the chunks of audio [S].

    ``network.features(chunks [N, 80 000])`` is its front end, [N, 2, 64, Tf]; ``network.embed(features,
    mode)`` masks the half that a mode leaves out.
    """
    with torch.inference_mode():
        features = network.features(chunks(audio, rate))
        return {mode: network.embed(features, mode).float().numpy() for mode in MODES}


def pair_scores(network: Any, mix: NDArray[np.floating], stem: NDArray[np.floating]) -> Scores:
    """Score of each mix [N, D] with the stem [N, D] of the same row: [N]. The mix stands first."""
    if mix.shape != stem.shape or mix.ndim != 2:
        raise ValueError(f"equally many chunks of both are wanted, not {mix.shape} and {stem.shape}")
    parts = []
    with torch.inference_mode():
        for start in range(0, len(mix), BLOCK):
            a, b = (torch.as_tensor(side[start : start + BLOCK]) for side in (mix, stem))
            parts.append(network.similarity(a, b).diagonal().double().numpy())
    return np.concatenate(parts) if parts else np.zeros(0)


def silence_floor(scores: Scores) -> float:
    """What a silent chunk scores at most: the 5th percentile of what random pairings [N] score.

    A network gives silence some number, and it need not be a low one. Silence is not played along:
    it must not stand above stems that belong to other songs.
    """
    known = scores[np.isfinite(scores)]
    if not len(known):
        raise ValueError("no chunk of the random pairing sounds: there is nothing to measure silence by")
    return float(np.percentile(known, FLOOR_PERCENTILE))


def coherence(
    scores: Scores, stem_sounds: NDArray[np.bool_], mix_sounds: NDArray[np.bool_], floor: float
) -> float:
    """Mean over the chunks [N] of a clip in which the mix sounds; NaN when it sounds in none.

    A chunk in which the stem is silent scores ``floor``, or what the network gave if that is less. Chunks
    in which the mix is silent are the same for all stems and are left out.
    """
    if not scores.shape == stem_sounds.shape == mix_sounds.shape:
        raise ValueError("one score and two flags for each chunk are wanted")
    if not np.isfinite(scores).all() or not np.isfinite(floor):
        raise ValueError("the scores hold NaN or infinite values")
    told = np.where(stem_sounds, scores, np.minimum(scores, floor))
    return float(told[mix_sounds].mean()) if mix_sounds.any() else float("nan")
