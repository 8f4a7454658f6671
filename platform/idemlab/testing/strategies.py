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
`Basis`): `linear_maps(spectra(...), exact_bases)`; the others are the combinations that are asked for most.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from hypothesis import strategies as st
from torch import Tensor

from .linear_map import Basis, Block, LinearMap, NearIdempotent, block_diagonal

__all__ = [
    "BASIN",
    "Bases",
    "defective_maps",
    "eigenvalues",
    "eigenvalues_in_basin",
    "exact_bases",
    "exact_orthogonal_bases",
    "idempotents",
    "linear_maps",
    "maps_in_basin",
    "near_idempotents",
    "normal_maps",
    "oblique_bases",
    "oblique_maps",
    "orthogonal_bases",
    "spectra",
    "symmetric_maps",
]

LARGEST = 8
"""Largest n that is drawn if no size is given."""

BASIN = ((1 - 3**0.5) / 2, (1 + 3**0.5) / 2)
"""The real eigenvalues between these ends go to 0 below 1/2 and to 1 above, under h(K) = 3 K^2 - 2 K^3."""

Bases = Callable[[int], st.SearchStrategy[Basis]]
Spectrum = tuple[Block, ...]


# -- spectra ----------------------------------------------------------------------------------------------------------


def _floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


def eigenvalues(low: float = -2.0, high: float = 2.0, *, pairs: bool = True) -> st.SearchStrategy[complex]:
    """Eigenvalues with a real part in [low, high]; with `pairs`, also a + bi, 0 < b <= 1, each with its conjugate.

    >>> from hypothesis import find
    >>> find(eigenvalues(), lambda value: value.real > 1)
    2.0
    """
    real = _floats(low, high)
    return st.one_of(real, st.builds(complex, real, _floats(0, 1))) if pairs else real


def eigenvalues_in_basin(
    limit: Literal[0, 1] | None = None, *, margin: float = 0.05, pairs: bool = True
) -> st.SearchStrategy[complex]:
    """Eigenvalues that the cubic iteration takes to `limit` (None for either).

    Real ones keep the margin from 1/2 and from the ends of `BASIN`. A pair has |λ^2 - λ| <= 1/4 - 2 margin^2, where the
    iteration contracts; its real part then keeps the margin from 1/2, too.

    Args:
        limit: 0 or 1.
        margin: in (0, 0.36].

    >>> from hypothesis import find
    >>> find(eigenvalues_in_basin(1), lambda value: True), find(eigenvalues_in_basin(0), lambda value: True)
    (1.0, 0.0)

    Raises:
        ValueError: if the margin is out of its range.
    """
    if not 0 < margin <= 0.36:
        raise ValueError(f"margin {margin} leaves no eigenvalue 0 or 1: expected in (0, 0.36]")
    if limit is None:
        return eigenvalues_in_basin(0, margin=margin, pairs=pairs) | eigenvalues_in_basin(1, margin=margin, pairs=pairs)
    low, high = (BASIN[0], 0.5) if limit == 0 else (0.5, BASIN[1])
    real = _floats(low + margin, high - margin)
    if not pairs:
        return real
    # λ^2 - λ = ν: |λ - 1/2| = |sqrt(1 + 4ν)| / 2, and the root lies within 45° of the real axis for |ν| < 1/4.
    contracting = st.builds(complex, real, _floats(0, 0.25)).filter(
        lambda value: abs(value * value - value) <= 0.25 - 2 * margin**2
    )
    return real | contracting


_ANY = eigenvalues()


def _fill(draw: st.DrawFn, values: st.SearchStrategy[complex], places: int, largest_block: int) -> list[Block]:
    """Blocks that fill exactly this number of places. If one place is left, a pair becomes its real part.

    A value and a size are drawn for every place, although pairs and Jordan blocks fill several places. Shrinking prefers
    short draws, and would otherwise prefer pairs and Jordan blocks to simple real eigenvalues.
    """
    sizes = st.integers(1, largest_block)
    drawn = [(complex(draw(values)), draw(sizes) if largest_block > 1 else 1) for _ in range(places)]
    blocks: list[Block] = []
    taken = 0
    while taken < places:
        value, size = drawn[taken]
        width = 2 if value.imag and places - taken > 1 else 1
        blocks.append(Block(value if width == 2 else value.real, min(size, (places - taken) // width)))
        taken += blocks[-1].places
    return blocks


def _size(draw: st.DrawFn, size: int | None, rank: int | None, least: int = 1) -> int:
    """n, as given or drawn. Raises ValueError if no n fits."""
    if rank is not None and not 0 <= rank <= (size or LARGEST):
        raise ValueError(f"rank {rank} of a map of size {size or f'1 to {LARGEST}'}: expected 0 to that")
    return draw(st.integers(max(least, rank or 0), LARGEST)) if size is None else size


@st.composite
def spectra(
    draw: st.DrawFn,
    values: st.SearchStrategy[complex] | None = None,
    *,
    size: int | None = None,
    rank: int | None = None,
    largest_block: int = 1,
) -> Spectrum:
    """Spectra of n eigenvalues, as blocks.

    Args:
        values: where each eigenvalue is drawn from; `eigenvalues()` if not given.
        size: n; drawn from 1 to 8 if not given.
        rank: how many places are drawn from `values`; the others are eigenvalue 0. All if not given.
        largest_block: largest Jordan block; 1 for diagonalisable maps.

    >>> from hypothesis import find
    >>> find(spectra(size=3, rank=2), lambda spectrum: True)
    (Block(eigenvalue=0.0, size=1), Block(eigenvalue=0.0, size=1), Block(eigenvalue=0.0, size=1))
    """
    n = _size(draw, size, rank)
    drawn = n if rank is None else rank
    return (
        *_fill(draw, _ANY if values is None else values, drawn, largest_block),
        *[Block(0.0)] * (n - drawn),
    )


# -- bases ------------------------------------------------------------------------------------------------------------


def _integers(draw: st.DrawFn, count: int, bound: int) -> Tensor:
    """[count] integers in [-bound, bound] as float64; they shrink to 0. One draw of bytes is much faster than a list."""
    values = [0, *(sign * size for size in range(1, bound + 1) for sign in (1, -1))]
    drawn = draw(st.binary(min_size=count, max_size=count))
    return torch.tensor([values[byte % len(values)] for byte in drawn], dtype=torch.float64)


def _rotation(draw: st.DrawFn, n: int) -> Tensor:
    """(I + A)^-1 (I - A) for a skew-symmetric A with entries in [-2, 2] (Cayley): orthogonal, I for A = 0."""
    rows, columns = torch.triu_indices(n, n, 1)
    A = torch.zeros(n, n, dtype=torch.float64)
    A[rows, columns] = _integers(draw, len(rows), 8) / 4
    A = A - A.T
    eye = torch.eye(n, dtype=torch.float64)
    rotation: Tensor = torch.linalg.solve(eye + A, eye - A)
    return rotation


@st.composite
def orthogonal_bases(draw: st.DrawFn, n: int) -> Basis:
    """Orthogonal S: makes symmetric maps of real eigenvalues, normal maps of pairs."""
    Q = _rotation(draw, n)
    return Basis(Q, Q.T, 1.0)


@st.composite
def oblique_bases(draw: st.DrawFn, n: int, condition: float = 10.0) -> Basis:
    """S = U diag(σ) V^T with U, V orthogonal and 1 <= σ <= condition: cond(S) is known, and at most `condition`."""
    U, V = _rotation(draw, n), _rotation(draw, n)
    stretch = condition ** (_integers(draw, n, 8).abs() / 8)
    return Basis(U * stretch @ V.T, V / stretch @ U.T, float(stretch.max() / stretch.min()))


@st.composite
def exact_bases(draw: st.DrawFn, n: int) -> Basis:
    """S and S^-1 of small integers: with eigenvalues of a few bits, K has no rounding error, and neither has h(K).

    S = [[I, 0], [C, I]] [[I, -B], [0, I]] up to the order of its rows, with B and C of -1, 0 and 1. Idempotents in such a
    basis are oblique, of integers up to 40, so exact in bfloat16, too.
    """
    k = draw(st.integers(0, n))
    B = _integers(draw, k * (n - k), 1).view(k, n - k)
    C = _integers(draw, k * (n - k), 1).view(n - k, k)
    order = draw(st.permutations(range(n)))
    top, bottom = torch.eye(k, dtype=torch.float64), torch.eye(n - k, dtype=torch.float64)
    S = torch.cat([torch.cat([top, -B], 1), torch.cat([C, bottom - C @ B], 1)])[order]
    inverse = torch.cat([torch.cat([top - B @ C, B], 1), torch.cat([-C, bottom], 1)])[:, order]
    return Basis(S, inverse, float(torch.linalg.cond(S)))


@st.composite
def exact_orthogonal_bases(draw: st.DrawFn, n: int) -> Basis:
    """Orthogonal columns of 0, 1 and -1, Hadamard matrices of 1, 2, 4 or 8 rows: symmetric maps without rounding errors.

    Idempotents in such a basis are orthogonal projectors with entries in multiples of 1/8.
    """
    powers = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))  # for every row, as in `_fill`
    blocks: list[Tensor] = []
    left = n
    while left > 0:
        blocks.append(_hadamard(min(powers[n - left], left.bit_length() - 1)))
        left -= len(blocks[-1])
    order = draw(st.permutations(range(n)))
    S = block_diagonal(blocks)[:, order]
    inverse = block_diagonal(block.T / len(block) for block in blocks)[order]
    return Basis(S, inverse, 1.0)


def _hadamard(power: int) -> Tensor:
    """Sylvester's matrix H of 2^power rows, H H^T = 2^power I."""
    H = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(power):
        H = torch.cat([torch.cat([H, H], 1), torch.cat([H, -H], 1)])
    return H


# -- maps -------------------------------------------------------------------------------------------------------------


@st.composite
def linear_maps(
    draw: st.DrawFn, spectrum: st.SearchStrategy[Spectrum] | None = None, basis: Bases = oblique_bases
) -> LinearMap:
    """Maps with a spectrum and a basis drawn from the given strategies.

    >>> from hypothesis import find
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


@st.composite
def _defective_spectra(
    draw: st.DrawFn, values: st.SearchStrategy[complex], size: int | None, largest_block: int
) -> Spectrum:
    n = _size(draw, size, None, least=2)
    first = Block(complex(draw(values)).real, draw(st.integers(2, min(n, largest_block))))
    return (first, *_fill(draw, values, n - first.size, largest_block))


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
    return linear_maps(_defective_spectra(_ANY if values is None else values, size, largest_block), basis)


@st.composite
def _split_spectra(
    draw: st.DrawFn,
    ones: st.SearchStrategy[complex],
    zeros: st.SearchStrategy[complex],
    size: int | None,
    rank: int | None,
    largest_block: int = 1,
) -> Spectrum:
    """Spectra with `rank` eigenvalues from `ones`, and the others from `zeros`."""
    n = _size(draw, size, rank)
    r = draw(st.integers(0, n)) if rank is None else rank
    return (*_fill(draw, ones, r, largest_block), *_fill(draw, zeros, n - r, largest_block))


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
    return linear_maps(_split_spectra(ones, zeros, size, rank, largest_block), basis)


def idempotents(
    *, size: int | None = None, rank: int | None = None, basis: Bases = oblique_bases
) -> st.SearchStrategy[LinearMap]:
    """Idempotents of every rank from 0 to n: orthogonal or oblique projectors, as the basis says.

    Args:
        size: n; drawn from 1 to 8 if not given.
        rank: drawn from 0 to n if not given.
        basis: with `exact_bases` or `exact_orthogonal_bases` K^2 = K holds bit for bit.

    >>> from hypothesis import find
    >>> find(idempotents(rank=1, basis=exact_bases), lambda P: P.matrix.norm() > 1)
    LinearMap 2x2 with eigenvalues 1, 0; cond(S) = 2.618
      [[1, 0],
       [1, 0]]
    """
    return linear_maps(_split_spectra(st.just(1.0), st.just(0.0), size, rank), basis)


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
    direction = _integers(draw, n * n, 4).view(n, n)
    share = draw(st.integers(1, 8)) / 8
    length = float(direction.norm())
    return NearIdempotent(idempotent, direction * (share * distance / length) if length else direction)
