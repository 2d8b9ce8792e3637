"""Training of the paper's models: windows, parts, sizes taken from the store, averages, samples, what is refused."""

import contextlib
import dataclasses
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from bandmate.checkpoint import load_bundle
from bandmate.configs import decoder_tiny, preset
from bandmate.data.tokens import TokenStore
from bandmate.model.teacher import cell_nats, heard_codes
from bandmate.nn.linear import Linear
from bandmate.train import presets, runs
from bandmate.train.flops import Counter, step_flops
from bandmate.train.loop import cosine_with_warmup
from bandmate.train.machine import Machine
from bandmate.train.paper import PaperTrainConfig, PaperTraining
from bandmate.train.samples import Samples, picture
from tests.train.golden import tensorboard_tags


def small(**changes: Any) -> PaperTrainConfig:
    return dataclasses.replace(presets.LM["decoder-tiny"](), steps=4, steps_per_epoch=2, **changes)


def in_memory(store: Path, **changes: Any) -> PaperTraining:
    return small(**changes).build(store)


@pytest.mark.parametrize(
    "name", ["decoder", "prefix-decoder", "offline-prefix", "stemgen", "encoder-decoder"]
)
def test_presets_carry_the_papers_hyperparameters(name: str) -> None:
    config = presets.LM[name]()
    assert config.batch == (96 if name == "stemgen" else 64)
    assert config.steps == (200_000 if name in ("prefix-decoder", "stemgen") else 100_000)
    assert (config.rate, config.rate * config.floor, config.warmup) == (1e-4, pytest.approx(1e-5), 10_000)
    assert (config.precision, config.clip, config.frames) == ("bf16-mixed", 1.0, 500)
    assert config.deaf_share == (0.2 if name in ("stemgen", "encoder-decoder") else 0.0)
    assert config.batch % config.parts == 0


def test_the_rate_rises_for_ten_thousand_steps_and_falls_to_a_tenth() -> None:
    rates = [
        1e-4 * cosine_with_warmup(step, 100_000, 10_000, 0.1) for step in (0, 4999, 9999, 55_000, 99_999)
    ]
    assert rates == pytest.approx([1e-8, 5e-5, 1e-4, 5.5e-5, 1e-5], rel=1e-3)


def test_sizes_are_those_of_the_stores_codec(code_store: Path) -> None:
    other = dataclasses.replace(decoder_tiny(), codes=64, latent=5)
    training = in_memory(code_store, model=other)
    assert (training.config.model.codes, training.config.model.latent) == (32, 8)
    table = torch.from_numpy(TokenStore(code_store).codebook())
    assert torch.equal(training.model.input.codebook, table)


def test_parts_are_pure_functions_of_seed_step_and_part(code_store: Path) -> None:
    training, again = in_memory(code_store), in_memory(code_store)
    first = training.draw_part(3, 1)
    assert all(torch.equal(a, b) for a, b in zip(first[:4], again.draw_part(3, 1)[:4]))
    for other in (
        training.draw_part(3, 0),
        training.draw_part(2, 1),
        in_memory(code_store, seed=1).draw_part(3, 1),
    ):
        assert not torch.equal(other.y, first.y)
    assert len(first.y) == training.config.batch // training.config.parts


def test_x_is_as_long_as_the_model_asks_for(code_store: Path) -> None:
    ahead = dataclasses.replace(decoder_tiny(), t_f=10)
    training = in_memory(code_store, model=ahead)
    pre, post = training.model.input_span(30)
    part = training.draw_part(0, 0)
    assert part.x.shape == (4, 4, pre + 30 + post)
    assert part.y.shape == (4, 4, 30)


def test_cells_without_loss_do_not_count() -> None:
    logits = torch.zeros(2, 3, 4, 8)
    wanted = torch.full((2, 3, 4), -100)
    wanted[0, 1, 2] = 5
    nats, cells = cell_nats(logits, wanted)
    assert cells.tolist() == [0, 0, 1, 0]
    assert nats.tolist() == pytest.approx([0, 0, float(np.log(8)), 0])


def test_a_store_without_codes_of_mixtures_is_refused(code_store: Path) -> None:
    window = TokenStore(code_store).window(0, 0, 30)
    with pytest.raises(ValueError, match="prepare it again"):
        heard_codes([dataclasses.replace(window, x_codes=None)])


def test_a_batch_that_cannot_be_cut_is_refused(code_store: Path) -> None:
    with pytest.raises(ValueError, match="batch of 8 windows cannot be cut into 3 parts"):
        in_memory(code_store, parts=3)


@pytest.mark.parametrize(
    ("machine", "parts", "accumulates", "says"),
    [
        (Machine(strategy="zero"), 1, True, "unknown strategy 'zero'"),
        (Machine(devices=4), 2, True, "4 processes cannot share a step of 2 parts"),
        (Machine(devices=2), 4, False, "set parts to parts=2"),
        (Machine(devices=0), 1, True, "must be 1 or more"),
        (Machine(strategy="fsdp"), 1, True, "take --strategy ddp"),
        (Machine(wandb="project"), 1, True, "pip install wandb"),
    ],
)
def test_machines_that_cannot_do_it_are_refused(
    machine: Machine, parts: int, accumulates: bool, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=re.escape(says)):
        machine.check(parts, accumulates, shards=False)


def test_weights_are_averaged_bundled_and_heard(
    code_store: Path, tmp_path: Path, spectral: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """One run with everything on: averages, compiled layers, samples; then bundles of the last and the averaged weights."""
    caplog.set_level(logging.WARNING)
    config = small(ema=0.5, compile="eager", frames=15)
    runs.train(config, code_store, tmp_path / "run", False, False, callbacks=(Samples(spectral),))
    last, average = (runs.load_model(tmp_path / "run", average=which) for which in (False, True))
    assert torch.equal(last.input.codebook, average.input.codebook)
    assert not torch.equal(last.heads.project.weight, average.heads.project.weight)
    runs.bundle(spectral, average, tmp_path / "bundle", {"temperature": 1.0, "top_k": 9, "guidance": 1.0}, {})
    played = load_bundle(str(tmp_path / "bundle")).model
    assert torch.allclose(played.heads.project.weight, average.heads.project.weight, atol=1e-3)
    tags = tensorboard_tags(tmp_path / "run")
    assert {"clip0/played", "clip1/true", "clip0/heard"} <= tags["audio"] & tags["images"]


def test_the_average_follows_the_weights_by_its_decay(code_store: Path, tmp_path: Path) -> None:
    training = in_memory(code_store, ema=0.75)
    training.configure_model()
    assert training.average is not None
    weight, kept = training.model.heads.project.weight, training.average.module.heads.project.weight
    with torch.no_grad():
        for value in (1.0, 2.0, 3.0):  # the first is taken over as it is
            weight.fill_(value)
            training.on_train_batch_end(None, None, 1)
            training._batch_index += 1
    assert float(kept[0, 0]) == pytest.approx(0.75 * 1.0 + 0.25 * 3.0) or float(kept[0, 0]) > 1.0
    assert training.best is training.average.module


def test_a_run_without_averages_says_so(code_store: Path, tmp_path: Path) -> None:
    runs.train(small(), code_store, tmp_path, False, False)
    with pytest.raises(ValueError, match="keeps no averaged weights"):
        runs.load_model(tmp_path, average=True)
    with pytest.raises(ValueError, match="no section 'codec'"):
        runs.load_codec(tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step(code_store: Path, tmp_path: Path) -> None:
    training = in_memory(code_store)
    loss = training.loss

    def poisoned(batch: Any) -> Any:
        value, nats = loss(batch)
        return value * (torch.nan if training.step == 3 else 1.0), nats

    training.loss = poisoned  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError, match="not finite at step 3 "):
        runs.fit(training, runs.remember(training.config, tmp_path), progress=False)
    assert all(torch.isfinite(value).all() for value in runs.load_model(tmp_path).state_dict().values())


def test_counted_operations_are_six_per_parameter_and_token_plus_attention(code_store: Path) -> None:
    training = in_memory(code_store)
    batch = training.draw_part(0, 0)
    with Counter() as counted:
        training.loss(batch)[0].backward()
    model, c, (rows, _, frames) = training.model, training.config.model, batch.y.shape
    heads = model.heads.project.weight.numel()
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, Linear | torch.nn.Linear))
    expected = step_flops(
        weights - heads, frames, heads, frames, c.layers, c.width
    )  # t_f = 0: a step a column
    # The projection of the input into the first layer needs no gradient of its own input.
    assert counted.flops == pytest.approx(rows * expected, rel=0.1)


@pytest.mark.parametrize("name", ["decoder-tiny", "stemgen-tiny", "encoder-decoder-tiny"])
def test_counting_leaves_every_bit_of_a_step_as_it_is(name: str, code_store: Path) -> None:
    """A resumed run counts at another step than one that was not killed, and must still be equal to it."""
    training = presets.LM[name]().build(code_store)
    batch, gradients = training.draw_part(0, 0), []
    for counting in (contextlib.nullcontext(), Counter()):
        torch.manual_seed(0)
        with counting:
            training.loss(batch)[0].backward()
        gradients.append([p.grad for p in training.model.parameters() if p.grad is not None])
        training.zero_grad()
    assert len(gradients[0]) > 10
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_a_resumed_run_is_the_whole_one_bit_by_bit(
    code_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, averages and the optimiser's state; operations, whose count runs uncompiled, are counted once."""
    counted = []
    monkeypatch.setattr(
        Counter, "__enter__", lambda self: counted.append(self) or TorchDispatchMode.__enter__(self)
    )
    checkpoints = []
    for name, stops in (("whole", (4,)), ("cut", (2, 4))):
        for stop in stops:
            torch.manual_seed(0)
            training = in_memory(code_store, ema=0.5)
            training.loop = dataclasses.replace(training.loop, steps=stop)
            runs.fit(training, tmp_path / name, resume=True, progress=False)
        checkpoints.append(torch.load(tmp_path / name / "last.ckpt", weights_only=False))
    assert len(counted) == 2
    assert checkpoints[0]["operations"]["flops"] == checkpoints[1]["operations"]["flops"] > 0
    for part in ("state_dict", "optimizer_states"):
        (one, shape), (other, its_shape) = (tree_flatten(kept[part]) for kept in checkpoints)
        assert shape == its_shape
        pairs = [pair for pair in zip(one, other, strict=True) if isinstance(pair[0], torch.Tensor)]
        assert len(pairs) > 20
        assert all(torch.equal(*pair) for pair in pairs)


def test_a_tone_is_one_line_in_its_picture() -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(32_000) / 32_000)
    image = picture(tone)[0]
    assert image.min() >= 0
    assert image.max() == 1
    assert abs((len(image) - 1 - image[:, 50].argmax()) * 62.5 - 1000) < 63


def test_unknown_presets_are_told_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'decoder-tiny'"):
        preset(presets.LM, "decoder_tiny")
