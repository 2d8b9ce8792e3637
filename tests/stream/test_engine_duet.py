"""The engine on the real codec and the real model, small and with random weights."""

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from bandmate.codec.spectral import SpectralCodec, SpectralConfig
from bandmate.generate import frames_needed, generate
from bandmate.model.duet import Duet
from bandmate.model.duet_network import DuetConfig
from bandmate.model.sampling import Sampler
from bandmate.spec import StreamSpec
from bandmate.stream.engine import Engine
from tests.stream.fakes import music

SPECS = [(-20, 5), (-4, 1), (0, 1), (7, 4), (50, 50), (-60, 30)]


@cache
def codec() -> SpectralCodec:
    torch.manual_seed(0)
    config = SpectralConfig(
        fast_width=16, slow_width=16, slow_depth=1, fast_depth=1, decoder_fast_width=16, decoder_fast_depth=1,
        latent=8, codes=64,
    )  # fmt: skip
    codec = roughened(SpectralCodec(config))
    torch.nn.init.normal_(codec.quantizer.codebook)
    for head in (codec.decoder.amplitude, codec.decoder.noise):
        torch.nn.init.constant_(head.bias, -7.0)  # so quiet that nothing is limited
    return codec


@cache
def duet(ears: str) -> Duet:
    torch.manual_seed(1)
    config = DuetConfig(
        width=32, layers=2, heads=2, kv_heads=1, hidden=48, window=40, codes=64, ears=ears, code_latent=8
    )  # type: ignore[arg-type]
    return roughened(Duet(config))


def roughened(module: Any) -> Any:
    """Fresh networks begin with layers of zeros, through which nothing is seen: give every weight a value."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module.eval()


def stream(
    ears: str, spec: StreamSpec, samples: np.ndarray, size: int, sampler: Sampler, first_column: int = 0
) -> tuple[np.ndarray, torch.Tensor]:
    """Output of the engine [S] and the codes it played [1, K, T], input pushed in blocks of this size."""
    codes: list[torch.Tensor] = []
    engine = Engine(codec(), duet(ears), spec, sampler, 3, first_column=first_column)
    decode = engine._decoder.decode
    engine._decoder.decode = lambda c: (codes.append(c), decode(c))[1]  # type: ignore[method-assign]
    blocks = [b for i in range(0, len(samples), size) for b in engine.push(samples[i : i + size])]
    blocks += engine.finish()
    assert all(a.start_sample + len(a.samples) == b.start_sample for a, b in pairwise(blocks))
    return np.concatenate([b.samples for b in blocks]), torch.cat(codes, 2)


@pytest.mark.parametrize(("ears", "guidance"), [("mel", 1.5), ("codes", 1.0)])
@pytest.mark.parametrize(("t_f", "k"), SPECS)
def test_engine_equals_the_oracle_and_the_whole_clip(ears: str, t_f: int, k: int, guidance: float) -> None:
    spec, sampler, samples = StreamSpec(t_f, k), Sampler(guidance=guidance, seed=11), music(1.5)
    out, codes = stream(ears, spec, samples, 999, sampler)
    frames = 75
    padded = torch.zeros(1, max(frames, frames_needed(spec, frames)) * 640)
    padded[0, : len(samples)] = torch.from_numpy(samples)
    model = duet(ears)
    with torch.inference_mode():
        if ears == "mel":
            x, _ = model.hear(padded, model.init_ears(1))
        else:
            x = codec().encode(padded).transpose(1, 2)
        oracle = generate(model, x, spec, sampler, 3, frames)
        audio = codec().decode(codes)[0, : len(out)].numpy()
    assert torch.equal(codes[:, :, :frames], oracle)
    assert out.shape == samples.shape
    assert 0.01 < np.abs(out).max() < 0.98
    np.testing.assert_allclose(out[:-480], audio[:-480], atol=1e-5)


@pytest.mark.parametrize(("t_f", "k"), SPECS)
def test_listening_first_equals_the_oracle(t_f: int, k: int) -> None:
    spec, first, frames = StreamSpec(t_f, k), 31, 75
    samples, sampler, model = music(1.5), Sampler(seed=2), duet("mel")
    out, codes = stream("mel", spec, samples, 999, sampler, first_column=first)
    padded = torch.zeros(1, max(frames, frames_needed(spec, frames, first_column=first)) * 640)
    padded[0, : len(samples)] = torch.from_numpy(samples)
    x, _ = model.hear(padded, model.init_ears(1))
    oracle = generate(model, x, spec, sampler, 3, frames, first_column=first)
    assert torch.equal(codes[:, :, :frames], oracle)
    assert (oracle[:, :, :first] == -1).all()
    assert (oracle[:, :, first:] >= 0).all()
    assert not out[: first * 640].any()
    assert out[first * 640 :].any()


@pytest.mark.parametrize(("t_f", "k"), SPECS)
def test_block_sizes_do_not_matter(t_f: int, k: int) -> None:
    spec, samples = StreamSpec(t_f, k), music(1.5)
    one, codes = stream("mel", spec, samples, 48_000, Sampler())
    two, again = stream("mel", spec, samples, 333, Sampler())
    np.testing.assert_array_equal(one, two)
    assert torch.equal(codes, again)


def test_the_model_listens() -> None:
    """Else the tests above would show nothing: other input, other codes."""
    spec = StreamSpec(0, 5)
    _, one = stream("mel", spec, music(1.5), 999, Sampler(temperature=0.3))
    _, two = stream("mel", spec, music(1.5, seed=5), 999, Sampler(temperature=0.3))
    assert (one != two).float().mean() > 0.1
