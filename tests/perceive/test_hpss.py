"""The harmonic-percussive front end against librosa, its running median against a sort."""

import warnings

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bandmate.perceive import hpss
from bandmate.perceive.hpss import CHUNK, HOP, chunks, harmonic_percussive, masked
from bandmate.perceive.median import running_median

LENGTH = 24_000  # 1.5 s: enough frames for a whole median


def librosas(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """What COCOLA's own front end computes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import librosa
    spectrum = librosa.stft(audio, n_fft=1024, win_length=400, hop_length=160)
    halves = []
    for half in librosa.decompose.hpss(spectrum):
        power = librosa.feature.melspectrogram(
            S=np.abs(half) ** 2, sr=16_000, fmin=60.0, fmax=7800.0, n_mels=64
        )
        halves.append(librosa.power_to_db(power, ref=np.max))
    return np.stack(halves)


def chord_with_hits() -> NDArray[np.float32]:
    """Steady partials and bursts of noise every quarter second."""
    time = np.arange(LENGTH) / 16_000
    sound = sum(0.2 / n * np.sin(2 * np.pi * 220 * n * time) for n in (1, 2, 3, 5))
    bursts = np.random.default_rng(3).standard_normal(LENGTH) * np.exp(-(time % 0.25) / 0.01)
    return (sound + 0.3 * bursts).astype(np.float32)


def pure_tone() -> NDArray[np.float32]:
    """The hard case: nearly everything is at the floor."""
    return np.sin(2 * np.pi * 440 * np.arange(LENGTH) / 16_000).astype(np.float32)


@pytest.mark.parametrize("sound", [chord_with_hits, pure_tone])
def test_equal_to_librosa(sound) -> None:
    audio = sound()
    found = harmonic_percussive(torch.from_numpy(audio)).numpy()
    assert found.shape == (2, 64, LENGTH // 160 + 1)
    np.testing.assert_allclose(found, librosas(audio), atol=1e-3)


def test_a_tone_is_harmonic_and_a_click_percussive() -> None:
    click = np.zeros(LENGTH, np.float32)
    click[12_000] = 1.0
    tone_energy = [p.sum() for p in hpss.mel_powers(torch.from_numpy(pure_tone()))]
    click_energy = [p.sum() for p in hpss.mel_powers(torch.from_numpy(click))]
    assert tone_energy[0] > 10 * tone_energy[1]
    assert click_energy[1] > 100 * click_energy[0]


def test_loudness_is_not_in_it() -> None:
    audio = torch.from_numpy(chord_with_hits())
    torch.testing.assert_close(harmonic_percussive(audio / 8), harmonic_percussive(audio), atol=1e-3, rtol=0)


def test_silence_reads_the_maximum_everywhere() -> None:
    assert torch.equal(harmonic_percussive(torch.zeros(LENGTH)), torch.zeros(2, 64, 151))


def test_a_batch_is_its_rows() -> None:
    audio = torch.from_numpy(np.stack([chord_with_hits(), pure_tone()]))
    batch = harmonic_percussive(audio[None])
    assert batch.shape == (1, 2, 2, 64, 151)
    assert torch.equal(batch[0, 1], harmonic_percussive(audio[1]))


def test_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 15 values, not 11"):
        harmonic_percussive(torch.zeros(1600))


@pytest.mark.parametrize(
    ("samples", "count"), [(1, 1), (CHUNK, 1), (CHUNK + 1, 2), (CHUNK + HOP, 2), (2 * CHUNK, 3)]
)
def test_chunks_cover_everything(samples: int, count: int) -> None:
    audio = torch.arange(1, samples + 1)
    pieces = chunks(audio)
    assert pieces.shape == (count, CHUNK)
    assert torch.equal(torch.cat([pieces[0], *(p[-HOP:] for p in pieces[1:])])[:samples], audio)


def test_no_audio_has_no_chunks() -> None:
    with pytest.raises(ValueError, match=r"one channel of audio \[S\] is wanted, not \[0\]"):
        chunks(torch.zeros(0))


def test_masking_fills_one_half_of_a_copy() -> None:
    features = torch.zeros(3, 2, 64, 5)
    assert masked(features, "harmonic")[:, 1].unique().tolist() == [-80]
    assert masked(features, "percussive", -1.0)[:, 0].unique().tolist() == [-1]
    assert masked(features, "both") is features
    assert not features.any()


@pytest.mark.parametrize("window", [1, 3, 5, 7, 17, 31])
@pytest.mark.parametrize("length", [15, 16, 50])
def test_running_median_is_the_middle_of_the_sorted_window(window: int, length: int) -> None:
    values = np.random.default_rng(window).integers(0, 9, (length, 4)).astype(np.float32)  # with ties
    half = window // 2
    mirrored = np.pad(values, [(half, half), (0, 0)], mode="symmetric")
    expected = [np.median(mirrored[i : i + window], axis=0) for i in range(length)]
    assert np.array_equal(running_median(torch.from_numpy(values), window).numpy(), expected)


def test_running_median_works_tile_by_tile() -> None:
    values = torch.rand(40, 1000, generator=torch.Generator().manual_seed(0))
    whole = running_median(values, 31)
    assert torch.equal(whole[:, 700:], running_median(values[:, 700:], 31))


def test_an_even_window_is_refused() -> None:
    with pytest.raises(ValueError, match="must be odd, not 4"):
        running_median(torch.zeros(9, 1), 4)
