"""Draws: the right distribution, a pure function of (seed, player, column, level), never a special id."""

import pytest
import torch

from bandmate.model.sampling import Sampler


def test_draws_follow_the_distribution() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])).expand(1, 2, 4)
    drawn = torch.cat([Sampler(top_k=4, seed=1)(logits, column) for column in range(4000)])
    share = torch.bincount(drawn.flatten(), minlength=4) / drawn.numel()
    torch.testing.assert_close(share, torch.tensor([0.5, 0.3, 0.15, 0.05]), rtol=0, atol=0.02)


def test_a_players_draws_do_not_depend_on_the_others_in_the_batch() -> None:
    logits = torch.randn(3, 4, 64, generator=torch.Generator().manual_seed(0))
    together = Sampler(seed=5, players=(7, 8, 9))(logits, 11)
    alone = Sampler(seed=5, players=(9,))(logits[2:], 11)
    assert torch.equal(together[2:], alone)


def test_draws_stay_what_they_were() -> None:
    logits = 3 * torch.sin(torch.arange(2 * 3 * 50.0).reshape(2, 3, 50) * 7)
    sampler = Sampler(temperature=(1.0, 0.5, 2.0), top_k=(50, 8, 20), seed=9, players=(4, 6))
    drawn = [sampler(logits, column).tolist() for column in (0, 1, 700)]
    assert drawn == [
        [[11, 13, 6], [46, 12, 7]],
        [[18, 40, 15], [28, 47, 23]],
        [[1, 31, 44], [18, 21, 14]],
    ]


@pytest.mark.parametrize("change", [{"seed": 1}, {"players": (1,)}, {"column": 1}])
def test_draws_change_with_seed_player_and_column(change: dict) -> None:
    logits = torch.zeros(1, 4, 1000)
    column = change.pop("column", 0)
    other = Sampler(**({"players": (0,)} | change), top_k=1000)(logits, column)
    assert not torch.equal(Sampler(players=(0,), top_k=1000)(logits, 0), other)


def test_levels_of_a_column_are_drawn_independently() -> None:
    drawn = Sampler(top_k=1000)(torch.zeros(1, 4, 1000), 0)
    assert len(set(drawn.flatten().tolist())) == 4


def test_top_k_and_temperature_per_level() -> None:
    logits = torch.randn(1, 3, 100, generator=torch.Generator().manual_seed(0))
    best = logits.argmax(-1)
    for column in range(50):
        drawn = Sampler(temperature=(0.0, 1.0, 5.0), top_k=(100, 1, 3))(logits, column)
        assert torch.equal(drawn[:, :2], best[:, :2])
        assert drawn[0, 2] in logits[0, 2].topk(3).indices


def test_guidance_one_is_none_and_more_moves_away_from_the_deaf() -> None:
    given, null = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 2.0])
    assert torch.equal(Sampler(guidance=1.0).guide(given, null), given)
    assert torch.equal(Sampler(guidance=0.0).guide(given, null), null)
    assert torch.equal(Sampler(guidance=2.0).guide(given, null), torch.tensor([0.0, 2.0]))
    assert Sampler(guidance=1.5).guided
    assert Sampler(guidance=(1.0, 2.0)).guided
    assert not Sampler(guidance=(1.0, 1.0)).guided
    assert not Sampler().guided


def test_guidance_per_level() -> None:
    given, null = torch.randn(2, 3, 4, 5).unbind()
    sampler = Sampler(guidance=(1.0, 0.0, 2.0, 3.0))
    guided = sampler.guide(given, null)
    for level, guidance in enumerate((1.0, 0.0, 2.0, 3.0)):
        expected = Sampler(guidance=guidance).guide(given[:, level], null[:, level])
        torch.testing.assert_close(guided[:, level], expected)
        torch.testing.assert_close(sampler.guide(given[:, level], null[:, level], level), expected)


def test_guidance_chooses_among_what_was_plausible_before_it() -> None:
    given, null = torch.tensor([[3.0, 2.0, 1.0, 0.0]]), torch.tensor([[3.0, 0.0, 0.0, -9.0]])
    free = Sampler(guidance=4.0).guide(given, null, 0)
    assert free.argmax() == 3  # what neither would have played
    chosen = Sampler(guidance=4.0, plausible=2).guide(given, null, 0)
    assert torch.equal(chosen, torch.tensor([[3.0, 8.0, -torch.inf, -torch.inf]]))
    assert torch.equal(Sampler(guidance=4.0, plausible=9).guide(given, null, 0), free)  # more than there are


@pytest.mark.parametrize("guidance", [0.0, 1.0, (1.0, 0.5)])
def test_without_guidance_everything_is_plausible(guidance: float | tuple[float, ...]) -> None:
    """Else the deaf player of guidance 0 would be told by what is plausible what the other one hears."""
    given, null = torch.randn(2, 3, 2, 50, generator=torch.Generator().manual_seed(0)).unbind()
    guided = Sampler(guidance=guidance, plausible=1).guide(given, null)
    assert torch.equal(guided, Sampler(guidance=guidance).guide(given, null))


def test_what_is_plausible_per_level() -> None:
    given, null = torch.randn(2, 3, 4, 50, generator=torch.Generator().manual_seed(0)).unbind()
    sampler = Sampler(guidance=(2.0, 1.0, 3.0, 2.0), plausible=(5, 5, 1, 50))
    guided = sampler.guide(given, null)
    assert guided.isfinite().sum(-1).tolist() == [[5, 50, 1, 50]] * 3
    for level, (guidance, plausible) in enumerate(zip((2.0, 1.0, 3.0, 2.0), (5, 5, 1, 50))):
        alone = Sampler(guidance=guidance, plausible=plausible).guide(given[:, level], null[:, level])
        torch.testing.assert_close(guided[:, level], alone)
        torch.testing.assert_close(sampler.guide(given[:, level], null[:, level], level), alone)
    drawn = torch.stack([sampler(guided, column) for column in range(40)])
    best = given.topk(5).indices[:, 0]
    assert (drawn[:, :, 0, None] == best).any(-1).all()
    assert torch.equal(drawn[:, :, 2], given[:, 2].argmax(-1).expand(40, -1))


@pytest.mark.parametrize(
    "bad",
    [
        {"plausible": 0},
        {"plausible": (3, -1)},
        {"temperature": -1.0},
        {"top_k": 0},
        {"guidance": float("nan")},
        {"guidance": (1.0, -1.0)},
        {"temperature": (1.0, float("inf"))},
    ],
)
def test_nonsense_is_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        Sampler(**bad)
