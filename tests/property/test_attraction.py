"""Where the iteration goes: to the spectral projector inside the basin, away from 1/2, to the wrong projector just outside,
to nothing beyond the golden ratio - and what `purify` says of it."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import linalg

from idemlab import purify
from idemlab.purification.iteration import Ending, residual
from idemlab.testing import (
    BASIN,
    Block,
    LinearMap,
    eigenvalues_in_basin,
    exact_bases,
    exact_orthogonal_bases,
    idempotents,
    linear_maps,
    maps_in_basin,
    oblique_bases,
    orthogonal_bases,
    spectra,
)

GOLDEN = (1 + 5**0.5) / 2


def h(value):
    return 3 * value**2 - 2 * value**3


# -- inside the basin ---------------------------------------------------------------------------------------------------


def schur_projector(K: torch.Tensor) -> torch.Tensor:
    """The spectral projector for Re λ > 1/2 from an ordered Schur form: K = Q [[A, B], [0, C]] Q^T, A Y - Y C = B, and then
    P = Q [[I, Y], [0, 0]] Q^T commutes with K."""
    T, Q, r = linalg.schur(K.numpy(), sort=lambda re, im=0.0: re > 0.5)
    P = torch.zeros_like(K)
    P[:r, :r] = torch.eye(r)
    if 0 < r < len(K):
        P[:r, r:] = torch.from_numpy(linalg.solve_sylvester(T[:r, :r], -T[r:, r:], T[:r, r:]))
    return torch.from_numpy(Q) @ P @ torch.from_numpy(Q).T


BASES = {
    "orthogonal": orthogonal_bases,
    "oblique": oblique_bases,
    "far from orthogonal": partial(oblique_bases, condition=100.0),
    "integers": exact_bases,
}


@pytest.mark.parametrize("basis", list(BASES.values()), ids=list(BASES))
@given(data=st.data())
def test_inside_the_basin_it_finds_the_spectral_projector(basis, data, drift):
    K = data.draw(maps_in_basin(basis=basis))
    result = purify(K.matrix)
    assert result.idempotent
    rank = sum(value.real > 0.5 for value in K.eigenvalues)
    assert round(float(result.matrix.trace())) == rank
    allowed = drift(K, len(result.residuals))
    assert float((result.matrix - K.projector()).norm()) <= allowed
    assert float((result.matrix - schur_projector(K.matrix)).norm()) <= allowed


@given(maps_in_basin(margin=0.2, largest_block=3))
def test_so_it_does_for_defective_maps(drift, K):
    result = purify(K.matrix)
    assert result.idempotent
    allowed = drift(K, len(result.residuals))
    assert float((result.matrix - K.projector()).norm()) <= allowed
    assert float((result.matrix - schur_projector(K.matrix)).norm()) <= allowed


@given(maps_in_basin(pairs=False, basis=orthogonal_bases))
def test_symmetric_maps_agree_with_their_eigenvectors(drift, K):
    values, vectors = torch.linalg.eigh(K.matrix)
    P = vectors[:, values > 0.5] @ vectors[:, values > 0.5].T
    result = purify(K.matrix)
    assert float((result.matrix - P).norm()) <= drift(K, len(result.residuals))


@given(maps_in_basin(rank=1, size=2, basis=exact_bases))
def test_the_limit_keeps_range_and_kernel_of_the_map(drift, K):
    P = purify(K.matrix).matrix
    one, zero = K.basis.matrix.T  # eigenvectors: the limit may be oblique
    allowed = drift(K, 20) * float(K.basis.matrix.norm())
    assert float((P @ one - one).norm()) <= allowed
    assert float((P @ zero).norm()) <= allowed


# -- the complex plane ----------------------------------------------------------------------------------------------------


def limits(values: list[complex]) -> tuple[list[int | None], float]:
    """Where each eigenvalue goes within 30 steps (None for nowhere), and the largest factor by which an error that is made
    on the way can have grown: products of h[a, b] = 3 (a + b) - 2 (a^2 + ab + b^2) along the orbits of pairs a, b."""
    growth, worst = torch.ones(len(values), len(values), dtype=torch.complex128), 1.0
    a = torch.tensor(values, dtype=torch.complex128)
    for _ in range(30):
        pair = a[:, None], a[None, :]
        slope = 3 * (pair[0] + pair[1]) - 2 * (pair[0] ** 2 + pair[0] * pair[1] + pair[1] ** 2)
        growth = slope * torch.where(growth.abs() < 1, torch.ones_like(growth), growth)  # the worst step to start from
        worst = max(worst, float(growth.abs().max()))
        a = h(a)
        if not float(a.abs().max()) < 4:
            return [None] * len(values), math.inf
    return [round(x.real) if abs(x * x - x) < 1e-3 else None for x in a.tolist()], worst


heat_map = st.builds(complex, st.floats(-0.5, 1.5), st.floats(0, 0.5))


@given(linear_maps(spectra(heat_map, size=4), orthogonal_bases))
def test_on_the_complex_plane_each_pair_goes_where_its_eigenvalue_goes(formation, cubic, rounding, K):
    # the region of the paper's heat map: the basins are bounded by a Julia set
    values = list(K.eigenvalues)
    goes, growth = limits(values)
    assume(None not in goes and growth < 1e5)
    to = dict(zip(values, goes, strict=True))
    iterate, off = K.matrix, formation(K)
    for _ in range(30):
        off, iterate = off + rounding(iterate), cubic(iterate)
    expected = K.projector(lambda value: to[value] == 1)
    # In an orthogonal basis an error moves the limit by the divided differences of what is left of the iteration.
    assert float((iterate - expected).norm()) <= growth * off + formation(K)


# -- at one half ------------------------------------------------------------------------------------------------------------

near_half = st.tuples(st.integers(1, 8), st.sampled_from([-1, 1])).map(lambda draw: 0.5 + draw[0] * draw[1] / 64)


@given(linear_maps(spectra(near_half), exact_bases))
def test_one_half_repels_by_three_halves(cubic, K):
    half = torch.eye(K.size).double() / 2
    D = K.matrix - half
    assert torch.equal(cubic(K.matrix) - half, 1.5 * D - 2 * D @ D @ D)


@given(st.floats(1e-6, 0.1), idempotents(basis=exact_orthogonal_bases))
def test_any_distance_from_one_half_decides_the_side(drift, distance, P):
    sides = [0.5 + distance if value.real == 1 else 0.5 - distance for value in P.eigenvalues]
    K = LinearMap.of([Block(value) for value in sides], P.basis)
    result = purify(K.matrix)
    assert result.idempotent
    assert float((result.matrix - P.matrix).norm()) <= drift(K, len(result.residuals))


# -- outside the basin --------------------------------------------------------------------------------------------------

# h takes -0.55 to 1.24 and the lower end of the basin, -0.366, to 1/2: in between it leads to 1, and by symmetry to 0 above.
just_outside = st.floats(-0.55, BASIN[0] - 0.01).flatmap(lambda value: st.sampled_from([value, 1 - value]))


@given(linear_maps(spectra(just_outside | eigenvalues_in_basin(pairs=False))))
def test_just_outside_it_finds_the_wrong_projector(formation, rounding, drift, K):
    assume(any(not BASIN[0] < value.real < BASIN[1] for value in K.eigenvalues))
    result = purify(K.matrix)
    assert result.idempotent  # but another projector than that of the eigenvalues beyond 1/2
    after = LinearMap.of([Block(h(value.real)) for value in K.eigenvalues], K.basis)  # inside the basin
    k = float(K.matrix.norm())
    first = rounding(K.matrix) + (6 * k + 6 * k**2) * formation(K)  # h takes a change of K at most so many times
    allowed = drift(after, len(result.residuals)) + after.sensitivity * first
    assert float((result.matrix - after.projector()).norm()) <= allowed
    # two idempotents that commute and differ: the difference has an eigenvalue 1 or -1
    assert float((after.projector() - K.projector()).norm()) >= 1 - formation(K)


@pytest.mark.parametrize(("value", "limit"), [(-0.367, 1), (-0.366, 0), (1.366, 1), (1.367, 0)])
def test_the_basin_ends_where_it_is_said_to(value, limit):
    result = purify(torch.tensor([[value]], dtype=torch.float64))
    assert result.idempotent
    assert float(result.matrix) == pytest.approx(limit, abs=1e-15)


beyond = st.floats(0.01, 10).flatmap(lambda far: st.sampled_from([GOLDEN + far, 1 - GOLDEN - far]))
beyond_pairs = st.builds(complex, st.floats(-1.5, 1.5), st.floats(2, 5))  # |h(λ)| >= 2 |λ|^3 - 3 |λ|^2 > |λ| from 2 on


@pytest.mark.parametrize("outside", [beyond, beyond_pairs], ids=["real", "complex"])
@given(data=st.data())
def test_divergence_is_reported(outside, data):
    blocks = (Block(data.draw(outside)), *data.draw(spectra(eigenvalues_in_basin(), size=3)))
    K = LinearMap.of(blocks, data.draw(oblique_bases(sum(block.places for block in blocks))))
    result = purify(K.matrix)
    assert result.ending is Ending.DIVERGED
    assert "outside the basin" in result.ending.value
    assert not result.idempotent
    assert torch.isfinite(result.matrix).all()
    assert float(residual(result.matrix)) == result.residuals[-1] < math.inf


FIBONACCI = torch.tensor([[1.0, 1.0], [1.0, 0.0]]).double()
"""K^2 - K = I: its eigenvalues are the golden ratio 1.618 and -0.618, and h(K) = I - K."""


@given(st.integers(1, 4).flatmap(lambda pairs: st.tuples(st.just(pairs), exact_bases(2 * pairs))))
def test_the_two_cycle_is_reported(cubic, drawn):
    pairs, basis = drawn
    K = basis.matrix @ torch.block_diag(*[FIBONACCI] * pairs) @ basis.inverse
    eye = torch.eye(2 * pairs).double()
    assert torch.equal(cubic(K), eye - K)
    assert torch.equal(cubic(eye - K), K)
    result = purify(K)
    assert result.ending is Ending.STEPS
    assert not result.idempotent
