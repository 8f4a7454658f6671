"""Inside one trained operator f = G(D(x)): its bottleneck, paths between digits, drift of f^k(z), memorised digits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame
from torch import Tensor

from idemlab import BadInput, Claim, Findings, Material, Study
from idemlab.reports.style import (
    BLACK,
    BLUE,
    DPI,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    legend_above,
    logarithmic,
    plain,
)

from .gallery import Block, gallery
from .trained import Trained, relative_change

__all__ = ["examine", "study"]

_POINTS = 1000
_STEPS = 10
"""Images along a path."""
_APPLIED = 50
"""Applications of f whose drift is followed."""
_SHOWN = (1, 2, 3, 5, 10, 20, 50)
_NEARER, _CHANGE, _LIMIT = 0.10, 0.03, 0.1
"""What was asked for: how much nearer to the training images than test digits generated ones may be, and how far f^3(z) may
be from f(z), over the spread; and the certificate's limit of the relative error."""
_COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK, GREY, "#7a4900", "#5d3a9b")
"""Of the ten classes: the seven of Okabe and Ito and three more; each point is its digit, so that colour is not needed."""


def study() -> Study:
    """The study, with the sweep of latent.toml."""
    return Study.from_toml(Path(__file__).with_suffix(".toml"), examine)


def examine(material: Material) -> Findings:
    """Figures, tables and claims of the first complete trial."""
    trials = [trial for results in material.results.values() for trial in results.trials if trial.state == "complete"]
    if not trials:
        return Findings(text="No trial was completed: there is nothing to examine.")
    trained = Trained.of(trials[0].run)
    batch = trained.test(_POINTS)
    z = trained.noise(batch)
    y = trained.apply(z)
    findings = Findings(
        text=f"One operator, seed {trials[0].seed}, {trials[0].steps} steps, verdict "
        f"'{trials[0].verdict}'. {len(z)} fresh noises and {len(batch)} test digits at even distances, none chosen."
    )
    if material.quick:
        findings.text += " This is the small version: an operator of some hundred steps."
    material.say("bottleneck")
    _bottleneck(trained, batch.input, batch.label, y, findings)
    material.say("paths")
    _paths(trained, batch.input, batch.label, z, findings)
    material.say(f"drift of f^k, k up to {_APPLIED}")
    _drift(trained, {"noise": z, "test digits": batch.input}, findings)
    material.say("nearest training images")
    _memory(trained, batch.input, y, findings)
    return findings


# -- bottleneck ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def _codes(trained: Trained, x: Tensor) -> Tensor:
    """h = encode(x), [N, latent].

    Raises:
        BadInput: if the model has no bottleneck.
    """
    encode = getattr(trained.operator, "encode", None)
    if encode is None:
        raise BadInput(
            f"model '{trained.experiment.model.name}' has no bottleneck",
            expected="a model with the methods encode and decode",
            next_step="model.name = 'autoencoder'",
        )
    return torch.cat([encode(part) for part in x.split(250)])  # type: ignore[no-untyped-call]


def _bottleneck(trained: Trained, x: Tensor, labels: Tensor | None, y: Tensor, findings: Findings) -> None:
    """Principal components of the codes of data; codes of f(z) in the same plane."""
    data, generated = _codes(trained, x).double(), _codes(trained, y).double()
    centre = data.mean(0)
    _, singular, axes_T = torch.linalg.svd(data - centre, full_matrices=False)
    shares = singular.square() / singular.square().sum()
    plane = axes_T[:2].T
    figure = Figure(figsize=(10, 4.6), dpi=DPI, layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 0.8))
    flat = (data - centre) @ plane
    _scatter(left, flat, labels)
    left.set_title("test digits", fontsize=10, fontweight="bold", loc="left")
    middle.plot(*flat.T.numpy(), ".", color="#bdbdbd", ms=3, label="test digits")
    middle.plot(*((generated - centre) @ plane).T.numpy(), ".", color=VERMILLION, ms=3, label="f(z)")
    middle.legend(frameon=False, fontsize=9, markerscale=3, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    for axes in (left, middle):
        axes.set_xlabel(f"component 1 ({shares[0]:.0%} of variance)")
        axes.set_ylabel(f"component 2 ({shares[1]:.0%})")
        axes.sharex(left)
        axes.sharey(left)
        plain(axes)
    of_generated = (generated - generated.mean(0)).double()
    generated_shares = torch.linalg.svdvals(of_generated).square()
    generated_shares = generated_shares / generated_shares.sum()
    for name, values, style in (("test digits", shares, ("-", BLUE)), ("f(z)", generated_shares, ("--", VERMILLION))):
        right.plot(range(1, len(values) + 1), values.cumsum(0), ls=style[0], color=style[1], label=name)
    right.set_xlabel("number of components")
    right.set_ylabel("share of variance")
    logarithmic(right.xaxis)
    right.legend(frameon=False, fontsize=9, loc="lower right")
    plain(right)
    findings.figures["bottleneck"] = figure
    findings.captions["bottleneck"] = (
        "Codes of test digits in their first two principal components, each drawn as its digit. Codes of f(z) in the same "
        "plane. The share of variance that the leading components hold."
    )
    rows = []
    for name, codes, of in (("test digits", data, shares), ("f(z)", generated, generated_shares)):
        rows.append(
            {
                "codes of": name,
                "dimension": codes.shape[1],
                "components for 90 % of variance": int((of.cumsum(0) < 0.9).sum()) + 1,
                "participation ratio": float(1 / of.square().sum()),
                "standard deviation": float(codes.std(0).square().sum().sqrt()),
                "distance of means / standard deviation": float((codes.mean(0) - centre).norm() / data.std(0).norm()),
            }
        )
    findings.tables["bottleneck"] = DataFrame(rows)
    findings.captions["bottleneck"] += " The table: how many dimensions they fill."


def _scatter(axes: Axes, points: Tensor, labels: Tensor | None) -> None:
    if labels is None:
        axes.plot(*points.T.numpy(), ".", color=BLUE, ms=3)
        return
    for digit in sorted(set(labels.tolist())):
        axes.plot(
            *points[labels == digit].T.numpy(), ls="", marker=f"${digit}$", ms=5, mew=0.2, color=_COLOURS[digit % 10]
        )


# -- paths --------------------------------------------------------------------------------------------------------------


def _paths(trained: Trained, x: Tensor, labels: Tensor | None, z: Tensor, findings: Findings) -> None:
    """Between noises, and between digits of different classes in pixels and in the bottleneck, each through f."""
    share = torch.linspace(0, 1, _STEPS, dtype=x.dtype)
    scale = _scale(trained.apply(x))
    left, right, rows = [], [], []
    for number, (i, j) in enumerate(_pairs(labels), start=1):
        start, end = _codes(trained, torch.stack([x[i], x[j]]))
        with torch.no_grad():
            decoded: Tensor = trained.operator.decode(_line(start, end, share))  # type: ignore[operator]
        orbits = {
            "noise": trained.orbit(_arc(z[i], z[j], share), 2),
            "pixels": trained.orbit(_line(x[i], x[j], share), 2),
            "codes": trained.orbit(decoded, 2),
        }
        z_rows = dict(zip(("z", "f(z)", "f(f(z))"), orbits["noise"], strict=True))
        left.append(Block(f"between two noises, {number}", z_rows))
        x_rows = {"pixels x": orbits["pixels"][0], "f(x)": orbits["pixels"][1]}
        y_rows = {"codes, y": decoded, "f(y)": orbits["codes"][1]}
        right.append(Block(f"between two test digits, {number}", x_rows | y_rows))
        rows += [{"path": name, "number": number} | _along(orbit, scale) for name, orbit in orbits.items()]
    findings.figures["paths"] = gallery([left, right], trained.dataset.range)
    findings.tables["paths"] = DataFrame(rows)
    findings.captions["paths"] = (
        "Left: f along the arc between two noises. Right: the straight line between two test digits in pixels, and its "
        "projection; the straight line between their codes, decoded, and its projection. The table shows the error "
        "|f(f(u)) - f(u)| along each path, over the spread of f at the test digits. It also shows the largest step as a "
        "multiple of the mean one (1 is even)."
    )


def _pairs(labels: Tensor | None) -> list[tuple[int, int]]:
    """Rows of three pairs of digits, the first ones of different classes where these are known."""
    pairs = []
    for i in (0, 3, 6):
        others = range(i + 1, len(labels)) if labels is not None else range(i + 1, i + 2)
        pairs.append((i, next((j for j in others if labels is None or labels[j] != labels[i]), i + 1)))
    return pairs


def _line(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Points on the straight line from a to b, [len(share), *shape]."""
    return torch.stack([torch.lerp(a, b, t) for t in share])


def _arc(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Points on the arc from a to b around 0: a line would pass through noise of less strength than any that is drawn."""
    angle = torch.arccos((a * b).sum() / (a.norm() * b.norm()))
    return torch.stack([(torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle) for t in share])


def _along(orbit: list[Tensor], scale: float) -> dict[str, float]:
    steps = orbit[1].diff(dim=0).flatten(1).norm(dim=1)
    error = (orbit[2] - orbit[1]).flatten(1).norm(dim=1)
    return {
        "relative error": float(error.square().mean().sqrt()) / scale,
        "unevenness": float(steps.max() / steps.mean()),
    }


def _scale(y: Tensor) -> float:
    """sqrt( mean over the points of |y - mean y|^2 ): what errors are relative to."""
    return float((y - y.mean(0)).flatten(1).norm(dim=1).square().mean().sqrt())


# -- drift --------------------------------------------------------------------------------------------------------------


def _drift(trained: Trained, inputs: Mapping[str, Tensor], findings: Findings) -> None:
    """How far f^k moves in each application, and how far from f(x) it gets."""
    figure = Figure(figsize=(10, 4.2), dpi=DPI, layout="constrained")
    changes, distances = figure.subplots(1, 2)
    rows, last = [], {}
    for name, x in inputs.items():
        first = point = trained.apply(x)
        scale = _scale(first)
        measured: dict[str, list[Tensor]] = {"change": [], "distance": []}
        spread, shown = [], [x[:_STEPS]]
        for k in range(1, _APPLIED + 1):
            after = trained.apply(point)
            measured["change"].append((after - point).flatten(1).norm(dim=1) / scale)
            measured["distance"].append((point - first).flatten(1).norm(dim=1) / scale)
            spread.append(_scale(point) / scale)
            shown += [point[:_STEPS]] if k in _SHOWN else []
            moved = {
                "change": relative_change(point, after),
                "distance": relative_change(first, point),
                "spread": spread[-1],
            }
            rows.append({"inputs": name, "k": k} | moved)
            point = after
        last[name] = shown
        style = _STYLES[name]
        for axes, key in ((changes, "change"), (distances, "distance")):
            _band(axes, torch.stack(measured[key]), name, first=1 if key == "change" else 2, **style)
    for axes, title, label in (
        (
            changes,
            "how far one more application moves a point",
            "|f$^{k+1}$ - f$^k$|, over the spread of f (log scale)",
        ),
        (distances, "how far it has moved since the first", "|f$^k$ - f|, over the spread of f (log scale)"),
    ):
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel("k, applications of f (log scale)")
        axes.set_ylabel(label)
        logarithmic(axes.xaxis)
        logarithmic(axes.yaxis)
        plain(axes)
    limit = changes.axhline(_LIMIT, color=BLACK, ls=":", lw=1, label=f"limit of the verdict, {_LIMIT:g}")
    distances.axhline(_LIMIT, color=BLACK, ls=":", lw=1)
    wanted = {"marker": "D", "color": ORANGE, "mfc": "none", "mew": 1.8, "ls": ""}
    asked = distances.plot(3, _CHANGE, label=f"asked for at k = 3: {_CHANGE:g}", **wanted)
    legend_above(figure, [*changes.get_lines()[: len(inputs)], limit, *asked])
    findings.figures["drift"] = figure
    findings.captions["drift"] = (
        "What repeated application does, to fresh noise and to test digits: median over the points, and from the 5th to the "
        "95th percentile. The table has the same over whole sets, as in a certificate, and the spread of f^k over that of f."
    )
    labels = ["x", *(f"k = {k}" for k in _SHOWN)]
    blocks = [[Block(name, dict(zip(labels, shown, strict=True)))] for name, shown in last.items()]
    findings.figures["drifting"] = gallery(blocks, trained.dataset.range)
    findings.captions["drifting"] = "f^k of the same noises and test digits."
    findings.tables["drift"] = DataFrame(rows)
    findings.claims.append(_stays(findings.tables["drift"], next(iter(inputs))))


_STYLES = {"noise": {"color": VERMILLION, "ls": "--"}, "test digits": {"color": BLUE, "ls": "-"}}


def _band(axes: Axes, values: Tensor, label: str, *, first: int, color: str, ls: str) -> None:
    """Median and 5th to 95th percentile over the points, from the first k on; values [k, N]."""
    values = values[first - 1 :]
    k = np.arange(first, first + len(values))
    low, middle, high = torch.quantile(values, torch.tensor([0.05, 0.5, 0.95], dtype=values.dtype), dim=1).numpy()
    axes.fill_between(k, low, high, color=color, alpha=0.2, lw=0)
    axes.plot(k, middle, color=color, ls=ls, label=label)


def _stays(table: DataFrame, inputs: str) -> Claim:
    own = table[table["inputs"] == inputs].set_index("k")
    third, end = own["distance"][3], own["distance"][_APPLIED]
    holds = bool(third < _CHANGE and end < _LIMIT)
    return Claim(
        claim=f"f^k({inputs}) stays where f put it: within {_CHANGE:.0%} of the spread at k = 3, and {_LIMIT:.0%} at "
        f"k = {_APPLIED}.",
        ours=f"distance from f: {third:.3f} at k = 3, {end:.3f} at k = {_APPLIED}; change in the last application "
        f"{own['change'][_APPLIED]:.1e}; spread {own['spread'][_APPLIED]:.2f} of that of f",
        conclusion="It stays." if holds else "It drifts.",
        holds=holds,
    )


# -- memory -------------------------------------------------------------------------------------------------------------


def _memory(trained: Trained, x: Tensor, y: Tensor, findings: Findings) -> None:
    """Generated digits beside their nearest training images, and how near these are."""
    sets = {"f(z), z noise": y, "test digits x": x, "f(x)": trained.apply(x)}
    near = {name: trained.nearest_training(points) for name, points in sets.items()}
    blocks = []
    for name in ("f(z), z noise", "test digits x"):
        distance, images = near[name]
        notes = tuple(f"{value:.1f}" for value in distance[: 2 * _STEPS].tolist())
        rows = {name: sets[name][: 2 * _STEPS], "nearest in training": images[: 2 * _STEPS]}
        blocks.append(Block(f"{name}: Euclidean distance below", rows, notes))
    findings.figures["nearest"] = gallery([blocks], trained.dataset.range)
    findings.captions["nearest"] = (
        "Generated digits and test digits, none chosen, each above its nearest training image."
    )
    figure = Figure(figsize=(6, 3.8), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    styles = ((VERMILLION, "--"), (BLUE, "-"), (GREEN, "-."))
    for (name, (distance, _)), (colour, dashes) in zip(near.items(), styles, strict=True):
        values = distance.sort().values.numpy()
        axes.plot(values, np.arange(1, len(values) + 1) / len(values), color=colour, ls=dashes, label=name)
    axes.set_xlabel("Euclidean distance to the nearest training image")
    axes.set_ylabel("share of images that are nearer")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    plain(axes)
    findings.figures["memory"] = figure
    findings.captions["memory"] = (
        "How near images come to the training set. f smooths what passes through it and so brings it nearer: generated "
        "digits are to be held against f(x) as well as against x."
    )
    quantiles = {name: np.quantile(distance.numpy(), (0.05, 0.5, 0.95)) for name, (distance, _) in near.items()}
    findings.tables["memory"] = DataFrame(
        [
            {"images": name, "5 %": low, "median": middle, "95 %": high}
            for name, (low, middle, high) in quantiles.items()
        ]
    )
    generated, test, projected = (middle for _, middle, _ in quantiles.values())
    holds = bool(generated >= (1 - _NEARER) * test)
    findings.claims.append(
        Claim(
            claim=f"Generated digits are no nearer to the training images than test digits are, within {_NEARER:.0%}.",
            ours=f"median distance {generated:.2f}, of test digits {test:.2f}: ratio {generated / test:.2f}",
            controlled=f"of test digits under f {projected:.2f}: ratio {generated / projected:.2f}",
            conclusion="They are not."
            if holds
            else "They are nearer, but not nearer than test digits that passed through f: f smooths them."
            if generated >= (1 - _NEARER) * projected
            else "They are nearer, even than test digits that passed through f.",
            holds=holds,
        )
    )
