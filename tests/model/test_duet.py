"""Duet: the stream is the window, no column sees what it must not, and sessions do not end."""

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from bandmate.configs import duet_tiny
from bandmate.model.duet import BLOCK, Duet, DuetState
from bandmate.model.duet_network import Visibility
from bandmate.model.ears import FEATURES
from bandmate.model.sampling import Sampler
from bandmate.model.tokens import MISSING, from_columns
from bandmate.spec import StreamSpec

PLANE = [(t_f, k) for t_f in (-50, -3, 0, 1, 10) for k in (1, 2, 5)]


class Fixed:
    """Stands in for a sampler: plays given columns and keeps the logits."""

    guidance, plausible, guide = 1.0, None, Sampler.guide

    def __init__(self, columns: Tensor, guided: bool = False, first: int = 0) -> None:
        self.columns, self.guided, self.first = columns, guided, first
        self.logits: list[Tensor] = []

    def __call__(self, logits: Tensor, column: int) -> Tensor:
        self.logits.append(logits)
        return self.columns[:, :, column - self.first]


@pytest.fixture(scope="module")
def model() -> Iterator[Duet]:
    torch.manual_seed(0)
    model = Duet(duet_tiny()).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=0.15)
    with torch.inference_mode():
        yield model


def inputs(frames: int, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 255, (batch, frames, FEATURES), dtype=torch.uint8, generator=generator)
    return x, torch.randint(0, 32, (batch, 4, frames), generator=generator)


def previous(model: Duet, columns: Tensor) -> Tensor:
    shown = columns.clone()
    for level in range(4):
        shown[:, level, :level] = model.pad
    return torch.cat([torch.full_like(shown[:, :, :1], model.pad), shown[:, :, :-1]], dim=2)


def horizon(t_f: int, k: int, length: int, batch: int = 2) -> Tensor:
    column = torch.arange(length)
    return (column // k * k + t_f).clamp(min=0).expand(batch, -1)


def hear_all(model: Duet, x: Tensor, columns: Tensor, t_f: int, k: int) -> Tensor:
    """Logits of the whole window in one pass."""
    view = Visibility(0, horizon(t_f, k, columns.shape[2]), torch.zeros(2, dtype=torch.bool))
    return model(x, previous(model, columns), torch.tensor([3, 8]), view)


def play_through(
    model: Duet, x: Tensor, t_f: int, k: int, length: int, sampler: object, state: DuetState | None = None
) -> tuple[Tensor, DuetState]:
    state = state or model.init_state(torch.tensor([3, 8]), guided=getattr(sampler, "guided", False))
    frames = []
    for column in range(0, length, k):
        seen = max(0, column + t_f)
        if seen > state.heard:
            state = model.listen(x[:, state.heard : seen], state)
        piece, state = model.play(state, k, sampler)  # type: ignore[arg-type]
        frames.append(piece)
    return torch.cat(frames, dim=2), state


@pytest.mark.parametrize(("t_f", "k"), PLANE)
def test_stream_equals_window(model: Duet, t_f: int, k: int) -> None:
    x, columns = inputs(80)
    sampler = Fixed(columns)
    frames, _ = play_through(model, x, t_f, k, 60, sampler)
    whole = hear_all(model, x, columns[:, :, :60], t_f, k)
    torch.testing.assert_close(torch.stack(sampler.logits, 1), whole.float(), rtol=0, atol=1e-5)
    assert torch.equal(frames, from_columns(columns[:, :, :60]))


@pytest.mark.parametrize(("t_f", "k"), PLANE)
def test_each_column_sees_its_horizon_and_not_a_frame_more(model: Duet, t_f: int, k: int) -> None:
    """A changed input frame j alters the columns with horizon > j (and within reach), and no others, at all levels."""
    x, columns = inputs(75)
    before = hear_all(model, x, columns[:, :, :60], t_f, k)
    for j in (0, 7, 23, 40):
        changed = x.clone()
        changed[:, j] = 255 - changed[:, j]
        differs = (hear_all(model, changed, columns[:, :, :60], t_f, k) != before).any(-1).any(0)  # [S, K]
        sees = horizon(t_f, k, 60)[0] > j
        assert torch.equal(differs.any(1), sees) or not sees.any()
        assert not differs[~sees].any()
        if sees.any():
            assert differs[int(sees.int().argmax())].all(), "the first column that may see it, does"


def test_columns_see_the_columns_before_them_only(model: Duet) -> None:
    x, columns = inputs(60)
    before = hear_all(model, x, columns, 0, 1)
    changed = columns.clone()
    changed[:, :, 30] = (changed[:, :, 30] + 1) % 32
    differs = (hear_all(model, x, changed, 0, 1) != before).flatten(2).any(-1).any(0)
    assert not differs[:31].any()
    assert differs[31:].all()


def test_the_deaf_hear_nothing(model: Duet) -> None:
    x, columns = inputs(40)
    deaf = torch.ones(2, dtype=torch.bool)
    views = [Visibility(0, horizon(t_f, 2, 40), deaf) for t_f in (-5, 10)]
    a = model(x, previous(model, columns), torch.tensor([3, 8]), views[0])
    b = model(255 - x, previous(model, columns), torch.tensor([3, 8]), views[1])
    assert torch.equal(a, b)


def test_guided_stream_steps_the_deaf_player_beside_the_hearing_one(model: Duet) -> None:
    x, columns = inputs(40)
    guided = Fixed(columns, guided=True)
    guided.guidance = 3.0
    play_through(model, x, 2, 2, 30, guided)
    given = hear_all(model, x, columns[:, :, :30], 2, 2)
    view = Visibility(0, horizon(2, 2, 30), torch.ones(2, dtype=torch.bool))
    null = model(x, previous(model, columns[:, :, :30]), torch.tensor([3, 8]), view)
    torch.testing.assert_close(
        torch.stack(guided.logits, 1), (null + 3 * (given - null)).float(), rtol=0, atol=1e-4
    )


def test_guidance_needs_a_player_begun_with_it(model: Duet) -> None:
    state = model.init_state(torch.tensor([0]), guided=False)
    with pytest.raises(ValueError, match="guided=True"):
        model.play(state, 1, Sampler(guidance=2.0))


def test_rollover_far_beyond_the_window_equals_the_masked_window(model: Duet) -> None:
    """Twelve windows long: the ring, which forgets, and the mask, which hides, say the same."""
    length = 12 * model.config.window
    x, columns = inputs(length + 4, seed=3)
    sampler = Fixed(columns)
    play_through(model, x, 3, 4, length, sampler)
    whole = hear_all(model, x, columns[:, :, :length], 3, 4)
    assert length > 3 * (model.config.window + BLOCK)
    torch.testing.assert_close(torch.stack(sampler.logits, 1), whole.float(), rtol=0, atol=1e-5)


def test_memory_that_was_never_written_is_never_read(model: Duet) -> None:
    x, columns = inputs(20)
    clean, poisoned = Fixed(columns), Fixed(columns)
    play_through(model, x, 2, 2, 16, clean)
    state = model.init_state(torch.tensor([3, 8]), guided=False)
    for cache in state.caches:
        cache.keys[..., model.config.sinks :, :] = 1e9
        cache.values[..., model.config.sinks :, :] = 1e9
    play_through(model, x, 2, 2, 16, poisoned, state)
    torch.testing.assert_close(torch.stack(poisoned.logits), torch.stack(clean.logits))


def test_hour_old_positions_are_as_good_as_new(model: Duet) -> None:
    """Attention knows distances only, so a session may begin at any column."""
    x, columns = inputs(40)
    hour = 50 * 3600
    logits = []
    for start in (0, hour):
        sampler = Fixed(columns, first=start)
        state = model.init_state(torch.tensor([3, 8]), guided=False, column=start)
        state.heard = start
        for column in range(0, 30, 2):
            state = model.listen(x[:, column : column + 2], state)
            _, state = model.play(state, 2, sampler)  # type: ignore[arg-type]
        logits.append(torch.stack(sampler.logits))
    torch.testing.assert_close(logits[1], logits[0], rtol=0, atol=1e-5)


def test_skipped_columns_enter_as_mask_and_their_frames_come_back_missing(model: Duet) -> None:
    x, columns = inputs(60)
    sampler = Fixed(columns)
    state = model.init_state(torch.tensor([3, 8]), guided=False)
    state = model.listen(x[:, :50], state)
    first, state = model.play(state, 20, sampler)  # type: ignore[arg-type]
    gap, state = model.skip(state, 5)
    rest, state = model.play(state, 15, sampler)  # type: ignore[arg-type]
    frames = torch.cat([first, gap, rest], dim=2)
    assert frames.shape[2] == 40 - 3
    missing = (frames == MISSING).any(1).any(0)
    assert missing.nonzero().flatten().tolist() == list(
        range(17, 25)
    )  # cells in columns 20..24 belong to frames 17..24
    assert (frames[:, :, 17:25] == MISSING).all()
    hidden = columns[:, :, :40].clone()
    hidden[:, :, 20:25] = model.mask
    view = Visibility(0, torch.full((2, 40), 50), torch.zeros(2, dtype=torch.bool))
    whole = model(x[:, :50], previous(model, hidden), torch.tensor([3, 8]), view)
    played = torch.cat([whole[:, :20], whole[:, 25:]], dim=1)
    torch.testing.assert_close(torch.stack(sampler.logits, 1), played.float(), rtol=0, atol=1e-5)


def test_cold_start_has_no_frames_before_the_first_and_pads(model: Duet) -> None:
    state = model.init_state(torch.tensor([1]), guided=False, column=7)
    first, state = model.play(state, 3, Sampler())
    assert first.shape == (1, 4, 0)
    second, state = model.play(state, 1, Sampler())
    assert second.shape == (1, 4, 1)
    assert state.column == 11


def test_a_row_does_not_depend_on_its_batch(model: Duet) -> None:
    x, _ = inputs(30)
    both, _ = play_through(model, x, 1, 3, 24, Sampler(seed=4, players=(10, 11), guidance=1.5))
    state = model.init_state(torch.tensor([8]), guided=True)
    alone, _ = play_through(model, x[1:], 1, 3, 24, Sampler(seed=4, players=(11,), guidance=1.5), state)
    assert torch.equal(both[1:], alone)


def test_special_ids_are_never_played(model: Duet) -> None:
    x, _ = inputs(60)
    frames, _ = play_through(model, x, 0, 1, 50, Sampler(temperature=5.0, top_k=10_000))
    assert int(frames.min()) >= 0
    assert int(frames.max()) < model.config.codes


def test_spec_and_batch_are_accepted_as_the_interface_says(model: Duet) -> None:
    state = model.init_state(torch.tensor([2]), StreamSpec(0, 5), 3)
    assert state.batch == 3
    assert (state.column, state.heard) == (0, 0)


def test_codes_as_ears() -> None:
    torch.manual_seed(0)
    model = Duet(dataclasses.replace(duet_tiny(), recall=False, ears="codes", code_latent=8)).eval()
    with torch.inference_mode():
        codes = torch.randint(0, 32, (1, 12, 4))
        state = model.listen(codes, model.init_state(torch.tensor([0]), guided=False))
        frames, _ = model.play(state, 8, Sampler())
    assert frames.shape == (1, 4, 5)
    with pytest.raises(ValueError, match="hears codes"):
        model.init_ears(1)
