"""The paper's streaming models in the engine: what they play is what the oracle plays, whatever the blocks."""

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from bandmate.checkpoint import save_bundle
from bandmate.cli import main
from bandmate.codec.spectral import SpectralCodec
from bandmate.configs import decoder_tiny, encoder_decoder_tiny, prefix_decoder_tiny, spectral_tiny
from bandmate.generate import frames_needed, generate
from bandmate.model.decoder import Decoder
from bandmate.model.encoder_decoder import EncoderDecoder
from bandmate.model.prefix_decoder import PrefixDecoder
from bandmate.model.sampling import Sampler
from bandmate.spec import StreamSpec
from bandmate.stream.engine import Engine
from bandmate.stream.warmup import warm_up
from tests.stream.fakes import music

SYSTEMS: dict[str, tuple[Any, Any]] = {
    "decoder": (decoder_tiny, Decoder),
    "prefix_decoder": (prefix_decoder_tiny, PrefixDecoder),
    "encoder_decoder": (encoder_decoder_tiny, EncoderDecoder),
}
CASES = [
    ("decoder", -20, 1), ("decoder", 0, 1), ("decoder", 7, 1), ("prefix_decoder", -20, 5),
    ("prefix_decoder", 7, 4), ("prefix_decoder", 50, 50), ("encoder_decoder", -4, 1), ("encoder_decoder", 7, 4),
]  # fmt: skip


@pytest.fixture(scope="module")
def codec() -> SpectralCodec:
    torch.manual_seed(0)
    codec = SpectralCodec(spectral_tiny())
    for parameter in codec.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    torch.nn.init.normal_(codec.quantizer.codebook)
    return codec.eval()


def model_of(kind: str, t_f: int, k: int, codec: SpectralCodec) -> Any:
    torch.manual_seed(1)
    config, module = SYSTEMS[kind]
    model = module(dataclasses.replace(config(), t_f=t_f, k=k), codec.quantizer.codebook)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def stream(codec: SpectralCodec, model: Any, samples: np.ndarray, size: int, **options: Any) -> torch.Tensor:
    """The codes [1, K, T] that the engine plays, input pushed in blocks of this size."""
    codes: list[torch.Tensor] = []
    spec = StreamSpec(model.config.t_f, model.config.k)
    engine = Engine(codec, model, spec, Sampler(seed=11, guidance=1.5), 3, **options)
    decode = engine._decoder.decode
    engine._decoder.decode = lambda c: (codes.append(c), decode(c))[1]  # type: ignore[method-assign]
    blocks = [b for i in range(0, len(samples), size) for b in engine.push(samples[i : i + size])]
    blocks += engine.finish()
    assert all(a.start_sample + len(a.samples) == b.start_sample for a, b in pairwise(blocks))
    assert sum(len(b.samples) for b in blocks) == len(samples)
    return torch.cat(codes, 2)


@pytest.mark.parametrize(("kind", "t_f", "k"), CASES)
@pytest.mark.parametrize("first", [0, 31])
def test_engine_equals_the_oracle(codec: SpectralCodec, kind: str, t_f: int, k: int, first: int) -> None:
    model, samples, frames = model_of(kind, t_f, k, codec), music(1.2), 60
    spec = StreamSpec(t_f, k)
    padded = torch.zeros(1, max(frames, frames_needed(spec, frames, first_column=first)) * 640)
    padded[0, : len(samples)] = torch.from_numpy(samples)
    with torch.inference_mode():
        x = codec.encode(padded).transpose(1, 2)
    oracle = generate(model, x, spec, Sampler(seed=11, guidance=1.5), 3, frames, first_column=first)
    codes = stream(codec, model, samples, 999, first_column=first)
    assert torch.equal(codes[:, :, :frames], oracle)
    assert (oracle[:, :, first:] >= 0).all()


def test_block_sizes_do_not_matter_and_the_model_listens(codec: SpectralCodec) -> None:
    model = model_of("prefix_decoder", 4, 5, codec)
    one = stream(codec, model, music(1.2), 48_000)
    assert torch.equal(one, stream(codec, model, music(1.2), 333))
    assert (one != stream(codec, model, music(1.2, seed=5), 333)).float().mean() > 0.1


def test_a_spec_of_its_own_is_asked_for(codec: SpectralCodec) -> None:
    with pytest.raises(ValueError, match=r"made for t_f = 0\.08 s and k = 0\.1 s"):
        Engine(codec, model_of("prefix_decoder", 4, 5, codec), StreamSpec(-20, 5), Sampler(), 0)


def test_warm_up_asks_a_specialist_for_what_it_was_made_for(codec: SpectralCodec) -> None:
    for t_f in (-7, 4):
        model = model_of("prefix_decoder", t_f, 5, codec)
        asked: list[StreamSpec] = []

        def engine(spec: StreamSpec, model: Any = model, asked: list = asked) -> Engine:
            asked.append(spec)
            return Engine(codec, model, spec, Sampler(), 3)

        assert warm_up(engine, StreamSpec(t_f, 5)) > 0
        assert asked == [StreamSpec(0, 5), StreamSpec(t_f, 5)]


def test_a_bundle_of_it_plays_a_file_and_names_its_spec_when_asked_for_another(
    codec: SpectralCodec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_bundle(tmp_path / "mine", codec, model_of("prefix_decoder", 4, 5, codec), {"guidance": 1.5}, {})
    soundfile.write(tmp_path / "in.wav", music(1.0), 32_000)
    command = ["stream", str(tmp_path / "in.wav"), "-o", str(tmp_path / "out.wav"), "--instrument", "bass"]
    command += ["--model", str(tmp_path / "mine")]
    assert main([*command, "--t-f", "0.08", "--k", "0.1"]) == 0
    assert soundfile.info(tmp_path / "out.wav").frames == 32_000
    assert main(command) == 2
    assert "made for t_f = 0.08 s and k = 0.1 s, not t_f = -0.4 s" in " ".join(
        capsys.readouterr().err.split()
    )
