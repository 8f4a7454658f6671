"""Figures: what they show, and that a reader can read them (no overlap, nothing small, colours told apart)."""

from __future__ import annotations

import io
import math
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from PIL import Image

from idemlab.objective.evaluation import Examples
from idemlab.reports import curves as curve_pictures
from idemlab.reports import pictures, style

OKABE_ITO = {"#000000", "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"}
GREYS = {"#8a8a8a"}


def shown_images(shape: tuple[int, ...] = (1, 6, 5), count: int = 12) -> list[Examples]:
    """Test data, noise without targets and corrupted data, as orbits under x -> x / 2."""
    x = torch.linspace(-1, 1, count * math.prod(shape)).view(count, *shape)
    inputs = {"data": (x, x), "noise": (x.flip(0), None), "corrupted": (x + 0.1, x)}
    return [Examples(name, [u, u / 2, u / 4, u / 8], target) for name, (u, target) in inputs.items()]


def shown_vectors(n: int, *, sorts: bool = False) -> list[Examples]:
    x = torch.randn(20, n, generator=torch.Generator().manual_seed(0))
    target = x.sort().values if sorts else x
    return [Examples("data", [x, target, target], target), Examples("noise", [2 * x, x, x], None)]


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


def certificates(inputs: tuple[str, ...] = INPUTS, n: int = 40) -> dict[str, Any]:
    spectra = [
        {"singular_values": [1.2] * r + [0.0] * (n - r), "eigenvalue_moduli": [1.0] * r + [0.0] * (n - r)}
        for r in (3, 4, 5)
    ]
    return {name: {"spectra": spectra, "rank": 4, "dimension": n} for name in inputs}


LOSSES = [{"step": 1, "split": "train", "loss": 2.0}, {"step": 9, "split": "train", "loss": 1.0}]

ALL = {
    "images": lambda: pictures.orbit_figures(shown_images(), (-1, 1))["corrupted"],
    "coloured images": lambda: pictures.orbit_figures(shown_images((3, 8, 8)), (-1, 1))["data"],
    "hero": lambda: pictures.hero(shown_images((1, 28, 28)), (-1, 1)),
    "plane": lambda: pictures.orbit_figures(shown_vectors(5), None)["data, noise"],
    "values": lambda: pictures.orbit_figures(shown_vectors(5, sorts=True), None)["data, noise"],
    "plane of one": lambda: pictures.orbit_plane(shown_vectors(5)[:1]),
    "training": lambda: curve_pictures.training_curves(entries()),
    "training, negative terms": lambda: curve_pictures.training_curves(entries(tightness=-0.3)),
    "overlaid": lambda: curve_pictures.overlaid_curves({"first": entries(), "second": entries(4)}),
    "overlaid, one panel": lambda: curve_pictures.overlaid_curves(
        {"runs/a-long-name-of-a-run-" + i: LOSSES for i in "abc"}
    ),
    "spectrum": lambda: curve_pictures.jacobian_spectrum(certificates()),
    "spectrum of few": lambda: curve_pictures.jacobian_spectrum(certificates(("data",), n=6)),
}


@cache
def made(name: str) -> Figure:
    """A figure to look at; not to be changed."""
    return ALL[name]()


def visible_texts(figure: Figure) -> list[Text]:
    """All text that is drawn."""
    figure.draw_without_rendering()
    texts = [*figure.texts]
    for axes in figure.axes:
        texts += [*axes.texts, axes.title, axes._left_title, axes._right_title]
        if not axes.axison:
            continue
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts.append(axis.label)
            texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    for legend in figure.findobj(Legend):
        texts += legend.get_texts()
    return [text for text in texts if text.get_visible() and text.get_text()]


@pytest.mark.parametrize("name", list(ALL))
def test_can_be_read(name: str) -> None:
    figure = made(name)
    texts = visible_texts(figure)
    assert len(texts) >= 3
    assert min(text.get_fontsize() for text in texts) >= 9
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    page = figure.bbox
    for text, box in boxes:
        inside = box.x0 >= page.x0 - 1 and box.y0 >= page.y0 - 1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1
        assert inside, f"{text!r} leaves the picture"
    for (one, box), (other, second) in combinations(boxes, 2):
        assert not box.padded(-1).overlaps(second.padded(-1)), f"{one!r} overlaps {other!r}"


@pytest.mark.parametrize("name", list(ALL))
def test_colours_can_be_told_apart(name: str) -> None:
    drawn = {line.get_color() for axes in made(name).axes for line in axes.get_lines()}
    assert drawn <= OKABE_ITO | GREYS


@pytest.mark.parametrize("name", ["images"])
def test_is_a_png_and_always_the_same(name: str) -> None:
    first = style.png(ALL[name]())
    assert Image.open(io.BytesIO(first)).format == "PNG"
    assert style.png(ALL[name]()) == first


def test_no_state_of_pyplot() -> None:
    import matplotlib.pyplot as plt

    for make in ALL.values():
        make()
    assert plt.get_fignums() == []


# -- orbits -------------------------------------------------------------------------------------------------------------


def row_labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_rows_of_images() -> None:
    drawn = pictures.orbit_figures(shown_images(), (-1, 1))
    assert list(drawn) == ["data", "noise", "corrupted"]
    powers = ["x", "f(x)", "f(f(x))", "f(f(f(x)))"]
    assert row_labels(drawn["data"]) == powers  # its target is the input itself
    assert row_labels(drawn["noise"]) == powers  # it has none
    assert row_labels(drawn["corrupted"]) == [*powers, "target"]


def test_pixels_of_images() -> None:
    x = torch.tensor([[-1.0, 0.0], [1.0, 5.0]]).view(1, 1, 2, 2)
    figure = pictures.orbit_rows(Examples("data", [x, -x], None), (-1, 1))
    tiles = np.asarray(figure.axes[0].images[0].get_array())
    gap = [1.0, 1.0]
    assert tiles[..., 0].tolist() == [[0.0, 0.5], [1.0, 1.0], gap, [1.0, 0.5], [0.0, 0.0]]
    assert (tiles == tiles[..., :1]).all()


def test_pixels_without_a_range_span_those_of_the_outputs() -> None:
    x = torch.tensor([[0.0, 9.0], [2.0, 4.0]]).view(1, 1, 2, 2)
    y = torch.tensor([[2.0, 4.0], [2.0, 3.0]]).view(1, 1, 2, 2)
    tiles = np.asarray(pictures.orbit_rows(Examples("data", [x, y], None), None).axes[0].images[0].get_array())
    assert tiles[3:, :, 0].tolist() == [[0.0, 1.0], [0.0, 0.5]]


def test_colours_of_images_keep_their_channels() -> None:
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    tiles = np.asarray(pictures.orbit_rows(Examples("data", [red], None), (0, 1)).axes[0].images[0].get_array())
    assert tiles[0, 0].tolist() == [1.0, 0.0, 0.0]


def test_images_are_enlarged_by_whole_pixels() -> None:
    figure = pictures.orbit_rows(shown_images((1, 28, 28))[0], (-1, 1))
    axes = figure.axes[0]
    height, width = axes.images[0].get_array().shape[:2]
    box = axes.get_window_extent()
    assert box.width / width == pytest.approx(round(box.width / width), abs=1e-6)
    assert box.height / height == pytest.approx(round(box.width / width), abs=1e-6)


def test_hero_puts_the_sets_side_by_side() -> None:
    shown = shown_images((1, 28, 28))
    figure = pictures.hero([shown[1], shown[2], shown[0]], (-1, 1), claims={"noise": "noise → digits"})
    assert [axes.get_title() for axes in figure.axes] == ["noise → digits", "corrupted → repaired", "data → left alone"]
    assert row_labels(figure) == ["x", "f(x)", "f(f(x))"]


@pytest.mark.parametrize(
    ("shape", "image"),
    [
        ((1, 28, 28), True),
        ((3, 64, 48), True),
        ((2, 8, 8), False),
        ((16,), False),
        ((5, 3), False),
        ((1, 1, 16), False),
    ],
)
def test_what_counts_as_an_image(shape: tuple[int, ...], image: bool) -> None:
    assert pictures.is_image(shape) is image


def test_powers_are_written_as_one_writes_them() -> None:
    assert [pictures.power(k) for k in (0, 1, 3, 4, 12)] == ["x", "f(x)", "f(f(f(x)))", "f⁴(x)", "f¹²(x)"]


def test_vectors_in_the_plane_in_which_f_spreads() -> None:
    n = 6
    y = torch.zeros(31, n)
    y[:, 2] = torch.linspace(-3, 3, 31)
    y[:, 4] = torch.linspace(-1, 1, 31) ** 2
    x = y + 5 * torch.eye(n)[0]  # what f drops is not in the plane
    axes = pictures.orbit_plane([Examples("data", [x, y, y], x)]).axes[0]
    at_x, at_y, again = (np.asarray(line.get_xydata()) for line in axes.get_lines())
    assert np.allclose(np.ptp(at_y, axis=0), [6, 1], atol=1e-6)
    assert np.allclose(at_x, at_y, atol=1e-6)
    assert np.allclose(again, at_y, atol=1e-6)
    assert axes.get_xlabel().startswith("principal component 1 (9")
    starts_and_ends = axes.collections[0].get_segments()
    assert len(starts_and_ends) == 31


@pytest.mark.parametrize("n", [1, 2])
def test_vectors_of_one_or_two_entries_are_drawn_as_they_are(n: int) -> None:
    shown = shown_vectors(n)
    axes = pictures.orbit_plane(shown).axes[0]
    drawn = np.asarray(axes.get_lines()[0].get_xydata())
    assert np.allclose(drawn[:, :n], shown[0].orbit[0].numpy())
    assert axes.get_xlabel() == "first entry"


def test_samples_with_targets_are_drawn_value_by_value() -> None:
    shown = shown_vectors(5, sorts=True)
    figure = pictures.orbit_values(shown, samples=3)
    assert len(figure.axes) == 6
    target, x, y, again = (np.asarray(line.get_ydata()) for line in figure.axes[0].get_lines())
    assert np.allclose(x, shown[0].orbit[0][0])
    assert np.allclose(y, np.sort(x))
    assert np.allclose(target, y)
    assert np.allclose(again, y)
    assert len(figure.axes[3].get_lines()) == 3  # noise has no target


def test_depth_one_is_drawn_without_a_second_application() -> None:
    shown = [Examples(one.name, one.orbit[:2], one.target) for one in shown_vectors(4)]
    assert len(pictures.orbit_plane(shown).axes[0].get_lines()) == 2
    assert len(pictures.orbit_values(shown).axes[0].get_lines()) == 2


# -- curves -------------------------------------------------------------------------------------------------------------


def panels(figure: Figure) -> dict[str, Any]:
    return {axes.get_ylabel(): axes for axes in figure.axes}


def curves(axes: Any) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): [tuple(point) for point in line.get_xydata()] for line in axes.get_lines()}


def test_training_curves_show_what_was_logged() -> None:
    drawn = panels(curve_pictures.training_curves(entries(4, ("data", "noise"))))
    assert list(drawn) == [
        "loss and its terms (log scale)",
        "relative error (log scale)",
        "rank of the Jacobian at f(x)",
        "learning rate",
    ]
    loss, relative, rank, rate = (curves(axes) for axes in drawn.values())
    assert loss["loss"] == [(1, 3), (2, 1.5), (3, 1), (4, 0.75)]
    assert set(loss) == {"loss", "reconstruction"}
    assert relative["noise"] == [(2, 0.5), (4, 0.25)]
    assert set(relative) == {"data", "noise", "in training", "limit 0.1"}
    assert rank == {"data": [(2, 3), (4, 3)], "noise": [(2, 3), (4, 3)]}
    assert [y for points in rate.values() for _, y in points] == [1e-3] * 4
    assert {axes.get_xlabel() for axes in drawn.values()} == {"optimiser step"}


def test_training_curves_without_evaluations() -> None:
    logged = [entry for entry in entries(3) if entry["split"] == "train"]
    for entry in logged:
        del entry["relative"]
    assert list(panels(curve_pictures.training_curves(logged))) == ["loss and its terms (log scale)", "learning rate"]


def test_negative_terms_stay_visible() -> None:
    axes = curve_pictures.training_curves(entries(tightness=-0.3)).axes[0]
    assert axes.get_yscale() == "symlog"
    assert axes.get_ylim()[0] <= -0.3


@pytest.mark.parametrize("loss", [0.0, math.nan, math.inf])
def test_losses_without_a_logarithm_are_drawn(loss: float) -> None:
    logged = [{"step": 1, "split": "train", "loss": loss, "lr": 0.1}]
    figure = curve_pictures.training_curves(logged)
    assert figure.axes[0].get_yscale() == "linear"
    figure.draw_without_rendering()


def test_one_bad_batch_does_not_flatten_what_was_measured() -> None:
    logged = entries()
    logged[2]["relative"] = 1e6
    axes = panels(curve_pictures.training_curves(logged))["relative error (log scale)"]
    assert axes.get_ylim()[1] == pytest.approx(3 * 0.5)


def test_errors_that_were_never_finite_are_drawn() -> None:
    logged = [{"step": 1, "split": "evaluation", "data/relative": math.inf}]
    (axes,) = curve_pictures.training_curves(logged).axes
    assert axes.get_ylabel() == "relative error"


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        curve_pictures.training_curves([])
    with pytest.raises(ValueError, match="nothing to draw"):
        curve_pictures.overlaid_curves({"a": []})
    with pytest.raises(ValueError, match="nothing to draw"):
        curve_pictures.jacobian_spectrum({"data": {"spectra": ()}})


def test_overlaid_curves_have_one_line_for_each_run() -> None:
    figure = curve_pictures.overlaid_curves(
        {"a": entries(4, ("data",)), "b": entries(2, ("noise",)), "nothing yet": []}
    )
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
    (legend,) = curve_pictures.overlaid_curves({"a": logged}).legends
    assert [text.get_text() for text in legend.get_texts()] == ["a"]


def test_many_runs_do_not_look_alike() -> None:
    figure = curve_pictures.overlaid_curves({str(i): entries(3) for i in range(9)})
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in figure.axes[0].get_lines()}
    assert len(looks) == 9


# -- spectrum -----------------------------------------------------------------------------------------------------------


def test_spectrum_shows_points_median_half_and_rank() -> None:
    figure = curve_pictures.jacobian_spectrum(certificates(("data", "noise"), n=40))
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
    assert len(curve_pictures.jacobian_spectrum(given).axes) == 1


def test_runs_that_were_evaluated_once_are_seen_and_told() -> None:
    once = [{"step": 4, "split": "evaluation", "data/relative": 0.5}]
    (axes,) = curve_pictures.overlaid_curves({"a": once, "b": once}).axes
    assert axes.get_ylabel().endswith("each run measured once")
    assert [line.get_markersize() for line in axes.get_lines()[:2]] == [9, 9]
    several = [{"step": step, "split": "evaluation", "data/relative": 0.5} for step in (2, 4)]
    (axes,) = curve_pictures.overlaid_curves({"a": once, "b": several}).axes
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
    (axes,) = curve_pictures.overlaid_curves({"a": logged}).axes
    assert [text.get_text() for text in axes.texts] == told
