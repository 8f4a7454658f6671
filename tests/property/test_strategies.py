"""The public strategies draw what they promise, shrink to what is simple and print what is readable."""

from __future__ import annotations

import doctest
import importlib
from functools import partial

import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st

import idemlab.testing
from idemlab.testing import (
    BASIN,
    Block,
    LinearMap,
    defective_maps,
    eigenvalues,
    eigenvalues_in_basin,
    exact_bases,
    exact_orthogonal_bases,
    idempotents,
    linear_maps,
    maps_in_basin,
    near_idempotents,
    normal_maps,
    oblique_bases,
    oblique_maps,
    orthogonal_bases,
    spectra,
    symmetric_maps,
)

EPS = torch.finfo(torch.float64).eps
ALL_BASES = [orthogonal_bases, oblique_bases, exact_bases, exact_orthogonal_bases]
EXACT = [exact_bases, exact_orthogonal_bases]
sizes = st.integers(1, 8)


def smallest(strategy, condition=lambda drawn: True):
    """What hypothesis shrinks to, always the same: shrinking is a search that need not find the least of all."""
    return find(strategy, condition, settings=settings(derandomize=True, database=None, max_examples=2000))


def off(a, b):
    return float((a - b).norm())


@pytest.mark.long
@pytest.mark.parametrize("module", ["linear_map", "spectrum", "strategies"])
def test_the_examples_in_the_docstrings_are_true(module):
    result = doctest.testmod(importlib.import_module(f"idemlab.testing.{module}"))
    assert result.attempted > 3
    assert result.failed == 0


def test_every_public_name_is_there():
    assert not [name for name in idemlab.testing.__all__ if getattr(idemlab.testing, name, None) is None]


# -- bases ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", ALL_BASES)
@given(data=st.data())
def test_the_inverse_inverts(basis, data):
    n = data.draw(sizes)
    S = data.draw(basis(n))
    eye = torch.eye(n).double()
    if basis in EXACT:
        assert torch.equal(S.matrix @ S.inverse, eye)
        assert torch.equal(S.inverse @ S.matrix, eye)
    else:
        assert off(S.matrix @ S.inverse, eye) <= 4 * n * EPS * float(S.matrix.norm() * S.inverse.norm())


@given(sizes.flatmap(partial(oblique_bases, condition=50.0)))
def test_the_condition_number_is_bounded_and_known(S):
    assert 1 <= S.condition <= 50
    # singular values are off by n u ||S||, so the smallest by a share of cond(S) times that
    assert float(torch.linalg.cond(S.matrix)) == pytest.approx(S.condition, rel=8 * len(S.matrix) * EPS * S.condition)


@given(sizes.flatmap(orthogonal_bases))
def test_orthogonal_bases_are_orthogonal(S):
    n = len(S.matrix)
    assert off(S.matrix.T @ S.matrix, torch.eye(n).double()) <= 4 * n * EPS * n**0.5
    assert S.condition == 1


@pytest.mark.parametrize("basis", ALL_BASES)
def test_bases_shrink_to_the_identity(basis):
    assert torch.equal(smallest(basis(3)).matrix, torch.eye(3).double())


# -- maps -------------------------------------------------------------------------------------------------------------


@given(symmetric_maps())
def test_symmetric_maps_are_symmetric_with_the_drawn_spectrum(K):
    assert torch.equal(K.matrix, K.matrix.T)
    values = torch.tensor(sorted(value.real for value in K.eigenvalues), dtype=torch.float64)
    assert off(torch.linalg.eigvalsh(K.matrix), values) <= 8 * K.size * EPS * (1 + float(K.matrix.norm()))


@given(normal_maps())
def test_normal_maps_are_normal(K):
    K, k = K.matrix, float(K.matrix.norm())
    assert off(K @ K.T, K.T @ K) <= 16 * len(K) * EPS * k**2


def annihilated(K):
    """The product over the blocks of (K - a)^m, or ((K - a)^2 + b^2)^m for a pair a ± bi: 0 for the true spectrum."""
    eye, product, scale = torch.eye(K.size).double(), torch.eye(K.size).double(), 1.0
    for block in K.blocks:
        value = complex(block.eigenvalue)
        factor = K.matrix - value.real * eye
        factor = factor @ factor + value.imag**2 * eye if block.paired else factor
        for _ in range(block.size):
            product, scale = product @ factor, scale * float(factor.norm())
    return product, scale


quarters = st.integers(-4, 8).map(lambda value: value / 4)
exact_values = quarters | st.builds(complex, quarters, st.sampled_from([0.5, 1.0]))


@given(st.integers(1, 5).flatmap(lambda n: linear_maps(spectra(exact_values, size=n, largest_block=3), exact_bases)))
def test_maps_have_the_drawn_spectrum(K):
    assert not annihilated(K)[0].any()  # Cayley and Hamilton, without rounding
    assert len(K.eigenvalues) == K.size
    assert float(K.matrix.trace()) == sum(K.eigenvalues).real


@given(defective_maps(exact_values, size=4, basis=exact_bases))
def test_defective_maps_are_defective(K):
    assert 2 <= K.largest_block <= 3
    value = K.blocks[0].eigenvalue
    shifted = K.matrix - complex(value).real * torch.eye(4).double()
    # (K - λ) has a larger kernel when squared
    assert torch.linalg.matrix_rank(shifted @ shifted) < torch.linalg.matrix_rank(shifted)


@given(oblique_maps(condition=5.0, size=6))
def test_oblique_maps_keep_to_the_condition_number(K):
    assert K.condition <= 5
    assert K.size == 6


@given(st.data(), st.integers(0, 5))
def test_a_rank_leaves_zeros(data, rank):
    K = data.draw(linear_maps(spectra(st.just(2.0), size=5, rank=rank), exact_bases))
    assert torch.linalg.matrix_rank(K.matrix) == rank


@pytest.mark.parametrize("margin", [0.01, 0.2, 0.36])
@given(limit=st.sampled_from([0, 1]), data=st.data())
def test_eigenvalues_in_the_basin_keep_their_margin_and_go_where_they_should(margin, limit, data):
    value = complex(data.draw(eigenvalues_in_basin(limit, margin=margin)))
    tiny = 4 * EPS
    assert abs(value.real - 0.5) >= margin - tiny
    assert (value.real > 0.5) == (limit == 1)
    if value.imag:
        assert abs(value**2 - value) <= 0.25 - 2 * margin**2 + tiny
    else:
        assert BASIN[0] + margin - tiny <= value.real <= BASIN[1] - margin + tiny
    for _ in range(60):
        value = 3 * value**2 - 2 * value**3
    assert value == pytest.approx(limit, abs=1e-12)


@given(st.data(), st.integers(0, 4))
def test_maps_in_the_basin_have_the_given_rank_and_margin(data, rank):
    K = data.draw(maps_in_basin(size=4, rank=rank, margin=0.1, largest_block=2))
    assert sum(value.real > 0.5 for value in K.eigenvalues) == rank
    assert K.margin >= 0.1 - 4 * EPS


# -- idempotents ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", ALL_BASES)
@given(data=st.data())
def test_idempotents_are_idempotent_of_the_given_rank(basis, data):
    n = data.draw(sizes)
    rank = data.draw(st.integers(0, n))
    P = data.draw(idempotents(size=n, rank=rank, basis=basis))
    K, k = P.matrix, float(P.matrix.norm())
    assert round(float(K.trace())) == rank
    if basis in EXACT:
        assert torch.equal(K @ K, K)
    else:
        # P is off by 4 n u ||S|| ||S^-1||, which P E + E P - E takes 2 k + 1 times
        around = float(P.basis.matrix.norm() * P.basis.inverse.norm())
        assert off(K @ K, K) <= n * EPS * ((2 * k + 1) * 4 * around + k**2)


@given(idempotents(basis=exact_orthogonal_bases))
def test_exact_orthogonal_idempotents_are_symmetric(P):
    assert torch.equal(P.matrix, P.matrix.T)


@given(idempotents(basis=exact_bases) | idempotents(basis=exact_orthogonal_bases))
def test_exact_idempotents_are_exact_in_lower_precision(P):
    for dtype in (torch.float32, torch.bfloat16):
        K = P.matrix.to(dtype)
        assert torch.equal(K.double(), P.matrix)
        assert torch.equal(K @ K, K)


@pytest.mark.parametrize("basis", ALL_BASES)
def test_every_rank_is_drawn_and_not_only_diagonal(basis):
    drawn = set()

    @settings(max_examples=80, database=None, derandomize=True)
    @given(idempotents(size=4, basis=basis))
    def collect(P):
        drawn.add((round(float(P.matrix.trace())), bool((P.matrix != P.matrix.diag().diag()).any())))

    collect()
    assert drawn >= {(0, False), (1, True), (2, True), (3, True)}
    assert {rank for rank, _ in drawn} == set(range(5))


@pytest.mark.parametrize("basis", ALL_BASES)
@given(data=st.data())
def test_near_idempotents_are_near(basis, data):
    K = data.draw(near_idempotents(0.2, basis=basis))
    assert float(K.change.norm()) <= 0.2 * (1 + 4 * K.idempotent.size * EPS)
    assert torch.equal(K.matrix, K.idempotent.matrix + K.change)
    if basis is orthogonal_bases:
        assert float(torch.linalg.matrix_norm(K.matrix @ K.matrix - K.matrix, 2)) < 0.25


# -- projectors -------------------------------------------------------------------------------------------------------


@given(linear_maps(spectra(exact_values, largest_block=3), exact_bases))
def test_the_projector_is_the_idempotent_that_commutes_and_splits_the_spectrum(K):
    P, Q = K.projector(), torch.eye(K.size).double() - K.projector()
    assert torch.equal(P @ P, P)
    assert torch.equal(P @ K.matrix, K.matrix @ P)
    assert torch.equal(Q, K.projector(lambda value: not value.real > 0.5))
    assert float((K.matrix @ P).trace()) == sum(value for value in K.eigenvalues if value.real > 0.5).real


@given(st.data())
def test_the_sensitivity_bounds_how_the_projector_moves(data):
    # of a map that is split off from others of known bases: two bases a little apart give P and P + δP, K and K + δK
    K = data.draw(maps_in_basin(margin=0.1, largest_block=2, basis=partial(oblique_bases, condition=5.0)))
    A = torch.tensor([byte / 128 - 1 for byte in data.draw(st.binary(min_size=K.size**2, max_size=K.size**2))])
    turn = torch.linalg.matrix_exp(1e-7 * A.double().view(K.size, K.size))
    back = torch.linalg.matrix_exp(-1e-7 * A.double().view(K.size, K.size))
    moved, P = off(turn @ K.matrix @ back, K.matrix), K.projector()
    # 1e-12: what rounding adds to differences of about 1e-7; 1.01: they are not infinitesimal
    assert off(turn @ P @ back, P) <= 1.01 * K.sensitivity * (moved + 1e-12)


# -- shrinking and printing -------------------------------------------------------------------------------------------


def test_maps_shrink_to_the_diagonal():
    K = smallest(linear_maps(spectra(size=2)), lambda K: K.matrix.trace() >= 1)
    assert torch.equal(K.matrix, K.matrix.diag().diag())
    assert torch.equal(K.basis.matrix, torch.eye(2).double())
    assert K.matrix.diag().tolist() == [0, 1]


def test_simple_eigenvalues_are_preferred_to_pairs_and_jordan_blocks():
    values = st.sampled_from([0.0, 1.0, 0.5j, 1 + 0.5j])
    K = smallest(linear_maps(spectra(values, size=4, largest_block=3), exact_bases), lambda K: K.matrix.trace() >= 1)
    assert K.blocks == (Block(0), Block(0), Block(0), Block(1))


def test_a_map_is_printed_with_its_spectrum():
    plane = smallest(exact_bases(4))
    assert repr(LinearMap.of([Block(0.25 + 0.5j), Block(1 / 3, 2)], plane)).splitlines() == [
        "LinearMap 4x4 with eigenvalues 0.25±0.5i, J(0.333333, 2); cond(S) = 1",
        "  [[0.25, -0.5,        0,        0],",
        "   [ 0.5, 0.25,        0,        0],",
        "   [   0,    0, 0.333333,        1],",
        "   [   0,    0,        0, 0.333333]]",
    ]


def test_a_falsifying_example_shows_matrix_and_spectrum():
    @settings(derandomize=True, database=None)
    @given(idempotents(basis=exact_bases))
    def claim(P):
        assert not P.matrix.any()

    with pytest.raises(AssertionError) as caught:
        claim()
    assert "LinearMap 1x1 with eigenvalues 1; cond(S) = 1\n" in "\n".join(caught.value.__notes__)


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.0, -0.1, 0.4])
def test_a_margin_that_leaves_nothing_is_refused(margin):
    with pytest.raises(ValueError, match="expected in"):
        eigenvalues_in_basin(margin=margin)


@pytest.mark.parametrize("strategy", [idempotents, maps_in_basin, spectra])
@pytest.mark.parametrize(("size", "rank"), [(2, 3), (2, -1), (None, 9)])
def test_a_rank_that_no_map_has_is_refused(strategy, size, rank):
    with pytest.raises(ValueError, match=f"rank {rank} of a map of size"):
        smallest(strategy(size=size, rank=rank))


def test_eigenvalues_may_be_kept_real():
    assert not smallest(eigenvalues(pairs=False), lambda value: complex(value).real > 0).imag
    assert smallest(eigenvalues(), lambda value: complex(value).imag > 0)
