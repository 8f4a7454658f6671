"""Random folders, and IDX and Parquet files with anything changed: they end in data that can be used, or in a message.

`HYPOTHESIS_PROFILE=thorough` runs forty-eight times as many examples.
"""

from __future__ import annotations

import gzip
import io
import os
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from idemlab import BadInput, Dataset, Failure
from idemlab_data.celeba import celeba
from idemlab_data.hub import hub_dataset
from idemlab_data.mnist import mnist

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
SCREEN = 24 * 100
"""Letters of a message that fits on a screen."""

pytestmark = pytest.mark.timeout(0 if THOROUGH else 300)


def fuzzing(examples: int) -> settings:
    return settings(
        max_examples=examples * 48 if THOROUGH else examples,
        deadline=None,
        derandomize=bool(os.environ.get("CI")) and not THOROUGH,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf"))
        yield


def contents(folder: Path) -> dict[str, bytes | None]:
    """All paths below a folder, with what files hold."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def ends_well(folder: Path, load: Callable[[], Dataset]) -> None:
    """The property: usable or refused in one screen, and nothing in the folder is touched."""
    before, told = contents(folder), ""
    try:
        data = load()
    except (BadInput, Failure) as error:
        told = str(error)
    else:
        told = "\n".join(data.description)
        for rows in (data.train, data.test):
            batch = rows.__getitems__([0, len(rows) - 1]).to("cpu", torch.float32, data.range)
            assert tuple(batch.input.shape[1:]) == data.shape
            assert bool((batch.input.abs() <= 1).all())
            if data.classes is not None:
                assert bool(((batch.label >= 0) & (batch.label < data.classes)).all())
    assert len(told) <= SCREEN, told
    assert len(told.splitlines()) <= 24, told
    assert contents(folder) == before


# -- what is put into folders and files ----------------------------------------------------------------------------------


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def archived() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("a/1.png", PICTURES[0])
        packed.writestr("b/2.png", PICTURES[1])
    return file.getvalue()


SQUARE = np.arange(16, dtype=np.uint8).reshape(4, 4) * 16
PICTURES = [
    saved(Image.fromarray(SQUARE), "PNG"),
    saved(Image.fromarray(SQUARE.astype(np.uint16) * 200), "PNG"),
    saved(Image.fromarray(SQUARE).convert("RGBA"), "PNG"),
    saved(Image.fromarray(SQUARE), "GIF"),
    saved(Image.fromarray(SQUARE).convert("RGB"), "JPEG"),
    saved(Image.fromarray(SQUARE.astype(np.int32)), "TIFF"),
    saved(Image.fromarray(SQUARE.astype(np.float32) / 255), "TIFF"),
    saved(Image.fromarray(SQUARE), "WEBP"),
    saved(Image.new("L", (9, 3)), "BMP"),
]
OTHERS = [b"", b"text", b"file_name,label\n1.png,a\nb/2.png,b\n", b'{"file_name": "1.png"}\n', archived()]


def cut(content: bytes, place: int, change: bytes, length: int) -> bytes:
    """A part of the content in another's place."""
    start = place % (len(content) + 1)
    return content[:start] + change + content[start + length :]


def changed(content: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Content with a few bytes replaced, inserted or removed, or with its end cut off."""
    places, long = st.integers(0, 2**16), st.one_of(st.integers(0, 8), st.just(2**20))
    once = st.builds(cut, content, places, st.binary(max_size=8), long)
    return st.one_of(once, st.builds(cut, once, places, st.binary(max_size=4), st.integers(0, 4)))


NAMES = st.sampled_from(
    [
        *("train", "test", "validation", "val", "a", "b", "test-tube", "__pycache__", ".hidden"),
        *("1.png", "2.png", "x.PNG", "1.tif", "test 1.gif", ".h.png", "-.png", "~.png", "C:.webp", "ä ü.jpg"),
        *("[a]*?.png", "a::b.png", "%s{0}.bmp", "new\nline.png", "\udcff.png"),
        *("1.txt", "README.md", "metadata.csv", "metadata.jsonl", "x.parquet", "train.parquet", "x.zip"),
    ]
)
WHOLE = st.sampled_from(PICTURES)
FILES = st.one_of(WHOLE, WHOLE, st.sampled_from(OTHERS), changed(st.sampled_from([*PICTURES, *OTHERS])))
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map(tuple), FILES, max_size=10)


def plant(folder: Path, tree: dict[tuple[str, ...], bytes], links: list[tuple[str, ...]]) -> None:
    """Write a tree; what does not fit into it, since a name is taken, is left out."""
    for parts, content in tree.items():
        path = folder.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError:
            continue
    for number, parts in enumerate(links):
        try:
            (folder / f"link{number}.png").symlink_to(folder.joinpath(*parts))
        except OSError:
            continue


# -- the properties ------------------------------------------------------------------------------------------------------


@fuzzing(20)
@given(
    tree=TREES,
    links=st.lists(st.sampled_from([("a",), ("1.png",), ("..",), ("link0.png",), ("gone",)]), max_size=2),
    size=st.sampled_from([None, 8]),
    channels=st.sampled_from([1, 3]),
    label=st.sampled_from([None, "label"]),
    incomplete=st.sampled_from(["refuse", "leave out"]),
)
@example({("test-tube", "1.png"): PICTURES[0], ("a", "1.png"): PICTURES[0]}, [], None, 1, None, "refuse")
@example({("1.png",): PICTURES[5], ("2.png",): PICTURES[6]}, [("link0.png",)], None, 1, None, "refuse")
def test_any_folder(tree, links, size, channels, label, incomplete) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "set")
        folder.mkdir()
        plant(folder, tree, links)
        ends_well(
            Path(place),
            lambda: hub_dataset(str(folder), size=size, channels=channels, label=label, incomplete=incomplete),
        )
        ends_well(Path(place), lambda: celeba(str(folder), 8))


def idx(rows: torch.Tensor) -> bytes:
    return bytes([0, 0, 8, rows.ndim]) + struct.pack(f">{rows.ndim}I", *rows.shape) + rows.numpy().tobytes()


IDX = {
    "train-images-idx3-ubyte": idx(torch.arange(5 * 4 * 4).view(5, 4, 4).to(torch.uint8)),
    "train-labels-idx1-ubyte": idx(torch.tensor([0, 3, 0, 9, 3], dtype=torch.uint8)),
    "t10k-images-idx3-ubyte": idx(torch.arange(3 * 4 * 4).view(3, 4, 4).to(torch.uint8)),
    "t10k-labels-idx1-ubyte": idx(torch.tensor([0, 3, 9], dtype=torch.uint8)),
}


@fuzzing(45)
@given(st.data())
def test_any_idx_files(data) -> None:
    victims = data.draw(st.sets(st.sampled_from(sorted(IDX)), max_size=2))
    with tempfile.TemporaryDirectory() as place:
        for name, content in IDX.items():
            packed = data.draw(st.booleans())
            content = gzip.compress(content, mtime=0) if packed else content
            if name in victims:
                content = data.draw(changed(st.just(content)))
            Path(place, name + (".gz" if packed else "")).write_bytes(content)
        ends_well(Path(place), lambda: mnist(place))


def in_parquet(labels: pa.Array, compression: str) -> bytes:
    cells = [{"bytes": content, "path": None} for content in PICTURES[:5]]
    rows = datasets.Dataset.from_dict({"image": cells}, features=datasets.Features({"image": datasets.Image()}))
    file = io.BytesIO()
    parquet.write_table(rows.data.table.append_column("label", labels), file, compression=compression)
    return file.getvalue()


LABELS = [
    pa.array([0, 1, 2, 1, 0]),
    pa.array(["a", "b", "a", None, "b"]),
    pa.array([0.0, 1.0, None, 0.5, -1.0]),
    pa.array([[1], [], [1, 2], None, [0]]),
    pa.nulls(5),
]


@fuzzing(20)
@given(
    content=st.builds(in_parquet, st.sampled_from(LABELS), st.sampled_from(["none", "snappy", "zstd"])),
    change=st.data(),
    label=st.sampled_from([None, "label", "image", ""]),
    incomplete=st.sampled_from(["refuse", "leave out"]),
)
def test_any_parquet_file(content, change, label, incomplete) -> None:
    content = change.draw(st.one_of(st.just(content), changed(st.just(content))))
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        path = Path(place, "x.parquet")
        path.write_bytes(content)
        ends_well(Path(place), lambda: hub_dataset(str(path), channels=1, label=label, incomplete=incomplete))
