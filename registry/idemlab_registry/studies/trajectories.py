"""The paths that both methods take through the space of weights, in the plane where they vary most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from pandas import DataFrame
from torch import Tensor

from idemlab import Certificate, Claim, Findings, Material, Study
from idemlab.reports.style import BLACK, BLUE, DPI, SKY, VERMILLION, legend_above, plain

from .arms import range_of
from .paths import Path, Problem

__all__ = ["Plane", "Walked", "examine", "study", "walk"]

MATCHED = "matched gradient"
"""The gradient at n/2 times the rate: as if its loss had the constant of the cubic cotangent."""
LINES = {
    MATCHED: (SKY, 5.0, 7.0, (24, -3)),
    "gradient": (BLUE, 2.0, 4.5, (24, -3)),
    "cubic": (VERMILLION, 2.0, 4.5, (0, -14)),
}
"""Colour, width of the line, size of the dots, place of the note at the end; in the order of drawing, as the first two lie
upon each other for a while."""
LABELS = {"gradient": "gradient (OB)", MATCHED: "gradient, n/2 times the rate", "cubic": "cubic (MB)"}


@dataclass(frozen=True)
class Plane:
    """The plane of the first two principal components of some weights.

    Args:
        origin: their mean, [P].
        axes: orthonormal, [2, P].
        explained: share of the variance along each, [2].
    """

    origin: Tensor
    axes: Tensor
    explained: tuple[float, float]

    @classmethod
    def through(cls, weights: Tensor) -> Plane:
        """That of weights [T, P]."""
        wide = weights.double()
        origin = wide.mean(0)
        _, singular, rows = torch.linalg.svd(wide - origin, full_matrices=False)
        shares = (singular.square() / singular.square().sum()).tolist()
        return cls(origin, rows[:2], (shares[0], shares[1]))

    def coordinates(self, weights: Tensor) -> NDArray[np.float64]:
        """Of weights [T, P] projected into the plane, [T, 2]."""
        return ((weights.double() - self.origin) @ self.axes.T).numpy()

    def point(self, a: float, b: float) -> Tensor:
        """Weights [P] at coordinates in the plane."""
        return self.origin + a * self.axes[0] + b * self.axes[1]


@dataclass(frozen=True)
class Walked:
    """The paths from one initialisation, by the names in `LABELS`, and their plane."""

    problem: Problem
    seed: int
    paths: dict[str, Path]
    plane: Plane

    @cached_property
    def ends(self) -> dict[str, Certificate]:
        """The certificate at the end of each path."""
        return {method: self.problem.certificate(path.weights[-1]) for method, path in self.paths.items()}

    def cosine(self, method: str) -> float:
        """Between the displacement of a method, from its start to its end, and that of the cubic iteration."""
        one, other = (self.paths[m].weights[-1] - self.paths[m].weights[0] for m in (method, "cubic"))
        return torch.cosine_similarity(one, other, dim=0).item()

    def directness(self, method: str) -> float:
        """Length of the displacement over that of the path: 1 is a straight line."""
        weights = self.paths[method].weights
        length = weights.diff(dim=0).norm(dim=1).sum()
        return float((weights[-1] - weights[0]).norm() / length)

    def displacement(self, method: str) -> float:
        """Distance from the start to the end, over the norm of the initial weights."""
        weights = self.paths[method].weights
        return float((weights[-1] - weights[0]).norm() / weights[0].norm())


def study() -> Study:
    """The study; it trains by hand, as it looks at weights along the way."""
    return Study(examine=examine)


def walk(problem: Problem, seed: int, every: int) -> Walked:
    """Train by both methods from the same weights and find the plane of all weights on the way."""
    faster = replace(problem, rate=problem.rate * problem.dimension / 2)
    paths = {
        "gradient": problem.walk("gradient", seed, every),
        MATCHED: faster.walk("gradient", seed, every),
        "cubic": problem.walk("cubic", seed, every),
    }
    return Walked(problem, seed, paths, Plane.through(torch.cat([path.weights for path in paths.values()])))


def examine(material: Material) -> Findings:
    """The paths over contours of the loss, for two depths; the first seed is drawn, all are in the table."""
    problems = [Problem(depth=depth, steps=1000 if material.quick else 2500) for depth in (2, 4)]
    seeds, points = (2, 31) if material.quick else (5, 61)
    walked = []
    for problem in problems:
        for seed in range(seeds):
            material.say(f"{_name(problem)}, seed {seed}")
            walked.append(walk(problem, seed, every=25))
    findings = Findings(text=_text(problems[0], seeds))
    findings.figures["trajectories"] = _draw([one for one in walked if one.seed == 0], points)
    findings.captions["trajectories"] = (
        "Paths from the same initial weights (seed 0), in the plane of their first two principal components. Contours: "
        "log10 of the idempotence loss in that plane, mean (f(f(x)) - f(x))^2 at 512 noises. A dot every 250 steps. "
        "The axes do not explain all of the motion, so paths leave the plane: the number at each end is its own log10 loss."
    )
    findings.tables["paths"] = DataFrame([_row(one) for one in walked])
    findings.captions["paths"] = (
        "A displacement leads from start to end, in units of the initial weights' norm. Directness is displacement over "
        "length of the path. The cosine is that with the displacement of the cubic iteration."
    )
    findings.claims = _claims(walked, problems)
    return findings


def _name(problem: Problem) -> str:
    return f"{problem.width} x {problem.depth}"


def _row(one: Walked) -> dict[str, object]:
    row: dict[str, object] = {"network": _name(one.problem), "seed": one.seed}
    row |= {"PC 1": one.plane.explained[0], "PC 2": one.plane.explained[1]}
    for method, path in one.paths.items():
        end = one.ends[method]
        row |= {
            f"{method}: cosine with cubic": one.cosine(method),
            f"{method}: displacement": one.displacement(method),
            f"{method}: directness": one.directness(method),
            f"{method}: loss at start": path.losses[0].item(),
            f"{method}: loss at end": path.losses[-1].item(),
            f"{method}: relative error at end": end.relative[0],
            f"{method}: rank at end": end.rank,
            f"{method}: verdict": end.verdict.value,
        }
    return row


# -- figure ---------------------------------------------------------------------------------------------------------------


def _draw(shown: Sequence[Walked], points: int) -> Figure:
    figure = Figure(figsize=(4.4 * len(shown) + 0.4, 4.6), dpi=DPI, layout="constrained")
    for axes, one in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        placed = {method: one.plane.coordinates(path.weights) for method, path in one.paths.items()}
        drawn = _contours(axes, one, placed, points)
        figure.colorbar(drawn, ax=axes, label="log10 of the loss", shrink=0.85)
        for method, (colour, width, size, beside) in LINES.items():
            path, at = one.paths[method], placed[method]
            axes.plot(*at.T, color=colour, lw=width)
            marked = [i for i, step in enumerate(path.steps) if step and step % 250 == 0]
            axes.plot(*at[marked].T, "o", color=colour, ms=size, mec="white", mew=0.7)
            axes.annotate(
                f"{np.log10(path.losses[-1].item()):.2f}",
                at[-1],
                beside,
                textcoords="offset points",
                ha="center",
                fontsize=9,
                bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.75},
            )
        axes.plot(*placed["gradient"][0], "*", color=BLACK, ms=13, mec="white", mew=0.8)
        axes.set_title(_name(one.problem), loc="left", fontsize=10, fontweight="bold")
        first, second = (f"principal component {i + 1} ({100 * e:.0f} %)" for i, e in enumerate(one.plane.explained))
        axes.set_xlabel(first)
        axes.set_ylabel(second)
        plain(axes)
    handles = [
        Line2D([], [], color=colour, marker="o", ms=size, lw=width, label=LABELS[method])
        for method, (colour, width, size, _) in LINES.items()
    ]
    handles.append(Line2D([], [], color=BLACK, marker="*", ms=11, ls="", label="start"))
    legend_above(figure, handles)
    return figure


def _contours(axes: Axes, one: Walked, placed: dict[str, NDArray[np.float64]], points: int) -> QuadContourSet:
    """Filled contours of the loss over the part of the plane that both paths cross."""
    crossed = np.concatenate(list(placed.values()))
    middle, half = (crossed.max(0) + crossed.min(0)) / 2, 0.75 * np.ptp(crossed, axis=0)
    a, b = (np.linspace(m - h, m + h, points) for m, h in zip(middle, half, strict=True))
    operator, x = one.problem.operator(one.seed), one.problem.noise()
    losses = [[one.problem.loss(operator, one.plane.point(s, t).float(), x).item() for s in a] for t in b]
    shades = np.log10(np.maximum(losses, 1e-12))
    drawn = axes.contourf(a, b, shades, levels=14, cmap="cividis", alpha=0.75)
    axes.contour(a, b, shades, levels=14, colors="white", linewidths=0.5, linestyles="solid")
    return drawn


# -- claims ---------------------------------------------------------------------------------------------------------------


def _claims(walked: Sequence[Walked], problems: Sequence[Problem]) -> list[Claim]:
    def by_network(values: Sequence[float], times: str = "") -> str:
        return "; ".join(
            f"{_name(problem)}: "
            + range_of([v for one, v in zip(walked, values, strict=True) if one.problem == problem], times)
            for problem in problems
        )

    cosines, fair_cosines = ([one.cosine(method) for one in walked] for method in ("gradient", MATCHED))
    gains, fair_gains = ([_gain(one, method) for one in walked] for method in ("gradient", MATCHED))
    reach = [one.displacement("cubic") / one.displacement("gradient") for one in walked]
    explained = [sum(one.plane.explained) for one in walked]
    apart = median(cosines) < 0.9
    return [
        Claim(
            claim="Both methods start at the same weights and take different paths.",
            paper="shown as a picture, without numbers",
            ours=f"cosine between the displacements {by_network(cosines)}; the planes hold "
            f"{100 * min(explained):.0f} to {100 * max(explained):.0f} % of the variance",
            controlled=f"with n/2 times the rate for the gradient: {by_network(fair_cosines)}",
            conclusion=f"They move {'apart' if apart else 'nearly alike'}; by {range_of(reach, 'x')} as far with the cubic "
            "iteration.",
            holds=apart,
        ),
        Claim(
            claim="From the same weights, modified backpropagation ends at a lower idempotence loss.",
            paper="shown as a picture, without numbers",
            ours=f"loss of the gradient over that of the cubic iteration, at equal rate: {by_network(gains, 'x')}; "
            + _verdicts(walked),
            controlled=f"with n/2 times the rate for the gradient: {by_network(fair_gains, 'x')}",
            conclusion=f"Lower on {sum(g > 1 for g in gains)} of {len(gains)} initialisations at equal rate, on "
            f"{sum(g > 1 for g in fair_gains)} with equal constants.",
            holds=True if min(gains + fair_gains) > 1 else False if max(gains + fair_gains) < 1 else None,
        ),
    ]


def _verdicts(walked: Sequence[Walked]) -> str:
    """What the operators at the ends are."""
    told = []
    for method in ("gradient", "cubic"):
        ends = [one.ends[method] for one in walked]
        counts = Counter(end.verdict.value for end in ends).most_common()
        listed = ", ".join(f"{count} {verdict}" for verdict, count in counts)
        told.append(f"{method}: relative error {range_of([end.relative[0] for end in ends])}, {listed}")
    return "; ".join(told)


def _gain(one: Walked, method: str) -> float:
    """Final loss of a method over that of the cubic iteration."""
    return float(one.paths[method].losses[-1] / one.paths["cubic"].losses[-1])


def _text(problem: Problem, seeds: int) -> str:
    return (
        f"ReLU networks on noise, d = {problem.dimension}, width {problem.width}. They are trained for {problem.steps} "
        f"steps of plain gradient descent at rate {problem.rate:g}, by the canonical loss (a mean over entries) and by the "
        "cubic cotangent (constant *unit*). Both start from the same weights and see the same noise. Beside them stands the "
        f"canonical loss at n/2 times the rate, which gives it the same constant. {seeds} seeds."
    )
