"""Hypothesis strategies for eigenvalues and spectra of linear maps."""

from __future__ import annotations

from typing import Literal

from hypothesis import strategies as st

from .linear_map import Block

__all__ = ["BASIN", "Spectrum", "defective_spectra", "eigenvalues", "eigenvalues_in_basin", "spectra", "split_spectra"]

LARGEST = 8
"""Largest n that is drawn if no size is given."""

BASIN = ((1 - 3**0.5) / 2, (1 + 3**0.5) / 2)
"""The real eigenvalues between these ends go to 0 below 1/2 and to 1 above, under h(K) = 3 K^2 - 2 K^3."""

Spectrum = tuple[Block, ...]


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


@st.composite
def defective_spectra(
    draw: st.DrawFn, values: st.SearchStrategy[complex], size: int | None, largest_block: int
) -> Spectrum:
    """Spectra of n >= 2 with at least one Jordan block of size 2 to `largest_block`."""
    n = _size(draw, size, None, least=2)
    first = Block(complex(draw(values)).real, draw(st.integers(2, min(n, largest_block))))
    return (first, *_fill(draw, values, n - first.size, largest_block))


@st.composite
def split_spectra(
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
