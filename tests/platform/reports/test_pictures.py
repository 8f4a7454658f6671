"""Pictures of orbits: what they show, and that a reader can read them."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from idemlab.objective.evaluation import Examples
from idemlab.reports import pictures, style


def shown_images(shape: tuple[int, ...] = (1, 6, 5), count: int = 12) -> list[Examples]:
    """Test data, noise without targets and corrupted data, as orbits under x -> x / 2."""
    x = torch.linspace(-1, 1, count * math.prod(shape)).view(count, *shape)
    inputs = {"data": (x, x), "noise": (x.flip(0), None), "corrupted": (x + 0.1, x)}
    return [Examples(name, [u, u / 2, u / 4, u / 8], target) for name, (u, target) in inputs.items()]


def shown_vectors(n: int, *, sorts: bool = False) -> list[Examples]:
    x = torch.randn(20, n, generator=torch.Generator().manual_seed(0))
    target = x.sort().values if sorts else x
    return [Examples("data", [x, target, target], target), Examples("noise", [2 * x, x, x], None)]


FIGURES: dict[str, Callable[[], Figure]] = {
    "images": lambda: pictures.orbit_figures(shown_images(), (-1, 1))["corrupted"],
    "coloured images": lambda: pictures.orbit_figures(shown_images((3, 8, 8)), (-1, 1))["data"],
    "hero": lambda: pictures.hero(shown_images((1, 28, 28)), (-1, 1)),
    "plane": lambda: pictures.orbit_figures(shown_vectors(5), None)["data, noise"],
    "values": lambda: pictures.orbit_figures(shown_vectors(5, sorts=True), None)["data, noise"],
    "plane of one": lambda: pictures.orbit_plane(shown_vectors(5)[:1]),
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


@pytest.mark.parametrize("name", ["images"])
def test_is_a_png_and_always_the_same(name: str) -> None:
    first = style.png(FIGURES[name]())
    assert Image.open(io.BytesIO(first)).format == "PNG"
    assert style.png(FIGURES[name]()) == first


def test_no_state_of_pyplot() -> None:
    import matplotlib.pyplot as plt

    for make in FIGURES.values():
        make()
    assert plt.get_fignums() == []


# -- images -------------------------------------------------------------------------------------------------------------


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


# -- vectors ------------------------------------------------------------------------------------------------------------


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


def test_panels_of_their_own_show_the_same_plane() -> None:
    shown = shown_vectors(5)
    together = pictures.orbit_plane(shown).axes
    for axes, figure in zip(together, pictures.orbit_panels(shown), strict=True):
        for line, other in zip(axes.get_lines(), figure.axes[0].get_lines(), strict=True):
            assert np.array_equal(line.get_xydata(), other.get_xydata())


@pytest.mark.parametrize("sorts", [False, True], ids=["plane", "values"])
def test_the_control_of_vectors_follows_in_the_same_plane_and_scale(sorts: bool) -> None:
    shown = shown_vectors(5, sorts=sorts)
    beside = [Examples(one.name, [one.orbit[0], 9 * one.orbit[0], 9 * one.orbit[0]], one.target) for one in shown]
    alone, panels = pictures.orbit_panels(shown), pictures.orbit_panels(shown, beside)
    assert len(panels) == 2 * len(shown)
    for i, (own, control) in enumerate(zip(panels[::2], panels[1::2], strict=True)):
        titles = [(each.axes[0].get_title(loc="left"), each.axes[0].get_ylabel()) for each in (own, control)]
        assert f"x: {shown[i].name}, control" in "".join(titles[1])
        assert "control" not in "".join(titles[0])
        for mine, theirs, before in zip(own.axes, control.axes, alone[i].axes, strict=True):
            assert (mine.get_xlim(), mine.get_ylim()) == (theirs.get_xlim(), theirs.get_ylim())
            assert mine.get_ylim()[1] > before.get_ylim()[1], "what the control makes fits in"
            for line, other in zip(mine.get_lines(), before.get_lines(), strict=True):
                assert np.array_equal(line.get_xydata(), other.get_xydata())


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
