"""The study `derivation`: the update derived by symbolic algebra, and ordinary against modified differentiation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy
import torch
from matplotlib.figure import Figure
from pandas import DataFrame
from torch import Tensor

from idemlab import Claim, Findings, Material, Study, generator
from idemlab.reports.style import BLACK, BLUE, DPI, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, panel_legend, plain

from . import ansatz, family, single_layer

__all__ = ["examine", "study"]

_WIDTH = 16
"""n of the random matrices."""

_SHARES = tuple(float(share) for share in np.linspace(0, 1, 21))
_CONDITIONS = tuple(float(condition) for condition in np.logspace(0, 3, 13))
_QUANTILES = {"smallest": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "largest": 1.0}


def study() -> Study:
    """Needs no experiment: algebra, and random matrices."""
    return Study(examine=examine)


def examine(material: Material) -> Findings:
    """Solve the ansatz, place the family in it, and compare the two ways to differentiate."""
    material.say("solving the ansatz")
    degrees = range(5 if material.quick else 7)
    found = {degree: ansatz.solutions(degree) for degree in degrees}
    material.say("comparing ordinary and modified differentiation on a single layer")
    count = 100 if material.quick else 400
    angles = _angles(count)
    return Findings(
        claims=[*_algebra(found), *_contraction(), _erratum(), *_single_layer(angles)],
        figures={"ordinary-against-modified": _angle_figure(angles), "members": _family_figure()},
        tables={"solutions": _solutions(found), "family": _family(), "angles": angles},
        captions={
            "ordinary-against-modified": (
                f"Cosine between the directions of ordinary and modified differentiation on one bias-free layer with "
                f"whitened inputs, {count} random {_WIDTH} x {_WIDTH} matrices a point: line the median, dark band 5 % to "
                "95 %, light band all. Left: matrices of the size of PyTorch's default initialisation, whose "
                "asymmetry is at the dotted line. Right: K = S diag(λ) S⁻¹ with λ in the basins of 0 and 1."
            ),
            "members": (
                "Left: solutions keep the idempotent and are flat at both of its eigenvalues. Right: SP2 is flat at one "
                "of them, and the plus sign of the early draft does not even keep 1."
            ),
            "solutions": "All polynomials p of degree at most j with p(P + D) idempotent to first order in D.",
            "family": (
                "Which members of the purification family solve the conditions. The orders are those of contraction at "
                "the two eigenvalues: 1 is linear, 0 means that the eigenvalue is not kept or repels."
            ),
            "angles": "Cosine between the two directions, by ensemble and setting.",
        },
        text=_TEXT,
    )


_TEXT = """
Let K = P + D with P² = P and D small, and try K' = a₀ + a₁K + ... + aⱼKʲ. D does not commute with P, so six words span
the algebra to first order: 1, P, D, PD, DP and PDP. K'² = K' is one equation in the aᵢ for each word. They are
solved word by word, with nothing assumed. In blocks, with Q = 1 - P and p(x) = Σ aᵢxⁱ, they say:

- order zero: p(0) and p(1) are 0 or 1;
- PDP: (2p(1) - 1) p'(1) = 0, and QDQ: (2p(0) - 1) p'(0) = 0; so **p'(0) = p'(1) = 0**;
- PDQ and QDP: (p(0) + p(1) - 1)(p(1) - p(0)) = 0, which then holds by itself: these blocks are the tangents of the
  idempotents at P, and stay as they are.

Four choices of the ends remain. Both 0 or both 1 are the trivial solutions: K' = 0 and K' = 1 are idempotent, but forget K.
p(0) = 1, p(1) = 0 is 1 minus a solution, and gives the complement. What keeps P has p(0) = 0 and p(1) = 1: four conditions,
so nothing below degree 3 and exactly one polynomial there.
"""


# -- algebra ------------------------------------------------------------------------------------------------------------


def _keeping(found: Sequence[ansatz.Solution]) -> list[Any]:
    return [solution.polynomial for solution in found if solution.ends == (0, 1)]


def _algebra(found: dict[int, list[ansatz.Solution]]) -> list[Claim]:
    low = {ansatz.shown(s.polynomial) for degree in (0, 1, 2) for s in found[degree]}
    third = [ansatz.shown(s.polynomial) for s in found[3]]
    sigma = sympy.Symbol("sigma")
    trs4, _ = ansatz.family()["TRS4"]
    q = sympy.factor((trs4 - ansatz.CUBIC) / (ansatz.x**2 * (1 - ansatz.x) ** 2))
    (at_cubic,) = sympy.solve(q, sigma)
    highest = max(found)
    free = [len(_free(_keeping(found[degree])[0])) for degree in range(4, highest + 1)]
    return [
        Claim(
            claim="No polynomial of degree at most 2 corrects a nearly idempotent K to first order.",
            paper="no solution for j ≤ 2",
            ours=f"solutions: {', '.join(sorted(low))}",
            conclusion="Only the two constants solve the conditions; they are idempotent whatever K is, and forget it.",
            holds=low == {"0", "1"},
        ),
        Claim(
            claim="At degree 3 the cubic 3K² - 2K³ is the only one.",
            paper="exactly one solution at j = 3",
            ours=f"solutions: {'; '.join(third)}",
            conclusion="The cubic alone keeps P; beside it stand its complement 1 - h, and the two constants.",
            holds=_keeping(found[3]) == [ansatz.CUBIC] and len(third) == 4,
        ),
        Claim(
            claim="Above degree 3 the solutions that keep P are 3x² - 2x³ + x²(1-x)² q(x) with q of degree j - 4.",
            ours=f"free parameters at j = 4 ... {highest}: {', '.join(map(str, free))}; no other solution keeps P",
            conclusion="Each further degree adds one free parameter, and nothing else.",
            holds=all(len(_keeping(found[d])) == 1 for d in range(4, highest + 1))
            and free == list(range(1, highest - 2)),
        ),
        Claim(
            claim="At degree 4 the family is TRS4, and sigma = 3 gives back the cubic.",
            ours=f"TRS4 has q = {q}; it is the cubic at sigma = {at_cubic}",
            conclusion="TRS4 is the whole family of degree 4, its free parameter spent on the trace.",
            holds=q == sigma - 3 and at_cubic == 3,
        ),
    ]


def _free(p: Any) -> set[Any]:
    free: set[Any] = p.free_symbols - {ansatz.x}
    return free


def _contraction() -> list[Claim]:
    members = ansatz.family()
    cubic, holas = (members[name][0] for name in ("cubic (McWeeny)", "Holas-5"))
    second = ansatz.remainder_of_order_two(cubic)
    first = ansatz.P * ansatz.D + ansatz.D * ansatz.P - ansatz.D
    alike = ansatz.reduced(second + 3 * first * first, 2) == 0
    N = ansatz.N
    by_cubic, by_holas = ansatz.in_residual(cubic), ansatz.in_residual(holas)
    return [
        Claim(
            claim="The cubic contracts quadratically.",
            paper="N' = 4N³ - 3N², N = K² - K",
            ours=f"N' = {ansatz.shown(by_cubic)}; with D not commuting, K'² - K' = -3 (PD + DP - D)² + O(D³): {_yes(alike)}",
            conclusion="The error after a step is -3 times the square of the error before; only PDP and QDQ enter it.",
            holds=alike and by_cubic == 4 * N**3 - 3 * N**2,
        ),
        Claim(
            claim="Holas-5 is the solution of degree 5 with contraction of order 3.",
            ours=f"N' = {ansatz.shown(by_holas)}, order {ansatz.contraction(holas)[0]}",
            conclusion="One matrix product more buys one order more.",
            holds=ansatz.contraction(holas)[0] == 3 and by_holas is not None,
        ),
    ]


def _erratum() -> Claim:
    plus, _ = ansatz.family()["plus sign of the draft"]
    points = sympy.solve(plus - ansatz.x, ansatz.x)
    slopes = [sympy.diff(plus, ansatz.x).subs(ansatz.x, point) for point in points]
    described = [
        f"{ansatz.shown(point)} (slope {float(slope):.3g})" for point, slope in zip(points, slopes, strict=True)
    ]
    expected = {sympy.Integer(0), *((-3 + sign * sympy.sqrt(17)) / 4 for sign in (1, -1))}
    return Claim(
        claim="The recurrence is 3K² - 2K³, not 3K² + 2K³ as an early draft prints.",
        paper="3w² + 2w³ in the draft, 3w² - 2w³ as published",
        ours=f"plus sign: fixed points {', '.join(described)}; p(1) = {plus.subs(ansatz.x, 1)}",
        conclusion="With the plus sign 1 is no fixed point and only 0 attracts: every K shrinks to zero or diverges.",
        holds={sympy.nsimplify(point) for point in points} == expected and plus.subs(ansatz.x, 1) != 1,
    )


def _yes(value: bool) -> str:
    return "confirmed" if value else "refuted"


def _solutions(found: dict[int, list[ansatz.Solution]]) -> DataFrame:
    return DataFrame(
        [
            {
                "degree at most": degree,
                "p(0)": solution.ends[0],
                "p(1)": solution.ends[1],
                "p(x)": ansatz.shown(solution.polynomial),
                "free parameters": solution.free,
                "what it does": solution.meaning,
            }
            for degree, all_solutions in found.items()
            for solution in all_solutions
        ]
    )


def _family() -> DataFrame:
    rows = []
    for name, (p, parameter) in ansatz.family().items():
        values = ansatz.values_that_solve(p, parameter)
        slopes = [sympy.simplify(sympy.diff(p, ansatz.x).subs(ansatz.x, end)) for end in (0, 1)]
        rows.append(
            {
                "member": name,
                "p(x)": ansatz.shown(p),
                "p(0)": ansatz.shown(sympy.simplify(p.subs(ansatz.x, 0))),
                "p(1)": ansatz.shown(sympy.simplify(p.subs(ansatz.x, 1))),
                "p'(0)": ansatz.shown(slopes[0]),
                "p'(1)": ansatz.shown(slopes[1]),
                "solves the conditions": _when(values, parameter),
                **_orders(p, parameter, values),
            }
        )
    return DataFrame(rows)


def _when(values: list[Any] | None, parameter: Any) -> str:
    if values is None:
        return "yes" if parameter is None else f"for every {parameter}"
    return f"at {parameter} = {', '.join(map(str, values))}" if values else "no"


def _orders(p: Any, parameter: Any, values: list[Any] | None) -> dict[str, int]:
    """Where it solves them, if anywhere; otherwise as it stands, a repelling eigenvalue counting 0."""
    if values:
        p = sympy.expand(sympy.simplify(p.subs(parameter, values[0])))
    orders = list(ansatz.orders(p))
    slopes = [sympy.diff(p, ansatz.x).subs(ansatz.x, end) for end in (0, 1)]
    shown = [0 if order == 1 and abs(slope) >= 1 else order for order, slope in zip(orders, slopes, strict=True)]
    return dict(zip(("order at 0", "order at 1"), shown, strict=True))


# -- a single layer -----------------------------------------------------------------------------------------------------

_RANDOM = "random, by asymmetry"
_OBLIQUE = "spectrum in the basins, by cond(S)"


def _angles(count: int) -> DataFrame:
    """One row a setting: the quantiles of the cosine, and what the cubic iteration makes of the matrices."""
    ensembles: dict[str, tuple[Sequence[float], Callable[..., Tensor]]] = {
        _RANDOM: (_SHARES, single_layer.rotated),
        _OBLIQUE: (_CONDITIONS, single_layer.oblique),
    }
    rows = []
    for ensemble, (settings, draw) in ensembles.items():
        stream = generator("derivation", ensemble)
        for setting in settings:
            K = draw(setting, count, _WIDTH, stream)
            cosine = single_layer.cosine(single_layer.ordinary(K), single_layer.modified(K))
            norms = [
                torch.linalg.matrix_norm(direction(K)) for direction in (single_layer.modified, single_layer.ordinary)
            ]
            rows.append(
                {"ensemble": ensemble, "setting": setting, "matrices": count}
                | {name: float(cosine.quantile(share)) for name, share in _QUANTILES.items()}
                | {"share below 0": float((cosine < 0).double().mean())}
                | {"|MB| / |OB|, median": float((norms[0] / norms[1]).median())}
            )
            if ensemble == _OBLIQUE:
                rows[-1]["share made idempotent"] = float((single_layer.purified_residual(K) < 1e-6).double().mean())
    return DataFrame(rows)


def _single_layer(angles: DataFrame) -> list[Claim]:
    random, oblique = angles[angles["ensemble"] == _RANDOM], angles[angles["ensemble"] == _OBLIQUE]
    zero = single_layer.symbolic_difference(3) == sympy.zeros(3)
    largest = _autograd_difference()
    symmetric = max(abs(1 - value) for table in (random, oblique) for value in table.iloc[0][["smallest", "largest"]])
    default = random.iloc[(random["setting"] - 0.5**0.5).abs().argmin()]
    last, worst = random.iloc[-1], oblique.iloc[-1]
    return [
        Claim(
            claim="On one bias-free layer with whitened inputs OB moves K against KᵀN + NKᵀ - N, MB against KN + NK - N.",
            paper="the comparison of ordinary and modified differentiation on a single layer",
            ours=f"OB by symbols, 3 x 3: {_yes(zero)}; autograd through `gradient` and `cubic`: within {largest:.1g}",
            conclusion="MB is OB with Kᵀ replaced by K: it needs no transposed product, hence no gradient of the loss.",
            holds=zero and largest < 1e-12,
        ),
        Claim(
            claim="For symmetric K the two are the same direction.",
            ours=f"|1 - cosine| at most {symmetric:.1g} over all symmetric matrices drawn",
            conclusion="With K symmetric, one full cubic step is one unit gradient step on ½||K² - K||².",
            holds=bool(symmetric < 1e-12),
        ),
        Claim(
            claim="For other K the two directions differ, and yet have a positive cosine.",
            paper="cosine 0.2 to 0.8 along the training paths of MLPs",
            ours=(
                f"median cosine {default['median']:.2f} (5 to 95 %: {default['5 %']:.2f} to {default['95 %']:.2f}) at the "
                f"asymmetry of a default initialisation, {last['median']:.2f} for antisymmetric K; with the spectrum in the "
                f"basins {worst['median']:.3f} at cond(S) = 1000"
            ),
            conclusion="A layer of the default size is in the paper's range; more asymmetry takes the angle past 90°.",
            holds=bool(0.2 <= default["median"] <= 0.8 and last["largest"] > 0),
        ),
        Claim(
            claim="The gradient of MB is larger than that of OB.",
            paper="about 25 times at the start of training, 5 times at the end, on MLPs; the constants are not stated",
            ours=(
                f"median |MB| / |OB| with equal constants {default['|MB| / |OB|, median']:.2f} at the asymmetry of a "
                f"default initialisation, {worst['|MB| / |OB|, median']:.3f} at cond(S) = 1000; y - 3f(y) + 2f(f(y)) "
                f"against the mean of squares is n/2 = {_WIDTH // 2} times that at n = {_WIDTH}"
            ),
            conclusion="On one layer it is not: what is larger is the constant, which acts like a larger learning rate.",
            holds=bool(default["|MB| / |OB|, median"] > 1),
        ),
        Claim(
            claim="Where the spectrum lies in the basins the cubic iteration converges, whatever its angle to the gradient.",
            ours=(
                f"made idempotent (||K² - K|| < 1e-6 max(1, ||K||)): {_percent(oblique['share made idempotent'].min())} "
                f"at each of {len(oblique)} condition numbers, while the median cosine falls from 1 to {worst['median']:.3f}"
            ),
            conclusion="Convergence is a matter of eigenvalues, not of descent: a small cosine is no sign of a bad step.",
            holds=bool(oblique["share made idempotent"].min() == 1),
        ),
    ]


def _percent(share: float) -> str:
    return "all" if share == 1 else f"{100 * share:.3g} % at least"


def _autograd_difference() -> float:
    """The largest relative difference between the formulas and autograd through the enforcers of the catalog."""
    stream = generator("derivation", "autograd")
    differences = []
    for share in (0.0, 0.5, 1.0):
        for K in single_layer.rotated(share, 4, 8, stream):
            for name, formula in (("gradient", single_layer.ordinary), ("cubic", single_layer.modified)):
                expected = formula(K)
                got = single_layer.differentiated(name, K)  # type: ignore[arg-type]
                differences.append(float((got - expected).norm() / expected.norm()))
    return max(differences)


# -- figures ------------------------------------------------------------------------------------------------------------


def _angle_figure(angles: DataFrame) -> Figure:
    figure = Figure(figsize=(9.4, 3.9), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, ensemble, colour in ((left, _RANDOM, BLUE), (right, _OBLIQUE, VERMILLION)):
        table = angles[angles["ensemble"] == ensemble]
        axes.fill_between(table["setting"], table["smallest"], table["largest"], color=colour, alpha=0.18, lw=0)
        axes.fill_between(table["setting"], table["5 %"], table["95 %"], color=colour, alpha=0.35, lw=0)
        axes.plot(table["setting"], table["median"], color=colour, lw=2, marker="o", ms=3.5)
        axes.axhline(0, color=BLACK, lw=1)
        plain(axes)
    left.axvline(0.5**0.5, color=BLACK, lw=1.2, ls=":")
    left.text(0.695, -0.62, "default\ninitialisation", ha="right", va="bottom")
    left.set(xlabel="asymmetry ‖K - Kᵀ‖ / (2‖K‖)", ylabel="cosine between OB and MB", xlim=(0, 1), ylim=(-0.7, 1.04))
    left.set_title("random matrices, any spectrum", fontsize=10, loc="left")
    right.set_xscale("log")
    right.set(xlabel="condition number of the eigenvectors S (log scale)", xlim=(1, 1000))
    right.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    right.set_title("spectrum in the basins of 0 and 1", fontsize=10, loc="left")
    return figure


_TICKS = (0, 0.5, 1)


def _family_figure() -> Figure:
    figure = Figure(figsize=(9.4, 4.7), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    members = {
        left: [
            (family.CUBIC, BLACK, "-"),
            (family.HOLAS_5, VERMILLION, "--"),
            (family.trs4(0), BLUE, "-."),
            (family.trs4(6), SKY, ":"),
        ],
        right: [
            (family.CUBIC, BLACK, "-"),
            (family.SP2_DOWN, GREEN, "--"),
            (family.SP2_UP, ORANGE, "-."),
            (family.PLUS_SIGN, PURPLE, ":"),
        ],
    }
    x = np.linspace(-0.45, 1.45, 400)
    for axes, lines in members.items():
        axes.plot(x, x, color=GREY, lw=1)
        for member, colour, dashes in lines:
            axes.plot(x, member(x), color=colour, ls=dashes, lw=2, label=member.label)
        axes.plot([0, 1], [0, 1], "o", color=BLACK, ms=6)
        axes.set(xlim=(-0.45, 1.45), ylim=(-0.45, 1.45), xlabel="eigenvalue x of K", xticks=_TICKS, yticks=_TICKS)
        plain(axes)
    left.set_ylabel("eigenvalue p(x) of K'")
    panel_legend(left, "solutions of the ansatz")
    panel_legend(right, "not solutions, beside the cubic")
    return figure
