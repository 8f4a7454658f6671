"""Data sets that Hugging Face `datasets` opens, on small ones made here; and a hub that is not there."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from idemlab import BadInput, Failure, TensorRows
from idemlab_data import images
from idemlab_data.hub import HubImages, hub_dataset
from idemlab_data.images import FolderImages

datasets = pytest.importorskip("datasets")
parquet = pytest.importorskip("pyarrow.parquet")

pytestmark = pytest.mark.usefixtures("own_cache")


def png(value: int, size: tuple[int, int] = (9, 11)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def image_folder(root: Path, counts: dict[str, int]) -> Path:
    """Files root/<split>/<class>/<k>.png of the red value k."""
    for place, count in counts.items():
        (root / place).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            (root / place / f"{k:03d}.png").write_bytes(png(k))
    return root


def table(features: dict[str, object] | None = None, **columns: list[object]) -> object:
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features) if features else None)


def pictures(count: int) -> list[object]:
    return [{"bytes": png(k), "path": None} for k in range(count)]


def test_an_image_folder_with_splits_and_classes(tmp_path):
    root = image_folder(tmp_path, {"train/cat": 3, "train/dog": 2, "test/cat": 1, "test/dog": 2})
    data = hub_dataset(str(root))
    assert isinstance(data.train, TensorRows)
    assert data.shape == (3, 11, 9)
    assert (data.classes, data.range) == (2, (-1.0, 1.0))
    assert data.train.label.tolist() == [0, 0, 0, 1, 1]
    assert data.train.input[:, 0, 0, 0].tolist() == [0, 1, 2, 0, 1]
    assert data.test.label.tolist() == [0, 1, 1]


def test_without_a_test_split_every_tenth_image_is_held_out(tmp_path):
    data = hub_dataset(str(image_folder(tmp_path, {".": 20})), size=8, channels=1)
    assert data.shape == (1, 8, 8)
    assert data.classes is None
    assert (len(data.train), len(data.test)) == (18, 2)


def test_a_parquet_file_with_images_inside(tmp_path):
    features = {"photo": datasets.Image(), "kind": datasets.Value("int64")}
    table(features, photo=pictures(10), kind=[0, 1, 2, 3, 4] * 2).to_parquet(str(tmp_path / "x.parquet"))
    data = hub_dataset(str(tmp_path / "x.parquet"), label="kind")
    assert data.classes == 5
    assert data.train.label.tolist() == [0, 1, 2, 3, 4, 1, 2, 3]
    assert data.train.input[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 6, 7, 8]
    assert data.test.input[:, 0, 0, 0].tolist() == [5, 9]


def test_a_path_in_a_parquet_file_that_leads_elsewhere_is_refused(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(7))
    (tmp_path / "set").mkdir()
    cells = [{"bytes": None, "path": str(secret)}] * 3
    table({"image": datasets.Image()}, image=cells).to_parquet(str(tmp_path / "set" / "x.parquet"))
    with pytest.raises(BadInput, match=r"lies outside of(.|\n)*secret\.png"):
        hub_dataset(str(tmp_path / "set" / "x.parquet"))


def test_a_link_in_an_image_folder_that_leads_elsewhere_is_left_out_and_told(tmp_path):
    root = image_folder(tmp_path / "set", {".": 3})
    (tmp_path / "secret.png").write_bytes(png(7))
    (root / "999.png").symlink_to(tmp_path / "secret.png")
    data = hub_dataset(str(root))
    assert (len(data.train), len(data.test)) == (1, 2)
    assert "left out, links that lead out of the folder: 999.png" in data.description


def test_images_in_an_archive_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for k in range(3):
            archive.writestr(f"{k}.png", png(k))
    data = hub_dataset(str(tmp_path))
    assert data.train.input[:, 0, 0, 0].tolist() == [0]
    assert data.test.input[:, 0, 0, 0].tolist() == [1, 2]


@pytest.mark.parametrize(
    "path", ["zip://0.png::{outside}/images.zip", "hf://datasets/a/b/0.png", "zip://0.png::https://a.org/images.zip"]
)
def test_archives_elsewhere_and_addresses_are_refused(monkeypatch, tmp_path, path):
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path / "set")
    cells = [{"bytes": None, "path": path.format(outside=tmp_path)}] * 3
    parquet.write_table(table({"image": datasets.Image()}, image=cells).data.table, "x.parquet")
    with pytest.raises(BadInput, match="lies outside of"):
        hub_dataset(".")


def test_images_of_the_hub_lie_in_its_caches(monkeypatch, tmp_path):
    import huggingface_hub

    rows = [{"bytes": None, "path": str(image_folder(tmp_path / "hub", {".": 1}) / "000.png")}] * 3
    loaded = datasets.DatasetDict(train=table({"image": datasets.Image()}, image=rows))
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: loaded)
    with pytest.raises(BadInput, match="lies outside of"):
        hub_dataset("someone/something")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert len(hub_dataset("someone/something").train) == 1


@pytest.mark.parametrize("kind", [FolderImages, HubImages])
def test_large_sets_are_decoded_when_asked_for(tmp_path, monkeypatch, kind):
    root = image_folder(tmp_path, {"train/a": 4, "train/b": 4, "test/a": 1, "test/b": 1})
    if kind is HubImages:
        for split, each in (("train", 4), ("test", 1)):
            features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
            cells = [*pictures(each), *pictures(each)]
            rows = table(features, image=cells, label=[0] * each + [1] * each)
            rows.to_parquet(str(root / split / "x.parquet"))
            for image in root.glob(f"{split}/*/*.png"):
                image.unlink()
    kept = hub_dataset(str(root))
    monkeypatch.setattr(images, "IN_MEMORY_BYTES", 0)
    lazy = hub_dataset(str(root))
    assert isinstance(lazy.train, kind)
    assert "a damaged one is found then" in lazy.description[-1]
    sent = pickle.loads(pickle.dumps(lazy.train))  # as it is to the workers that decode
    a, b = sent.__getitems__([6, 1]), kept.train.__getitems__([6, 1])
    assert torch.equal(a.input, b.input)
    assert a.label.tolist() == b.label.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("splits", "train", "test"),
    [
        (["train", "test"], "train", "test"),
        (["train", "validation"], "train", "validation"),
        (["test", "validation", "train"], "train", "test"),
        (["full", "valid"], "full", "valid"),
    ],
)
def test_splits_are_chosen_by_name(monkeypatch, splits, train, test):
    rows = {name: table({"image": datasets.Image()}, image=pictures(k + 2)) for k, name in enumerate(splits)}
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: datasets.DatasetDict(rows))
    data = hub_dataset("someone/something")
    assert len(data.train) == len(rows[train])
    assert len(data.test) == len(rows[test])


def test_a_single_split_called_test_is_shared_out(monkeypatch):
    rows = table({"image": datasets.Image()}, image=pictures(10))
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: datasets.DatasetDict(test=rows))
    data = hub_dataset("someone/something")
    assert (len(data.train), len(data.test)) == (8, 2)


def test_columns_can_be_named(monkeypatch):
    features = {
        "first": datasets.Image(),
        "second": datasets.Image(),
        "coarse": datasets.ClassLabel(names=["x", "y"]),
        "fine": datasets.ClassLabel(names=["p", "q", "r"]),
    }
    rows = table(
        features,
        first=pictures(2),
        second=[{"bytes": png(200), "path": None}] * 2,
        coarse=[0, 1],
        fine=[2, 1],
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: datasets.DatasetDict(train=rows, test=rows))
    default, named = hub_dataset("a/b"), hub_dataset("a/b", image="second", label="fine")
    assert default.train.input[:, 0, 0, 0].tolist() == [0, 1]
    assert (default.classes, default.train.label.tolist()) == (2, [0, 1])
    assert named.train.input[:, 0, 0, 0].tolist() == [200, 200]
    assert (named.classes, named.train.label.tolist()) == (2, [1, 0])  # no row is a p


@pytest.mark.parametrize(
    ("arguments", "what", "choices", "nearest"),
    [
        ({"image": "pictur"}, "no column of images 'pictur'", ("picture",), "picture"),
        ({"image": "kind"}, "no column of images 'kind'", ("picture",), None),
        ({"label": "kynd"}, "no column 'kynd'", ("picture", "kind"), "kind"),
    ],
)
def test_unknown_columns_are_bad_input(monkeypatch, arguments, what, choices, nearest):
    rows = table({"picture": datasets.Image(), "kind": datasets.Value("int64")}, picture=pictures(2), kind=[0, 1])
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: datasets.DatasetDict(train=rows))
    with pytest.raises(BadInput, match=what) as caught:
        hub_dataset("a/b", **arguments)
    assert (caught.value.choices, caught.value.nearest) == (choices, nearest)


def test_a_set_without_images_is_bad_input(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: datasets.DatasetDict(train=table(text=["a"])))
    with pytest.raises(BadInput, match="no column of images") as caught:
        hub_dataset("a/b")
    assert caught.value.choices == ("text",)


def test_a_damaged_image_is_bad_input_that_names_it(tmp_path):
    root = image_folder(tmp_path, {".": 3})
    (root / "001.png").write_bytes(png(1)[:30])
    with pytest.raises(BadInput, match=r"cannot be read as an image(.|\n)*001\.png"):
        hub_dataset(str(root))


@pytest.mark.parametrize("path", ["/nowhere/at/all", "./nowhere", "~/nowhere-at-all", "nowhere.parquet"])
def test_a_missing_path_is_bad_input(path):
    with pytest.raises(BadInput, match="there is no file or folder"):
        hub_dataset(path)


def test_an_empty_folder_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="there are no images in"):
        hub_dataset(str(tmp_path))


def test_a_corrupt_parquet_file_is_bad_input(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"nonsense")
    with pytest.raises(BadInput, match=r"x\.parquet cannot be read as a data set"):
        hub_dataset(str(tmp_path / "x.parquet"))


def test_an_unknown_configuration_of_a_folder_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="no configurations, so there is no 'zzz'"):
        hub_dataset(str(image_folder(tmp_path, {".": 2})), config="zzz")


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (ConnectionError("Couldn't reach 'a/b' on the Hub"), Failure, 1),
        (TimeoutError("timed out"), Failure, 1),
        (OSError("disk full"), Failure, 1),
        (datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist"), BadInput, 2),
        (ValueError("BuilderConfig 'c' not found. Available: ['d']"), BadInput, 2),
    ],
    ids=["unreachable", "timeout", "disk", "unknown", "config"],
)
def test_what_goes_wrong_at_the_hub(monkeypatch, error, kind, code):
    def fails(name, config):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(kind, match=re.escape(str(error))) as caught:
        hub_dataset("a/b", config="c", offline="use 'digits'")
    assert caught.value.exit_code == code
    if not isinstance(error, ValueError):
        assert "use 'digits'" in caught.value.next_step


def test_the_real_library_without_network_is_a_failure(monkeypatch):
    """Not simulated by us: `datasets` itself, told to stay offline."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(Failure, match="cannot be fetched from the hub") as caught:
        hub_dataset("ylecun/mnist", channels=1)
    assert "folder of images" in caught.value.next_step


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_bars_are_for_terminals(monkeypatch, tmp_path, terminal):
    disabled = []
    monkeypatch.setattr(datasets, "disable_progress_bars", lambda: disabled.append(True))
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    with pytest.raises(BadInput):
        hub_dataset(str(tmp_path))
    assert disabled == ([] if terminal else [True])
