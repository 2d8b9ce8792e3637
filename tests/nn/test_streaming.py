"""Every streaming layer: any split equals one pass, and later input never alters earlier output."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bandmate.nn.conv import CausalDepthwiseConv, ConvNeXtStack
from bandmate.nn.spectrogram import CausalLogSpectrum, dequantise_db, log_bands, quantise_db

HOP = 160
LAYERS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "depthwise": (lambda: CausalDepthwiseConv(6, kernel=5), 0),
    "convnext": (lambda: ConvNeXtStack(6, depth=3, kernel=4), 0),
    "long spectrum": (lambda: CausalLogSpectrum(1024, HOP, 20, 60.0, 12_000.0), HOP),
    "short spectrum": (lambda: CausalLogSpectrum(256, HOP, 20, 60.0, 12_000.0), HOP),
}


def make(name: str, frames: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    build, hop = LAYERS[name]
    x = (
        torch.randn(2, frames * hop, dtype=torch.float64)
        if hop
        else torch.randn(2, frames, 6, dtype=torch.float64)
    )
    return build().double(), x


def in_pieces(layer: nn.Module, x: Tensor, sizes: list[int], hop: int) -> Tensor:
    state: Any = layer.init_state(x.shape[0])  # type: ignore[operator]
    pieces, at = [], 0
    for size in sizes:
        stop = at + size * (hop or 1)
        y, state = layer(x[:, at:stop], state)
        pieces.append(y)
        at = stop
    return torch.cat(pieces, dim=1)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("sizes", [[1] * 24, [5, 1, 18], [23, 1], [2, 2, 20]])
def test_any_split_equals_one_pass(name: str, sizes: list[int]) -> None:
    layer, x = make(name, 24)
    whole, _ = layer(x)
    torch.testing.assert_close(in_pieces(layer, x, sizes, LAYERS[name][1]), whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", LAYERS)
def test_later_input_never_alters_earlier_output(name: str) -> None:
    layer, x = make(name, 24)
    hop = LAYERS[name][1] or 1
    changed = x.clone()
    changed[:, 10 * hop :] += 1.0
    before, after = layer(x)[0], layer(changed)[0]
    assert torch.equal(before[:, :10], after[:, :10])
    assert not torch.equal(before[:, 10:], after[:, 10:])


def test_full_scale_sine_is_loudest_in_its_own_band() -> None:
    spectrum = CausalLogSpectrum(4096, 640, 96, 27.5, 27.5 * 2 ** (95 / 12))
    time = torch.arange(32_000) / 32_000
    levels, _ = spectrum(torch.sin(2 * torch.pi * 880.0 * time)[None])
    assert int(levels[0, -1].argmax()) == 60  # A5 is five octaves above A0
    assert -10.0 < float(levels[0, -1, 60]) <= 0.0  # the band is a mean over a few bins


def test_silence_reads_the_floor() -> None:
    levels, _ = CausalLogSpectrum(640, 320, 40, 60.0, 15_000.0)(torch.zeros(1, 6400))
    torch.testing.assert_close(levels, torch.full_like(levels, -110.0))


def test_bands_weigh_one_each_and_none_is_empty() -> None:
    bands = log_bands(96, 4096, 32_000, 27.5, 6_600.0)
    torch.testing.assert_close(bands.sum(0), torch.ones(96))
    assert (bands >= 0).all()


def test_eight_bit_levels_lose_a_quarter_of_a_db_at_most() -> None:
    levels = torch.linspace(-110, 17, 1000)
    assert (dequantise_db(quantise_db(levels)) - levels).abs().max() <= 0.2501
