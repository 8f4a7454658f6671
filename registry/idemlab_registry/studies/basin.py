"""The study `basin`: which eigenvalues the purification family takes to 0 and to 1, in the complex plane."""

from __future__ import annotations

import time
from statistics import median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from pandas import DataFrame

from idemlab import Claim, Findings, Material, Study
from idemlab.reports.style import BLACK, DPI

from . import family, reals
from .colouring import legend_of_basins, picture
from .family import Member
from .julia import INFINITY, UNDECIDED, Basins, Window, basins, distance_after, plane

__all__ = ["MEMBERS", "PAPER_WINDOW", "examine", "study"]

PAPER_WINDOW: Window = (-0.5, 1.5, -0.5, 0.5)
_WIDE: Window = (-0.8, 1.8, -0.78, 0.78)
"""Holds all of the cubic's basins, in the proportion 5 : 3."""

MEMBERS: tuple[Member, ...] = (
    family.CUBIC,
    family.damped(0.5),
    family.HOLAS_5,
    family.trs4(0),
    family.trs4(3),
    family.trs4(6),
    family.SP2_DOWN,
    family.SP2_UP,
    family.PLUS_SIGN,
)
"""Those that are polynomials of K alone, and the plus sign of an early draft beside them."""

_CLOSE = 1e-3
"""Distance to 0 or 1 that counts as reached after ten iterations."""


def study() -> Study:
    """Needs no experiment: iterated polynomials."""
    return Study(examine=examine)


def examine(material: Material) -> Findings:
    """Draw the basins at the paper's sharpness and to convergence, and measure them."""
    scale = 1 if material.quick else 2
    material.say("iterating the cubic over the complex plane")
    distance = distance_after(family.CUBIC, PAPER_WINDOW, width=600 * scale, height=300 * scale)
    converged = basins(family.CUBIC, PAPER_WINDOW, width=600 * scale, height=300 * scale)
    seconds = _seconds()
    material.say("the purification family side by side")
    measured = [_measured(member, scale) for member in MEMBERS]
    return Findings(
        claims=[
            _wide(distance, converged),
            _ten(distance, converged),
            _quarter(converged),
            _symmetric(),
            _fast(seconds),
        ],
        figures={
            "heat-map": _heat_map(distance),
            "zoom": _zooms(scale),
            "family": _side_by_side(scale),
        },
        tables={"basins": DataFrame(measured)},
        captions=_CAPTIONS,
        text=_TEXT,
    )


_TEXT = """
A step of the purification family acts on a diagonalisable K eigenvalue by eigenvalue, as a polynomial p. Which K become
idempotent, and which projector does each reach? The answer is a picture in the complex plane: the basins of 0 and 1
under p, bounded by its Julia set. Members that steer by the trace have no such picture, as their p changes with the
whole spectrum from step to step. With the parameter at its value at idempotents, HPCP and Palser-Manolopoulos are the
cubic, and so is TRS4 at sigma = 3.
"""

_CAPTIONS = {
    "heat-map": (
        "The cubic, window and sharpness of the paper: distance to the nearer of 0 and 1 after ten iterations. Dashed: "
        "|z² - z| = 1/4, inside which convergence is guaranteed; it touches the boundary at 1/2."
    ),
    "zoom": (
        "The cubic to convergence: which root, and how fast. Upper left, all of it, with the zooms framed. They lie "
        "around 1/2, around (1-√3)/2, where the wrong basin begins on the real line, and towards the 2-cycle's -0.618. "
        "There the basins interleave for ever, each bulb 6 times smaller than the one before."
    ),
    "family": "Members of the family to convergence, all over the same window and in the same colours.",
    "basins": (
        "Shares are of the window in the figure `family`. Order: of contraction at the eigenvalue, 1 linear, empty where it "
        "is no attractor. Ends: of the interval of real eigenvalues around the root that all go to it. Radius: of the "
        "largest disc around the root inside its basin, to the nearest 0.003."
    ),
}


# -- measures -----------------------------------------------------------------------------------------------------------


def _seconds() -> float:
    """To decide 1000 x 600 points of the cubic, median of 5."""
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        basins(family.CUBIC, PAPER_WINDOW)
        taken.append(time.perf_counter() - started)
    return median(taken)


def _measured(member: Member, scale: int) -> dict[str, object]:
    """A row of the table."""
    found = basins(member, _WIDE, width=500 * scale, height=300 * scale)
    row: dict[str, object] = {
        "member": member.name,
        "degree": member.degree,
        "matrix products": member.products,
        "share to 0": round(found.share(0), 4),
        "share to 1": round(found.share(1), 4),
        "share diverging": round(found.share(INFINITY), 4),
        "share undecided": round(found.share(UNDECIDED), 4),
    }
    for root in (0, 1):
        local, ends = member.contraction(root), reals.immediate_basin(member, root)
        row |= {
            f"order at {root}": None if local is None else local[0],
            f"left end at {root}": None if ends is None else round(ends[0], 6),
            f"right end at {root}": None if ends is None else round(ends[1], 6),
            f"radius at {root}": None if local is None else round(_radius(found, root), 3),
        }
    return row


def _radius(found: Basins, root: int) -> float:
    """Distance from the root to the nearest pixel that does not go there."""
    height, width = found.limit.shape
    distance = np.abs(plane(found.window, width, height) - root)
    return float(distance[found.limit != root].min())


def _wide(distance: NDArray[np.float64], converged: Basins) -> Claim:
    reached = float((distance < _CLOSE).mean())
    roots = converged.share(0) + converged.share(1)
    return Claim(
        claim="The basin of attraction is wide.",
        paper="heat map over about [-0.5, 1.5] x [-0.5, 0.5]i after 10 iterations",
        ours=f"{100 * reached:.1f} % of this window is within {_CLOSE:g} of 0 or 1 after 10 iterations",
        controlled=f"{100 * roots:.1f} % reaches 0 or 1 at convergence; {100 * converged.share(INFINITY):.1f} % diverges",
        conclusion="About two fifths of the window, half of them to each root; the rest diverges: nothing else attracts.",
    )


def _ten(distance: NDArray[np.float64], converged: Basins) -> Claim:
    attracted = converged.limit < INFINITY
    late = float((attracted & (distance >= _CLOSE)).mean())
    return Claim(
        claim="Ten iterations show the basins.",
        paper="10 iterations",
        ours=f"{100 * late:.2f} % of the window is attracted, but not within {_CLOSE:g} after ten",
        conclusion="Ten iterations miss only a seam along the boundary, and do not tell which root is reached.",
        holds=late < 0.05,
    )


def _quarter(converged: Basins) -> Claim:
    height, width = converged.limit.shape
    z = plane(converged.window, width, height)
    inside = np.abs(z * z - z) < 0.25
    right = converged.limit == (z.real > 0.5)
    found = float(right[inside].mean())
    attracted = converged.limit < INFINITY
    return Claim(
        claim="||K² - K|| < 1/4 is enough for convergence.",
        paper="a wide basin",
        ours=f"{100 * found:.4g} % of the points with |z² - z| < 1/4 go to the nearer root",
        controlled=f"they are {100 * inside.sum() / attracted.sum():.0f} % of the points of the window that are attracted",
        conclusion="Enough, and not necessary: the bound is tight at 1/2 alone.",
        holds=found == 1,
    )


def _symmetric() -> Claim:
    """Complement z -> 1 - z and conjugation, over a window that both leave alone."""
    found = basins(family.CUBIC, _WIDE)
    swapped = np.array([1, 0, INFINITY, UNDECIDED], dtype=np.uint8)[found.limit[:, ::-1]]
    complement = float((swapped == found.limit).mean())
    conjugate = float((found.limit[::-1] == found.limit).mean())
    return Claim(
        claim="The basins of the cubic are exchanged by z -> 1 - z, and symmetric about the real axis.",
        ours=f"{100 * complement:.4g} % and {100 * conjugate:.4g} % of the pixels agree",
        conclusion="h(I - K) = I - h(K): neither root is preferred. SP2 and TRS4 prefer one, which is how they steer.",
        holds=complement == 1 and conjugate == 1,
    )


def _fast(seconds: float) -> Claim:
    return Claim(
        claim="A picture of 1000 x 600 points, each to convergence, takes less than 2 s.",
        ours=f"{seconds:.2f} s on one thread, median of 5",
        conclusion="Fast enough to explore by hand.",
        holds=seconds < 2,
    )


# -- figures ------------------------------------------------------------------------------------------------------------


def _heat_map(distance: NDArray[np.float64]) -> Figure:
    figure = Figure(figsize=(7.6, 4.4), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    depth = np.log10(np.clip(distance, 1e-16, 1))
    image = axes.imshow(depth, origin="lower", extent=PAPER_WINDOW, cmap="viridis_r", vmin=-16, vmax=0)
    z = plane(PAPER_WINDOW, 300, 150)
    axes.contour(z.real, z.imag, np.abs(z * z - z), levels=[0.25], colors=BLACK, linewidths=1.3, linestyles="--")
    bar = figure.colorbar(image, location="bottom", shrink=0.7, aspect=35, ticks=[-16, -12, -8, -4, 0])
    bar.set_label("distance to the nearer of 0 and 1 after ten iterations")
    bar.ax.set_xticklabels(["$\\leq 10^{-16}$", "$10^{-12}$", "$10^{-8}$", "$10^{-4}$", "$\\geq 1$"])
    _roots(axes, 2)
    _label(axes)
    return figure


def _zooms(scale: int) -> Figure:
    left = (1 - 3**0.5) / 2
    cycle = (1 - 5**0.5) / 2
    zooms = {"around 1/2": (0.5, 0.06), "around (1-√3)/2": (left, 0.06), "towards -0.618": (cycle + 0.012, 0.02)}
    figure = Figure(figsize=(9.4, 7.2), dpi=DPI, layout="constrained")
    grid = figure.add_gridspec(3, 2, height_ratios=[1, 1, 0.2])
    panels = [figure.add_subplot(grid[i // 2, i % 2]) for i in range(4)]
    _show(panels[0], family.CUBIC, _WIDE, scale)
    panels[0].set_title("all", fontsize=10, loc="left")
    for axes, (title, (x, half)) in zip(panels[1:], zooms.items(), strict=True):
        window = (x - half, x + half, -0.6 * half, 0.6 * half)
        _show(axes, family.CUBIC, window, scale)
        axes.set_title(title, fontsize=10, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        panels[0].add_patch(Rectangle((x - half, -0.6 * half), 2 * half, 1.2 * half, fill=False, ec=BLACK, lw=1))
    legend_of_basins(figure.add_subplot(grid[2, :]))
    for axes in panels:
        _label(axes)
    return figure


def _side_by_side(scale: int) -> Figure:
    figure = Figure(figsize=(9.4, 7.9), dpi=DPI, layout="constrained")
    grid = figure.add_gridspec(4, 3, height_ratios=[1, 1, 1, 0.27])
    for i, member in enumerate(MEMBERS):
        axes = figure.add_subplot(grid[i // 3, i % 3])
        _show(axes, member, _WIDE, scale, points=500)
        axes.set_title(f"{member.label}\n{member.formula}", fontsize=9, loc="left")
        axes.set(xticks=[-0.5, 0, 0.5, 1, 1.5], yticks=[-0.5, 0, 0.5])
        axes.tick_params(labelsize=9, labelleft=i % 3 == 0, labelbottom=i >= 6)
        if i >= 6:
            axes.set_xlabel("Re z")
        if i % 3 == 0:
            axes.set_ylabel("Im z")
    legend_of_basins(figure.add_subplot(grid[3, :]))
    return figure


def _show(axes: Axes, member: Member, window: Window, scale: int, points: int = 700) -> None:
    found = basins(member, window, width=points * scale, height=int(0.6 * points) * scale)
    axes.imshow(picture(found, scale), origin="lower", extent=window, interpolation="antialiased")
    _roots(axes, 1)


def _roots(axes: Axes, size: float) -> None:
    low, high = axes.get_xlim()
    for root in (0, 1):
        if low < root < high:
            axes.plot(root, 0, "o", ms=4 + size, mfc="white", mec=BLACK, mew=1)


def _label(axes: Axes) -> None:
    axes.set(xlabel="Re z", ylabel="Im z")
