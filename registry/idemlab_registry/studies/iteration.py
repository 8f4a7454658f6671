"""The study `iteration`: the cubic on the real line, its damped family, and the plus sign of an early draft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import sympy
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from pandas import DataFrame

from idemlab import Claim, Findings, Material, Study
from idemlab.reports.style import BLACK, BLUE, DPI, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, panel_legend, plain

from . import reals
from .ansatz import shown
from .family import CUBIC, PLUS_SIGN, Member, damped
from .julia import INFINITY, basins

__all__ = ["BasinInterval", "DampedFacts", "basin_intervals", "damped_facts", "examine", "study"]

_STEPS = (0.1, 0.25, 0.5, 0.75, 1.0)
"""s of the damped family."""

_GOLDEN = (1 + 5**0.5) / 2
_START = 0.8
_TOLERANCE = 1e-12


def study() -> Study:
    """Needs no experiment: iterated polynomials."""
    return Study(examine=examine)


def examine(material: Material) -> Findings:
    """Fixed points, slopes, basins and cycles, exactly and by iteration."""
    material.say("iterating the cubic on the real line")
    facts = damped_facts()
    intervals = basin_intervals(6)
    table = _damped_table(facts)
    return Findings(
        claims=[_slopes(facts), _intervals(table), _interleaving(intervals, facts), _damping(table), _plus_sign()],
        figures={"map": _map_figure(), "iterates": _iterates_figure(intervals), "damped-maps": _damped_figure()},
        tables={"fixed-points": _fixed_points(), "damped": table, "basin-ends": _ends_table(intervals)},
        captions=_CAPTIONS,
        text=_TEXT,
    )


_TEXT = """
The damped step is h_s(x) = (1-s) x + s h(x) with h(x) = 3x² - 2x³ and 0 < s ≤ 1. As h_s(x) - 1/2 = (x - 1/2)(1 + 2s
x(1-x)), the points that fall on 1/2 in one step solve x² - x = 1/(2s). They end the intervals around 0 and 1 from which
everything goes there. And h_s(x) = 1 - x where (1 - 2x)(1 + s x(1-x)) = 0, so the two solutions of x² - x = 1/s are
exchanged. They are an unstable cycle, beyond which everything diverges. Both move outwards as s falls: damping buys
width, and pays with linear convergence.
"""

_CAPTIONS = {
    "map": (
        "h and the diagonal; the strip shows where each start goes. Left, the cubic with four orbits and its unstable "
        "2-cycle (dotted square). Right, the plus sign of the early draft: 1 is no fixed point, and only 0 attracts."
    ),
    "iterates": (
        "Iterates of h become a step at 1/2. Below, the left end enlarged. Outside (1-√3)/2 the wrong root is reached. "
        "The basins alternate up to the 2-cycle, each interval a sixth of the one before."
    ),
    "damped-maps": "The damped family: the smaller s, the flatter the map and the slower, but the wider the basin.",
    "fixed-points": "Fixed points on the real line and their slopes: below 1 in modulus attracts, 0 superattracts.",
    "damped": (
        f"Basin ends by the formula and by bisection; steps are those from {_START:g} to within {_TOLERANCE:g} of 1."
    ),
    "basin-ends": "Ends of the successive intervals right of 1/2; the left ones are 1 minus these.",
}


# -- facts --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DampedFacts:
    """What holds of h_s for every s, as expressions in s.

    Args:
        slope_at_ends: h_s'(0) = h_s'(1).
        slope_at_half: h_s'(1/2).
        right_end: of the interval around 1 from which everything goes to 1.
        cycle: the larger point of the 2-cycle; the other is 1 minus it.
        multiplier: of the 2-cycle, the product of the slopes at its points.
    """

    slope_at_ends: Any
    slope_at_half: Any
    right_end: Any
    cycle: Any
    multiplier: Any

    def at(self, step: float) -> dict[str, float]:
        """The numbers for one s."""
        s = sympy.Symbol("s", positive=True)
        return {name: float(getattr(self, name).subs(s, step)) for name in self.__dataclass_fields__}


def damped_facts() -> DampedFacts:
    """Solved by symbolic algebra.

    Raises:
        AssertionError: if the slopes at 0 and 1 were to differ.
    """
    s, x = sympy.Symbol("s", positive=True), sympy.Symbol("x")
    h = (1 - s) * x + s * (3 * x**2 - 2 * x**3)
    slope = sympy.diff(h, x)
    at_zero, at_half, at_one = (sympy.expand(slope.subs(x, point)) for point in (0, sympy.Rational(1, 2), 1))
    assert at_zero == at_one
    falls_on_half = sympy.solve(sympy.cancel((h - sympy.Rational(1, 2)) / (x - sympy.Rational(1, 2))), x)
    exchanged = sympy.solve(sympy.cancel((h - (1 - x)) / (2 * x - 1)), x)
    end, cycle = (max(roots, key=lambda root: float(root.subs(s, 1))) for roots in (falls_on_half, exchanged))
    return DampedFacts(
        slope_at_ends=at_zero,
        slope_at_half=at_half,
        right_end=sympy.simplify(end),
        cycle=sympy.simplify(cycle),
        multiplier=sympy.factor(sympy.simplify(slope.subs(x, cycle) * slope.subs(x, 1 - cycle))),
    )


@dataclass(frozen=True)
class BasinInterval:
    """An interval right of 1/2 all of which goes to one root."""

    left: float
    right: float
    root: int


def basin_intervals(count: int) -> list[BasinInterval]:
    """The first intervals right of 1/2, outwards: h maps each onto the mirror image of the one before.

    Their ends solve h(e_{k+1}) = 1 - e_k on [1, (1+sqrt5)/2], where h falls from 1 to 1 - (1+sqrt5)/2.
    """
    ends = [0.5]
    for _ in range(count):
        low, high = 1.0, _GOLDEN
        while (middle := (low + high) / 2) not in (low, high):
            low, high = (middle, high) if CUBIC(middle) > 1 - ends[-1] else (low, middle)
        ends.append(low)
    return [BasinInterval(ends[i], ends[i + 1], (i + 1) % 2) for i in range(count)]


# -- tables -------------------------------------------------------------------------------------------------------------


def _fixed_points() -> DataFrame:
    x = sympy.Symbol("x")
    rows = []
    for name, p in (("3 x^2 - 2 x^3", 3 * x**2 - 2 * x**3), ("3 x^2 + 2 x^3 (early draft)", 3 * x**2 + 2 * x**3)):
        for point in sorted(sympy.solve(p - x, x), key=float):
            slope = sympy.simplify(sympy.diff(p, x).subs(x, point))
            kind = "superattracting" if slope == 0 else "attracting" if abs(slope) < 1 else "repelling"
            rows.append(
                {"map": name, "fixed point": shown(point), "value": float(point), "slope": float(slope), "kind": kind}
            )
    return DataFrame(rows)


def _damped_table(facts: DampedFacts) -> DataFrame:
    rows = []
    for s in _STEPS:
        member, exact = damped(s), facts.at(s)
        interval = reals.immediate_basin(member, 1)
        assert interval is not None
        rows.append(
            {
                "s": s,
                "slope at 0 and 1": exact["slope_at_ends"],
                "slope at 1/2": exact["slope_at_half"],
                "right end of the basin of 1": exact["right_end"],
                "by bisection": interval[1],
                "left end by bisection": interval[0],
                "2-cycle, larger point": exact["cycle"],
                "its multiplier": exact["multiplier"],
                "steps": reals.steps_to(member, _START, 1, _TOLERANCE),
            }
        )
    return DataFrame(rows)


def _ends_table(intervals: Sequence[BasinInterval]) -> DataFrame:
    rows = []
    for interval in intervals:
        ratio = (_GOLDEN - interval.left) / (_GOLDEN - interval.right)
        rows.append(
            {
                "from": interval.left,
                "to": interval.right,
                "goes to": interval.root,
                "by iteration": reals.limit(CUBIC, (interval.left + interval.right) / 2),
                "distance to the 2-cycle shrinks by": ratio,
            }
        )
    return DataFrame(rows)


# -- claims -------------------------------------------------------------------------------------------------------------


def _slopes(facts: DampedFacts) -> Claim:
    s = sympy.Symbol("s", positive=True)
    return Claim(
        claim="Idempotents attract, and nothing else does.",
        paper="0 and 1 attract, 1/2 repels",
        ours=f"slope of the damped map {shown(facts.slope_at_ends)} at 0 and 1, {shown(facts.slope_at_half)} at 1/2",
        conclusion="At s = 1 both are superattracting; 1/2 repels for every s.",
        holds=sympy.expand(facts.slope_at_ends - 1 + s) == 0 and sympy.expand(facts.slope_at_half - 1 - s / 2) == 0,
    )


def _intervals(table: DataFrame) -> Claim:
    largest = float((table["right end of the basin of 1"] - table["by bisection"]).abs().max())
    half = float((table["left end by bisection"] - 0.5).abs().max())
    return Claim(
        claim="On the reals everything in ((1-√3)/2, 1/2) goes to 0 and everything in (1/2, (1+√3)/2) to 1.",
        paper="the basin is wide",
        ours=f"ends (1 ± √(1 + 2/s))/2 and 1/2; bisection by iteration agrees within {max(largest, half):.0e} for every s",
        conclusion="An eigenvalue may be wrong by 0.366 outwards, and by 0.5 inwards.",
        holds=max(largest, half) < 1e-9,
    )


def _interleaving(intervals: Sequence[BasinInterval], facts: DampedFacts) -> Claim:
    agree = all(reals.limit(CUBIC, (i.left + i.right) / 2) == i.root for i in intervals)
    just = -0.367
    cycle = facts.at(1)
    return Claim(
        claim="Just outside, the wrong projector is reached; the basins interleave up to an unstable 2-cycle.",
        ours=(
            f"{just:g} goes to {reals.limit(CUBIC, just)}; {len(intervals)} intervals alternate up to "
            f"{intervals[-1].right:.5f}; 2-cycle {{{1 - cycle['cycle']:.4f}, {cycle['cycle']:.4f}}}, multiplier "
            f"{cycle['multiplier']:.0f}; -0.6181 goes to {reals.limit(CUBIC, -0.6181)}"
        ),
        conclusion="Leaving the basin is not reported by divergence: the result is idempotent, but not the one meant.",
        holds=agree and reals.limit(CUBIC, just) == 1 and bool(abs(cycle["cycle"] - _GOLDEN) < 1e-12),
    )


def _damping(table: DataFrame) -> Claim:
    first, last = table.iloc[0], table.iloc[-1]
    return Claim(
        claim="Damping keeps the fixed points and widens the basin.",
        paper="every idempotent matrix is a fixed point for every s",
        ours=(
            f"right end {last['right end of the basin of 1']:.3f} at s = 1, {first['right end of the basin of 1']:.3f} at "
            f"s = {first['s']:g}; steps from {_START:g} to {_TOLERANCE:g}: {last['steps']} and {first['steps']}"
        ),
        conclusion="Width against speed: below s = 1 convergence is linear, at the rate 1 - s.",
        holds=bool(
            table["right end of the basin of 1"].is_monotonic_decreasing and table["steps"].is_monotonic_decreasing
        ),
    )


def _plus_sign() -> Claim:
    starts = np.round(np.arange(-2.0, 2.0001, 0.05), 2)
    limits = {reals.limit(PLUS_SIGN, float(start)) for start in starts}
    return Claim(
        claim="The sign in the recurrence is minus.",
        paper="w' = 3w² + 2w³ in an early draft",
        ours=f"with the plus sign {len(starts)} starts in [-2, 2] go to {', '.join(sorted(map(str, limits)))}; 1 goes to 5",
        conclusion="The plus sign can reach no projector but 0.",
        holds=1 not in limits,
    )


# -- figures ------------------------------------------------------------------------------------------------------------

_WINDOW = (-0.8, 1.8)


def _strip(axes: Axes, member: Member, window: tuple[float, float], y: float, height: float, count: int = 2600) -> None:
    """Where each start goes: blue to 0, orange to 1, light grey to infinity."""
    limits = basins(member, (*window, -1e-9, 1e-9), width=count, height=1).limit
    colours = ListedColormap([BLUE, VERMILLION, "#e4e4e4"])
    axes.imshow(
        np.minimum(limits, INFINITY),
        cmap=colours,
        vmin=0,
        vmax=2,
        aspect="auto",
        extent=(*window, y, y + height),
        interpolation="none",
    )


def _map_figure() -> Figure:
    figure = Figure(figsize=(9.4, 5.2), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    x = np.linspace(*_WINDOW, 600)
    for axes, member in ((left, CUBIC), (right, PLUS_SIGN)):
        _strip(axes, member, _WINDOW, -0.98, 0.12)
        axes.plot(x, x, color=GREY, lw=1, label="diagonal")
        axes.plot(x, member(x), color=BLACK, lw=2.2, label=member.formula)
        axes.set(xlim=_WINDOW, ylim=(-0.98, 1.8), xlabel="x (strip: blue goes to 0, orange to 1, grey diverges)")
        plain(axes)
    left.set_ylabel("next x")
    cycle = np.array([1 - _GOLDEN, _GOLDEN])
    left.plot(cycle[[0, 0, 1, 1, 0]], cycle[[0, 1, 1, 0, 0]], color=PURPLE, lw=1.5, ls=":", label="2-cycle")
    for start, colour in ((-0.3, SKY), (0.42, BLUE), (0.58, ORANGE), (1.3, VERMILLION)):
        _cobweb(left, CUBIC, start, colour)
    for start, colour in ((0.25, BLUE), (0.32, GREEN)):
        _cobweb(right, PLUS_SIGN, start, colour)
    for axes, points, filled in (
        (left, (0.0, 1.0), True),
        (left, (0.5,), False),
        (right, (0.0,), True),
        (right, ((17**0.5 - 3) / 4,), False),
    ):
        axes.plot(points, points, "o", ms=7, mfc=BLACK if filled else "white", mec=BLACK)
    right.plot(1, 1, "x", color=BLACK, ms=9, mew=2)
    right.annotate("1 is no fixed point", (1, 1), (1.06, 0.72), fontsize=9)
    panel_legend(left, "cubic: dots attract, the circle repels")
    panel_legend(right, "plus sign of the early draft")
    return figure


def _cobweb(axes: Axes, member: Member, start: float, colour: str) -> None:
    points = reals.orbit(member, start, 12)
    path = [(start, start)]
    for now, after in pairwise(points):
        path += [(now, after), (after, after)]
    axes.plot(*zip(*path, strict=True), color=colour, lw=1.3)
    axes.plot(start, start, "s", color=colour, ms=5)


def _iterates_figure(intervals: Sequence[BasinInterval]) -> Figure:
    figure = Figure(figsize=(9.4, 5.6), dpi=DPI, layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=[1, 0.25])
    x = np.linspace(-0.6179, 1.6179, 6000)
    y = x
    styles = {1: (SKY, 1.6, "-"), 2: (GREEN, 1.6, "--"), 4: (ORANGE, 1.6, "-"), 10: (BLACK, 1.8, "-")}
    for k in range(1, 11):
        y = CUBIC(y)
        if k in styles:
            colour, width, dashes = styles[k]
            top.plot(x, y, color=colour, lw=width, ls=dashes, label=f"{k} step{'s' * (k > 1)}")
    top.set(xlim=(-0.66, 1.66), ylim=(-0.7, 1.7), xlabel="x", ylabel="x after k steps")
    for end, name in ((intervals[0].right, "(1+√3)/2"), (0.5, "1/2"), (1 - intervals[0].right, "(1-√3)/2")):
        top.axvline(end, color=GREY, lw=1, ls=":")
        top.text(end + 0.012, 1.62, name, va="top", ha="left", fontsize=9)
    plain(top)
    panel_legend(top, "iterates of the cubic")
    window = (-0.63, -0.33)
    _strip(bottom, CUBIC, window, 0, 1)
    bottom.set(yticks=[], xlim=window, xlabel="x, the left end enlarged (blue goes to 0, orange to 1, grey diverges)")
    for end, name in ((1 - intervals[0].right, "(1-√3)/2"), (1 - _GOLDEN, "2-cycle")):
        bottom.axvline(end, color=BLACK, lw=1)
        bottom.text(end, 1.06, name, ha="center", va="bottom", fontsize=9)
    return figure


def _damped_figure() -> Figure:
    figure = Figure(figsize=(9.4, 4.6), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = dict(zip(_STEPS, (PURPLE, SKY, GREEN, ORANGE, BLACK), strict=True))
    dashes = dict(zip(_STEPS, (":", "-.", (0, (5, 1)), "--", "-"), strict=True))
    x = np.linspace(*_WINDOW, 500)
    left.plot(x, x, color=GREY, lw=1)
    for s in _STEPS:
        member = damped(s)
        style = {"color": colours[s], "ls": dashes[s], "lw": 1.8, "label": f"s = {s:g}"}
        left.plot(x, member(x), **style)
        distance = np.abs(np.array(reals.orbit(member, _START, 40)) - 1)
        right.plot(np.arange(len(distance)), distance.clip(1e-17), **style)
    left.plot([0, 1], [0, 1], "o", color=BLACK, ms=7)
    left.plot(0.5, 0.5, "o", mfc="white", mec=BLACK, ms=7)
    left.set(xlim=_WINDOW, ylim=(-0.8, 1.8), xlabel="x", ylabel="next x")
    right.set(xlim=(0, 40), ylim=(1e-16, 1), yscale="log", xlabel="steps")
    right.set_ylabel(f"distance to 1, from {_START:g} (log scale)")
    for axes, title in ((left, "damped maps"), (right, "convergence: a factor 1 - s a step, quadratic at s = 1")):
        plain(axes)
        panel_legend(axes, title)
    return figure
