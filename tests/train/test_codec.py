"""Codec training: all stages run, the encoder freezes, a killed run resumes to the same weights."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from bandmate.codec.discriminator import (
    MultiResolutionDiscriminator,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
)
from bandmate.codec.loss import MultiScaleSpectralLoss, PartialsLoss
from bandmate.codec.quantize import ResidualVectorQuantizer, codebook_usage
from bandmate.codec.spectral import Controls
from bandmate.codec.synthesis import OscillatorBank
from bandmate.train import presets, runs
from bandmate.train.codec import CodecTraining, RenderedCrops
from bandmate.train.loop import cosine_with_warmup


@pytest.fixture(scope="module")
def finished(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("codec") / "run"
    runs.train(presets.codec_tiny(), rendered, out, resume=False, progress=False)
    return out


def test_all_stages_leave_a_working_codec(finished: Path) -> None:
    codec = runs.load_codec(finished)
    with torch.inference_mode():
        audio = codec.decode(codec.encode(torch.randn(1, 6400) * 0.1))
    assert torch.isfinite(audio).all()
    assert codec.quantizer.codebook.abs().sum() > 0


def test_a_run_cut_off_in_any_stage_resumes_to_the_same_weights(
    finished: Path, rendered: Path, tmp_path: Path
) -> None:
    config = presets.codec_tiny()
    for stop in (4, 8, 12):  # epochs of 2 steps: in the noise stage, in the decoder stage, at the end
        torch.manual_seed(config.seed)
        module = CodecTraining(config, rendered)
        module.loop = dataclasses.replace(module.loop, steps=stop)
        runs.fit(module, runs.remember(config, tmp_path), resume=True, progress=False)
    whole, pieces = runs.load_codec(finished), runs.load_codec(tmp_path)
    for name, value in whole.state_dict().items():
        assert torch.equal(pieces.state_dict()[name], value), name


def test_parts_of_a_batch_differ_and_must_fit(rendered: Path) -> None:
    whole = presets.codec_tiny()
    module = CodecTraining(dataclasses.replace(whole, parts=2, seed=7), rendered)
    assert (module.loop.parts, module.loop.seed, module.loop.steps) == (2, 7, 12)
    assert module.draw_part(0, 0).shape == (1, 32 * 640)
    assert not torch.equal(module.draw_part(0, 0), module.draw_part(0, 1))
    seeds = []
    for rank in (0, 1):
        module._trainer = SimpleNamespace(
            global_rank=rank, world_size=2, current_epoch=0, is_global_zero=not rank
        )  # type: ignore[assignment]
        seeds.append(module.chance().initial_seed())
    assert seeds[0] != seeds[1]
    with pytest.raises(ValueError, match="batch of 2 crops cannot be cut into 3 parts"):
        CodecTraining(dataclasses.replace(whole, parts=3), rendered)


def test_one_part_is_drawn_as_before_there_were_parts(rendered: Path) -> None:
    module = CodecTraining(presets.codec_tiny(), rendered)
    assert torch.equal(module.draw_part(5, 0), module.crops.draw(2, 0, 5))


def test_settings_of_an_early_run_are_gone_on_with(finished: Path, rendered: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    settings = yaml.safe_load((finished / "config.yaml").read_text())
    for name in ("steps", "parts", "ema", "workers", "compile", "log_every", "validate_every"):
        del settings[name]  # these came later
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(settings))
    runs.refuse_another(presets.codec_tiny(), settings, tmp_path / "run")
    assert runs.load_codec(tmp_path / "run").config == presets.codec_tiny().codec


def test_encoder_and_codebooks_stand_still_after_the_fit(rendered: Path) -> None:
    module = CodecTraining(presets.codec_tiny(), rendered)
    module.fit_codebooks()
    assert all(not parameter.requires_grad for parameter in module.codec.encoder.parameters())
    assert bool(module.fitted)


def test_a_run_is_not_overwritten(finished: Path, rendered: Path) -> None:
    settings = (finished / "config.yaml").read_bytes()
    with pytest.raises(ValueError, match="--resume"):
        runs.train(dataclasses.replace(presets.codec_tiny(), seed=9), rendered, finished, False, False)
    assert (finished / "config.yaml").read_bytes() == settings


def test_crops_are_a_pure_function_of_their_key(rendered: Path) -> None:
    crops = RenderedCrops(rendered, 20)
    assert torch.equal(crops.draw(3, 1, 2), crops.draw(3, 1, 2))
    assert not torch.equal(crops.draw(3, 1, 2), crops.draw(3, 1, 3))
    assert crops.draw(3, 0).abs().max() <= 1.0


def test_no_rendered_tracks_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="bandmate prepare"):
        RenderedCrops(tmp_path, 20)


def test_noise_rises_to_the_capacity_of_the_codes(rendered: Path) -> None:
    module = CodecTraining(presets.codec_tiny(), rendered)
    levels = []
    for step in range(module.config.noise_steps):
        module._batch_index = step
        levels.append(module.noise_level())
    assert levels == sorted(levels)
    assert levels[0] == module.config.noise_start
    bits = 64 / 2 * np.log2(1 + 1 / module.config.noise**2)
    assert abs(bits - 40) < 1.0


def test_schedule_warms_up_and_falls() -> None:
    factors = [cosine_with_warmup(step, 1000) for step in range(1000)]
    assert factors[0] == 0.01
    assert max(factors) == pytest.approx(1.0)
    assert factors[100:] == sorted(factors[100:], reverse=True)
    assert factors[-1] == pytest.approx(0.05, abs=1e-3)


def test_residual_k_means_uses_its_entries_and_every_level_helps() -> None:
    generator = torch.Generator().manual_seed(0)
    quantizer = ResidualVectorQuantizer(3, 16, 4)
    latent = torch.randn(4000, 4, generator=generator)
    report = quantizer.fit(latent, generator=generator)
    residuals = [row["residual"] for row in report]
    assert residuals == sorted(residuals, reverse=True)
    assert residuals[-1] < 0.3
    assert all(row["usage"] > 0.9 for row in report)
    codes = quantizer.encode(latent[None])
    assert float((quantizer.decode(codes)[0] - latent).square().mean()) < 0.3
    assert codebook_usage(codes[0, 0], 16)["perplexity"] > 12


def test_too_few_vectors_for_k_means_is_said() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        ResidualVectorQuantizer(1, 16, 4).fit(torch.randn(5, 4))


def test_spectral_loss_is_zero_for_equals_and_rises_with_error() -> None:
    loss = MultiScaleSpectralLoss()
    audio = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    assert float(loss(audio, audio, (512, 2048))) == 0.0
    errors = [float(loss(audio * gain, audio, (512, 2048))) for gain in (0.9, 0.5, 0.1)]
    assert errors == sorted(errors)
    assert float(loss.mel_distance(audio * 0.1, audio)) == pytest.approx(1.0, abs=0.05)  # 20 dB is one decade


def test_partials_of_two_tones_are_found_with_level_and_pitch() -> None:
    bank = OscillatorBank()
    time = torch.arange(64 * 640) / 32_000
    audio = (0.3 * torch.sin(2 * torch.pi * 445.0 * time) + 0.1 * torch.sin(2 * torch.pi * 1318.5 * time))[
        None
    ]
    partials = PartialsLoss(bank.centre)
    amplitude, offset = partials.target(audio)
    assert amplitude[0, 30].nonzero().flatten().tolist() == [48, 67]  # A4 and E6
    assert float(amplitude[0, 30, 48]) == pytest.approx(0.3, rel=0.1)
    assert float(offset[0, 30, 48]) * 50 == pytest.approx(5.0, abs=0.1)
    perfect = Controls(
        amplitude.repeat_interleave(4, 1), offset.repeat_interleave(4, 1), torch.zeros(1, 256, 1)
    )
    assert max(float(term) for term in partials(perfect, audio)) < 1e-2
    silent = Controls(torch.zeros_like(perfect.amplitude), perfect.offset + 0.1, perfect.noise)
    assert min(float(term) for term in partials(silent, audio)) > 0.05


def test_discriminator_losses_push_in_opposite_directions() -> None:
    torch.manual_seed(0)
    judge = MultiResolutionDiscriminator((256, 512), width=4)
    real, fake = judge(torch.randn(2, 4000)), judge(torch.randn(2, 4000).requires_grad_())
    assert feature_matching_loss(real, real) == 0
    assert feature_matching_loss(real, fake) > 0
    raised = [(score + 1.0, features) for score, features in fake]
    assert discriminator_loss(real, raised) > discriminator_loss(real, fake)
    assert adversarial_loss(raised) < adversarial_loss(fake)


def test_the_whole_folder_does_as_well_as_its_part_train(rendered: Path, tmp_path: Path) -> None:
    for part in ("train", "valid"):
        shutil.copytree(rendered, tmp_path / part)
    (tmp_path / "train" / "t2.npy").unlink()
    whole, part = (CodecTraining(presets.codec_tiny(), folder) for folder in (tmp_path, tmp_path / "train"))
    assert [path.name for path in whole.crops.paths] == ["t0.npy", "t1.npy"]
    assert torch.equal(whole.draw_part(3, 0), part.draw_part(3, 0))
