"""Beat This: names, shapes and answers of the published network, its front end, its peaks, long recordings."""

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bandmate.perceive import beat_this
from bandmate.perceive.beat_this import BORDER, CHUNK, SMALL_CONFIG, BeatThis, BeatThisConfig, log_mel, peaks
from tests.perceive.published import bare, filled, fixture, made_up, noise, shapes, shapes_of

NETWORKS = {"beat_this": BeatThisConfig(), "beat_this_small": SMALL_CONFIG}


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_those_of_the_published_checkpoint(name: str) -> None:
    assert shapes_of(bare(partial(BeatThis, NETWORKS[name]))) == shapes(name)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_those_of_the_authors_code(name: str) -> None:
    network = filled(partial(BeatThis, NETWORKS[name]), name).double()
    (spectra,) = noise(0, 5, (1, 40, 128))
    with torch.inference_mode():
        beat, downbeat = network(spectra)
    outputs = fixture(name)["outputs"]
    np.testing.assert_allclose(beat[0, ::8], outputs["beat"], atol=1e-5)
    np.testing.assert_allclose(downbeat[0, ::8], outputs["downbeat"], atol=1e-5)


def test_front_end_equals_librosas() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import librosa
    audio = np.random.default_rng(1).standard_normal(22050) * 0.1
    audio[5000:9000] = np.sin(np.arange(4000) * 0.3)
    power = librosa.feature.melspectrogram(
        y=audio, sr=22050, n_fft=1024, hop_length=441, power=1, n_mels=128, fmin=30, fmax=11000,
        norm=None, pad_mode="reflect",
    )  # fmt: skip
    expected = np.log1p(1000 * power.T / 32)  # torch's "normalized": over the root of the window's length
    found = log_mel(torch.from_numpy(audio)).numpy()
    assert found.shape == (51, 128)
    np.testing.assert_allclose(found, expected, atol=1e-5)


class Counting(BeatThis):
    """Logits that tell where a frame was and how far from the ends of its piece."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.lengths: list[int] = []

    def forward(self, spectra: Tensor) -> tuple[Tensor, Tensor]:
        self.lengths.append(spectra.shape[1])
        position = torch.arange(spectra.shape[1])
        edge = torch.minimum(position, position.flip(0))
        return torch.where(edge < BORDER, float("nan"), spectra[..., 0]), spectra[..., 0]


@pytest.mark.parametrize("frames", [1, 30, 1480, 1487, 1488, 1489, 1495, 3100])
def test_long_recordings_are_put_together_from_trusted_frames(frames: int) -> None:
    network = Counting()
    spectrum = torch.arange(frames).float()[:, None].expand(frames, 128)
    assert torch.equal(network.logits(spectrum), torch.arange(frames).float())
    assert max(network.lengths) <= CHUNK


def test_a_beat_is_the_highest_of_its_surroundings_and_above_even_odds() -> None:
    logits = torch.full((40,), -5.0)
    logits[[3, 6, 10, 20, 30]] = torch.tensor([1.0, 2.0, 0.5, -0.1, 3.0])
    assert peaks(logits).tolist() == [6, 10, 30]  # 3 is too near 6, 20 is below 0.5
    logits[31] = 3.0
    assert peaks(logits).tolist() == [6, 10, 30.5]  # two equal neighbours are one beat between them


def test_no_peaks_give_an_empty_array() -> None:
    assert peaks(torch.full((40,), -5.0)).shape == (0,)


def test_beats_are_seconds_at_any_rate() -> None:
    class Loudness(BeatThis):
        def __init__(self) -> None:
            super().__init__(BeatThisConfig(width=32, layers=0))

        def logits(self, spectrum: Tensor) -> Tensor:
            return spectrum.mean(1) - 2.0

    for rate in (22_050, 32_000, 44_100):
        audio = np.zeros(4 * rate, np.float32)
        for second in (1.0, 2.5):
            audio[int(second * rate) : int(second * rate) + rate // 100] = 0.5
        found = beat_this.beats(audio, rate, Loudness())
        np.testing.assert_allclose(found, [1.0, 2.5], atol=0.02)


def test_next_to_nothing_has_no_beats() -> None:
    network = BeatThis(BeatThisConfig(width=32, layers=0)).eval()
    assert beat_this.beats(np.zeros(100, np.float32), 22_050, network).shape == (0,)


def test_a_stereo_array_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one channel of audio \[S\] is wanted"):
        beat_this.beats(np.zeros((2, 22050)), 22_050, BeatThis(BeatThisConfig(width=32, layers=0)))


def test_a_published_checkpoint_brings_its_own_size(tmp_path: Path) -> None:
    state = made_up(shapes("beat_this_small"))
    parameters = {
        "transformer_dim": 128,
        "n_layers": 6,
        "head_dim": 32,
        "stem_dim": 32,
        "sum_head": True,
        "lr": 1e-3,
    }
    content = {
        "state_dict": {f"model.{name}": value for name, value in state.items()},
        "hyper_parameters": parameters,
    }
    torch.save(content, tmp_path / "small0.ckpt")
    network = beat_this.load(tmp_path / "small0.ckpt")
    assert network.config == SMALL_CONFIG
    assert torch.equal(
        network.task_heads.beat_downbeat_lin.weight, state["task_heads.beat_downbeat_lin.weight"]
    )
    parameters["sum_head"] = False
    torch.save(content, tmp_path / "ablation.ckpt")
    with pytest.raises(ValueError, match="ablation of Beat This without sum_head: take final0 or small0"):
        beat_this.load(tmp_path / "ablation.ckpt")
