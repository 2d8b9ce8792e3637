"""Recall: the period of what was heard, found alike by window and stream, and never a frame that was not heard."""

import dataclasses

import pytest
import torch
from torch import Tensor

from bandmate.configs import duet_tiny
from bandmate.model.duet import Duet
from bandmate.model.duet_network import Visibility
from bandmate.model.ears import FEATURES, PITCH_BANDS
from bandmate.model.recall import (
    NOVELTY,
    NOWHERE,
    OFFSETS,
    REMEMBERED,
    RING,
    SHORTEST,
    Memory,
    asked,
    fetch,
    lags,
    likeness_at,
    likeness_now,
    novelty,
    places,
)


def music(frames: int, period: int | None = None, batch: int = 2, seed: int = 0) -> Tensor:
    """Levels in which something begins now and then; with a period, the same again and again."""
    generator = torch.Generator().manual_seed(seed)
    length = period or frames
    begins = (torch.rand(batch, length, 1, generator=generator) < 0.15).float()
    level = begins * torch.randint(40, 200, (batch, length, FEATURES), generator=generator)
    return level.repeat(1, -(-frames // length), 1)[:, :frames].to(torch.uint8)


def heard_in_pieces(x: Tensor, sizes: tuple[int, ...], until: int) -> Memory:
    memory, at, turn = Memory.empty(len(x), 8, torch.zeros(1)), 0, 0
    while at < until:
        size = min(sizes[turn % len(sizes)], until - at)
        piece = x[:, at : at + size]
        memory.add(piece, piece[..., :8].float(), torch.arange(at, at + size))
        at, turn = at + size, turn + 1
    return memory


@pytest.mark.parametrize("until", [1, 7, 40, 255, 400, 901, 1500])
def test_a_stream_finds_what_a_window_finds_bit_by_bit(until: int) -> None:
    x = music(1500)
    whole = likeness_at(novelty(x, x[:, :1]), torch.tensor([[until], [until]]))
    memory = heard_in_pieces(x, (1, 5, 32), until)
    assert torch.equal(memory.period(asked(until)), whole)


@pytest.mark.parametrize(("t_f", "expected"), [(0, 40), (-20, 40), (-50, 80), (-100, 120)])
def test_the_period_of_a_loop_is_found_beyond_what_is_not_heard_yet(t_f: int, expected: int) -> None:
    x, column = music(700, period=40), torch.arange(600, 605)
    heard = torch.full((2, 5), 600 + t_f)
    where = places(likeness_at(novelty(x, x[:, :1]), heard), column, heard)
    assert (column - where.frame[:, :, 1, 0] == expected).all()
    assert (where.score[..., 0] > 0.9).all()
    assert torch.equal(x[0][where.frame[0, :, 1, 0]], x[0, 600:605]), "what comes is what was a period ago"


def test_noise_has_no_period_and_silence_none_at_all() -> None:
    x, heard = music(700), torch.full((2, 1), 600)
    column = torch.tensor([600])
    assert places(likeness_at(novelty(x, x[:, :1]), heard), column, heard).score.max() < 0.5
    nothing = places(likeness_at(torch.zeros(2, 700, NOVELTY), heard), column, heard)
    assert (nothing.frame[:, :, 1:] == NOWHERE).all()
    assert (nothing.score == 0).all()


@pytest.mark.parametrize("t_f", [-200, -50, -3, 0, 10, 200])
@pytest.mark.parametrize("start", [0, 5, 300, 900])
def test_no_frame_is_handed_over_that_was_not_heard(t_f: int, start: int) -> None:
    x, column = music(1200), torch.arange(start, start + 10)
    heard = torch.full((2, 10), max(0, start + t_f))
    where = places(likeness_at(novelty(x, x[:, :1]), heard), column, heard)
    assert (where.frame < heard[..., None, None]).all()
    assert (where.frame >= NOWHERE).all()
    ago = where.frame[:, :, 1:, 0]
    lag = (column[:, None] - ago)[ago != NOWHERE]
    assert ((lag >= SHORTEST) & (lag <= lags()[0])).all()
    if t_f > len(column) + OFFSETS[-1]:
        assert torch.equal(where.frame[0, :, 0], column[:, None] + torch.tensor(OFFSETS))


def test_what_memory_gives_is_what_was_heard_there_also_after_it_went_round() -> None:
    x = music(3 * RING, period=90)
    memory = heard_in_pieces(x, (32, 5), 2 * RING + 13)
    column = torch.arange(2 * RING + 20, 2 * RING + 25)
    frames, score = memory.at(column, 2 * RING + 13)
    assert (score[..., 0] > 0.9).all()
    torch.testing.assert_close(frames[:, :, 1, 0], x[:, column - 90, :8].float())
    torch.testing.assert_close(frames[:, 0, 0, 0], x[:, 2 * RING + 12, :8].float())


def test_memory_that_was_never_written_is_never_read() -> None:
    x = music(60)
    memory = heard_in_pieces(x, (10,), 60)
    memory.novelty[:, 60:] = torch.nan
    memory.fronts[:, 60:] = torch.nan
    frames, score = memory.at(torch.arange(60, 70), 60)
    assert frames.isfinite().all()
    assert score.isfinite().all()


def test_novelty_counts_rises_by_band_and_by_pitch_class() -> None:
    x = torch.zeros(1, 3, FEATURES, dtype=torch.uint8)
    x[0, 1:, 3] = x[0, 1:, 15] = 100  # the same pitch class in two octaves
    x[0, 1:, PITCH_BANDS + 4 :: 40] = 100  # the fifth band of both windows of a frame
    new = novelty(x, x[:, :1])
    assert new.shape == (1, 3, NOVELTY)
    assert new[0, [0, 2]].sum() == 0, "what goes on is not new"
    assert new[0, 1].nonzero().flatten().tolist() == [1, 10 + 3]
    assert new.max() <= 15
    assert torch.equal(new, new.round())


def test_a_duet_begins_as_one_without_recall() -> None:
    torch.manual_seed(0)
    model = Duet(duet_tiny()).eval()
    plain = Duet(dataclasses.replace(duet_tiny(), recall=False)).eval()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("recall")})
    x, previous = music(60), torch.randint(0, 32, (2, 4, 50))
    view = Visibility(0, torch.arange(50).expand(2, -1), torch.zeros(2, dtype=torch.bool))
    with torch.inference_mode():
        a, b = (m(x, previous, torch.tensor([3, 8]), view) for m in (model, plain))
    assert torch.equal(a, b)


def test_the_period_is_sought_where_the_past_lies() -> None:
    """On a device that is not the CPU: mixing the two is an error there."""
    like = likeness_now(torch.zeros(2, REMEMBERED, NOVELTY, device="meta"), 100)
    heard = torch.full((2, 1), 100, device="meta")
    assert places(like, torch.zeros(1, dtype=torch.long, device="meta"), heard).frame.device.type == "meta"


def test_recall_needs_a_spectrum() -> None:
    with pytest.raises(ValueError, match="recall = false"):
        Duet(dataclasses.replace(duet_tiny(), ears="codes"))


@pytest.mark.parametrize("t_f", [250, 400, 700])
def test_what_a_stream_has_forgotten_is_not_recalled_in_a_window_either(t_f: int) -> None:
    x, start = music(3 * RING, period=90), RING + 40
    column, heard = torch.arange(start, start + 5), start + t_f
    memory = heard_in_pieces(x, (32, 5), heard)
    told, score = memory.at(column, heard)
    all_heard = torch.full((2, 5), heard)
    where = places(likeness_at(novelty(x, x[:, :1]), all_heard), column, all_heard)
    assert ((where.frame == NOWHERE) | (where.frame >= heard - RING)).all()
    assert (where.frame[:, :, 0] == NOWHERE).all() == (t_f > RING)
    assert torch.equal(told, fetch(x[..., :8].float(), where.frame))
    assert torch.equal(score, where.score)
