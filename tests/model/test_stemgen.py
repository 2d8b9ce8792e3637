"""The masked model: what training hides, what a step of sampling keeps, and that draws belong to players."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bandmate.configs import stemgen, stemgen_released, stemgen_tiny
from bandmate.model.paper import IGNORED
from bandmate.model.sampling import Sampler
from bandmate.model.stemgen import StemGen, StemGenConfig, draw_codes, still_hidden
from tests.model.learning import learn_to_copy

FRAMES = 20


def make(**changes: object) -> StemGen:
    """Tiny, in float64, with random codebooks."""
    torch.manual_seed(0)
    config = dataclasses.replace(stemgen_tiny(), **changes)  # type: ignore[arg-type]
    return StemGen(config, torch.randn(config.levels, config.codes, config.latent)).double().eval()


def codes(rows: int = 3, frames: int = FRAMES, seed: int = 0) -> Tensor:
    return torch.randint(32, (rows, 4, frames), generator=torch.Generator().manual_seed(seed))


INSTRUMENT = torch.tensor([4, 0, 14])


def test_loss_lies_on_one_level_in_part_and_on_all_above() -> None:
    logits, wanted = make().objective(codes(), y := codes(seed=1), INSTRUMENT, np.random.default_rng(0))
    assert logits.shape == (3, FRAMES, 4, 32)
    drawn = set()
    for row, truth in zip(wanted.transpose(1, 2), y, strict=True):
        judged = row != IGNORED
        assert torch.equal(row[judged], truth[judged])
        level = int(judged.any(dim=1).int().argmax())
        assert not judged[:level].any()
        assert judged[level + 1 :].all()
        drawn.add(level)
    assert len(drawn) > 1


def test_hidden_codes_do_not_show_and_shown_ones_do() -> None:
    model, x, y = make(), codes(), codes(seed=1)
    logits, wanted = model.objective(x, y, INSTRUMENT, np.random.default_rng(0))
    hidden = (wanted != IGNORED).transpose(1, 2)
    other, _ = model.objective(x, torch.where(hidden, (y + 1) % 32, y), INSTRUMENT, np.random.default_rng(0))
    assert torch.equal(other, logits)
    other, _ = model.objective(x, torch.where(hidden, y, (y + 1) % 32), INSTRUMENT, np.random.default_rng(0))
    assert not torch.equal(other, logits)


@pytest.mark.parametrize(("share", "mean"), [("cosine", 2 / math.pi), ("uniform", 0.5)])
def test_share_of_hidden_frames(share: str, mean: float) -> None:
    hidden, judged = make(mask_share=share, loss="level").draw_hidden((4000, 4, 50), np.random.default_rng(0))
    levels = [row.any(axis=1).argmax() for row in judged]
    assert np.bincount(levels, minlength=4) == pytest.approx(1000, abs=120)
    assert judged.sum(axis=(1, 2)).mean() / 50 == pytest.approx(mean, abs=0.02)
    assert (hidden | ~judged).all()
    assert hidden.sum() > judged.sum()


def test_every_frame_sees_every_frame_of_both() -> None:
    model, x, y = make(), codes(1), codes(1, seed=1)
    before = model(x, y, INSTRUMENT[:1])
    for changed in (x, y):
        for frame in (0, FRAMES // 2, FRAMES - 1):
            other = changed.clone()
            other[:, 2, frame] = (other[:, 2, frame] + 1) % 32
            after = model(other if changed is x else x, other if changed is y else y, INSTRUMENT[:1])
            assert ((after - before).abs().amax(dim=(0, 2, 3)) > 1e-9).all()


def test_who_is_dropped_hears_nothing() -> None:
    model, y = make(), codes(seed=1)
    dropped = torch.tensor([True, False, True])
    a, b = (model(codes(seed=seed), y, INSTRUMENT, dropped) for seed in (2, 3))
    assert torch.equal(a[dropped], b[dropped])
    assert not torch.equal(a[~dropped], b[~dropped])


def test_mask_has_a_row_of_its_own() -> None:
    model, x = make(), codes()
    assert model.config.mask == 32
    assert model.output.shape == (4, 33, 16)
    y = torch.full_like(x, model.config.mask)
    before = model(x, y, INSTRUMENT)
    with torch.no_grad():
        model.output[:, :32] += 1  # no code's row is that of a hidden cell
    assert torch.equal(model(x, y, INSTRUMENT), before)
    with torch.no_grad():
        model.output[2, 32] += 1
    assert not torch.equal(model(x, y, INSTRUMENT), before)


class Watched(StemGen):
    """Keeps what each step left."""

    def _step(self, logits, known, hidden, left, noise, place, sampler):  # type: ignore[no-untyped-def]
        after, again = super()._step(logits, known, hidden, left, noise, place, sampler)
        self.seen.append((place, known, hidden, left, noise, after, again))
        return after, again


def watched(**changes: object) -> tuple[Watched, Tensor]:
    """A model that has played, and what it played."""
    model = make(**changes)
    model.__class__ = Watched
    model.seen = []
    return model, model.generate(codes(), INSTRUMENT, Sampler(guidance=2.0, top_k=32))  # type: ignore[return-value]


def test_levels_are_filled_in_one_after_the_other_and_what_is_kept_stays() -> None:
    model, played = watched()
    assert [place for place, *_ in model.seen] == [
        (level, step) for level, n in enumerate((8, 4, 2, 2)) for step in range(n)
    ]
    count = FRAMES
    for (level, step), known, hidden, left, noise, after, again in model.seen:
        steps = (8, 4, 2, 2)[level]
        count = FRAMES if step == 0 else count
        assert (hidden.sum(dim=1) == count).all()
        assert torch.equal(after[~hidden], known[~hidden])
        assert (again <= hidden).all()
        assert (again.sum(dim=1) == left).all()
        assert torch.equal(after == model.config.mask, again)
        assert noise == (8.0, 8.0, 4.0, 4.0)[level] * (steps - step - 1) / steps
        assert left < count
        count = left
        if step == steps - 1:
            assert left == 0
            assert noise == 0
    assert played.shape == (3, 4, FRAMES)
    assert ((played >= 0) & (played < 32)).all()


@pytest.mark.parametrize(("frames", "steps"), [(500, 128), (20, 128), (1, 4), (7, 1), (250, 32)])
def test_schedule(frames: int, steps: int) -> None:
    hidden = [frames]
    for step in range(steps):
        hidden.append(still_hidden(hidden[-1], frames, step, steps))
    assert hidden[-1] == 0
    assert all(b < a or b == 1 for a, b in itertools.pairwise(hidden))
    expected = [math.floor(frames * math.cos(math.pi / 2 * n / steps)) for n in range(steps)]
    assert all(n <= max(1, most) for n, most in zip(hidden[1:-1], expected[1:], strict=True))


def test_without_noise_the_surest_are_kept() -> None:
    model = make()
    logits = torch.randn(2, FRAMES, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 3
    known = torch.full((2, FRAMES), 32)
    after, again = model._step(logits, known, known == 32, 8, 0.0, (0, 7), Sampler(top_k=32))
    p = logits.log_softmax(-1).gather(-1, after.clamp(max=31)[..., None])[..., 0]
    everything, _ = model._step(logits, known, known == 32, 0, 0.0, (0, 7), Sampler(top_k=32))
    drawn = logits.log_softmax(-1).gather(-1, everything[..., None])[..., 0]
    for row in range(2):
        assert p[row][~again[row]].min() >= drawn[row][again[row]].max()


def test_confidence_is_shaken_by_gumbel_noise() -> None:
    """Cells of equal log p, so the ranking is the noise's alone: log p + noise * (-log(-log(u)))."""
    model, sampler = make(), Sampler(seed=5, players=(7,), top_k=32)
    logits, known = torch.zeros(1, 500, 32, dtype=torch.float64), torch.full((1, 500), 32)
    _, again = model._step(logits, known, known == 32, 200, 1.0, (1, 0), sampler)
    uniform = model._uniform(sampler, known.shape, (1, 0, 1))[0]
    gumbel = -(-uniform.log()).log()
    assert gumbel.mean().item() == pytest.approx(0.5772, abs=0.2)
    assert gumbel[again[0]].max() < gumbel[~again[0]].min()


def test_a_player_plays_the_same_in_any_batch() -> None:
    model, x = make(), codes()
    sampler = Sampler(seed=3, guidance=2.0, top_k=32, players=(10, 11, 12))
    together = model.generate(x, INSTRUMENT, sampler)
    alone = dataclasses.replace(sampler, players=(11,))
    assert torch.equal(model.generate(x[1:2], INSTRUMENT[1:2], alone), together[1:2])
    assert torch.equal(model.generate(x, INSTRUMENT, sampler), together)
    assert not torch.equal(model.generate(x, INSTRUMENT, dataclasses.replace(sampler, seed=4)), together)
    other = dataclasses.replace(sampler, players=(12,))
    assert not torch.equal(model.generate(x[1:2], INSTRUMENT[1:2], other), together[1:2])


def test_guidance() -> None:
    model, x = make(), codes()
    y = torch.full_like(x, model.config.mask)
    given = model(x, y, INSTRUMENT)[:, :, 1]
    null = model(x, y, INSTRUMENT, torch.ones(3, dtype=torch.bool))[:, :, 1]
    for guidance, expected in ((1.0, given), (0.0, null), (2.0, 2 * given - null)):
        torch.testing.assert_close(model._logits(1, x, y, INSTRUMENT, Sampler(guidance=guidance)), expected)
    unconditional = Sampler(guidance=0.0, top_k=32)
    a, b = (model.generate(codes(seed=seed), INSTRUMENT, unconditional) for seed in (1, 2))
    assert torch.equal(a, b)
    a, b = (model.generate(codes(seed=seed), INSTRUMENT, Sampler(guidance=2.0, top_k=32)) for seed in (1, 2))
    assert not torch.equal(a, b)


def test_drawing_codes() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, generator=generator).expand(1, 20_000, -1)
    uniform = torch.rand(1, 20_000, generator=generator, dtype=torch.float64)
    drawn, log_p = draw_codes(logits, uniform, 1.0, 6)
    p = logits[0, 0].double().softmax(-1)
    assert torch.bincount(drawn[0], minlength=6) / 20_000 == pytest.approx(p.numpy(), abs=0.012)
    torch.testing.assert_close(log_p, p.log()[drawn])
    drawn, _ = draw_codes(logits, uniform, 1.0, 2)
    assert set(drawn.unique().tolist()) == set(p.topk(2).indices.tolist())
    drawn, _ = draw_codes(logits, uniform, 0.0, 6)
    assert (drawn == p.argmax()).all()
    drawn, _ = draw_codes(logits, torch.ones_like(uniform), 0.5, 6)
    assert (drawn == 5).all()


def test_shorter_outputs_and_what_makes_no_sense() -> None:
    model, x = make(), codes()
    sampler = Sampler(top_k=32)
    short = model.generate(x, INSTRUMENT, sampler, 12)
    assert torch.equal(short, model.generate(x[:, :, :12], INSTRUMENT, sampler))
    with pytest.raises(ValueError, match="21 frames of output need as many of input, not 20"):
        model.generate(x, INSTRUMENT, sampler, 21)
    with pytest.raises(ValueError, match="a step or more"):
        StemGenConfig(steps=(8, 0))
    with pytest.raises(ValueError, match="must be even"):
        StemGenConfig(width=33)
    assert StemGenConfig(steps=[8], noise=[1.0]) == StemGenConfig(steps=(8,), noise=(1.0,))  # type: ignore[arg-type]
    assert (model.spec(500).t_f, model.spec(500).k) == (500, 500)


def test_sizes() -> None:
    with torch.device("meta"):
        paper, released = StemGen(stemgen()), StemGen(stemgen_released())
    assert len(paper.stack.blocks) == 20
    layer = 1024 * 1024 * 2 + 2 * 1024 * 512 + 3 * 1024 * 2816 + (16 + 8) * 64
    ends = 1024 * 512 + 512 + 4 * 4097 * 512 + 18 * 512 + 4 * 4096 * 1024
    assert sum(p.numel() for p in paper.parameters()) == 20 * layer + ends == 261_662_208
    layer += 2 * 1024 * 4096 + 4096 + 1024 - 3 * 1024 * 2816
    assert sum(p.numel() for p in released.parameters()) == 20 * layer + ends + 4 * 4096 == 256_538_112


def test_it_learns_to_copy() -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(stemgen_tiny(), codes=8, levels=2)
    model = StemGen(config, torch.randn(2, 8, 8))
    assert learn_to_copy(model, 150) < 0.3  # guessing: 2.08
    x = torch.randint(8, (2, 2, 12), generator=torch.Generator().manual_seed(5))
    played = model.eval().generate(x, torch.zeros(2, dtype=torch.int64), Sampler(guidance=1.0, top_k=8))
    assert (played == x).double().mean() > 0.9
