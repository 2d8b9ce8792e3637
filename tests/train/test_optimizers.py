import copy

import pytest
import torch
from torch import nn

from bandmate.train.optimizers import Muon, orthogonalised

SHAPES = ((8, 8), (12, 6), (6, 12), (8, 8))


def matrices(seed: int) -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=draw)) for shape in SHAPES]


def give_gradients(parameters: list[nn.Parameter], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=draw)


def torchs(parameters: list[nn.Parameter]) -> torch.optim.Muon:
    return torch.optim.Muon(parameters, 0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    made = orthogonalised(x, (3.4445, -4.7750, 2.0315), 5, 1e-7)
    values = torch.linalg.svdvals(made)
    assert made.shape == x.shape
    assert values.min() > 0.3
    assert values.max() < 1.3
    for before, after in zip(x, made, strict=True):  # the singular vectors stay
        u, _, v = torch.linalg.svd(before, full_matrices=False)
        inner = u.T @ after @ v.T
        assert torch.allclose(inner, inner.diagonal().diag(), atol=1e-4)


def test_steps_are_torchs_but_for_its_rounding() -> None:
    ours, theirs = matrices(1), matrices(1)
    mine, reference = Muon(ours, 0.02, weight_decay=0.1), torchs(theirs)
    for step in range(4):
        for parameters, optimizer in ((ours, mine), (theirs, reference)):
            give_gradients(parameters, 10 + step)
            optimizer.step()
    for a, b, begin in zip(ours, theirs, matrices(1), strict=True):
        moved = (b - begin).norm()
        assert (a - b).norm() < 0.02 * moved  # bfloat16 has 8 bits
        assert moved > 0


def test_matrices_without_a_gradient_stay() -> None:
    parameters = matrices(2)
    give_gradients(parameters, 3)
    parameters[0].grad = None
    begin = parameters[0].detach().clone()
    Muon(parameters, 0.02, weight_decay=0.1).step()
    assert torch.equal(parameters[0], begin)
    assert not torch.equal(parameters[3], matrices(2)[3])


def test_a_run_of_torchs_optimizer_goes_on_in_ours() -> None:
    parameters = matrices(4)
    reference = torchs(parameters)
    give_gradients(parameters, 5)
    reference.step()
    ours = [nn.Parameter(p.detach().clone()) for p in parameters]
    mine = Muon(ours, 0.5, weight_decay=0.0)
    mine.load_state_dict(copy.deepcopy(reference.state_dict()))
    for own, optimizer in ((ours, mine), (parameters, reference)):
        give_gradients(own, 6)
        optimizer.step()
    for a, b in zip(ours, parameters, strict=True):
        assert torch.allclose(a, b, atol=2e-3)


def test_a_closure_finds_the_gradients() -> None:
    parameters = matrices(7)
    optimizer = Muon(parameters, 0.02, weight_decay=0.0)

    def closure() -> torch.Tensor:
        loss = sum((p.square().sum() for p in parameters), torch.zeros(()))
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    assert loss == sum(p.square().sum() for p in matrices(7))
    assert not torch.equal(parameters[0], matrices(7)[0])
