"""Muon on a CPU: torch's own in exact arithmetic."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idemlab.catalog.muon import Muon, orthogonalised

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


@pytest.fixture
def gradients() -> list[Tensor]:
    return list(torch.randn(6, 8, 20, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (9, 9), (1, 5)])
def test_singular_values_follow_the_polynomial_and_vectors_stay(shape: tuple[int, int]) -> None:
    """Against the singular value decomposition: U p(p(...p(S / |S|)...)) V^T with p(s) = a s + b s^3 + c s^5."""
    G = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    a, b, c = COEFFICIENTS
    U, s, Vh = torch.linalg.svd(G, full_matrices=False)
    s = s / s.norm()
    for _ in range(5):
        s = a * s + b * s**3 + c * s**5
    torch.testing.assert_close(orthogonalised(G, COEFFICIENTS, 5, 1e-7), U * s @ Vh, rtol=1e-12, atol=1e-12)


def literal(G: Tensor) -> Tensor:
    """The iteration as it is written down: X <- a X + (b A + c A^2) X with A = X X^T, five times, of one matrix."""
    a, b, c = COEFFICIENTS
    X = (G if G.shape[0] <= G.shape[1] else G.T) / G.norm()
    for _ in range(5):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X if G.shape[0] <= G.shape[1] else X.T


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (8, 300), (24, 30), (1, 7), (12, 12)])
@pytest.mark.parametrize("decay", [0.0, 3.0, 6.0])
def test_the_iteration_on_the_gram_matrix_is_the_same_iteration(shape: tuple[int, int], decay: float) -> None:
    """Singular values over `decay` powers of ten; one matrix, or several of a shape at once."""
    gs = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    U, s, Vh = torch.linalg.svd(gs, full_matrices=False)
    gs = U * torch.logspace(0, -decay, s.shape[-1], dtype=torch.float64) @ Vh
    expected = torch.stack([literal(G) for G in gs])
    torch.testing.assert_close(orthogonalised(gs, COEFFICIENTS, 5, 1e-7), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(orthogonalised(gs[0], COEFFICIENTS, 5, 1e-7), expected[0], rtol=0, atol=1e-10)
    single = orthogonalised(gs.float(), COEFFICIENTS, 5, 1e-7).double()
    assert (single - expected).norm() < 1e-3 * expected.norm()


@pytest.mark.parametrize("nesterov", [True, False])
def test_matrices_of_one_shape_move_as_each_would_alone(nesterov: bool, gradients: list[Tensor]) -> None:
    def trained(counts: list[int]) -> list[Tensor]:
        ps = [nn.Parameter(torch.ones(8, 20, dtype=torch.float64)) for _ in range(3)]
        optimizers = [Muon([ps[i] for i in range(a, b)], lr=0.1, nesterov=nesterov) for a, b in pairwise(counts)]
        for step in range(2):
            for i, p in enumerate(ps):
                p.grad = gradients[step + i].double()
            for optimizer in optimizers:
                optimizer.step()
        return [p.detach() for p in ps]

    for together, alone in zip(trained([0, 3]), trained([0, 1, 2, 3]), strict=True):
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_a_gradient_of_zero_moves_nothing() -> None:
    assert orthogonalised(torch.zeros(3, 4), COEFFICIENTS, 5, 1e-7).count_nonzero() == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nesterov": False, "momentum": 0.8},
        {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.0},
        {"weight_decay": 0.5, "ns_steps": 3},
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_it_takes_the_steps_of_torch_to_the_precision_of_bfloat16(
    options: dict[str, Any], turned: bool, gradients: list[Tensor]
) -> None:
    ends, states = [], []
    for cls in (Muon, torch.optim.Muon):
        p = nn.Parameter(torch.ones(20, 8) if turned else torch.ones(8, 20))
        optimizer = cls([p], lr=0.1, **options)
        for gradient in gradients:
            p.grad = (gradient.T if turned else gradient).clone()
            optimizer.step()
        ends.append(p.detach())
        states.append(optimizer.state_dict())
    moved = ends[1] - 1
    assert (ends[0] - ends[1]).norm() < 0.02 * moved.norm()
    mine, theirs = (state["state"][0]["momentum_buffer"] for state in states)
    assert torch.equal(mine, theirs)  # and so a checkpoint of one serves the other
    assert states[0]["param_groups"] == states[1]["param_groups"]


def test_it_works_in_the_precision_of_the_weights(gradients: list[Tensor]) -> None:
    """In float64, a step of float32 gradients and one in float64 differ by the rounding of float32, not of bfloat16."""
    ends = []
    for dtype in (torch.float32, torch.float64):
        p = nn.Parameter(torch.zeros(8, 20, dtype=dtype))
        optimizer = Muon([p], lr=1.0)
        p.grad = gradients[0].to(dtype)
        optimizer.step()
        ends.append(p.detach().double())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-4, atol=1e-5)


def test_what_has_no_gradient_stays_and_a_closure_is_asked(gradients: list[Tensor]) -> None:
    still, moved = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(8, 20))
    optimizer = Muon([still, moved], lr=0.1)

    def closure() -> float:
        moved.grad = gradients[0]
        return 3.0

    assert optimizer.step(closure) == 3.0
    assert torch.equal(still, torch.ones(2, 2))
    assert not torch.equal(moved, torch.ones(8, 20))
