"""Decoder, prefix decoder and encoder-decoder: the stream is the window, nothing is seen that must not be."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from bandmate.model.sampling import Sampler
from bandmate.model.tokens import MISSING, from_columns
from bandmate.spec import StreamSpec
from tests.model.players import INSTRUMENTS, PLANE, Fixed, columns_of, inputs, make, play, whole

SOME = [("decoder", 3, 1), ("prefix_decoder", 3, 4), ("encoder_decoder", 3, 4), ("decoder", -5, 1)]


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.mark.parametrize(("kind", "t_f", "k"), PLANE)
def test_stream_equals_window(kind: str, t_f: int, k: int) -> None:
    model, (x, y) = make(kind, t_f, k), inputs(75)
    y = y[:, :, :60]
    sampler = Fixed(columns_of(y))
    frames = play(model, x, 60, sampler)
    expected = whole(model, x, y).float()
    torch.testing.assert_close(torch.stack(sampler.logits, 1), expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.1
    assert torch.equal(frames, from_columns(columns_of(y)))


@pytest.mark.parametrize(("kind", "t_f", "k"), PLANE)
def test_each_column_sees_its_horizon_and_not_a_frame_more(kind: str, t_f: int, k: int) -> None:
    """A changed input frame j alters the columns with c(s) + t_f > j, at all levels, and no others."""
    model, (x, y) = make(kind, t_f, k), inputs(75)
    y = y[:, :, :60]
    before = whole(model, x, y)
    horizon = torch.arange(60) // k * k + t_f
    for j in (0, 4, 9, 23, 40):
        changed = x.clone()
        changed[:, :, j] = (changed[:, :, j] + 1) % 32
        differs = (whole(model, changed, y) != before).any(-1).any(0)  # [S, K]
        sees = horizon > j
        assert torch.equal(differs, sees[:, None].expand(-1, 4))


@pytest.mark.parametrize(("kind", "t_f", "k"), PLANE)
def test_columns_see_the_columns_before_them_only(kind: str, t_f: int, k: int) -> None:
    model, (x, y) = make(kind, t_f, k), inputs(75)
    y = y[:, :, :60]
    before, changed = whole(model, x, y), y.clone()
    changed[:, 2, 30] = (changed[:, 2, 30] + 1) % 32  # in column 32
    differs = (whole(model, x, changed) != before).flatten(2).any(-1).any(0)
    assert torch.equal(differs, torch.arange(60) > 32)


@pytest.mark.parametrize(("kind", "t_f", "k"), PLANE)
def test_who_hears_nothing_does_not_depend_on_the_input(kind: str, t_f: int, k: int) -> None:
    model, (x, y) = make(kind, t_f, k), inputs(75)
    y = y[:, :, :20]
    drop = torch.tensor([True, False])
    one, two = whole(model, x, y, drop), whole(model, (x + 1) % 32, y, drop)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1]) == (t_f + 19 // k * k <= 0)


@pytest.mark.parametrize(("kind", "t_f", "k"), SOME)
def test_guided_stream_steps_the_deaf_player_beside_the_hearing_one(kind: str, t_f: int, k: int) -> None:
    model, (x, y) = make(kind, t_f, k), inputs(50)
    y = y[:, :, :40]
    sampler = Fixed(columns_of(y), guidance=3.0)
    play(model, x, 40, sampler)
    given, null = whole(model, x, y), whole(model, x, y, torch.ones(2, dtype=torch.bool))
    expected = (null + 3 * (given - null)).float()
    torch.testing.assert_close(torch.stack(sampler.logits, 1), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("kind", "t_f", "k"), [*SOME, ("decoder", 10, 1), ("prefix_decoder", -40, 40)])
def test_rollover_far_beyond_the_window(kind: str, t_f: int, k: int) -> None:
    """Twelve windows long: the ring, which forgets, and the mask, which hides, say the same."""
    model = make(kind, t_f, k, window=12)
    length = 12 * 12 + 2 * k
    x, y = inputs(length + 16, seed=3)
    y = y[:, :, :length]
    sampler = Fixed(columns_of(y))
    play(model, x, length, sampler)
    got = torch.stack(sampler.logits, 1)
    if kind == "prefix_decoder":
        for prefix in (0, length // 3 // k * k, (length - k) // k * k):
            expected = model.after_prefix(x, y, INSTRUMENTS, torch.full((2,), prefix)).float()
            torch.testing.assert_close(got[:, prefix : prefix + k], expected, rtol=0, atol=1e-5)
    else:
        torch.testing.assert_close(got, model(x, y, INSTRUMENTS).float(), rtol=0, atol=1e-5)


def test_the_instrument_is_never_forgotten() -> None:
    """Of the played columns the first alone stays in sight beyond the window; what came right after it does not."""
    model = make("decoder", -200, 1, window=8, layers=1)
    _, y = inputs(60)
    x = y[:, :, :0]
    logits = [model(x, y, instrument)[:, 40:] for instrument in (INSTRUMENTS, INSTRUMENTS + 1)]
    assert (logits[0] != logits[1]).flatten(2).any(-1).all()
    changed = y.clone()
    changed[:, :, 1:20] = (changed[:, :, 1:20] + 1) % 32
    assert torch.equal(model(x, changed, INSTRUMENTS)[:, 40:], logits[0])


@pytest.mark.parametrize(("kind", "t_f", "k"), SOME)
def test_memory_does_not_grow(kind: str, t_f: int, k: int) -> None:
    model = make(kind, t_f, k, window=16)
    x, _ = inputs(180)
    state = model.init_state(INSTRUMENTS, guided=True)
    sizes = []
    for column in range(0, 160, k):
        state = model.listen(x.transpose(1, 2)[:, state.heard : max(0, column + t_f)], state)
        _, state = model.play(state, k, Sampler(guidance=2.0))
        sizes.append(sum(tensor.numel() for tensor in tensors(state)))
    assert max(sizes[60 // k :]) <= max(sizes[: 60 // k]), "nothing grows once the ring is full"


def tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    for inner in vars(value).values() if hasattr(value, "__dataclass_fields__") else []:
        yield from tensors(inner)


@pytest.mark.parametrize(("kind", "t_f", "k"), SOME)
def test_memory_that_was_never_written_is_never_read(kind: str, t_f: int, k: int) -> None:
    model, (x, y) = make(kind, t_f, k), inputs(30)
    clean, poisoned = Fixed(columns_of(y)), Fixed(columns_of(y))
    play(model, x, 20, clean)
    state = model.init_state(INSTRUMENTS, guided=False)
    for tensor in tensors(state):
        if tensor.is_floating_point() and tensor.dim() == 5 and tensor.shape[3] > 1:
            tensor[..., 1:, :] = 1e9
        elif tensor.is_floating_point():
            tensor.fill_(1e9)
    play(model, x, 20, poisoned, state)
    torch.testing.assert_close(torch.stack(poisoned.logits), torch.stack(clean.logits))


@pytest.mark.parametrize(("kind", "t_f", "k"), SOME)
def test_skipped_columns_enter_as_mask_and_their_frames_come_back_missing(
    kind: str, t_f: int, k: int
) -> None:
    model, (x, y) = make(kind, t_f, k), inputs(60)
    sampler = Fixed(columns_of(y))
    state, frames = model.init_state(INSTRUMENTS, guided=False), []
    for column in range(0, 40, k):
        state = model.listen(x.transpose(1, 2)[:, state.heard : max(0, column + t_f)], state)
        away = 20 <= column < 28
        piece, state = model.skip(state, k) if away else model.play(state, k, sampler)
        frames.append(piece)
    codes = torch.cat(frames, dim=2)
    missing = (codes == MISSING).any(1).any(0)
    assert missing.nonzero().flatten().tolist() == list(range(17, 28))
    assert (codes[:, :, 17:28] == MISSING).all()
    hidden = y[:, :, :40].clone()
    for level in range(4):
        hidden[:, level, 20 - level : 28 - level] = model.config.mask
    expected = whole(model, x, hidden).float()
    played = torch.cat([expected[:, :20], expected[:, 28:]], dim=1)
    torch.testing.assert_close(torch.stack(sampler.logits, 1), played, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "t_f", "k"), SOME)
def test_a_row_depends_neither_on_its_batch_nor_on_how_the_input_came(kind: str, t_f: int, k: int) -> None:
    model, (x, _) = make(kind, t_f, k), inputs(140)
    both = play(model, x, 24, Sampler(seed=4, players=(10, 11), guidance=1.5), first=0)
    state = model.init_state(INSTRUMENTS[1:], guided=True)
    alone = play(model, x[1:], 24, Sampler(seed=4, players=(11,), guidance=1.5), state)
    assert torch.equal(both[1:], alone)
    assert int(both.min()) >= 0
    assert int(both.max()) < 32
    logits = []
    for size in (1, 7, 100):
        state = model.init_state(INSTRUMENTS, guided=False, column=100)
        for piece in x.transpose(1, 2)[:, : 100 + t_f].split(size, dim=1):
            state = model.listen(piece, state)
        sampler = Fixed(x, first=100)
        model.play(state, k, sampler)
        logits.append(torch.stack(sampler.logits))
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])


@pytest.mark.parametrize("t_f", [-5, 0, 10])
def test_listening_before_the_first_column(t_f: int) -> None:
    """Until it begins, the decoder hears beside PAD; then the instrument comes, and the first column."""
    model, (x, y), first = make("decoder", t_f, 1), inputs(80), 50
    sampler = Fixed(y, first=first)
    play(model, x, 70, sampler, first=first)
    steps = torch.arange(1 - t_f, 70)  # from the one that hears x[0]
    shown = torch.full((2, 4, len(steps)), model.config.pad)
    shown[:, :, -20] = model.output.instrument(INSTRUMENTS)
    for level in range(4):
        shown[:, level, -19 + level :] = y[:, level, level:19]
    rows = model.input_rows(x.transpose(1, 2), 0, steps, torch.zeros(2, dtype=torch.bool))
    expected = model.heads(model.stack(model.fusion(rows, model.output(shown)), steps)[:, -20:])
    torch.testing.assert_close(torch.stack(sampler.logits, 1), expected.float(), rtol=0, atol=1e-5)


def test_a_chunk_costs_what_changed_only() -> None:
    """After the first call, a chunk of k columns takes k steps whose input has arrived and k - 1 that go ahead."""
    model, (x, _) = make("prefix_decoder", 0, 5), inputs(60)
    counted: list[int] = []
    step = model.stack.step
    model.stack.step = lambda z, *rest: (counted.append(z.shape[1]), step(z, *rest))[1]
    state = model.init_state(INSTRUMENTS, guided=False)
    for column in range(0, 40, 5):
        state = model.listen(x.transpose(1, 2)[:, state.heard : column], state)
        counted.clear()
        _, state = model.play(state, 5, Sampler())
        assert counted == [5 if column else 1, 1, 1, 1, 1]


def test_hour_old_positions_are_as_good_as_new() -> None:
    """Attention knows distances only, so a session may begin at any column."""
    model, (x, y) = make("decoder", 1, 1), inputs(30)
    logits = []
    for start in (0, 50 * 3600):
        sampler = Fixed(y, first=start)
        state = model.init_state(INSTRUMENTS, guided=False, column=start)
        state.heard, state.fused, state.previous = start, start, state.previous[:, :, -1:]
        for column in range(30):
            state = model.listen(x.transpose(1, 2)[:, column : column + 1], state)
            _, state = model.play(state, 1, sampler)
        logits.append(torch.stack(sampler.logits))
    torch.testing.assert_close(logits[1], logits[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["decoder", "encoder_decoder"])
def test_another_spec_is_refused_by_name(kind: str) -> None:
    model = make(kind, -5, 1)
    with pytest.raises(ValueError, match=r"made for t_f = -0\.1 s and k = 0\.02 s, not t_f = -0\.1 s and k"):
        model.init_state(INSTRUMENTS, StreamSpec(-5, 2))
    with pytest.raises(ValueError, match="not t_f = 0 s"):
        model.init_state(INSTRUMENTS, StreamSpec(0, 1))
    assert model.init_state(torch.tensor([1]), StreamSpec(-5, 1), 3).batch == 3


def test_bad_calls_are_refused() -> None:
    model = make("decoder", 0, 1)
    state = model.init_state(INSTRUMENTS, guided=False)
    with pytest.raises(ValueError, match="guided=True"):
        model.play(state, 1, Sampler(guidance=2.0))
    with pytest.raises(ValueError, match="chunks of 1 columns at most, not 2"):
        model.play(state, 2, Sampler())
