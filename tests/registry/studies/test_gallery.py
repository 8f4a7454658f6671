"""Images in rows, and logarithmic axes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from idemlab_registry.studies.gallery import Block, gallery
from idemlab_registry.studies.scales import logarithmic


def test_images_stand_where_they_belong_in_their_shades() -> None:
    rows = {"a": torch.full((3, 1, 4, 4), -1.0), "b": torch.full((3, 1, 4, 4), 0.5)}
    rows["b"][2] = 9.0
    figure = gallery([[Block("heading", rows, ("1", "2", "3"))]], (-1.0, 1.0), side=8)
    (axes,) = figure.axes
    canvas = np.asarray(axes.images[0].get_array())
    assert canvas.shape == (3 + 2 * 11, 3 + 3 * 11, 3)
    assert (canvas[3:11, 3:11] == 0).all()
    assert (canvas[14:22, 14:22] == 0.75).all()
    assert (canvas[14:22, 25:33] == 1).all()
    assert [text.get_text() for text in axes.texts] == ["a", "b", "1", "2", "3"]
    assert axes.get_title(loc="left") == "heading"


def test_colour_stays_and_blocks_do_not_overlap() -> None:
    red = torch.zeros(2, 3, 8, 8)
    red[:, 0] = 1
    block = Block("", {"row": red})
    figure = gallery([[block, block], [block]], None)
    canvas = np.asarray(figure.axes[0].images[0].get_array())
    assert canvas[10, 10].tolist() == [1, 0, 0]
    boxes = [axes.get_position() for axes in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(0 <= value <= 1 for box in boxes for value in (box.x0, box.x1, box.y0, box.y1))


@pytest.mark.parametrize("which", ["x", "y"])
def test_positive_data_get_a_logarithmic_axis_that_holds_them(which: str) -> None:
    axes = Figure().subplots()
    axes.plot([0.02, 50], [0.02, 50])
    logarithmic(getattr(axes, f"{which}axis"))
    assert getattr(axes, f"get_{which}scale")() == "log"
    low, high = getattr(axes, f"get_{which}lim")()
    assert low < 0.02
    assert high > 50
    assert getattr(axes, f"{which}axis").get_major_formatter()(0.1, 0) == "0.1"


@pytest.mark.parametrize("data", [[0.0, 1.0], []])
def test_other_data_keep_a_linear_axis(data: list[float]) -> None:
    axes = Figure().subplots()
    axes.plot(data, data)
    logarithmic(axes.xaxis)
    assert axes.get_xscale() == "linear"
