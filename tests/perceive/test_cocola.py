"""COCOLA's encoder: the published names and shapes, the authors' own answers, modes that mask."""

from pathlib import Path

import pytest
import torch

from bandmate.perceive import cocola
from bandmate.perceive.cocola import Cocola
from tests.perceive.published import bare, filled, fixture, made_up, noise, shapes, shapes_of


@pytest.fixture(scope="module")
def network() -> Cocola:
    return filled(Cocola, "cocola").double()


def test_parameters_are_those_of_the_published_checkpoint() -> None:
    assert shapes_of(bare(Cocola)) == shapes("cocola")
    assert len(shapes("cocola")) == 363


@pytest.mark.parametrize("mode", ["both", "harmonic", "percussive"])
def test_similarities_are_those_of_the_authors_code(network: Cocola, mode: cocola.Mode) -> None:
    mixes, stems = noise(0, -80, (2, 2, 64, 48), (2, 2, 64, 48))
    found = network.similarity(network.embed(mixes, mode), network.embed(stems, mode))
    torch.testing.assert_close(
        found.flatten(), torch.tensor(fixture("cocola")["outputs"][mode]).double(), atol=1e-5, rtol=0
    )


def test_a_mode_hides_the_other_half(network: Cocola) -> None:
    one, other = noise(0, -80, (1, 2, 64, 48), (1, 2, 64, 48))
    mixed = torch.stack([one[:, 0], other[:, 1]], dim=1)  # harmonic half of one, percussive half of the other
    assert torch.equal(network.embed(mixed, "harmonic"), network.embed(one, "harmonic"))
    assert torch.equal(network.embed(mixed, "percussive"), network.embed(other, "percussive"))
    assert not torch.allclose(network.embed(mixed), network.embed(one))


def test_embedding_leaves_its_input_alone(network: Cocola) -> None:
    (features,) = noise(0, -80, (1, 2, 64, 48))
    before = features.clone()
    network.embed(features, "harmonic")
    assert torch.equal(features, before)


def test_order_of_the_pair_matters(network: Cocola) -> None:
    one, other = (network.embed(x) for x in noise(0, -80, (1, 2, 64, 48), (1, 2, 64, 48)))
    assert not torch.allclose(network.similarity(one, other), network.similarity(other, one).T)


def test_wrong_features_and_modes_are_refused(network: Cocola) -> None:
    with pytest.raises(ValueError, match=r"\[B, 2, 64, T\], not \[2, 64, 48\]"):
        network.embed(torch.zeros(2, 64, 48))
    with pytest.raises(ValueError, match="no mode 'drums'"):
        network.embed(torch.zeros(1, 2, 64, 48), "drums")  # type: ignore[arg-type]


def test_a_checkpoint_of_the_training_library_is_read(tmp_path: Path) -> None:
    state = made_up(shapes("cocola"))
    torch.save(
        {"state_dict": state, "epoch": 87, "hyper_parameters": {"dropout_p": 0.1}}, tmp_path / "it.ckpt"
    )
    network = cocola.load(tmp_path / "it.ckpt")
    assert not network.training
    assert torch.equal(network.similarity.w, state["similarity.w"])


def test_another_networks_checkpoint_is_named(tmp_path: Path) -> None:
    state = made_up(shapes("cocola"))
    del state["similarity.w"]
    torch.save(state, tmp_path / "it.ckpt")
    with pytest.raises(
        ValueError, match=r"it\.ckpt is not this network: it lacks similarity\.w \(1 in all\)"
    ):
        cocola.load(tmp_path / "it.ckpt")


def test_without_the_weights_the_way_to_get_them_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BANDMATE_WEIGHTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="bandmate models fetch cocola"):
        cocola.load()
