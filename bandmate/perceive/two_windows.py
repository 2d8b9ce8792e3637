"""What the bundled coherence encoder hears: tones through a long window, strokes through a short one.

COCOLA's single window of 25 ms (:mod:`bandmate.perceive.hpss`) cannot tell two neighbouring semitones apart below
1.5 kHz. Here the two halves have a window each, as in Driedger et al. (2014, "Extending harmonic-percussive
separation"): 256 ms and bands one semitone wide for what stands still in time, 25 ms and mel bands for what does not.
"""

from functools import lru_cache

import torch
from torch import Tensor

from bandmate.perceive.hpss import CHUNK, FLOOR_DB, RATE, soft_mask
from bandmate.perceive.median import running_median
from bandmate.perceive.mel import mel_filters

BANDS = 64
FRAME = 320  # samples, 20 ms: strokes have a frame each, tones one in two
FRAMES = CHUNK // FRAME  # of a chunk
LOWEST = 33  # MIDI note of the lowest tone band: 55 Hz, the highest is 2093 Hz
SPARE = 6  # bands kept below and above by `powers`, so that tones can be moved by so many semitones
STROKE_FFT, STROKE_WINDOW, STROKE_MEDIANS = 512, 400, (17, 17)  # (frames, bins): 0.34 s and 530 Hz
TONE_FFT, TONE_MEDIANS = 4096, (9, 31)  # 0.36 s and 121 Hz
LOW, HIGH = 60.0, 7800.0  # Hz, of the mel bands
REFERENCE_DB = -20.0  # RMS, full scale, that every chunk is brought to
SILENT = 1e-7  # RMS below which nothing is there


def powers(audio: Tensor) -> tuple[Tensor, Tensor]:
    """Audio at 16 kHz [S] -> dB of tones [64 + 2 * SPARE, S // 640] and of strokes [64, S // 320], not normalised."""
    long, short = 2 * FRAME, FRAME
    tones = steady(spectrum(audio, TONE_FFT, TONE_FFT, long)[:, : top_bin()], *TONE_MEDIANS)
    strokes = sudden(spectrum(audio, STROKE_FFT, STROKE_WINDOW, short), *STROKE_MEDIANS)
    mel = mel_filters(RATE, STROKE_FFT, BANDS, LOW, HIGH, "slaney", area=True).float()
    mel = mel / mel.sum(dim=0)
    return (
        decibel(tones.square() @ tone_filters())[: len(audio) // long].T,
        decibel(strokes.square() @ mel)[: len(audio) // short].T,
    )


def tones_and_strokes(audio: Tensor) -> Tensor:
    """Chunks at 16 kHz [..., S] -> [..., 2, 64, S // 320], dB: tones, then strokes; 0 at each one's maximum.

    S is a multiple of 640. Silence reads 0 dB everywhere, as with COCOLA: see to it that it is not scored.
    """
    flat = at_reference(audio.reshape(-1, audio.shape[-1]))
    return torch.stack([joined(*powers(row)) for row in flat]).reshape(*audio.shape[:-1], 2, BANDS, -1)


def at_reference(audio: Tensor) -> Tensor:
    """Each row [N, S] at REFERENCE_DB RMS, so that the least level that is told apart moves with it; not silence."""
    size = audio.square().mean(dim=-1, keepdim=True).sqrt()
    return torch.where(size > SILENT, audio / size.clamp(min=SILENT) * 10 ** (REFERENCE_DB / 20), audio)


def joined(tones: Tensor, strokes: Tensor, moved: int = 0) -> Tensor:
    """Powers in dB of one window, [..., 76, T / 2] and [..., 64, T] -> features [..., 2, 64, T].

    moved: semitones, at most SPARE, by which the tones are shifted up.
    """
    first = SPARE - moved
    chosen = tones[..., first : first + BANDS, :].repeat_interleave(2, dim=-1)
    return torch.stack([relative(chosen), relative(strokes)], dim=-3)


def relative(level: Tensor) -> Tensor:
    """dB [..., 64, T] under the maximum of the last two axes, FLOOR_DB at least."""
    return (level - level.amax(dim=(-2, -1), keepdim=True)).clamp(min=FLOOR_DB)


def decibel(power: Tensor) -> Tensor:
    return 10 * torch.log10(power.clamp(min=1e-10))


def spectrum(audio: Tensor, n_fft: int, window: int, step: int) -> Tensor:
    """Magnitudes of audio [S] -> [S // step + 1, n_fft // 2 + 1], a full scale sine about 0.5 high."""
    shape = torch.hann_window(window)
    side = (n_fft - window) // 2
    shape = torch.nn.functional.pad(shape / shape.sum(), (side, side))
    padded = torch.nn.functional.pad(audio, (n_fft // 2, n_fft // 2))
    return torch.fft.rfft(padded.unfold(0, n_fft, step) * shape).abs()


def steady(level: Tensor, frames: int, bins: int) -> Tensor:
    """The part of magnitudes [T, F] that stands still in time."""
    return level * soft_mask(*medians(level, frames, bins))


def sudden(level: Tensor, frames: int, bins: int) -> Tensor:
    """The part of magnitudes [T, F] that lies across the frequencies."""
    return level * (1 - soft_mask(*medians(level, frames, bins)))


def medians(level: Tensor, frames: int, bins: int) -> tuple[Tensor, Tensor]:
    return running_median(level.contiguous(), frames), running_median(level.T.contiguous(), bins).T


@lru_cache(maxsize=1)
def tone_filters() -> Tensor:
    """[bins, 76]: bells half a semitone wide on each note, two bins at least, each of sum 1."""
    notes = torch.arange(LOWEST - SPARE, LOWEST + BANDS + SPARE, dtype=torch.float64)
    centre = 440.0 * 2 ** ((notes - 69) / 12)
    bins = torch.arange(top_bin(), dtype=torch.float64)[:, None] * RATE / TONE_FFT
    width = (centre * (2 ** (0.4 / 12) - 1)).clamp(min=0.7 * RATE / TONE_FFT)
    bells = torch.exp(-0.5 * ((bins - centre) / width) ** 2)
    return (bells / bells.sum(dim=0)).float()


def top_bin() -> int:
    """How many bins of the long window the bands look at."""
    highest = 440.0 * 2 ** ((LOWEST + BANDS + SPARE - 69) / 12)
    return int(highest * 1.05 * TONE_FFT / RATE) + 1
