"""Hypothesis strategies for linear maps K = S Λ S^-1 in float64, drawn by spectrum and basis.

Random entries test an iteration on matrices badly: nearly all such matrices are far from every idempotent. These strategies
draw the spectrum and the basis instead. A test then knows what to expect, and examples shrink towards eigenvalues 0 and 1 on
the diagonal.

    from hypothesis import given
    from idemlab.testing import maps_in_basin

    @given(maps_in_basin(rank=2, margin=0.1))
    def test_my_projection_finds_the_spectral_projector(K):
        P = idemlab.purify(K.matrix, "my-projection").matrix
        assert (P - K.projector()).norm() < 1e-8

A strategy of maps takes a spectrum (a strategy of tuples of `Block`) and a basis (a function from n to a strategy of
`Basis`): `linear_maps(spectra(...), exact_bases)`; the others are the most common combinations.
"""

from __future__ import annotations

from functools import partial

from hypothesis import strategies as st

from .bases import Bases, integers, oblique_bases, orthogonal_bases
from .linear_map import LinearMap, NearIdempotent
from .spectrum import Spectrum, defective_spectra, eigenvalues, eigenvalues_in_basin, spectra, split_spectra

__all__ = [
    "defective_maps",
    "idempotents",
    "linear_maps",
    "maps_in_basin",
    "near_idempotents",
    "normal_maps",
    "oblique_maps",
    "symmetric_maps",
]


@st.composite
def linear_maps(
    draw: st.DrawFn, spectrum: st.SearchStrategy[Spectrum] | None = None, basis: Bases = oblique_bases
) -> LinearMap:
    """Maps with a spectrum and a basis drawn from the given strategies.

    >>> from hypothesis import find
    >>> from idemlab.testing import exact_bases
    >>> find(linear_maps(spectra(st.just(0.5), size=2), exact_bases), lambda K: True)
    LinearMap 2x2 with eigenvalues 0.5, 0.5; cond(S) = 1
      [[0.5,   0],
       [  0, 0.5]]
    """
    blocks = draw(spectra() if spectrum is None else spectrum)
    return LinearMap.of(blocks, draw(basis(sum(block.places for block in blocks))))


def symmetric_maps(
    low: float = -2.0, high: float = 2.0, *, size: int | None = None, rank: int | None = None
) -> st.SearchStrategy[LinearMap]:
    """Exactly symmetric maps with eigenvalues in [low, high]; of rank `rank` at most, if given."""
    return linear_maps(spectra(eigenvalues(low, high, pairs=False), size=size, rank=rank), orthogonal_bases)


def normal_maps(
    low: float = -2.0, high: float = 2.0, *, size: int | None = None, rank: int | None = None
) -> st.SearchStrategy[LinearMap]:
    """Normal maps: complex pairs turn and scale a plane, in an orthogonal basis."""
    return linear_maps(spectra(eigenvalues(low, high), size=size, rank=rank), orthogonal_bases)


def oblique_maps(
    low: float = -2.0,
    high: float = 2.0,
    *,
    condition: float = 10.0,
    size: int | None = None,
    rank: int | None = None,
) -> st.SearchStrategy[LinearMap]:
    """Diagonalisable maps, pairs among them, in a basis with cond(S) <= condition."""
    spectrum = spectra(eigenvalues(low, high), size=size, rank=rank)
    return linear_maps(spectrum, partial(oblique_bases, condition=condition))


def defective_maps(
    values: st.SearchStrategy[complex] | None = None,
    *,
    size: int | None = None,
    largest_block: int = 3,
    basis: Bases = oblique_bases,
) -> st.SearchStrategy[LinearMap]:
    """Maps that no basis makes diagonal: at least one Jordan block of size 2 to `largest_block`; n >= 2.

    >>> from hypothesis import find
    >>> find(defective_maps(), lambda K: True)
    LinearMap 2x2 with eigenvalues J(0, 2); cond(S) = 1
      [[0, 1],
       [0, 0]]
    """
    return linear_maps(defective_spectra(eigenvalues() if values is None else values, size, largest_block), basis)


def maps_in_basin(
    *,
    margin: float = 0.05,
    size: int | None = None,
    rank: int | None = None,
    largest_block: int = 1,
    pairs: bool = True,
    basis: Bases = oblique_bases,
) -> st.SearchStrategy[LinearMap]:
    """Maps that the cubic iteration takes to `K.projector()`.

    Args:
        margin: of the eigenvalues from 1/2 and from the ends of the basin; see `eigenvalues_in_basin`.
        size: n; drawn from 1 to 8 if not given.
        rank: of the limit, the number of eigenvalues that go to 1; drawn from 0 to n if not given.
        largest_block: largest Jordan block; 1 for diagonalisable maps.
        pairs: whether to draw complex pairs.
        basis: a function from n to a strategy of `Basis`.

    >>> from hypothesis import find
    >>> find(maps_in_basin(rank=1, size=2), lambda K: True)
    LinearMap 2x2 with eigenvalues 1, 0; cond(S) = 1
      [[1, 0],
       [0, 0]]
    """
    ones, zeros = (eigenvalues_in_basin(limit, margin=margin, pairs=pairs) for limit in (1, 0))
    return linear_maps(split_spectra(ones, zeros, size, rank, largest_block), basis)


def idempotents(
    *, size: int | None = None, rank: int | None = None, basis: Bases = oblique_bases
) -> st.SearchStrategy[LinearMap]:
    """Idempotents of every rank from 0 to n: orthogonal or oblique projectors, as the basis says.

    Args:
        size: n; drawn from 1 to 8 if not given.
        rank: drawn from 0 to n if not given.
        basis: with `exact_bases` or `exact_orthogonal_bases` K^2 = K holds bit for bit.

    >>> from hypothesis import find
    >>> from idemlab.testing import exact_bases
    >>> find(idempotents(rank=1, basis=exact_bases), lambda P: P.matrix.norm() > 1)
    LinearMap 2x2 with eigenvalues 1, 0; cond(S) = 2.618
      [[1, 0],
       [1, 0]]
    """
    return linear_maps(split_spectra(st.just(1.0), st.just(0.0), size, rank), basis)


@st.composite
def near_idempotents(
    draw: st.DrawFn,
    distance: float = 0.1,
    *,
    size: int | None = None,
    rank: int | None = None,
    basis: Bases = orthogonal_bases,
) -> NearIdempotent:
    """K = P + D with P idempotent and any D with ||D||_F <= distance.

    In an orthogonal basis ||K^2 - K|| <= distance + distance^2, so that up to 0.2 the cubic iteration contracts.

    >>> from hypothesis import find
    >>> find(near_idempotents(0.125, size=1, rank=1), lambda K: K.change.norm() > 0)
    P + D, |D| = 0.01562, P = LinearMap 1x1 with eigenvalues 1; cond(S) = 1
      [[1]]
    D =
      [[0.015625]]
    """
    idempotent = draw(idempotents(size=size, rank=rank, basis=basis))
    n = idempotent.size
    direction = integers(draw, n * n, 4).view(n, n)
    share = draw(st.integers(1, 8)) / 8
    length = float(direction.norm())
    return NearIdempotent(idempotent, direction * (share * distance / length) if length else direction)
