"""Search over what the paper does not state: which configuration and constant comes nearest to the poster's errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import mean

from pandas import DataFrame

from .arms import Arm, Pair
from .paper import POSTER, RATES, Poster

__all__ = ["candidates", "distance", "nearest"]

MISSED = 1.0
"""Decades that count for an error which one side has and the other has not."""


def distance(pair: Pair, poster: Poster) -> float:
    """Mean distance in decades between errors here and on the poster: the start, and both methods at its rates.

    Where a run diverged that is drawn on the poster, it counts as one decade, as does every larger distance. Infinite if
    not all rates were tried.
    """
    start = pair.gradient.median("absolute", RATES[0])
    parts = [_decades(start, poster.start)]
    for arm, errors in ((pair.gradient, poster.gradient), (pair.cubic, poster.cubic)):
        if not set(errors) <= set(arm.rates):
            return math.inf
        parts += [_decades(arm.median("absolute", rate), error) for rate, error in errors.items()]
    return mean(parts)


def _decades(ours: float, theirs: float) -> float:
    if not math.isfinite(ours) or ours <= 0:
        return MISSED
    return min(MISSED, abs(math.log10(ours / theirs)))


def nearest(found: Iterable[Pair]) -> list[tuple[Poster, Pair]]:
    """For each configuration of the poster the nearest pair; those that nothing comes near to are left out."""
    pairs = list(found)
    matched = []
    for poster in POSTER:
        near = [(d, i) for i, pair in enumerate(pairs) if math.isfinite(d := distance(pair, poster))]
        if near:
            matched.append((poster, pairs[min(near)[1]]))
    return matched


def candidates(found: Sequence[Pair]) -> DataFrame:
    """One row a candidate: how it starts, its best-against-best ratio, its distance from the poster in decades."""
    rows = []
    for pair in found:
        distances = {f"decades from {poster.name}": distance(pair, poster) for poster in POSTER}
        if any(math.isfinite(d) for d in distances.values()):
            rows.append({**_row(pair), **distances})
    table = DataFrame(rows)
    return table if table.empty else table.sort_values(f"decades from {POSTER[0].name}", ignore_index=True)


def _row(pair: Pair) -> dict[str, object]:
    return {
        "configuration": pair.cubic.configuration,
        "constant": pair.cubic.constant,
        "start": pair.gradient.median("absolute", RATES[0]),
        "best of gradient": _best(pair.gradient, pair.among),
        "best of cubic": _best(pair.cubic, pair.among),
        "ratio": pair.ratio,
    }


def _best(arm: Arm, among: tuple[float, ...] | None) -> float:
    rate = arm.best(among=among)
    return math.nan if rate is None else arm.median("absolute", rate)
