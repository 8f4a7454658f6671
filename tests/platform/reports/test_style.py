"""How pictures look: scales at numbers that can be read, legends that fit, files that are whole."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from idemlab.reports import style


def test_save_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "figures" / "a.png"
    style.save(b"old", target)
    style.save(b"new", target)
    assert [(path.name, path.read_bytes()) for path in target.parent.iterdir()] == [("a.png", b"new")]


def test_inline_figures_take_the_colours_of_the_page_and_keep_text_as_text() -> None:
    figure, (axes,) = style.grid_of(1)
    axes.plot([1, 2], color=style.BLUE, label="<script> & fill: #000000")
    axes.plot([2, 1], color=style.BLACK)
    style.plain(axes)
    style.panel_legend(axes)
    svg = style.inline(figure)
    assert svg.startswith("<svg")
    assert "&lt;script&gt; &amp;" in svg
    assert "<script" not in svg
    assert "<style" not in svg
    assert "<metadata" not in svg
    for colour in ("--blue", "--line"):
        assert f"var({colour})" in svg
    assert "currentColor" in svg
    assert style.BLUE.lower() not in svg.lower()
    assert "fill: #ffffff" not in svg
    assert style.inline(figure) == svg


@pytest.mark.parametrize("save", [style.png, style.svg, style.inline])
def test_a_file_takes_one_drawing_and_leaves_the_figure_as_it_was(
    save: Callable[[Figure], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    figure, (axes,) = style.grid_of(1)
    axes.plot([1, 2])
    before = figure.dpi, figure.patch.get_facecolor(), axes.patch.get_facecolor()
    drawn = []
    monkeypatch.setattr(Line2D, "draw", lambda line, renderer: drawn.append(line))
    save(figure)
    assert drawn.count(axes.get_lines()[0]) == 1
    assert (figure.dpi, figure.patch.get_facecolor(), axes.patch.get_facecolor()) == before


def test_lines_do_not_look_alike() -> None:
    looks = {
        (look["color"], look["marker"], look["ls"]) for look in (style.line_style(i, markers=True) for i in range(28))
    }
    assert len(looks) == 28


def test_fourteen_sets_of_points_are_told_apart_by_colour_marker_and_filling() -> None:
    looks = {(look["color"], look["marker"], look["mfc"]) for look in map(style.point_style, range(14))}
    assert len(looks) == 14


# -- scales -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["x", "y"])
def test_positive_data_get_a_logarithmic_axis_that_holds_them(which: str) -> None:
    axes = Figure().subplots()
    axes.plot([0.02, 50], [0.02, 50])
    style.logarithmic(getattr(axes, f"{which}axis"))
    assert getattr(axes, f"get_{which}scale")() == "log"
    low, high = getattr(axes, f"get_{which}lim")()
    assert low < 0.02
    assert high > 50
    assert getattr(axes, f"{which}axis").get_major_formatter()(0.1, 0) == "0.1"


@pytest.mark.parametrize("data", [[0.0, 1.0], []])
def test_other_data_keep_a_linear_axis(data: list[float]) -> None:
    axes = Figure().subplots()
    axes.plot(data, data)
    style.logarithmic(axes.xaxis)
    style.decimal(axes.yaxis)
    assert axes.get_xscale() == axes.get_yscale() == "linear"


LIMITS = [
    *(
        (0.00012, 0.00095),
        (0.004, 0.0115),
        (0.05, 0.06),
        (0.2, 0.95),
        (0.03, 1.2),
        (4, 12),
        (0.9, 33),
        (1e-3, 1),
        (1e-4, 3),
    ),
    *((2e-6, 0.8), (1e-12, 1), (1, 7), (80, 1300)),
]


@pytest.mark.parametrize("inches", [2.2, 4.9])
@pytest.mark.parametrize("which", ["x", "y"])
def test_plain_numbers_do_not_touch_and_are_never_alone(which: str, inches: float) -> None:
    axes = Figure(figsize=(inches, 1) if which == "x" else (1, inches)).subplots()
    axis = getattr(axes, f"{which}axis")
    axes.set(**{f"{which}scale": "log"})
    style.decimal(axis)
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    for limits in LIMITS:
        axes.set(**{f"{which}lim": limits})
        axis.draw(renderer)
        shown = [tick for tick in axis.get_major_ticks() if limits[0] <= tick.get_loc() <= limits[1]]
        assert len(shown) >= 2, limits
        assert [float(tick.label1.get_text()) for tick in shown] == pytest.approx([tick.get_loc() for tick in shown])
        boxes = [tick.label1.get_window_extent(renderer) for tick in shown]
        ends = [(box.x0, box.x1) if which == "x" else (box.y0, box.y1) for box in boxes]
        assert all(end < start for (_, end), (start, _) in pairwise(ends)), limits


def test_decades_are_left_out_where_not_all_of_them_fit() -> None:
    axes = Figure(figsize=(4.2, 1)).subplots()
    axes.set(xscale="log", xlim=(5.4e-7, 0.32))
    style.decimal(axes.xaxis)
    assert np.log10(axes.get_xticks()).round(9).tolist() == [-6, -4, -2]


# -- legends ------------------------------------------------------------------------------------------------------------


def test_a_panel_whose_lines_have_no_names_has_no_legend() -> None:
    _, (axes,) = style.grid_of(1)
    axes.plot([1, 2])
    style.panel_legend(axes)
    assert axes.get_legend() is None


@pytest.mark.parametrize("names", [["a"], ["short", "names", "side", "by", "side"], ["x" * 40, "y" * 40, "z"]], ids=len)
def test_legends_stay_inside_the_picture_and_over_their_panel(names: list[str]) -> None:
    figure, grid = style.grid_of(2)
    for axes in grid:
        for name in names:
            axes.plot([1, 2], label=name)
        style.panel_legend(axes, "title")
    style.legend_above(figure, grid[0].get_lines())
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    above, *own = [
        legend.get_window_extent(canvas.get_renderer())
        for legend in (*figure.legends, *(axes.get_legend() for axes in grid))
    ]
    assert not own[0].overlaps(own[1])
    assert above.y0 > max(box.y1 for box in own)
    assert all(box.x1 <= figure.bbox.x1 for box in (above, *own))
    assert all(box.y0 >= axes.bbox.y1 - 1 for box, axes in zip(own, grid, strict=True))
