"""Published weights in our names: parameter names and shapes as the published definitions have them (dac_shapes.json)."""

import itertools
import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bandmate.codec.dac import DacCodec, DacConfig
from bandmate.codec.import_dac import import_dac, parameter_names, read_weights
from bandmate.configs import dac_tiny

SHAPES = json.loads((Path(__file__).parent / "dac_shapes.json").read_text())


def expanded(pattern: str) -> list[str]:
    """``a.{0,1}.b`` -> a.0.b, a.1.b."""
    parts = re.split(r"\{([\d,]+)\}", pattern)
    choices = [part.split(",") if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*choices)]


def published(name: str) -> dict[str, Tensor]:
    """A state dict of a published definition, without memory. A normed weight also has a size and a bias."""
    state: dict[str, Tensor] = {}
    for pattern, shape in SHAPES[name]["shapes"].items():
        for key in expanded(pattern):
            state[key] = torch.empty(shape, device="meta")
            if key.endswith("weight_v"):
                upsampling = re.fullmatch(r"decoder\.model\.\d+\.block\.1\.weight_v", key)
                state[key[:-1] + "g"] = torch.empty(shape[0], 1, 1, device="meta")
                state[key[:-8] + "bias"] = torch.empty(shape[1 if upsampling else 0], device="meta")
    return state


@pytest.mark.parametrize("name", SHAPES)
def test_the_fixture_is_complete(name: str) -> None:
    state = published(name)
    assert len(state) == SHAPES[name]["tensors"]
    assert sum(value.numel() for value in state.values()) == SHAPES[name]["numbers"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("causal", DacConfig(input_shift=1)),
        (
            "descript-44khz",
            DacConfig(
                strides=(2, 4, 8, 8), decoder_strides=(8, 8, 4, 2), levels=9, codes=1024, causal=False,
                sample_rate=44_100,
            ),
        ),
    ],
)  # fmt: skip
def test_names_and_shapes_fit_and_say_the_config(name: str, wanted: DacConfig) -> None:
    config, state = import_dac(published(name))
    assert config == wanted
    with torch.device("meta"):
        own = DacCodec(config).state_dict()
    assert {key: value.shape for key, value in state.items()} == {k: v.shape for k, v in own.items()}


def theirs_of(codec: DacCodec, new_names: bool = False) -> dict[str, Tensor]:
    """Our weights under their names."""
    own = codec.state_dict()
    theirs = {name: own[ours] for name, ours in parameter_names(codec.config)}
    if not new_names:
        return theirs
    pairs = (
        ("weight_g", "parametrizations.weight.original0"),
        ("weight_v", "parametrizations.weight.original1"),
    )
    for old, new in pairs:
        theirs = {name.replace(old, new): value for name, value in theirs.items()}
    return theirs


@pytest.mark.parametrize("new_names", [False, True])
@torch.no_grad()
def test_imported_weights_give_the_same_sounds(new_names: bool) -> None:
    torch.manual_seed(0)
    codec = DacCodec(dac_tiny())
    content = {"state_dict": theirs_of(codec, new_names), "metadata": {"kwargs": {"sample_rate": 32_000}}}
    config, state = import_dac(content, gain_db=3.0)
    assert (config.input_shift, config.gain_db, config.levels_used) == (1, 3.0, 4)
    again = DacCodec(config)
    again.load_state_dict(state)
    latent = torch.randn(1, 5, 8)
    torch.testing.assert_close(again.decoder(latent)[0], codec.decoder(latent)[0] / config.gain)


def test_a_file_is_read_and_a_bad_one_is_named(tmp_path: Path) -> None:
    good, bad, other = tmp_path / "good.pth", tmp_path / "bad.pth", tmp_path / "other.pth"
    torch.save({"state_dict": theirs_of(DacCodec(dac_tiny())), "metadata": {"kwargs": {}}}, good)
    assert import_dac(read_weights(good))[0].codes == 32
    bad.write_bytes(good.read_bytes()[:500])
    torch.save([1, 2], other)
    for path in (bad, other):
        with pytest.raises(ValueError, match=path.name):
            read_weights(path)
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "none.pth")


def test_what_is_not_such_a_codec_is_refused() -> None:
    state = theirs_of(DacCodec(dac_tiny()))
    short = {name: value for name, value in state.items() if name != "encoder.block.1.bias"}
    with pytest.raises(ValueError, match=r"'encoder\.block\.1\.bias'"):
        import_dac(short)
    with pytest.raises(ValueError, match="not a Descript Audio Codec"):
        import_dac({"encoder.conv.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="is missing"):
        import_dac({name: value for name, value in state.items() if not name.startswith("quantizer")})
    for option in ("frame_indep_encoder", "use_s4"):
        with pytest.raises(ValueError, match=option):
            import_dac({"state_dict": state, "metadata": {"kwargs": {option: True}}})
    with pytest.raises(ValueError, match="one side only"):
        import_dac({"state_dict": state, "metadata": {"kwargs": {"causal_encoder": True}}})
