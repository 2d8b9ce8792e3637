"""What the dac codec is trained against: mel distance and discriminators, by Descript's settings."""

import pytest
import torch

from bandmate.codec.adversaries import (
    Adversaries,
    AdversaryConfig,
    BandDiscriminator,
    least_squares_adversarial_loss,
    least_squares_discriminator_loss,
    summed_feature_loss,
)
from bandmate.codec.mel import WINDOWS, MultiScaleMelLoss, mel_bands


@pytest.mark.parametrize(
    ("window", "bands", "total", "band", "peak", "height"),
    [(2048, 320, 20.468508, 200, 247, 0.021719228), (256, 40, 0.31847984, 10, 8, 0.009592939)],
)
def test_mel_bands_are_librosas(
    window: int, bands: int, total: float, band: int, peak: int, height: float
) -> None:
    """Numbers from librosa.filters.mel(sr=32000) of librosa 0.11."""
    matrix = mel_bands(bands, window, 32_000)
    assert matrix.shape == (window // 2 + 1, bands)
    assert float(matrix.sum()) == pytest.approx(total, rel=1e-5)
    assert int(matrix[:, band].argmax()) == peak
    assert float(matrix[:, band].max()) == pytest.approx(height, rel=1e-5)


def test_mel_loss_is_the_level_difference_in_decades_at_every_scale() -> None:
    loss = MultiScaleMelLoss()
    audio = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)) * 0.3
    assert float(loss(audio, audio)) == 0.0
    assert float(loss(audio * 0.1, audio)) == pytest.approx(len(WINDOWS), rel=0.02)
    assert loss.log_mel(torch.zeros(1, 4096), 512).unique().tolist() == [-5.0]


def test_mel_loss_has_finite_gradients_at_silence() -> None:
    silence = torch.zeros(1, 8000, requires_grad=True)
    MultiScaleMelLoss()(silence, torch.randn(1, 8000)).backward()
    assert torch.isfinite(silence.grad).all()  # type: ignore[arg-type]


def test_the_full_discriminators_have_the_published_size() -> None:
    with torch.device("meta"):
        adversaries = Adversaries()
    assert sum(p.numel() for p in adversaries.parameters()) == 42_519_760
    assert len(adversaries.parts) == 8


@pytest.fixture
def adversaries() -> Adversaries:
    torch.manual_seed(0)
    return Adversaries(AdversaryConfig((2, 3), (512, 256), 2))


def test_level_and_offset_say_nothing_to_the_discriminators(adversaries: Adversaries) -> None:
    audio = torch.randn(1, 3000)
    for (a, _), (b, _) in zip(adversaries(audio), adversaries(audio * 0.2 + 0.3), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_the_spectrum_is_of_the_windows_around_each_hop() -> None:
    part = BandDiscriminator(512, 2)
    time = torch.arange(12_160)
    tone = torch.sin(2 * torch.pi * 1000 * time / 32_000)[None]
    spectrum = part.spectrum(tone)
    assert spectrum.shape == (1, 2, 95, 257)
    level = spectrum.square().sum(1).sqrt()[0, 40]
    assert int(level.argmax()) == 16  # 1000 Hz in steps of 62.5
    assert float(level.max()) == pytest.approx(128.0, rel=1e-3)  # half of half the window's sum


def test_least_squares_losses_pull_in_opposite_directions(adversaries: Adversaries) -> None:
    real, fake = adversaries(torch.randn(2, 2560)), adversaries(torch.randn(2, 2560))
    perfect = [(torch.ones_like(score), features) for score, features in real]
    fooled = [(torch.zeros_like(score), features) for score, features in fake]
    assert float(least_squares_discriminator_loss(perfect, fooled)) == 0.0
    assert float(least_squares_adversarial_loss(perfect)) == 0.0
    assert float(least_squares_adversarial_loss(fooled)) == len(adversaries.parts)
    assert float(least_squares_discriminator_loss(fooled, perfect)) == 2 * len(adversaries.parts)


def test_feature_loss_is_zero_for_equals_and_teaches_the_fake_only(adversaries: Adversaries) -> None:
    heard = torch.randn(1, 2560)
    made = (heard + 0.1 * torch.randn(1, 2560)).requires_grad_()
    assert summed_feature_loss(adversaries(heard), adversaries(heard)) == 0.0
    heard.requires_grad_()
    loss = summed_feature_loss(adversaries(heard), adversaries(made))
    loss.backward()
    assert loss > 0
    assert heard.grad is None
    assert made.grad is not None
