"""The offline prefix decoder: all of the input before the first column, each column after those before it."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from bandmate.configs import offline_prefix, offline_prefix_released, offline_prefix_tiny
from bandmate.model.offline_prefix import OfflinePrefix
from bandmate.model.paper import IGNORED
from bandmate.model.sampling import Sampler
from bandmate.model.tokens import from_columns, to_columns
from tests.model.learning import learn_to_copy

FRAMES = 12
INSTRUMENT = torch.tensor([4, 0, 14])


def make(**changes: object) -> OfflinePrefix:
    torch.manual_seed(0)
    config = dataclasses.replace(offline_prefix_tiny(), **changes)  # type: ignore[arg-type]
    return OfflinePrefix(config, torch.randn(config.levels, config.codes, config.latent)).double().eval()


def codes(rows: int = 3, frames: int = FRAMES, seed: int = 0) -> Tensor:
    return torch.randint(32, (rows, 4, frames), generator=torch.Generator().manual_seed(seed))


def test_loss_lies_on_every_code_of_the_output_and_nowhere_else() -> None:
    y = codes(seed=1)
    logits, wanted = make().objective(codes(), y, INSTRUMENT, np.random.default_rng(0))
    assert logits.shape == (3, FRAMES + 3, 4, 32)
    assert torch.equal(from_columns(wanted.transpose(1, 2)), y)
    assert (wanted != IGNORED).sum() == y.numel()


def test_a_column_sees_all_input_and_the_columns_before_it() -> None:
    model, x, y = make(), codes(1), codes(1, seed=1)
    before = model(x, y, INSTRUMENT[:1])
    for frame in (0, FRAMES - 1):
        other = x.clone()
        other[:, 3, frame] = (other[:, 3, frame] + 1) % 32
        assert ((model(other, y, INSTRUMENT[:1]) - before).abs().amax(dim=(0, 2, 3)) > 1e-9).all()
    for frame, level in ((0, 0), (5, 2), (FRAMES - 1, 3)):
        other = y.clone()
        other[:, level, frame] = (other[:, level, frame] + 1) % 32
        change = (model(x, other, INSTRUMENT[:1]) - before).abs().amax(dim=(0, 2, 3))
        column = frame + level
        assert (change[: column + 1] == 0).all()
        assert (change[column + 1 :] > 1e-9).all()
    assert (model(x, y, INSTRUMENT[1:2]) - before).abs().amax(dim=(0, 2, 3)).min() > 1e-9


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("empty", ["pad", "instrument"])
def test_generating_equals_teacher_forcing(guidance: float, empty: str) -> None:
    model, x = make(empty=empty), codes()
    sampler = Sampler(seed=2, guidance=guidance, top_k=20)
    played = model.generate(x, INSTRUMENT, sampler)
    assert played.shape == x.shape
    logits = model(x, played, INSTRUMENT)
    if guidance != 1:
        null = model(x, played, INSTRUMENT, torch.ones(3, dtype=torch.bool))
        logits = null + guidance * (logits - null)
    drawn = torch.stack([sampler(logits[:, at].detach().float(), at) for at in range(FRAMES + 3)], dim=2)
    assert torch.equal(from_columns(drawn), played)


def test_a_player_plays_the_same_in_any_batch() -> None:
    model, x = make(), codes()
    sampler = Sampler(seed=3, players=(10, 11, 12))
    together = model.generate(x, INSTRUMENT, sampler)
    alone = dataclasses.replace(sampler, players=(11,))
    assert torch.equal(model.generate(x[1:2], INSTRUMENT[1:2], alone), together[1:2])
    assert not torch.equal(model.generate(x, INSTRUMENT, dataclasses.replace(sampler, seed=4)), together)


def test_who_is_dropped_hears_nothing() -> None:
    model, y = make(), codes(seed=1)
    dropped = torch.tensor([True, False, True])
    a, b = (
        model.objective(codes(seed=s), y, INSTRUMENT, np.random.default_rng(0), dropped)[0] for s in (2, 3)
    )
    assert torch.equal(a[dropped], b[dropped])
    assert not torch.equal(a[~dropped], b[~dropped])
    a, b = (model.generate(codes(seed=seed), INSTRUMENT, Sampler(guidance=0.0)) for seed in (2, 3))
    assert torch.equal(a, b)


def test_fewer_or_more_frames_than_were_heard() -> None:
    model, x, sampler = make(), codes(), Sampler(seed=1)
    full, short = model.generate(x, INSTRUMENT, sampler), model.generate(x, INSTRUMENT, sampler, 7)
    columns = to_columns(full, 32, 7)  # the columns before the first cell that has no frame
    assert torch.equal(to_columns(short, 32, 7), columns)
    assert model.generate(x, INSTRUMENT, sampler, FRAMES + 5).shape == (3, 4, FRAMES + 5)
    assert (model.spec(500).t_f, model.spec(500).k) == (500, 1)


def test_sizes() -> None:
    with torch.device("meta"):
        paper, released = OfflinePrefix(offline_prefix()), OfflinePrefix(offline_prefix_released())
    assert len(paper.stack.blocks) == 16
    layer = 1024 * 1024 * 2 + 2 * 1024 * 512 + 3 * 1024 * 2816 + (16 + 8) * 64
    ends = 1024 * 1024 + 2 * 1024 + 4 * (4098 + 18) * 1024 + 4 * 4096 * 1024  # 2 x 1024: bias and null row
    assert sum(p.numel() for p in paper.parameters()) == 16 * layer + ends == 223_455_232
    layer += 2 * 1024 * 4096 + 4096 + 1024 - 3 * 1024 * 2816
    assert sum(p.numel() for p in released.parameters()) == 16 * layer + ends + 4 * 4096 == 219_359_232


def test_it_learns_to_copy() -> None:
    torch.manual_seed(0)
    model = OfflinePrefix(dataclasses.replace(offline_prefix_tiny(), codes=8, levels=2), torch.randn(2, 8, 8))
    assert learn_to_copy(model, 200) < 0.5  # guessing: 2.08
