"""Reading image files: the same conversion from pixels to numbers for every data set and for `apply`.

A table in docs/data.md states the rules, and the tests read it. Images outside these rules are refused.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BadInput

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["IMAGE_SUFFIXES", "Picture", "read_image"]

IMAGE_SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pfm", ".pgm", ".png"}
    | {".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
"""Lower-case file extensions of images."""

BACKGROUND = "white"
"""Colour behind transparent parts."""

DEEP = "more than 8 bits a channel were scaled to 8"
FRAMES = "only the first of several frames or pages was used"
TRANSPARENT = f"transparent parts became {BACKGROUND}"
CROPPED = "cropped to the centre"

_COLOURS = {1: "L", 3: "RGB"}
_OPAQUE = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"})
_WITH_ALPHA = {"LA": "RGBA", "La": "LA", "PA": "RGBA", "RGBA": "RGBA", "RGBa": "RGBA"}
"""Modes with an alpha channel, each with the next mode on the way to RGBA."""
_SIXTEEN_BITS = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_SCALED_BY_PILLOW = frozenset({"PNG", "PPM"})
"""Formats whose mode "I" is 16 bits for certain: PNM, and PNG in Pillow before 11."""
_UPPER_BITS = ("16B", "16L", "16N")
"""Endings of Pillow's mode names with 16 bits a channel. "BGR;16" has 16 bits in all."""
_WHITE = {"I;12": 4095}
"""The value of white where it is not 65535, by Pillow's name of the stored mode."""
_KEY_SCALE = {"L;2": 85, "L;4": 17}
"""Pillow scales grey of 2 and 4 bits to 8, but not the grey that such a file declares transparent."""
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
"""A TIFF tag and its value. Pillow applies it only to images of up to 8 bits."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image as numbers.

    Args:
        pixels: uint8 [channels, height, width]; 0 is black, 255 white.
        size: (width, height) of the upright image before it was cropped and scaled.
        changes: how the image had to be changed, in words such as "transparent parts became white".
    """

    pixels: Tensor
    size: tuple[int, int]
    changes: tuple[str, ...] = ()


def read_image(
    file: Path | IO[bytes] | Image.Image, *, name: str, channels: int, size: tuple[int, int] | None = None
) -> Picture:
    """Read an image: upright, on white, with 8 bits a channel, in grey or in colour.

    Args:
        file: a path, an open file, or an image that Pillow has opened.
        name: of the image, for messages.
        channels: 1 (grey) or 3 (red, green, blue).
        size: (height, width). The largest centred part of that shape is cut out and scaled; None keeps the image whole.

    Raises:
        BadInput: if the image is damaged or its pixels are ambiguous; names the image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about EXIF data and the like; only damaged pixels matter
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with file if isinstance(file, Image.Image) else Image.open(file) as image:
                return _picture(image, channels, size)
    except Exception as error:  # Pillow's decoders raise errors of many kinds
        unknown = isinstance(error, UnidentifiedImageError)
        cause = "not an image, or damaged" if unknown else " ".join(str(error).split()) or type(error).__name__
        raise BadInput(
            f"cannot be read as an image: {cause}", where=name, next_step="replace or remove the file"
        ) from error


def _picture(file: Image.Image, channels: int, size: tuple[int, int] | None) -> Picture:
    from PIL import Image, ImageOps

    stored, kind, white_is_zero = _stored(file), file.format, _white_is_zero(file)
    changes = [FRAMES] if getattr(file, "is_animated", False) else []
    image = ImageOps.exif_transpose(file)
    if image.mode == "F" or image.mode.startswith("I"):
        changes.append(DEEP)
        image = _from_deep(image, kind, _WHITE.get(stored, 65535), white_is_zero)
    elif image.mode not in _OPAQUE and image.mode not in _WITH_ALPHA:
        raise ValueError(f"its colour space {image.mode} is not grey, RGB, CMYK or YCbCr; save it as RGB")
    elif stored.endswith(_UPPER_BITS):
        changes.append(DEEP)  # Pillow keeps the upper 8 bits of each
    image, transparent = _opaque(image, stored)
    if transparent:
        changes.append(TRANSPARENT)
    image = image.convert(_COLOURS[channels])
    width, height = image.size
    if size is not None:
        if width * size[0] != height * size[1]:
            changes.append(CROPPED)
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(image)).view(image.height, image.width, channels)
    return Picture(pixels=pixels.permute(2, 0, 1).contiguous(), size=(width, height), changes=tuple(changes))


def _stored(file: Image.Image) -> str:
    """Pillow's name of how the pixels are stored, such as "RGB;16B"; it is known until they are read."""
    tiles: Any = getattr(file, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    name = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return name if isinstance(name, str) else ""


def _white_is_zero(file: Image.Image) -> bool:
    return getattr(file, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _from_deep(image: Image.Image, kind: str | None, white: int, white_is_zero: bool) -> Image.Image:
    """Grey of 12 or 16 bits, or of floating point numbers in [0, 1], as 8 bits, with the transparent grey as alpha.

    Raises:
        ValueError: if the value of white is not certain.
    """
    from PIL import Image

    values: NDArray[np.float64] = np.asarray(image, dtype=np.float64)
    key = image.info.get("transparency")
    if image.mode == "F":
        if not bool(((values >= 0) & (values <= 1)).all()):
            raise ValueError(
                "floating point pixels must lie between 0 (black) and 1 (white); save it with 8 or 16 bits"
            )
        white = 1
    elif image.mode not in _SIXTEEN_BITS and kind not in _SCALED_BY_PILLOW:
        raise ValueError("32-bit or signed integers do not say which value is white; save it with 8 or 16 bits")
    elif values.max() > white or values.min() < 0:
        raise ValueError(f"pixels from {values.min():g} to {values.max():g} exceed 16 bits")
    share = values / white
    grey = Image.fromarray(((1 - share if white_is_zero else share) * 255).round().astype(np.uint8))
    if isinstance(key, int):
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def _opaque(image: Image.Image, stored: str) -> tuple[Image.Image, bool]:
    """The image on white, and whether any of the white shows through."""
    from PIL import Image

    key = image.info.get("transparency")
    with_alpha_palette = image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A")
    if image.mode not in _WITH_ALPHA and key is None and not with_alpha_palette:
        return image, False
    if isinstance(key, tuple) and "16" in stored:
        raise ValueError("a transparent colour of 16 bits is not read; save it with an alpha channel, or with 8 bits")
    if isinstance(key, int) and stored in _KEY_SCALE:
        image.info["transparency"] = key * _KEY_SCALE[stored]
    while image.mode != "RGBA":
        image = image.convert(_WITH_ALPHA.get(image.mode, "RGBA"))
    low, _ = image.getchannel("A").getextrema()
    if low == 255:
        return image, False
    return Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image), True
