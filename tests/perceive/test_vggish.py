"""VGGish: TensorFlow's front-end values, names and shapes of the PyTorch weights, the original's answers."""

import numpy as np
import pytest
import torch

from bandmate.perceive import vggish
from bandmate.perceive.vggish import VGGish, examples
from tests.perceive.published import bare, filled, fixture, noise, shapes, shapes_of


@pytest.fixture(scope="module")
def network() -> VGGish:
    return filled(VGGish, "vggish")


def test_parameters_are_those_of_the_published_weights() -> None:
    assert shapes_of(bare(VGGish)) == shapes("vggish")


def test_front_end_of_the_smoke_test() -> None:
    # TensorFlow's vggish_smoke_test: 3 s of a 1 kHz sine at 16 kHz, as its own front end turns it out.
    shown = examples(torch.sin(2 * np.pi * 1000 * torch.arange(48_000, dtype=torch.float64) / 16_000))
    assert shown.shape == (3, 96, 64)
    assert shown.mean().item() == pytest.approx(-3.429619, abs=2e-6)
    assert shown.std(correction=0).item() == pytest.approx(2.126577, abs=2e-6)
    assert shown.min().item() == pytest.approx(-4.601163, abs=2e-6)
    assert shown.max().item() == pytest.approx(4.811118, abs=2e-6)


def test_silence_reads_the_offset() -> None:
    assert examples(torch.zeros(16_000)).unique().tolist() == pytest.approx([np.log(0.01)])


@pytest.mark.parametrize(("samples", "count"), [(0, 0), (399, 0), (15_599, 0), (15_600, 1), (160_000, 10)])
def test_whole_examples_only(samples: int, count: int) -> None:
    assert examples(torch.zeros(samples)).shape == (count, 96, 64)


def test_embeddings_are_those_of_the_original(network: VGGish) -> None:
    (shown,) = noise(-4, 4, (1, 1, 96, 64))
    with torch.inference_mode():
        found = network(shown[:, 0].float())[0]
        network.relu = True
        clipped = network(shown[:, 0].float())[0]
        network.relu = False
    np.testing.assert_allclose(found[::16], fixture("vggish")["outputs"]["no_relu"], atol=1e-4)
    assert (found < 0).any()
    assert torch.equal(clipped, found.clamp(min=0))


def test_ten_seconds_are_ten_embeddings(network: VGGish) -> None:
    audio = np.random.default_rng(2).standard_normal(5 * 32_000).astype(np.float32) * 0.1
    found = vggish.embeddings(audio, 32_000, network)
    assert found.shape == (5, 128)
    assert found.dtype == np.float32
    assert np.ptp(found, axis=0).max() > 0


def test_what_is_too_short_is_told(network: VGGish) -> None:
    with pytest.raises(ValueError, match=r"needs 0\.975 s of audio, not 0\.500 s"):
        vggish.embeddings(np.zeros(8000), 16_000, network)
    with pytest.raises(ValueError, match=r"one channel of audio \[S\] is wanted"):
        vggish.embeddings(np.zeros((2, 16_000)), 16_000, network)
