"""Images in rows."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from idemlab_registry.studies.gallery import Block, gallery


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


def test_the_longest_label_is_seen_whole() -> None:
    rows = {label: torch.zeros(1, 1, 4, 4) for label in ("x", "(b) IGN, batch 256, Fourier, BatchNorm, longest")}
    figure = gallery([[Block("f(z)", rows)]] * 2, None)
    FigureCanvasAgg(figure).draw()
    first, second = ([text.get_window_extent() for text in axes.texts] for axes in figure.axes)
    assert min(box.x0 for box in first) >= 0
    assert min(box.x0 for box in second) >= figure.axes[0].get_window_extent().x1
