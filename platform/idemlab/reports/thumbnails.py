"""Small pictures for the rows of a board: a shrunk picture, the error over training, the trials of a sweep."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageStat

from ..certificate.verdict import NOT_IDEMPOTENT

__all__ = ["Curve", "Thumbnail", "curve_svg", "picture_of", "thumbnail", "trials_svg"]

Curve = list[tuple[int, float]]
"""Steps and values."""

_SMALL = 24_000
"""A PNG file of up to so many bytes is taken as it is."""
_SIZE = (360, 240)
"""Largest width and height of a thumbnail, in pixels; it is shown at half of that."""
_PIXELS = 40_000_000
"""A picture of more pixels is not opened."""
_WIDTH, _HEIGHT, _EDGE = 120.0, 40.0, 3.0
_TOP, _BOTTOM = 1.0, -4.0
"""Decimal logarithms of the errors at the upper and the lower edge, the same in all rows so that they can be compared."""

_DOTS = 300
"""Largest number of trials that are drawn; of more, every second or third one is."""


@dataclass(frozen=True)
class Thumbnail:
    """A small picture.

    Args:
        source: data URI.
        white: whether it is a drawing on white, which a page on dark inverts.
    """

    source: str
    white: bool = False


def picture_of(figures: Path) -> Path | None:
    """The file in a run's folder of figures that shows best what the run does, if there is one."""
    names = ("thumbnail.png", "hero.png", "orbits.png")
    return next((figures / name for name in names if (figures / name).is_file()), None)


def thumbnail(path: Path) -> Thumbnail | None:
    """A picture made small enough for a page of hundreds; None if the file holds no picture that can be read."""
    try:
        if path.stat().st_size <= _SMALL:
            content = path.read_bytes()
            with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                if image.width <= _SIZE[0] and image.height <= _SIZE[1]:
                    image.verify()
                    return Thumbnail(_uri(content, "png"))
        with Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height > _PIXELS:
                return None
            small = image.reduce(max(1, image.width // _SIZE[0], image.height // _SIZE[1]))
        if small.mode != "RGB":
            small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small.convert("RGBA")).convert("RGB")
        small.thumbnail(_SIZE, Image.Resampling.BILINEAR)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=75)
        return Thumbnail(_uri(buffer.getvalue(), "jpeg"), white=ImageStat.Stat(small.convert("L")).median[0] >= 250)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # a broken PNG file is a SyntaxError
        return None


def _uri(content: bytes, form: str) -> str:
    return f"data:image/{form};base64,{base64.b64encode(content).decode('ascii')}"


# -- vector graphics ----------------------------------------------------------------------------------------------------


def curve_svg(curves: Sequence[tuple[int, Curve]]) -> str:
    """Relative error over the steps on a logarithmic scale, with the limit of the verdict; empty without any value.

    Args:
        curves: (number of the colour, curve) of each set of inputs.
    """
    last = max((step for _, curve in curves for step, _ in curve), default=0)
    if not last:
        return ""
    lines = ""
    for colour, curve in curves:
        points = [(_across(step / last), _height(value)) for step, value in _thinned(curve)]
        if not points:
            continue
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        x, y = points[-1]
        lines += (
            f'<polyline class="c{colour}" points="{path}"/><circle class="c{colour}" cx="{x:.1f}" cy="{y:.1f}" r="2"/>'
        )
    return _framed(lines, "relative error over training")


def trials_svg(trials: Sequence[tuple[float | None, str]]) -> str:
    """Relative error of each trial on the same scale, from the first to the last, coloured by its verdict."""
    measured = [(value, verdict) for value, verdict in trials if value is not None]
    shown = measured[:: math.ceil(len(measured) / _DOTS) or 1]
    dots = ""
    for i, (value, verdict) in enumerate(shown):
        x = _across((i + 0.5) / len(shown))
        dots += f'<circle class="{_class(verdict)}" cx="{x:.1f}" cy="{_height(value):.1f}" r="1.6"/>'
    return _framed(dots, "relative error of each trial") if dots else ""


def _class(verdict: str) -> str:
    return {"genuine": "good", "identity": "same"}.get(verdict, "bad" if verdict else "none")


def _framed(content: str, title: str) -> str:
    """The content with the line of the limit. Only numbers and names of classes come in, nothing that a file says."""
    limit = _height(NOT_IDEMPOTENT)
    return (
        f'<svg class="spark" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{title}">'
        f'<line x1="0" x2="{_WIDTH:g}" y1="{limit:.1f}" y2="{limit:.1f}"/>{content}</svg>'
    )


def _thinned(curve: Curve) -> Curve:
    """At most sixty points of a curve, the last one among them."""
    every = max(1, len(curve) // 60)
    return [*curve[:-1:every], *curve[-1:]]


def _across(share: float) -> float:
    return _EDGE + (_WIDTH - 2 * _EDGE) * share


def _height(value: float) -> float:
    """The vertical place of an error; values beyond an edge are drawn at it."""
    power = _BOTTOM if not value > 0 else _TOP if math.isinf(value) else math.log10(value)
    share = (_TOP - min(max(power, _BOTTOM), _TOP)) / (_TOP - _BOTTOM)
    return _EDGE + (_HEIGHT - 2 * _EDGE) * share
