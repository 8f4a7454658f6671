"""The purification family as weight projection: the cubic iteration, then what holds for every member."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from idemlab import Purifier
from idemlab.objective.projection import project_weights
from idemlab_enforcers.purification import Purify


def damped(step, **settings):
    return Purify(Purifier(**settings), step)


def matrix(spectrum, seed, condition=3.0):
    """S diag(spectrum) S^-1 with cond(S) = condition."""
    n = len(spectrum)
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q for _ in range(2))
    S = left @ torch.diag(torch.logspace(0, 1, n).log10() * (condition - 1) + 1) @ right
    return S @ torch.diag(torch.as_tensor(spectrum, dtype=torch.float64)) @ torch.linalg.inv(S)


seeds = st.integers(0, 2**31)
basin = st.one_of(st.floats(-0.36, 0.45), st.floats(0.55, 1.36))


@pytest.mark.parametrize("s", [0.25, 1.0])
@settings(deadline=None)
@given(spectrum=st.lists(st.floats(-2, 2), min_size=1, max_size=6), seed=seeds)
def test_it_is_the_damped_recurrence(s, spectrum, seed):
    K = matrix(spectrum, seed)
    expected = (1 - s) * K + s * (3 * K @ K - 2 * K @ K @ K)
    torch.testing.assert_close(damped(s).project(K), expected, rtol=1e-12, atol=1e-11)


@settings(deadline=None)
@given(spectrum=st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=6), seed=seeds)
def test_idempotents_are_fixed_points(spectrum, seed):
    P = matrix(spectrum, seed)
    torch.testing.assert_close(damped(1.0).project(P), P, rtol=0, atol=1e-12)


def test_the_only_other_fixed_points_have_an_eigenvalue_one_half():
    halves = matrix([0.0, 0.5, 1.0], seed=0)
    torch.testing.assert_close(damped(1.0).project(halves), halves, rtol=0, atol=1e-13)


@settings(deadline=None)
@given(spectrum=st.lists(basin, min_size=1, max_size=6), seed=seeds)
def test_it_converges_quadratically_to_the_spectral_projector(spectrum, seed):
    K, residuals = matrix(spectrum, seed), []
    for _ in range(40):
        residuals.append(float(torch.linalg.matrix_norm(K @ K - K, 2)))
        if residuals[-1] < 1e-7:
            break
        K = damped(1.0).project(K)
    K = damped(1.0).project(K)
    torch.testing.assert_close(K, matrix([float(value > 0.5) for value in spectrum], seed), rtol=0, atol=1e-11)
    for before, after in pairwise(residuals):
        if before < 0.25:  # N' = 4 N^3 - 3 N^2
            assert after <= 4 * before**3 + 3 * before**2 + 1e-12


def test_damping_leaves_one_minus_s_of_a_small_error():
    s, error = 0.3, 1e-6
    K = torch.diag(torch.tensor([error, 1 + error]))
    left = damped(s).project(K) - torch.diag(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(left.diagonal() / error, torch.full((2,), 1 - s), rtol=1e-5, atol=0)


def test_the_erratum_with_a_plus_sign_does_not_fix_projectors():
    P = matrix([0.0, 1.0, 1.0], seed=0)
    plus = 3 * P @ P + 2 * P @ P @ P
    assert (plus - P).norm() > 1
    torch.testing.assert_close(damped(1.0).project(P), P, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(4,), (2, 3), (1,)])
@pytest.mark.parametrize("s", [0.5, 1.0])
def test_stacks_are_projected_like_their_members(s, shape):
    K = torch.randn(*shape, 3, 3)
    enforcer = damped(s)
    kept, together = K.clone(), enforcer.project(K)
    one_by_one = torch.stack([enforcer.project(k) for k in K.reshape(-1, 3, 3)]).reshape(K.shape)
    torch.testing.assert_close(together, one_by_one, rtol=1e-13, atol=1e-13)
    assert torch.equal(K, kept)


def test_complex_matrices_keep_their_conjugate_pairs():
    K = torch.tensor([[0.9, 0.05], [-0.05, 0.9]])
    complex_K = copy.deepcopy(K).to(torch.complex128)
    project = damped(0.8).project
    torch.testing.assert_close(project(complex_K).real, project(K), rtol=1e-14, atol=1e-14)


METHODS = {
    "cubic": {},
    "holas-5": {},
    "holas-7": {},
    "optimal": {"gap": 0.2},
    **{method: {"rank": 3} for method in ("sp2", "trs4", "hpcp", "pm")},
}


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_every_method_makes_weights_idempotent_and_stops_at_rounding(method, dtype):
    enforcer = damped(1.0, method=method, **METHODS[method])
    K = matrix([0.02, 0.1, 0.2, 0.75, 0.8, 0.95], seed=0, condition=2.0)
    layer = nn.Linear(6, 6, bias=False).to(dtype)
    layer.weight.data.copy_(K)
    left = []
    for _ in range(25):
        projected = project_weights(enforcer, layer, steers=method in ("sp2", "trs4", "hpcp", "pm"))
        left.append(float(projected.residual))
    weight = layer.weight.detach().double()
    assert abs(float(weight.trace()) - 3) < 0.05
    assert left[-1] <= 30 * torch.finfo(dtype).eps ** (0.5 if method == "sp2" else 1)
    assert left[-1] == left[-2]  # no more is written back


@pytest.mark.parametrize("method", ["trs4", "hpcp", "pm"])
def test_a_rank_is_reached_from_near_another_idempotent(method):
    """The residual rises on the way, which is no rounding."""
    layer = nn.Linear(4, 4, bias=False).double()
    layer.weight.data.copy_(matrix([0.99, 0.06, 0.02, 0.01], seed=1))
    for _ in range(60):
        projected = project_weights(damped(1.0, method=method, rank=2), layer, steers=True)
    assert float(projected.residual) < 1e-9
    assert round(float(layer.weight.detach().trace())) == 2
