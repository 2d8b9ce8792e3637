"""Training of the dac codec: it learns, resumes to the same weights, clips, and says when a codebook dies."""

import csv
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bandmate.codec.dac import DacCodec
from bandmate.train import presets, runs
from bandmate.train.codec import parts_of
from bandmate.train.dac import DacTraining
from bandmate.train.loop import clip
from bandmate.train.samples import Samples
from tests.train.golden import tensorboard_tags


@pytest.fixture(scope="module")
def songs(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered tracks to learn from, and one to be judged by."""
    folder = tmp_path_factory.mktemp("songs")
    for split, names in {"train": ("t0", "t1"), "valid": ("t2",)}.items():
        (folder / split).mkdir()
        for name in names:
            shutil.copy(rendered / f"{name}.npy", folder / split)
    return folder


@pytest.fixture(scope="module")
def finished(songs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dac") / "run"
    config = dataclasses.replace(presets.dac_tiny_run(), sample_frames=30)
    runs.train(config, songs, out, resume=False, progress=False, callbacks=(Samples(),))
    return out


def curve(run: Path, name: str) -> list[float]:
    """All values logged under a name, in order."""
    files = [file.read_text().splitlines() for file in sorted(run.rglob("metrics.csv"))]
    rows = [row for lines in files for row in csv.DictReader(lines)]
    return [float(row[name]) for row in rows if row.get(name)]


def test_the_tiny_preset_learns_on_songs_it_was_not_shown(finished: Path) -> None:
    distance, loss = curve(finished, "valid/mel"), curve(finished, "train/loss")
    assert len(distance) == 3
    assert distance[-1] < 0.9 * distance[0]
    assert np.mean(loss[-6:]) < 0.9 * np.mean(loss[:6])
    for name in ("mel", "feature", "adversarial", "commitment", "codebook", "discriminator"):
        assert len(curve(finished, f"train/{name}")) == 24
    assert len(curve(finished, "codebook/perplexity5")) == 3


def test_unseen_songs_are_heard_before_and_after_coding(finished: Path) -> None:
    tags = tensorboard_tags(finished)
    assert {"crop0/true", "crop0/coded", "crop1/true", "crop1/coded"} <= tags["audio"] & tags["images"]


def test_the_run_is_read_back_as_the_codec_that_it_trained(finished: Path) -> None:
    codec = runs.load_codec(finished)
    assert isinstance(codec, DacCodec)
    assert codec.config == presets.dac_tiny_run().codec
    with torch.inference_mode():
        audio = codec.decode(codec.encode(torch.randn(1, 6400) * 0.1))
    assert torch.isfinite(audio).all()


def test_both_sides_learn_and_a_run_cut_off_resumes_to_the_same(
    finished: Path, songs: Path, tmp_path: Path
) -> None:
    config = presets.dac_tiny_run()
    for stop in (8, 24):
        torch.manual_seed(config.seed)
        module = DacTraining(config, songs)
        before = {name: value.clone() for name, value in module.state_dict().items()}
        module.loop = dataclasses.replace(config, steps=stop)
        runs.fit(module, runs.remember(config, tmp_path), resume=True, progress=False)
    _, whole = runs.read_run(finished)
    _, pieces = runs.read_run(tmp_path)
    assert set(whole) == set(pieces)
    for name, value in whole.items():
        assert torch.equal(pieces[name], value), name
    for part in ("codec.encoder", "codec.quantizer", "codec.decoder", "adversaries"):
        assert any(not torch.equal(before[name], whole[name]) for name in whole if name.startswith(part)), (
            part
        )


def test_gradients_are_clipped_on_both_sides(
    songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(
        presets.dac_tiny_run(), steps=1, steps_per_epoch=1, clip=0.01, adversary_clip=0.002
    )
    norms = []

    def clip_and_measure(parameters: Iterator[torch.Tensor], limit: float) -> None:
        given = list(parameters)
        clip(iter(given), limit)
        norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in given if p.grad is not None])))

    monkeypatch.setattr("bandmate.train.dac.clip", clip_and_measure)
    runs.fit(config.build(songs / "train"), tmp_path, progress=False)
    assert norms == pytest.approx([0.002, 0.01], rel=1e-3)  # discriminators, codec


def test_a_codebook_that_collapses_is_told(
    songs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    module = DacTraining(presets.dac_tiny_run(), songs)
    logged: dict[str, float] = {}
    monkeypatch.setattr(module, "log", lambda name, value: logged.update({name: value}))
    codes = torch.arange(64).expand(2, 5, 64).clone() % 32
    codes[:, 2] = 7
    module.count(codes)
    module.on_train_epoch_end()
    said = capsys.readouterr().out
    assert "codebook 3 is hardly used: perplexity 1.0 of 32" in said
    assert said.count("warning") == 1
    assert logged["codebook/perplexity1"] == pytest.approx(32.0)
    assert int(module.heard.sum()) == 0


def test_quantizer_dropout_is_drawn_for_its_share_of_the_crops(songs: Path) -> None:
    config = dataclasses.replace(presets.dac_tiny_run(), batch=40)
    module = DacTraining(config, songs)
    depth = module.depth(3, 0)
    assert torch.equal(depth, module.depth(3, 0))
    assert not torch.equal(depth, module.depth(4, 0))
    assert depth[20:].tolist() == [5] * 20
    assert set(depth[:20].tolist()) == {1, 2, 3, 4, 5}
    assert DacTraining(dataclasses.replace(config, dropout=0.0), songs).depth(0, 0).tolist() == [5] * 40


def test_parts_of_a_batch_differ_and_must_fit(songs: Path) -> None:
    module = DacTraining(dataclasses.replace(presets.dac_tiny_run(), parts=2), songs)
    assert module.draw_part(0, 0).shape == (1, 5120)
    assert not torch.equal(module.draw_part(0, 0), module.draw_part(0, 1))
    with pytest.raises(ValueError, match="3 parts"):
        DacTraining(dataclasses.replace(presets.dac_tiny_run(), parts=3), songs)


def test_songs_are_found_in_parts_or_alone(songs: Path, rendered: Path) -> None:
    assert parts_of(songs) == parts_of(songs / "train") == (songs / "train", songs / "valid")
    assert parts_of(rendered) == (rendered, None)
