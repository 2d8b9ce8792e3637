"""The listening gap: against the model's own forward pass, and on a model that is known to listen."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bandmate.checkpoint import Bundle
from bandmate.configs import decoder_tiny
from bandmate.data.tokens import TokenStore
from bandmate.model.decoder import Decoder
from bandmate.model.duet_network import Visibility
from bandmate.model.teacher import cross_entropy, horizons, window_inputs
from bandmate.sweep.figures import listening_figure
from bandmate.sweep.listening import (
    ListeningConfig,
    Nats,
    draw_examples,
    hearing_once,
    markdown,
    measure,
    nats,
    report,
)

CONFIG = ListeningConfig(t_f=(-0.4, 0.0, 0.4), k=(0.02, 0.2), windows=2, frames=100, pre=10, batch=3)


@pytest.fixture(scope="module")
def measured(bundle: Bundle, store: Path) -> Nats:
    return measure(bundle.model, TokenStore(store, "test"), CONFIG)


def test_each_number_is_that_of_a_plain_forward_pass(bundle: Bundle, store: Path, measured: Nats) -> None:
    tokens, model = TokenStore(store, "test"), bundle.model
    examples, _ = draw_examples(tokens, CONFIG)
    assert measured.own.shape == measured.other.shape == (6, 8, 4)
    for number, t_f, k in ((0, -20, 1), (2, 20, 1), (4, 0, 10)):
        for row in (0, 5):
            own, other = examples[row], tokens.control(examples[row], 0)
            horizon = torch.from_numpy(horizons(100, t_f, k, 0, 120))[None]
            for found, example, deaf in (
                (measured.own[number], own, False),
                (measured.other[number], other, False),
                (measured.deaf, own, True),
            ):
                x, codes, instrument, previous = window_inputs([example], model.pad)
                with torch.inference_mode():
                    logits = model(x, previous, instrument, Visibility(-10, horizon, torch.tensor([deaf])))
                np.testing.assert_allclose(found[row], cross_entropy(logits, codes)[0], rtol=1e-5)


def test_the_heard_tower_runs_once_and_the_model_is_left_as_it_was(bundle: Bundle, store: Path) -> None:
    model, runs = bundle.model, []
    examples, _ = draw_examples(TokenStore(store, "test"), CONFIG)
    inputs = window_inputs(examples[:2], model.pad)
    handle = model.heard_last.register_forward_hook(lambda *_: runs.append(1))
    with torch.inference_mode(), hearing_once(model):
        first = [nats(model, inputs, spec, CONFIG) for spec in CONFIG.specs]
    assert len(runs) == 1
    with torch.inference_mode():
        again = [nats(model, inputs, spec, CONFIG) for spec in CONFIG.specs]
    handle.remove()
    assert len(runs) == 1 + len(CONFIG.specs)
    np.testing.assert_allclose(first, again, rtol=1e-5)
    assert "hear_layer" not in vars(model)


def test_windows_are_balanced_over_songs_and_batches_do_not_matter(
    bundle: Bundle, store: Path, measured: Nats
) -> None:
    assert sorted(measured.songs) == [f"song{index}" for index in range(4) for _ in range(2)]
    other = ListeningConfig(**{**vars(CONFIG), "batch": 8})
    np.testing.assert_allclose(
        measure(bundle.model, TokenStore(store, "test"), other).own, measured.own, rtol=1e-5
    )


def made_up() -> tuple[Nats, ListeningConfig]:
    """Five songs whose gap at level 1 is 0.1 at -0.4 s, 0.2 at 0 and 0.3 at +0.4 s, give or take the song."""
    songs = np.repeat([f"song{index}" for index in range(5)], 2)
    part = np.repeat(np.linspace(-0.02, 0.02, 5), 2)
    gap = np.tile([0.1, 0.2, 0.3], 2)[:, None] + part
    own = np.full((6, 10, 4), 3.0)
    other = own + np.stack([gap, *[np.zeros_like(gap)] * 3], axis=2)
    return Nats(own, other, np.full((10, 4), 4.0), songs, songs, np.arange(10), ()), CONFIG


def test_a_known_gap_is_reported() -> None:
    measured, config = made_up()
    result = report(measured, config)
    assert (result["songs"], result["windows"], len(result["rows"])) == (5, 10, 24)
    row = result["rows"][0]
    assert (row["t_f"], row["k"], row["level"]) == (-0.4, 0.02, 1)
    assert row["other_minus_own"]["mean"] == pytest.approx(0.1)
    assert 0.08 <= row["other_minus_own"]["low"] < 0.1 < row["other_minus_own"]["high"] <= 0.12
    assert row["deaf_minus_own"]["mean"] == pytest.approx(1)
    assert result["rows"][1]["other_minus_own"]["mean"] == 0
    assert [trend["rho"] for trend in result["spearman"]] == pytest.approx([1, 1])
    assert [trend["low"] for trend in result["spearman"]] == pytest.approx([1, 1])


def test_table_and_figure() -> None:
    result = report(*made_up())
    text = markdown(result)
    assert "| −0.4 | 0.02 | 3.000 | +0.100 [+0.0" in text
    assert "k = 0.2 s: rho = 1.00 [1.00, 1.00]" in text
    assert listening_figure(result).startswith(b"\x89PNG")


def test_songs_that_are_left_out_are_told() -> None:
    measured, config = made_up()
    assert "Left out" not in markdown(report(measured, config))
    result = report(replace(measured, skipped=("short", "still")), config)
    assert result["skipped_songs"] == ["short", "still"]
    assert markdown(result).endswith("is long enough and sounds: 2 songs: short, still.\n")


def test_what_does_not_fit_is_told(bundle: Bundle, store: Path) -> None:
    tokens = TokenStore(store, "test")
    with pytest.raises(ValueError, match="fewer than two songs"):
        measure(bundle.model, TokenStore(store, "valid"), CONFIG)
    with pytest.raises(ValueError, match="fewer than two songs"):
        measure(bundle.model, tokens, ListeningConfig(frames=4000))
    others: Any = Decoder(decoder_tiny())  # has no PAD of its own
    with pytest.raises(ValueError, match="of the kind duet, and this one is of the kind decoder"):
        measure(others, tokens, CONFIG)
    tokens.config = type(tokens.config)(codes=7)
    with pytest.raises(ValueError, match="7 codes per level, the model 32"):
        measure(bundle.model, tokens, CONFIG)


def test_measuring_needs_no_training_packages() -> None:
    code = "import sys, bandmate.sweep.listening; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
