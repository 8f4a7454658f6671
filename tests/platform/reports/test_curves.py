"""Curves of training and spectra of Jacobians: what they show, and that a reader can read them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from idemlab.reports import curves

INPUTS = ("data", "noise", "corrupted")


def entries(steps: int = 6, inputs: tuple[str, ...] = INPUTS, **further: float) -> list[dict[str, Any]]:
    train = [
        {"step": s, "split": "train", "loss": 3 / s, "reconstruction": 1 / s, "relative": 0.5, "lr": 1e-3} | further
        for s in range(1, steps + 1)
    ]
    measured = [
        {"step": s, "split": "evaluation"}
        | {f"{name}/relative": 1 / s for name in inputs}
        | {f"{name}/rank": 3 for name in inputs}
        for s in range(2, steps + 1, 2)
    ]
    return train + measured


def averaged(logged: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Evaluations of a moving average of the weights beside the others, at half their errors."""
    return [
        entry | {"split": "ema"} | {key: entry[key] / 2 for key in entry if key.endswith("/relative")}
        for entry in logged
        if entry["split"] == "evaluation"
    ]


def certificates(inputs: tuple[str, ...] = INPUTS, n: int = 40) -> dict[str, Any]:
    spectra = [
        {"singular_values": [1.2] * r + [0.0] * (n - r), "eigenvalue_moduli": [1.0] * r + [0.0] * (n - r)}
        for r in (3, 4, 5)
    ]
    return {name: {"spectra": spectra, "rank": 4, "dimension": n} for name in inputs}


LOSSES = [{"step": 1, "split": "train", "loss": 2.0}, {"step": 9, "split": "train", "loss": 1.0}]

FIGURES: dict[str, Callable[[], Figure]] = {
    "training": lambda: curves.training_curves(entries()),
    "training, negative terms": lambda: curves.training_curves(entries(tightness=-0.3)),
    "training, with an average": lambda: curves.training_curves([*entries(), *averaged(entries())]),
    "overlaid": lambda: curves.overlaid_curves({"first": entries(), "second": entries(4)}),
    "overlaid, one panel": lambda: curves.overlaid_curves({"runs/a-long-name-of-a-run-" + i: LOSSES for i in "abc"}),
    "spectrum": lambda: curves.jacobian_spectrum(certificates()),
    "spectrum of few": lambda: curves.jacobian_spectrum(certificates(("data",), n=6)),
}


@cache
def made(name: str) -> Figure:
    """The figure of this name. No test changes it."""
    return FIGURES[name]()


@pytest.mark.parametrize("name", list(FIGURES))
@pytest.mark.long
def test_can_be_read(name: str, check_texts: Callable[[Figure], None]) -> None:
    check_texts(made(name))


@pytest.mark.parametrize("name", list(FIGURES))
def test_colours_can_be_told_apart(name: str, check_colours: Callable[[Figure], None]) -> None:
    check_colours(made(name))


def test_no_state_of_pyplot() -> None:
    import matplotlib.pyplot as plt

    for make in FIGURES.values():
        make()
    assert plt.get_fignums() == []


# -- curves of one run --------------------------------------------------------------------------------------------------


def panels(figure: Figure) -> dict[str, Any]:
    return {axes.get_ylabel(): axes for axes in figure.axes}


def lines(axes: Any) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): [tuple(point) for point in line.get_xydata()] for line in axes.get_lines()}


def test_training_curves_show_what_was_logged() -> None:
    drawn = panels(curves.training_curves(entries(4, ("data", "noise"))))
    assert list(drawn) == [
        "loss and its terms (log scale)",
        "relative error (log scale)",
        "rank of the Jacobian at f(x)",
        "learning rate",
    ]
    loss, relative, rank, rate = (lines(axes) for axes in drawn.values())
    assert loss["loss"] == [(1, 3), (2, 1.5), (3, 1), (4, 0.75)]
    assert set(loss) == {"loss", "reconstruction"}
    assert relative["noise"] == [(2, 0.5), (4, 0.25)]
    assert set(relative) == {"data", "noise", "in training", "limit 0.1"}
    assert rank == {"data": [(2, 3), (4, 3)], "noise": [(2, 3), (4, 3)]}
    assert [y for points in rate.values() for _, y in points] == [1e-3] * 4
    assert {axes.get_xlabel() for axes in drawn.values()} == {"optimiser step"}


def test_errors_of_an_average_have_curves_of_their_own() -> None:
    logged = entries(4, ("data",))
    drawn = panels(curves.training_curves([*logged, *averaged(logged)]))
    errors = lines(drawn["relative error (log scale)"])
    assert errors["data"] == [(2, 0.5), (4, 0.25)]
    assert errors["data, average"] == [(2, 0.25), (4, 0.125)]
    assert set(lines(drawn["rank of the Jacobian at f(x)"])) == {"data"}


def test_training_curves_without_evaluations() -> None:
    logged = [entry for entry in entries(3) if entry["split"] == "train"]
    for entry in logged:
        del entry["relative"]
    assert list(panels(curves.training_curves(logged))) == ["loss and its terms (log scale)", "learning rate"]


def test_negative_terms_stay_visible() -> None:
    axes = curves.training_curves(entries(tightness=-0.3)).axes[0]
    assert axes.get_yscale() == "symlog"
    assert axes.get_ylim()[0] <= -0.3


@pytest.mark.parametrize("loss", [0.0, math.nan, math.inf])
def test_losses_without_a_logarithm_are_drawn(loss: float) -> None:
    logged = [{"step": 1, "split": "train", "loss": loss, "lr": 0.1}]
    figure = curves.training_curves(logged)
    assert figure.axes[0].get_yscale() == "linear"
    figure.draw_without_rendering()


def test_one_bad_batch_does_not_flatten_what_was_measured() -> None:
    logged = entries()
    logged[2]["relative"] = 1e6
    axes = panels(curves.training_curves(logged))["relative error (log scale)"]
    assert axes.get_ylim()[1] == pytest.approx(3 * 0.5)


def test_errors_that_were_never_finite_are_drawn() -> None:
    logged = [{"step": 1, "split": "evaluation", "data/relative": math.inf}]
    (axes,) = curves.training_curves(logged).axes
    assert axes.get_ylabel() == "relative error"


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        curves.training_curves([])
    with pytest.raises(ValueError, match="nothing to draw"):
        curves.overlaid_curves({"a": []})
    with pytest.raises(ValueError, match="nothing to draw"):
        curves.jacobian_spectrum({"data": {"spectra": ()}})


# -- curves of several runs ---------------------------------------------------------------------------------------------


def test_overlaid_curves_have_one_line_for_each_run() -> None:
    figure = curves.overlaid_curves({"a": entries(4, ("data",)), "b": entries(2, ("noise",)), "nothing yet": []})
    drawn = panels(figure)
    assert list(drawn) == [
        "loss (log scale)",
        "reconstruction (log scale)",
        "relative error at data (log scale)",
        "relative error at noise (log scale)\nlarge markers: measured once",
    ]
    lengths = [len(line.get_xdata()) for line in drawn["loss (log scale)"].get_lines()]
    assert lengths == [4, 2, 0]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "nothing yet", "limit 0.1"]


def test_overlaid_curves_without_evaluations_draw_no_limit() -> None:
    logged = [entry for entry in entries(3) if entry["split"] == "train"]
    (legend,) = curves.overlaid_curves({"a": logged}).legends
    assert [text.get_text() for text in legend.get_texts()] == ["a"]


def test_many_runs_do_not_look_alike() -> None:
    figure = curves.overlaid_curves({str(i): entries(3) for i in range(9)})
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in figure.axes[0].get_lines()}
    assert len(looks) == 9


def test_runs_that_were_evaluated_once_are_seen_and_told() -> None:
    once = [{"step": 4, "split": "evaluation", "data/relative": 0.5}]
    (axes,) = curves.overlaid_curves({"a": once, "b": once}).axes
    assert axes.get_ylabel().endswith("each run measured once")
    assert [line.get_markersize() for line in axes.get_lines()[:2]] == [9, 9]
    several = [{"step": step, "split": "evaluation", "data/relative": 0.5} for step in (2, 4)]
    (axes,) = curves.overlaid_curves({"a": once, "b": several}).axes
    assert axes.get_ylabel().endswith("large markers: measured once")
    assert axes.get_lines()[1].get_markersize() < 9


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1.0, 0.0, 0.0], ["2 values of 0: not drawn"]),
        ([1.0, math.inf], ["1 value not finite: not drawn"]),
        ([1.0, 0.5], []),
    ],
)
def test_what_an_axis_cannot_show_is_counted(values: list[float], told: list[str]) -> None:
    logged = [{"step": i, "split": "evaluation", "data/relative": value} for i, value in enumerate(values)]
    (axes,) = curves.overlaid_curves({"a": logged}).axes
    assert [text.get_text() for text in axes.texts] == told


# -- spectrum -----------------------------------------------------------------------------------------------------------


def test_spectrum_shows_points_median_half_and_rank() -> None:
    figure = curves.jacobian_spectrum(certificates(("data", "noise"), n=40))
    assert len(figure.axes) == 4
    axes = figure.axes[0]
    *points, bold, half, rank = axes.get_lines()
    assert len(points) == 3
    assert bold.get_linewidth() > 2 * points[0].get_linewidth()
    assert np.asarray(bold.get_ydata()).tolist() == [1.2] * 4 + [1e-3] * 36
    assert list(half.get_ydata()) == [0.5, 0.5]
    assert list(rank.get_xdata()) == [4, 4]
    assert axes.get_title("left") == "x: data"
    assert axes.get_title("right") == "rank 4 of 40"


def test_estimated_spectra_have_no_eigenvalues() -> None:
    given = certificates(("data",))
    for spectrum in given["data"]["spectra"]:
        spectrum["eigenvalue_moduli"] = []
    assert len(curves.jacobian_spectrum(given).axes) == 1
