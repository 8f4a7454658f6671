"""One picture, one meaning: every kind of pixels that docs/data.md names, read the same way through every door."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from idemlab import BadInput, read_image
from idemlab.contracts.pixels import CROPPED, DEEP, FRAMES, TRANSPARENT
from idemlab_data.hub import hub_dataset
from idemlab_data.torchvision_sets import TorchvisionImages

RAMP = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)


# -- files that Pillow does not write -----------------------------------------------------------------------------------


def png(bits: int, colour: int, rows: list[bytes], width: int, **chunks: bytes) -> bytes:
    """A PNG of raw rows; `tRNS` says what is transparent."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    extra = b"".join(chunk(kind.encode(), body) for kind, body in chunks.items())
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + body + chunk(b"IEND", b"")


def tiff(bits: int, photometric: int, pixels: bytes, width: int, sample: int = 1) -> bytes:
    """A TIFF of one row and one channel. photometric: 0 white is zero, 1 black is zero. sample: 1 unsigned, 2 signed."""
    entries = [(256, width), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 1)]
    entries += [(279, len(pixels)), (339, sample)]
    pixels += b"\0" * (len(pixels) % 2)
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + table + b"\0" * 4


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def grey(*values: float, kind: type = np.uint8) -> Image.Image:
    return Image.fromarray(np.array([values], dtype=kind))


def colours(mode: str, *values: tuple[int, ...]) -> Image.Image:
    image = Image.new(mode, (len(values), 1))
    image.putdata(list(values))
    return image


def palette(*entries: int, mode: str = "RGB") -> Image.Image:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    image.putpalette(list(entries), mode)
    return image


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo = [None, None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM]
    undo += [
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_90,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_270,
    ]
    upright, turn = grey(0, 50, 200), undo[orientation]
    return saved(upright if turn is None else upright.transpose(turn), exif=exif)


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
PAGES = {"save_all": True, "append_images": [grey(9, 9)]}
RED, GREEN = (200, 0, 0), (0, 200, 0)

# -- the table: rule of docs/data.md, variant, file, [channels][pixels], what is told ------------------------------------

READ: list[tuple[str, str, Callable[[], bytes], list[list[int]], list[str]]] = [
    ("grey of 1, 2, 4 or 8 bits", "1 bit", lambda: saved(grey(0, 255).convert("1")), [[0, 255]], []),
    ("grey of 1, 2, 4 or 8 bits", "2 bits", lambda: png(2, 0, [b"\x1b"], 4), [[0, 85, 170, 255]], []),
    ("grey of 1, 2, 4 or 8 bits", "4 bits", lambda: png(4, 0, [b"\x0f"], 2), [[0, 255]], []),
    ("grey of 1, 2, 4 or 8 bits", "8 bits", lambda: saved(grey(0, 100, 255)), [[0, 100, 255]], []),
    ("grey of 1, 2, 4 or 8 bits", "white is zero", lambda: tiff(8, 0, b"\0\xff", 2), [[255, 0]], []),
    ("grey of 1, 2, 4 or 8 bits", "PGM of 15 levels", lambda: b"P5 2 1 15\n\x00\x0f", [[0, 255]], []),
    ("grey of 12 or 16 bits", "PNG", lambda: saved(Image.fromarray(RAMP)), [list(range(256))], [DEEP]),
    ("grey of 12 or 16 bits", "TIFF", lambda: saved(Image.fromarray(RAMP), "TIFF"), [list(range(256))], [DEEP]),
    (
        *("grey of 12 or 16 bits", "big-endian TIFF"),
        *(lambda: saved(Image.fromarray(RAMP.astype(">u2")), "TIFF"), [list(range(256))], [DEEP]),
    ),
    ("grey of 12 or 16 bits", "PGM", lambda: b"P5 2 1 65535\n\x00\x00\xff\xff", [[0, 255]], [DEEP]),
    ("grey of 12 or 16 bits", "PGM of 1024 levels", lambda: b"P5 2 1 1023\n\x00\x00\x03\xff", [[0, 255]], [DEEP]),
    ("grey of 12 or 16 bits", "12 bits", lambda: tiff(12, 1, b"\x00\x0f\xff", 2), [[0, 255]], [DEEP]),
    ("grey of 12 or 16 bits", "white is zero", lambda: tiff(16, 0, b"\0\0\xff\xff", 2), [[255, 0]], [DEEP]),
    (
        *("floating point", "from 0 to 1"),
        *(lambda: saved(grey(0, 0.5, 1, kind=np.float32), "TIFF"), [[0, 128, 255]], [DEEP]),
    ),
    ("palette", "of colours", lambda: saved(palette(*RED, *GREEN)), [[200, 0], [0, 200], [0, 0]], []),
    ("palette", "GIF", lambda: saved(palette(*RED, *GREEN), "GIF"), [[200, 0], [0, 200], [0, 0]], []),
    ("palette", "of greys", lambda: saved(palette(7, 7, 7, 9, 9, 9)), [[7, 9]], []),
    ("RGB", "8 bits", lambda: saved(colours("RGB", RED, GREEN)), [[200, 0], [0, 200], [0, 0]], []),
    ("RGB", "to grey", lambda: saved(colours("RGB", RED, GREEN)), [[60, 117]], []),
    ("RGB", "16 bits", lambda: png(16, 2, [b"\xc8\x99\0\0\0\0"], 1), [[200], [0], [0]], [DEEP]),
    ("RGB", "a spare byte", lambda: saved(colours("RGBX", (1, 2, 3, 0)), "TIFF"), [[1], [2], [3]], []),
    ("CMYK", "TIFF", lambda: saved(colours("CMYK", (0, 255, 255, 0)), "TIFF"), [[255], [0], [0]], []),
    (
        "CMYK",
        "JPEG",
        lambda: saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"),
        [[255] * 64, [0] * 64, [0] * 64],
        [],
    ),
    ("YCbCr", "TIFF", lambda: saved(colours("YCbCr", (90, 128, 128)), "TIFF"), [[90], [90], [90]], []),
    ("transparency", "grey", lambda: saved(colours("LA", (9, 255), (9, 0))), [[9, 255]], [TRANSPARENT]),
    (
        *("transparency", "colour"),
        *(lambda: saved(colours("RGBA", (*RED, 255), (*RED, 0))), [[200, 255], [0, 255], [0, 255]], [TRANSPARENT]),
    ),
    ("transparency", "half", lambda: saved(colours("LA", (0, 128))), [[127]], [TRANSPARENT]),
    ("transparency", "opaque", lambda: saved(colours("LA", (9, 255), (8, 255))), [[9, 8]], []),
    (
        *("transparency", "16 bits"),
        *(lambda: png(16, 6, [b"\xc8\0\0\0\0\0\0\0"], 1), [[255], [255], [255]], [DEEP, TRANSPARENT]),
    ),
    (
        "transparency",
        "a colour of a palette",
        lambda: saved(palette(7, 7, 7, 9, 9, 9), transparency=1),
        [[7, 255]],
        [TRANSPARENT],
    ),
    (
        "transparency",
        "shades of a palette",
        lambda: saved(palette(0, 0, 0, 0, 0, 0), transparency=b"\xff\x80"),
        [[0, 127]],
        [TRANSPARENT],
    ),
    (
        "transparency",
        "a colour of a GIF",
        lambda: saved(palette(7, 7, 7, 9, 9, 9), "GIF", transparency=1),
        [[7, 255]],
        [TRANSPARENT],
    ),
    (
        "transparency",
        "a colour",
        lambda: saved(colours("RGB", RED, GREEN), transparency=RED),
        [[255, 0], [255, 200], [255, 0]],
        [TRANSPARENT],
    ),
    ("transparency", "a grey", lambda: saved(grey(7, 9), transparency=7), [[255, 9]], [TRANSPARENT]),
    ("transparency", "a grey that does not occur", lambda: saved(grey(7, 9), transparency=8), [[7, 9]], []),
    ("transparency", "a grey of 4 bits", lambda: png(4, 0, [b"\x2f"], 2, tRNS=b"\0\x02"), [[255, 255]], [TRANSPARENT]),
    (
        "transparency",
        "another grey of 4 bits",
        lambda: png(4, 0, [b"\x2a"], 2, tRNS=b"\0\x0a"),
        [[34, 255]],
        [TRANSPARENT],
    ),
    ("transparency", "a grey of 1 bit", lambda: png(1, 0, [b"\x40"], 2, tRNS=b"\0\x00"), [[255, 255]], [TRANSPARENT]),
    (
        "transparency",
        "a grey of 16 bits",
        lambda: png(16, 0, [b"\0\0\0\1"], 2, tRNS=b"\0\1"),
        [[0, 255]],
        [DEEP, TRANSPARENT],
    ),
    ("EXIF orientation", "none", lambda: saved(grey(0, 50, 200)), [[0, 50, 200]], []),
    *(("EXIF orientation", str(k), lambda k=k: turned(k), [[0, 50, 200]], []) for k in range(1, 9)),
    ("colour profile", "PNG", lambda: saved(colours("RGB", RED), icc_profile=PROFILE), [[200], [0], [0]], []),
    ("several frames or pages", "GIF", lambda: saved(grey(5, 6), "GIF", **PAGES), [[5, 6]], [FRAMES]),
    ("several frames or pages", "TIFF", lambda: saved(grey(5, 6), "TIFF", **PAGES), [[5, 6]], [FRAMES]),
    ("several frames or pages", "PNG", lambda: saved(grey(5, 6), **PAGES), [[5, 6]], [FRAMES]),
]

REFUSED: list[tuple[str, str, Callable[[], bytes], str]] = [
    ("floating point", "above 1", lambda: saved(grey(0, 255, kind=np.float32), "TIFF"), "between 0 .black. and 1"),
    ("floating point", "below 0", lambda: saved(grey(-0.1, 1, kind=np.float32), "TIFF"), "between 0 .black. and 1"),
    (
        "floating point",
        "not a number",
        lambda: saved(grey(np.nan, 1, kind=np.float32), "TIFF"),
        "between 0 .black. and 1",
    ),
    (
        "32-bit or signed integers",
        "32 bits",
        lambda: saved(grey(0, 255, kind=np.int32), "TIFF"),
        "do not say which value is white",
    ),
    (
        "32-bit or signed integers",
        "large",
        lambda: saved(grey(0, 70000, kind=np.int32), "TIFF"),
        "do not say which value is white",
    ),
    (
        "32-bit or signed integers",
        "signed",
        lambda: tiff(16, 1, b"\0\0\xff\xff", 2, sample=2),
        "do not say which value is white",
    ),
    ("LAB", "TIFF", lambda: saved(colours("LAB", (50, 0, 0)), "TIFF"), "colour space LAB"),
    (
        "transparency",
        "a colour of 16 bits",
        lambda: png(16, 2, [b"\0" * 6], 1, tRNS=b"\0" * 6),
        "transparent colour of 16 bits",
    ),
    ("damaged", "no image", lambda: b"no image", "not an image, or damaged"),
    ("damaged", "empty", lambda: b"", "not an image, or damaged"),
    ("damaged", "cut short", lambda: saved(Image.fromarray(RAMP))[:-60], "cannot be read as an image"),
    ("damaged", "of no width", lambda: png(8, 0, [b""], 0), "cannot be read as an image"),
    ("damaged", "another checksum", lambda: saved(grey(1, 2)).replace(b"IDAT", b"IDAX"), "cannot be read as an image"),
]

ELSEWHERE = {"another shape", "too many pixels"}
"""Rules that tests below are about."""


def test_the_page_has_a_row_for_each_rule_and_no_other(rules: Callable[[str], list[str]]) -> None:
    tested = {case[0] for case in [*READ, *REFUSED]} | ELSEWHERE
    assert sorted(rules("How an image is read")) == sorted(tested)


@pytest.mark.parametrize(
    ("make", "pixels", "changes"), [case[2:] for case in READ], ids=[f"{rule}: {what}" for rule, what, *_ in READ]
)
def test_pixels_are_read_by_the_rules(
    tmp_path: Path, make: Callable[[], bytes], pixels: list[list[int]], changes: list[str]
) -> None:
    (tmp_path / "x").write_bytes(make())
    picture = read_image(tmp_path / "x", name="x", channels=len(pixels))
    assert picture.pixels.dtype == torch.uint8
    assert picture.pixels.flatten(1).tolist() == pixels
    assert list(picture.changes) == changes


@pytest.mark.parametrize(
    ("make", "reason"), [case[2:] for case in REFUSED], ids=[f"{rule}: {what}" for rule, what, *_ in REFUSED]
)
def test_what_has_no_certain_meaning_is_refused(tmp_path: Path, make: Callable[[], bytes], reason: str) -> None:
    (tmp_path / "x").write_bytes(make())
    for channels in (1, 3):
        with pytest.raises(BadInput, match=reason) as caught:
            read_image(tmp_path / "x", name="some/x", channels=channels)
        assert caught.value.where == "some/x"
        assert caught.value.next_step


def test_an_image_in_hsv_that_pillow_has_made() -> None:
    assert read_image(Image.new("HSV", (1, 1), (0, 0, 90)), name="x", channels=1).pixels.item() == 90


@pytest.mark.parametrize("limit", [3, 1])
def test_too_many_pixels_are_refused(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(BadInput, match="decompression bomb"):
        read_image(io.BytesIO(saved(Image.new("L", (2, 2)))), name="x", channels=1)


def test_another_shape_is_cropped_to_its_centre() -> None:
    canvas = Image.new("RGB", (10, 20), (255, 0, 0))
    canvas.paste((90, 90, 90), (0, 5, 10, 15))
    picture = read_image(canvas, name="x", channels=3, size=(10, 10))
    assert picture.pixels.unique().tolist() == [90]
    assert (picture.size, picture.changes) == ((10, 20), (CROPPED,))
    wide = read_image(Image.new("L", (84, 28)), name="x", channels=1, size=(4, 12))
    assert (tuple(wide.pixels.shape), wide.changes) == ((1, 4, 12), ())


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [None, 8])
def test_every_door_reads_the_same(tmp_path: Path, channels: int, size: int | None) -> None:
    """A folder, a table and torchvision; `apply` has its own test with its operator."""
    random = np.random.default_rng(0)
    files = [
        saved(Image.fromarray(random.integers(0, 65536, (12, 16)).astype(np.uint16))),
        saved(Image.fromarray(random.integers(0, 256, (12, 16, 4)).astype(np.uint8))),
        saved(Image.fromarray(random.integers(0, 256, (12, 16, 3)).astype(np.uint8))),
    ]
    folder = tmp_path / "folder"
    folder.mkdir()
    for number, content in enumerate(files):
        (folder / f"{number}.png").write_bytes(content)
    cells = [{"bytes": content, "path": None} for content in files]
    table = datasets.Dataset.from_dict({"image": cells}, features=datasets.Features({"image": datasets.Image()}))
    table.to_parquet(str(tmp_path / "x.parquet"))
    opened = [(Image.open(io.BytesIO(content)), 0) for content in files]
    doors = [
        *(hub_dataset(str(path), channels=channels, size=size) for path in (folder, tmp_path / "x.parquet")),
    ]
    third = TorchvisionImages(opened, [0, 1, 2], "set", channels, size, None)
    for number, (part, index) in enumerate((("train", 0), ("test", 0), ("test", 1))):
        expected = read_image(
            io.BytesIO(files[number]), name="x", channels=channels, size=None if size is None else (size, size)
        ).pixels
        assert torch.equal(third[number], expected)
        for data in doors:
            assert torch.equal(getattr(data, part)[index], expected)
    (told,) = [sentence for sentence in doors[0].description if "transparent" in sentence]
    assert told.startswith("1 image: transparent parts became white (")
    assert told.endswith("1.png)")
