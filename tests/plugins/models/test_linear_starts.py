"""Where the linear model starts: spectrum, basis and distance from the identity, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from idemlab_models.linear import near_identity
from idemlab_models.plugin import linear
from idemlab_models.spectrum import HIGH, LOW, basis, in_basin


def h(K: Tensor) -> Tensor:
    return 3 * K @ K - 2 * K @ K @ K


@pytest.mark.parametrize("condition", [1.0, 10.0, 1000.0])
def test_basis_has_exactly_the_condition_asked_for(condition: float) -> None:
    torch.manual_seed(0)
    S, S_inverse = basis(40, condition)
    assert torch.linalg.cond(S).item() == pytest.approx(condition, rel=1e-10)
    torch.testing.assert_close(S @ S_inverse, torch.eye(40, dtype=torch.float64), rtol=0, atol=1e-11)
    s = torch.linalg.svdvals(S)
    torch.testing.assert_close(s[:-1] / s[1:], torch.full((39,), condition ** (1 / 39), dtype=torch.float64))


def test_orthogonal_matrices_are_drawn_with_both_signs() -> None:
    """The sign of the QR decomposition is a convention; without its correction the draw is not uniform."""
    torch.manual_seed(0)
    assert {basis(1, 1.0)[0].item() for _ in range(50)} == {-1.0, 1.0}


def test_the_ends_of_the_basin() -> None:
    """h leads each end to the other, so that neither is inside; just inside, to 0 and to 1."""
    for end, other in ((LOW, 0.5), (HIGH, 0.5)):
        assert 3 * end**2 - 2 * end**3 == pytest.approx(other, abs=1e-15)
    for inside, limit in ((LOW + 1e-3, 0.0), (HIGH - 1e-3, 1.0)):
        for _ in range(60):
            inside = 3 * inside**2 - 2 * inside**3
        assert inside == pytest.approx(limit, abs=1e-15)


@pytest.mark.parametrize("condition", [1.0, 10.0, 100.0])
@pytest.mark.parametrize(("n", "rank", "margin"), [(24, None, 0.05), (24, 0, 0.01), (24, 24, 0.2), (7, 2, 0.43)])
def test_spectrum(n: int, rank: int | None, margin: float, condition: float) -> None:
    torch.manual_seed(3)
    K = in_basin(n, rank, condition, margin)
    eigenvalues = torch.linalg.eigvals(K)
    assert eigenvalues.imag.abs().max() < 1e-10
    to_1 = eigenvalues.real[eigenvalues.real > 0.5]
    to_0 = eigenvalues.real[eigenvalues.real < 0.5]
    assert len(to_1) == (n // 2 if rank is None else rank)
    assert len(to_0) == n - len(to_1)
    slack = 1e-10
    assert ((to_1 >= 0.5 + margin - slack) & (to_1 <= HIGH - margin + slack)).all()
    assert ((to_0 >= LOW + margin - slack) & (to_0 <= 0.5 - margin + slack)).all()
    assert ((K - K.mT).abs().max() < 1e-14) == (condition == 1.0)


def test_eigenvalues_fill_the_basin() -> None:
    torch.manual_seed(0)
    eigenvalues = torch.linalg.eigvalsh(in_basin(400, margin=0.05))
    assert eigenvalues.min() == pytest.approx(LOW + 0.05, abs=0.02)
    assert eigenvalues.max() == pytest.approx(HIGH - 0.05, abs=0.02)
    assert eigenvalues[199] == pytest.approx(0.45, abs=0.02)
    assert eigenvalues[200] == pytest.approx(0.55, abs=0.02)


def test_cubic_iteration_leads_to_a_projector_of_the_rank_asked_for() -> None:
    torch.manual_seed(0)
    K = linear((256,), init="spectrum", condition=10.0, rank=100).double().map.weight.detach()
    for _ in range(12):
        K = h(K)
    assert torch.linalg.matrix_norm(K @ K - K).item() < 1e-12
    assert K.trace().item() == pytest.approx(100, abs=1e-9)


def test_near_identity() -> None:
    torch.manual_seed(0)
    D = near_identity(200, 0.1) - torch.eye(200, dtype=torch.float64)
    assert (D.std() * math.sqrt(200)).item() == pytest.approx(0.1, rel=0.02)
    assert torch.linalg.eigvals(D).abs().max().item() == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("init", ["identity", "spectrum"])
def test_bias_starts_at_zero_and_the_matrix_is_the_drawn_one(init: str) -> None:
    torch.manual_seed(0)
    f = linear((2, 3), bias=True, init=init)
    assert torch.equal(f.map.bias, torch.zeros(6))
    torch.manual_seed(0)
    torch.nn.Linear(6, 6)  # what the layer itself draws, and throws away
    K = near_identity(6) if init == "identity" else in_basin(6)
    assert torch.equal(f.map.weight, K.float())
    x = torch.randn(4, 2, 3)
    torch.testing.assert_close(f(x), (x.flatten(1) @ K.float().T).reshape(4, 2, 3))
