"""Runs with known operators, images to apply them to, and checks of what a reader sees in a figure."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from idemlab import resolve, train
from idemlab.objective.parts import build_operator
from idemlab.runs.weights import write_weights

Pixels = NDArray[np.uint8]
OKABE_ITO = {"#000000", "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"}
GREYS = {"#8a8a8a"}
PAGE = runpy.run_path(str(Path(__file__).with_name("page.py")))

# -- applying an operator -----------------------------------------------------------------------------------------------


@pytest.fixture
def make_run() -> Callable[..., Path]:
    """A function that makes a run whose operator is x -> factor x."""

    def make(folder: Path, shape: tuple[int, ...], range: tuple[float, float] | None, factor: float = 0.5) -> Path:
        experiment = resolve(
            {
                "dataset": {"name": "gaussian", "shape": list(shape)},
                "model": {"name": "linear", "init": "identity", "scale": 0.0},
                "training": {"steps": 1},
            }
        )
        folder.mkdir(parents=True)
        (folder / "experiment.toml").write_text(experiment.to_toml())
        operator = build_operator(experiment, shape)
        with torch.no_grad():
            for parameter in operator.parameters():
                parameter.mul_(factor)
        sample = json.dumps({"shape": shape, "range": range})
        write_weights(folder / "operator.safetensors", operator, {"sample": sample})
        return folder

    return make


@pytest.fixture
def grey(make_run: Callable[..., Path], tmp_path: Path) -> Path:
    """Grey images, 4 pixels high and 6 wide, -1 black and 1 white; f halves them, towards middle grey."""
    return make_run(tmp_path / "grey", (1, 4, 6), (-1.0, 1.0))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """An empty folder for the images."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def picture() -> Callable[..., Pixels]:
    """A function that writes an image (a ramp, if no pixels are given) and returns its pixels."""

    def write(path: Path, pixels: Any = None, **options: Any) -> Pixels:
        ramp = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
        values = ramp if pixels is None else np.asarray(pixels, dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path, **options)
        return values

    return write


@pytest.fixture
def untouched(tmp_path: Path) -> Callable[[], None]:
    """A function that checks that nothing was written, not even in part."""

    def check() -> None:
        assert {path.name for path in tmp_path.iterdir()} <= {"grey", "in", "other"}

    return check


# -- runs to report on ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: train(table, folder / name).path
        for name, table in (("images", PAGE["IMAGES"]), ("vectors", PAGE["VECTORS"]))
    }


@pytest.fixture
def run(trained: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the finished run on images, to change at will."""
    return Path(shutil.copytree(trained["images"], tmp_path / "a <run> & more"))


@pytest.fixture
def blank(run: Path, unplotted: None) -> Path:
    """The same, for tests that look at words only: its pictures are not drawn, which takes long."""
    return run


# -- figures ------------------------------------------------------------------------------------------------------------


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


@pytest.fixture
def check_texts() -> Callable[[Figure], None]:
    """A function that checks the text of a figure: 9 points or more, inside the picture, nothing on top of another."""

    def check(figure: Figure) -> None:
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

    return check


@pytest.fixture
def check_colours() -> Callable[[Figure], None]:
    """A function that checks that lines have the colours of Okabe and Ito, which everybody can tell apart, or grey."""

    def check(figure: Figure) -> None:
        drawn = {line.get_color() for axes in figure.axes for line in axes.get_lines()}
        assert drawn <= OKABE_ITO | GREYS

    return check
