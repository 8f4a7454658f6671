"""What a report draws: each figure once for the page, in its colours, and once as a PNG file for other documents."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image

from ..catalog.catalog import Catalog
from ..certificate.verdict import NOT_IDEMPOTENT
from ..experiment.experiment import Experiment
from ..objective.evaluation import Examples, Extremes, examples, extremes
from ..objective.parts import build_inputs
from ..runs.loading import load
from ..runs.run import Run
from ..wording import counted, listed, number
from . import curves, pictures, style
from .html import Drawing

__all__ = ["Drawn", "curve_drawings", "picture_drawings", "spectrum_drawings"]

_SAMPLES = 80
"""Number of orbits in a picture of vectors."""
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Args:
        drawings: for the page, in their order.
        files: name -> content of a PNG file in the run's folder of figures.
    """

    drawings: tuple[Drawing, ...] = ()
    files: Mapping[str, bytes] | None = None


# -- pictures -----------------------------------------------------------------------------------------------------------


def picture_drawings(
    run: Run, experiment: Experiment, catalog: Catalog, certificate: Mapping[str, Any], control: Run | None
) -> Drawn:
    """Orbits at each set of inputs, with the control's under them, and typical and worst samples."""
    operator = load(run, catalog=catalog)
    parts = build_inputs(experiment)
    images = pictures.is_image(parts.dataset.shape)
    count = pictures.COLUMNS if images else _SAMPLES
    shown = examples(experiment, parts, operator, _CPU, count)
    ranked = extremes(experiment, parts, operator, _CPU)
    origin = {"data": f"{experiment.evaluation.split} samples of '{experiment.dataset.name}'"}
    origin |= {name: f"source '{source.name}'" for name, source in experiment.inputs.items()}
    range = parts.dataset.range
    figures = pictures.orbit_figures(shown, range)
    beside = examples(experiment, parts, load(control, catalog=catalog), _CPU, count) if control is not None else None
    if not images:
        names = list(origin)
        said = "; ".join(f"{name}: {where}" for name, where in origin.items())
        caption = f"x is {said}. Each point, or curve, is one sample. {_measured(certificate, names)} {_moved(ranked)}"
        drawing = Drawing(
            panels=tuple(style.inline(figure) for figure in pictures.orbit_panels(shown, beside)),
            alt=f"x, f(x) and f(f(x)) for {listed(names)}",
            caption=" ".join(caption.split()),
            legend=_vector_legend(shown, beside is not None),
        )
        drawings = [drawing, *(_extreme_values(ranked) if pictures.has_targets(shown[0]) else [])]
        files = {"orbits": style.png(next(iter(figures.values()))), "thumbnail": style.png(pictures.tiny(shown))}
        return Drawn(tuple(drawings), files)
    drawings = []
    for i, one in enumerate(shown):
        said = _classes(one)
        caption = (
            f"x is {origin[one.name]}. Each column is one sample. {said}{_measured(certificate, [one.name])}".rstrip()
        )
        drawings.append(_orbits(one, beside[i] if beside else None, range, caption))
        drawings.append(_extreme_images(one.name, ranked[i], range))
    ordered = sorted(shown, key=lambda each: each.name == "data")[-3:]
    files = {f"orbits-{name}": style.png(figure) for name, figure in figures.items()}
    files["hero"] = style.png(pictures.hero(ordered, range))
    files["thumbnail"] = _png(pictures.thumbnail(ordered[0], range))
    return Drawn(tuple(drawings), files)


def _orbits(one: Examples, beside: Examples | None, range: pictures.Range, caption: str) -> Drawing:
    """Rows of images: one orbit in each column, and under it what the control makes of the same x."""
    rows = pictures.strips(one, range)
    if beside is not None:
        own = pictures.strips(beside, range)
        rows |= {f"control {pictures.power(k)}": own[pictures.power(k)] for k in (1, 2) if pictures.power(k) in own}
    return Drawing(
        headings=(f"x: {one.name}, the first samples{' of each class' if one.classes else ''}",),
        strips={label: (_uri(pixels),) for label, pixels in rows.items()},
        alt=f"Images: {', '.join(rows)}, for {one.name}",
        caption=caption,
        legend=_legend(rows),
    )


def _extreme_images(name: str, ranked: Extremes, range: pictures.Range) -> Drawing:
    (typical, median), (worst, largest) = ranked.typical, ranked.worst
    left, right = pictures.strips(typical, range), pictures.strips(worst, range)
    return Drawing(
        headings=(f"x: {name}, typical: {number(median)}", f"worst: {number(largest)}"),
        strips={label: (_uri(left[label]), _uri(right[label])) for label in left},
        alt=f"Typical and worst samples of {name}",
        caption=_extreme_caption(name, ranked),
    )


def _extreme_values(ranked: Sequence[Extremes]) -> list[Drawing]:
    """Typical and worst lists of values, for each set of inputs."""
    return [
        Drawing(
            panels=tuple(
                style.inline(pictures.orbit_values([Examples(f"{one.name}, {kind}", one.orbit, one.target)]))
                for kind, (one, _) in (("typical", each.typical), ("worst", each.worst))
            ),
            alt=f"Typical and worst samples of {each.typical[0].name}",
            caption=_extreme_caption(each.typical[0].name, each),
        )
        for each in ranked
    ]


def _extreme_caption(name: str, ranked: Extremes) -> str:
    return (
        f"Samples of {name} in the order of how far a second application moves them, as a share of the spread of f(x). "
        f"Typical are those around the median of {counted(ranked.points, 'sample')}, {number(ranked.typical[1])}. "
        f"The worst is moved by {number(ranked.worst[1])}."
    )


def _classes(one: Examples) -> str:
    """The classes under which the columns were made, in a sentence."""
    return f"The requested classes are, from left to right: {', '.join(map(str, one.classes))}. " if one.classes else ""


def _legend(rows: Mapping[str, Any]) -> dict[str, str]:
    """What each row of images shows."""
    texts = {
        "x": "the input.",
        "f(x)": "what the operator makes of it.",
        "f(f(x))": "the operator applied again: where f is idempotent, this row looks like the one above.",
        "target": "what f(x) should be.",
        "control f(x)": "what the control, which enforces nothing, makes of the same x.",
        "control f(f(x))": "the control applied again.",
    }
    return {label: texts[label] for label in rows if label in texts}


def _moved(ranked: Sequence[Extremes]) -> str:
    """How far a second application moves typical and worst samples, in a sentence."""
    told = [f"{number(one.typical[1])} and {number(one.worst[1])} at {one.typical[0].name}" for one in ranked]
    moved = listed(told)
    return (
        f"A second application moves the median sample and the worst one by {moved}, as shares of the spread of f(x)."
    )


def _vector_legend(shown: Sequence[Examples], controlled: bool) -> dict[str, str]:
    legend = {
        "x": "small points: the input.",
        "f(x)": "blue: what the operator makes of it.",
        "f(f(x))": "orange: the operator applied again. Where f is idempotent, it lies on f(x).",
    }
    if controlled:
        legend["control"] = "in panels of this name: what the control, which enforces nothing, makes of the same x."
    if pictures.has_targets(shown[0]):
        return legend | {"target": "the broad grey line: what f(x) should be."}
    return legend | {"from x to f(x)": "grey lines: from each x to its f(x)."}


def _measured(certificate: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """A sentence with the metrics at these inputs: the picture shows a few samples, the metrics cover all."""
    parts = []
    for name, measured in certificate["inputs"].items():
        if name not in inputs:
            continue
        said = ", ".join(f"{key.replace('_', ' ')} {number(value)}" for key, value in measured["figures"].items())
        if said:
            parts.append(f"Measured at {counted(measured['points'], 'input')} of '{name}': {said}.")
    return " ".join(parts)


def _png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _uri(pixels: Any) -> str:
    return "data:image/png;base64," + base64.b64encode(_png(pixels)).decode("ascii")


# -- curves and spectra -------------------------------------------------------------------------------------------------


def curve_drawings(run: Run) -> Drawn:
    """Training curves, a panel for each quantity."""
    entries = run.metrics
    if not entries:
        return Drawn()
    averaged = any(entry["split"] == "ema" for entry in entries)
    legend = {
        "loss": "the loss and the terms that make it up, at every log entry.",
        "relative error": "the change of f(x) by one more application, as a share of the spread of f(x). The dotted line is "
        f"the limit of the verdict, {NOT_IDEMPOTENT:g}."
        + (" The lines called average are those of the moving average of the weights." if averaged else ""),
        "rank": "number of directions in which f(x) can move. During training it is measured at one point; "
        "at the end, it is the median over several points.",
        "learning rate": "the rate of the optimiser.",
    }
    panels = curves.training_panels(entries)
    drawing = Drawing(
        panels=tuple(style.inline(panel) for panel in panels.values()),
        alt="Loss terms, relative error, rank and learning rate over the optimiser steps",
        caption="What was measured during training, over the optimiser steps.",
        legend={label: text for label, text in legend.items() if any(label in panel for panel in panels)},
    )
    return Drawn((drawing,), {"curves": style.png(curves.training_curves(entries))})


def spectrum_drawings(certificate: Mapping[str, Any] | None) -> Drawn:
    """Spectra of the Jacobian, a panel for each set of inputs."""
    inputs = certificate["inputs"] if certificate else {}
    measured = {name: one for name, one in inputs.items() if one["spectra"]}
    if not measured:
        return Drawn()
    drawing = Drawing(
        panels=tuple(style.inline(figure) for figure in _alike({n: {n: one} for n, one in measured.items()})),
        alt="Singular values and eigenvalues of the Jacobian at f(x)",
        caption="The Jacobian of an exact projection has only the eigenvalues 0 and 1, and its singular values are 0 or at "
        "least 1: look for a cliff at the rank.",
        legend={
            "thin lines": "the spectrum at one point f(x) each; the broad line is their median.",
            "dashed line": "singular values above it count as rank. A slope across it means directions that are neither "
            "kept nor dropped.",
            "upright line": "the median rank.",
        },
    )
    return Drawn((drawing,), {"spectrum": style.png(curves.jacobian_spectrum(inputs))})


def _alike(certificates: Mapping[str, Mapping[str, Any]]) -> list[Figure]:
    """One figure for each set of inputs, all with the same scales."""
    figures = [curves.jacobian_spectrum(one) for one in certificates.values()]
    for row in zip(*(figure.axes for figure in figures), strict=False):
        top = max(axes.get_ylim()[1] for axes in row)
        for axes in row:
            axes.set_ylim(top=top)
    return figures
