"""Duet training: what a window may see, how its history is spoilt, and that a killed run resumes to the same weights."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bandmate.configs import duet_tiny
from bandmate.model.duet_network import DuetConfig, Visibility
from bandmate.model.teacher import cross_entropy, horizons
from bandmate.model.tokens import to_columns
from bandmate.spec import StreamSpec
from bandmate.train import presets, runs
from bandmate.train.lm import DuetTraining, draw_layout, draw_visibility, spoil_history
from tests.train.golden import logged


@pytest.mark.parametrize(("t_f", "k"), [(-50, 1), (-3, 4), (0, 5), (7, 3)])
def test_horizons_are_those_of_the_spec(t_f: int, k: int) -> None:
    spec = StreamSpec(t_f, k)
    wanted = [spec.horizon(spec.call_column(s)) for s in range(40)]
    assert horizons(40, t_f, k, 0, 1000).tolist() == wanted


def test_horizons_with_a_phase_begin_with_a_short_call_and_end_with_the_input() -> None:
    assert horizons(8, 0, 4, 3, 6).tolist() == [0, 1, 1, 1, 1, 5, 5, 5]
    assert horizons(8, 10, 4, 0, 12).tolist() == [10, 10, 10, 10, 12, 12, 12, 12]


def test_draws_cover_the_plane() -> None:
    rng = np.random.default_rng(0)
    draws = [draw_visibility(rng, 200) for _ in range(4000)]
    t_f, k = np.array(draws).T
    assert (t_f.min(), t_f.max()) == (-200, 200)
    assert (k.min(), k.max()) == (1, 100)
    assert 0.4 < np.mean((t_f >= -50) & (t_f <= 20)) < 0.7
    assert max(draw_visibility(rng, 0)[0] for _ in range(300)) == 0


@pytest.mark.parametrize("t_f", [-20, 50])
def test_a_specialist_sees_one_place_of_the_plane_only(store: Path, t_f: int) -> None:
    config = dataclasses.replace(presets.duet_tiny_run(), only_t_f=t_f, only_k=5)
    training = DuetTraining(config, store)
    for step in range(4):
        batch = training.draw_part(step, 0)
        age = torch.arange(batch.horizon.shape[1]) - batch.horizon
        assert age.min() == -t_f
        assert age.max() == 4 - t_f


def test_a_quarter_of_the_batches_is_long_and_most_listen_first() -> None:
    config = presets.duet_cpu()
    layouts = [draw_layout(np.random.default_rng([1, i]), config, config.batch) for i in range(800)]
    assert 0.2 < np.mean([x.frames == 2 * config.frames for x in layouts]) < 0.3
    assert 0.65 < np.mean([x.pre > 0 for x in layouts]) < 0.75
    assert all(x.batch * x.frames == config.batch * config.frames for x in layouts)


def test_spoilt_histories_keep_pads_and_hide_or_change_the_rest() -> None:
    config = dataclasses.replace(presets.duet_cpu(), noisy_tokens=0.1)
    previous = to_columns(torch.arange(400).view(1, 4, 100), 1024, 100)[0]
    spoilt = [spoil_history(previous, np.random.default_rng(i), config, 1024, 1025) for i in range(400)]
    assert all(torch.equal(s == 1024, previous == 1024) for s in spoilt)
    whole = np.mean([bool(((s == 1025) | (previous == 1024)).all()) for s in spoilt])
    assert abs(whole - config.hidden_history) < 0.06
    touched = [s for s in spoilt if not (s == 1025).any()]
    changed = np.mean([float((s != previous).float().mean()) for s in touched])
    assert 0.07 < changed < 0.12


def test_cross_entropy_judges_level_l_of_column_s_by_frame_s_minus_l() -> None:
    codes = torch.randint(0, 7, (2, 3, 9), generator=torch.Generator().manual_seed(0))
    columns = to_columns(codes, 0, 9)
    logits = torch.nn.functional.one_hot(columns, 7).transpose(1, 2).float() * 50  # [B, T, K, V]
    assert cross_entropy(logits, codes).abs().max() < 1e-5
    flat = cross_entropy(torch.zeros(2, 9, 3, 7), codes)
    torch.testing.assert_close(flat, torch.full((2, 3), float(np.log(7))))


def test_batches_are_a_pure_function_of_seed_and_step(store: Path) -> None:
    config = presets.duet_tiny_run()
    first, again = (DuetTraining(config, store).draw_part(3, 0) for _ in range(2))
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.previous, again.previous)
    assert not torch.equal(DuetTraining(config, store).draw_part(4, 0).codes, first.codes)


def test_a_run_cut_in_two_ends_with_the_weights_of_one_in_one_piece(store: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(presets.duet_tiny_run(), steps=6, batch=2, steps_per_epoch=3)
    runs.train(config, store, tmp_path / "whole", resume=False, progress=False)
    torch.manual_seed(config.seed)
    half = DuetTraining(config, store)
    half.loop = dataclasses.replace(half.loop, steps=3)
    runs.fit(half, runs.remember(config, tmp_path / "cut"), progress=False)
    runs.train(config, store, tmp_path / "cut", resume=True, progress=False)
    losses = [logged(tmp_path / name, "train/loss") for name in ("whole", "cut")]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    whole, cut = runs.load_model(tmp_path / "whole"), runs.load_model(tmp_path / "cut")
    for name, value in whole.state_dict().items():
        # Muon makes steps of full size of gradients that are hardly more than rounding.
        torch.testing.assert_close(cut.state_dict()[name], value, msg=name, rtol=1e-3, atol=3e-4)


@pytest.mark.slow
def test_the_model_learns_to_copy_what_it_hears(store: Path) -> None:
    """The gate before any long run: x = y's own codes, a little ahead, must become nearly free at level 1."""
    size = dataclasses.replace(duet_tiny(), recall=False, ears="codes", code_latent=8, width=64)
    torch.manual_seed(0)
    training = DuetTraining(dataclasses.replace(presets.duet_tiny_run(), model=size, rate=5e-3), store)
    codebook: Any = training.model.front.codebook
    codebook.normal_().mul_(torch.tensor([1.0, 0.3, 0.1, 0.03])[:, None, None])  # residual levels shrink
    optimizers = training.configure_optimizers().parts
    generator = torch.Generator().manual_seed(0)
    view = Visibility(0, torch.arange(30).expand(8, -1) + 5, torch.zeros(8, dtype=torch.bool))
    first = None
    for _ in range(150):
        codes = torch.randint(0, 32, (8, 4, 30), generator=generator)
        columns = to_columns(codes, training.model.pad, 30)
        pad = torch.full_like(columns[:, :, :1], training.model.pad)
        previous = torch.cat([pad, columns[:, :, :-1]], dim=2)
        logits = training.model(codes.transpose(1, 2), previous, torch.zeros(8, dtype=torch.long), view)
        nats = cross_entropy(logits, codes).mean(0)
        first = nats.detach() if first is None else first
        training.model.zero_grad()
        nats.sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    assert first is not None
    assert float(first[0]) > 3.0
    assert float(nats.detach()[0]) < 0.2


@pytest.mark.parametrize(
    ("setting", "field"),
    [("steps=7", "steps"), ("model.width=64", "model"), ("level_weights=[1, 0, 0, 0]", "level_weights")],
)
def test_fields_can_be_overridden(setting: str, field: str) -> None:
    config = presets.duet_cpu()
    changed = runs.override(config, [setting])
    assert getattr(changed, field) != getattr(config, field)
    assert isinstance(changed.model, DuetConfig)


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(ValueError, match="no field 'widht'"):
        runs.override(presets.duet_cpu(), ["model.widht=64"])
