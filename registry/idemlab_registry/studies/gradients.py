"""The size of the gradients of ordinary and modified backpropagation along a training run, and how far they agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from idemlab import Claim, Findings, Material, Study
from idemlab.reports.style import BLACK, BLUE, DPI, ORANGE, VERMILLION, decimal, panel_legend, plain
from idemlab.wording import number

from .arms import range_of
from .paper import COSINE, NORM_RATIO
from .paths import METHODS, Problem

__all__ = ["Measured", "examine", "measure", "study"]

COLOURS = {"gradient": BLUE, "cubic": VERMILLION}
LABELS = {"gradient": "gradient (OB)", "cubic": "cubic (MB)"}


@dataclass(frozen=True)
class Measured:
    """Both gradients at the same weights, along the path of one method from one initialisation.

    Args:
        problem, seed, path: where; `path` is the method that trained.
        steps: [T].
        norms: of each method's gradient, [T] each.
        cosines: between the two, [T].
        losses: mean of the squared idempotence error, [T].
    """

    problem: Problem
    seed: int
    path: str
    steps: list[int]
    norms: Mapping[str, list[float]]
    cosines: list[float]
    losses: list[float]


def study() -> Study:
    """The study; it trains by hand, as it looks at weights along the way."""
    return Study(examine=examine)


def measure(problem: Problem, seed: int, path: str, every: int) -> Measured:
    """Train by one method and compute both gradients every so many steps, at the same weights and points."""
    operator, x = problem.operator(seed), problem.noise()
    walked = problem.walk(path, seed, every)
    norms: dict[str, list[float]] = {method: [] for method in METHODS}
    cosines = []
    for weights in walked.weights:
        each = {method: problem.gradient(operator, method, weights, x) for method in METHODS}
        for method, gradient in each.items():
            norms[method].append(gradient.norm().item())
        cosines.append(torch.cosine_similarity(each["gradient"], each["cubic"], dim=0).item())
    return Measured(problem, seed, path, walked.steps, norms, cosines, walked.losses.tolist())


def examine(material: Material) -> Findings:
    """Norms, their ratio and the cosine along both paths, for two depths and several seeds."""
    problems, seeds, every = _plan(material.quick)
    measured = []
    for problem in problems:
        for seed in range(seeds):
            material.say(f"{_name(problem)}, seed {seed}")
            measured += [measure(problem, seed, path, every) for path in METHODS]
    findings = Findings(text=_text(problems, seeds))
    findings.figures["gradients"] = _draw(measured, problems)
    findings.captions["gradients"] = (
        "Gradients over all weights, computed on one batch of 512 noises. Above: the norm that each method follows, in its "
        "own run. Middle: their ratio, MB over OB, between the separate runs and at the same weights. Below: the cosine "
        f"between the two at the same weights. Medians over {seeds} seeds, shading from the lowest to the highest; "
        "the frame of the ratios may cut it."
    )
    findings.tables["norms"] = DataFrame([row for problem in problems for row in _rows(measured, problem)])
    findings.captions["norms"] = "Start and end of each run, median and range over the seeds."
    findings.claims = _claims(measured, problems)
    return findings


def _plan(quick: bool) -> tuple[list[Problem], int, int]:
    """(problems, seeds, steps between two measurements)."""
    if quick:
        return [Problem(depth=depth, steps=1000) for depth in (2, 4)], 2, 50
    return [Problem(depth=depth) for depth in (2, 4)], 5, 50


def _name(problem: Problem) -> str:
    return f"{problem.width} x {problem.depth}"


def _of(measured: Sequence[Measured], problem: Problem, path: str) -> list[Measured]:
    return [one for one in measured if one.problem == problem and one.path == path]


def _apart(measured: Sequence[Measured], problem: Problem) -> list[list[float]]:
    """MB's norm in its run over OB's in its own, by seed, [T] each."""
    ob, mb = (_of(measured, problem, path) for path in METHODS)
    return [
        [_ratio(m, o) for m, o in zip(b.norms["cubic"], a.norms["gradient"], strict=True)]
        for a, b in zip(ob, mb, strict=True)
    ]


def _together(runs: Sequence[Measured]) -> list[list[float]]:
    """MB's norm over OB's at the same weights, by seed, [T] each."""
    return [[_ratio(m, o) for m, o in zip(one.norms["cubic"], one.norms["gradient"], strict=True)] for one in runs]


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else math.nan


# -- figure and table ----------------------------------------------------------------------------------------------------


def _draw(measured: Sequence[Measured], problems: Sequence[Problem]) -> Figure:
    figure = Figure(figsize=(4.6 * len(problems) + 0.6, 9.2), dpi=DPI, layout="constrained")
    cells = figure.subplots(3, len(problems), sharex=True, sharey="row", squeeze=False)
    ratios = []
    for column, problem in zip(cells.T, problems, strict=True):
        for path in METHODS:
            runs = _of(measured, problem, path)
            steps, colour = runs[0].steps, COLOURS[path]
            own, together, cosines = [one.norms[path] for one in runs], _together(runs), [one.cosines for one in runs]
            _band(column[0], steps, own, colour, label=LABELS[path])
            _band(column[1], steps, together, colour, "--", label=f"same weights, of {path}'s run")
            _band(column[2], steps, cosines, colour, label=f"at weights of {path}'s run")
            ratios += [median(at) for at in zip(*together, strict=True)]
        apart = _apart(measured, problem)
        _band(column[1], steps, apart, BLACK, label="separate runs")
        ratios += [median(at) for at in zip(*apart, strict=True)]
        column[1].plot(
            [0, problem.steps],
            NORM_RATIO,
            "D",
            color=ORANGE,
            ms=7,
            mfc="none",
            mew=1.8,
            clip_on=False,
            label="the paper",
        )
        column[2].axhspan(*COSINE, color=ORANGE, alpha=0.12, lw=0, label="the paper's range")
        column[2].axhline(0, color=BLACK, lw=0.8)
        column[2].set_xlabel("optimiser step")
        for axes, title in zip(column, ("norm of the gradient", "ratio of the norms, MB / OB", "cosine"), strict=True):
            plain(axes)
            panel_legend(axes, f"{_name(problem)}: {title}")
    for row, label in zip(cells, ("norm (log scale)", "MB / OB (log scale)", "cosine of OB and MB"), strict=True):
        row[0].set_ylabel(label)
    for axes in (*cells[0], *cells[1]):
        axes.set_yscale("log")
    finite = [ratio for ratio in ratios if math.isfinite(ratio) and ratio > 0]
    cells[1, 0].set_ylim(
        min([*finite, 1.0]) / 2, 3 * max([*finite, *NORM_RATIO])
    )  # one wild seed must not squeeze the rest
    for axes in (*cells[0], *cells[1]):
        decimal(axes.yaxis)
    low = min(min(one.cosines) for one in measured)
    cells[2, 0].set_ylim(min(-0.05, low - 0.05), 1.02)
    return figure


def _band(
    axes: Axes, steps: Sequence[int], curves: Sequence[Sequence[float]], colour: str, dashes: str = "-", *, label: str
) -> None:
    """Draw the median over the seeds, and the range from the lowest to the highest."""
    columns = list(zip(*curves, strict=True))
    axes.fill_between(steps, [min(c) for c in columns], [max(c) for c in columns], color=colour, alpha=0.12, lw=0)
    axes.plot(steps, [median(c) for c in columns], color=colour, lw=1.6, ls=dashes, label=label)


def _rows(measured: Sequence[Measured], problem: Problem) -> list[dict[str, object]]:
    rows = []
    for path in METHODS:
        runs = _of(measured, problem, path)
        for moment, index in (("start", 0), ("end", -1)):
            row: dict[str, object] = {"network": _name(problem), "run of": path, "at": moment}
            figures: dict[str, Callable[[Measured], float]] = {
                "norm OB": lambda one: one.norms["gradient"][index],  # noqa: B023
                "norm MB": lambda one: one.norms["cubic"][index],  # noqa: B023
                "MB / OB": lambda one: _ratio(one.norms["cubic"][index], one.norms["gradient"][index]),  # noqa: B023
                "cosine": lambda one: one.cosines[index],  # noqa: B023
                "loss": lambda one: one.losses[index],  # noqa: B023
            }
            for name, figure in figures.items():
                row[name] = range_of([figure(one) for one in runs])
            rows.append(row)
    return rows


# -- claims ---------------------------------------------------------------------------------------------------------------


def _claims(measured: Sequence[Measured], problems: Sequence[Problem]) -> list[Claim]:
    return [
        _ratio_claim(measured, problems, "start", 0, NORM_RATIO[0]),
        _ratio_claim(measured, problems, "end", -1, NORM_RATIO[1]),
        _cosine_claim(measured, problems),
    ]


def _ratio_claim(
    measured: Sequence[Measured], problems: Sequence[Problem], moment: str, index: int, paper: float
) -> Claim:
    """Norms of separate runs, under each constant: norms are proportional to it."""
    apart = {problem: [ratios[index] for ratios in _apart(measured, problem)] for problem in problems}
    constants = {"unit": 1.0, "mean": 1 / problems[0].dimension, "matched": 2 / problems[0].dimension}
    fits = {
        (_name(problem), name): abs(math.log(median(ratios) * constant / paper))
        for problem, ratios in apart.items()
        for name, constant in constants.items()
    }
    (network, name), off = min(fits.items(), key=lambda item: item[1])
    return Claim(
        claim=f"At the {moment}, the gradient of modified backpropagation is about {paper:g} times as large as the "
        "ordinary one, in separate runs.",
        paper=f"about {paper:g}x",
        ours="constant unit: " + "; ".join(f"{_name(problem)}: {range_of(r, 'x')}" for problem, r in apart.items()),
        controlled="constant matched: "
        + "; ".join(
            f"{_name(problem)}: {range_of([v * constants['matched'] for v in r], 'x')}" for problem, r in apart.items()
        ),
        conclusion=f"Nearest: {network} with the constant {name}, off by a factor of {number(math.exp(off))}.",
        holds=True if off < math.log(1.5) else False if off > math.log(3) else None,
    )


def _cosine_claim(measured: Sequence[Measured], problems: Sequence[Problem]) -> Claim:
    low, high = COSINE
    cosines = [c for one in measured for c in one.cosines]
    inside = sum(low <= c <= high for c in cosines) / len(cosines)
    told = "; ".join(
        f"{_name(problem)}, run of {path}: {range_of([c for one in _of(measured, problem, path) for c in one.cosines])}"
        for problem in problems
        for path in METHODS
    )
    return Claim(
        claim=f"The cosine between the two gradients lies between {low:g} and {high:g} along each path.",
        paper=f"{low:g} to {high:g}",
        ours=told,
        conclusion=f"{100 * inside:.0f} % of the measured points lie in that range, {100 * _negative(cosines):.0f} % are "
        "negative.",
        holds=True if inside >= 0.9 else False if inside < 0.5 else None,
    )


def _negative(cosines: Sequence[float]) -> float:
    return sum(c < 0 for c in cosines) / len(cosines)


def _text(problems: Sequence[Problem], seeds: int) -> str:
    first = problems[0]
    return (
        f"ReLU networks of width x depth {' and '.join(_name(p) for p in problems)}, d = {first.dimension}, trained for "
        f"{first.steps} steps of plain gradient descent at rate {first.rate:g}, batch {first.batch} of fresh noise, by the "
        f"canonical loss (a mean over entries) and by the cubic cotangent with the constant *unit*; {seeds} seeds, both "
        "methods from the same weights. Another constant multiplies MB's norm: *mean* by 1/16, *matched* by 1/8."
    )
