"""What folders mean, by the table of docs/data.md: each row has its variants here."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from idemlab import BadInput, train
from idemlab.training.watcher import Watcher
from idemlab_data.hub import hub_dataset

DOCS = Path(__file__).parents[3] / "docs" / "data.md"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf"))


def png(value: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), value).save(file, "PNG")
    return file.getvalue()


def put(folder: Path, name: str, content: bytes | str = b"") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content or png())
    return path


def images(folder: Path, **counts: int) -> None:
    """Images in subfolders; `_` in a name stands for `/`, and `top` for the folder itself."""
    for place, count in counts.items():
        for number in range(count):
            put(folder, f"{'' if place == 'top' else place.replace('__', '/') + '/'}{number:02d}.png", png(number))


def table(path: Path, count: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"image": [{"bytes": png(k), "path": None} for k in range(count)]}
    features: dict[str, Any] = {"image": datasets.Image()}
    rows = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    parquet.write_table(rows.data.table, path)
    return path


def rules(heading: str) -> list[str]:
    section = DOCS.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")][1:]


# -- folders: (rule, variant, make, (train, test, classes), words of the description) -------------------------------------


def link_out(folder: Path) -> None:
    images(folder, top=4)
    put(folder.parent, "outside/secret.png")
    os.symlink(folder.parent / "outside" / "secret.png", folder / "z.png")
    os.symlink(folder.parent / "outside", folder / "linked")
    os.symlink(folder / "gone", folder / "y.png")
    os.symlink("x.png", folder / "x.png")
    put(folder, ".hidden.png")
    put(folder, ".cache/1.png")
    os.mkfifo(folder / "pipe.png")


def captions(count: int, suffix: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        images(folder, top=count)
        for number in range(count):
            put(folder, f"{number:02d}{suffix}", "a,b\n1,2\n")

    return make


def listed(suffix: str, count: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        images(folder, top=12)
        names = [f"{number:02d}.png" for number in range(count)]
        if suffix == "csv":
            put(folder, "metadata.csv", "file_name,text\n" + "".join(f"{name},a\n" for name in names))
        elif suffix == "jsonl":
            put(folder, "metadata.jsonl", "".join(f'{{"file_name": "{name}", "text": "a"}}\n' for name in names))
        else:
            parquet.write_table(pa.table({"file_name": names}), folder / "metadata.parquet")

    return make


def archive(folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(folder / "images.zip", "w") as packed:
        for number in range(20):
            packed.writestr(f"{number:02d}.png", png(number))


def tables(*names: str) -> Callable[[Path], object]:
    return lambda folder: [table(folder / name, 10) for name in names]


SPLITS, CLASSES = "folders named train, test, validation", "other folders at the top, or in a split"
ENDINGS, TABLES = "files with other endings", "Parquet files"
METADATA = "metadata.csv, metadata.jsonl, metadata.parquet"
HIDDEN = "hidden files, links out of the folder"

FOLDERS: list[tuple[str, str, Callable[[Path], object], tuple[int, int, int | None], list[str]]] = [
    (
        SPLITS,
        "both",
        lambda f: images(f, train=6, test=3),
        (6, 3, None),
        ["6 images of split 'train'", "3 of split 'test'"],
    ),
    (SPLITS, "with classes", lambda f: images(f, train__a=3, train__b=3, test__a=2), (6, 2, 2), ["a (5), b (3)"]),
    (SPLITS, "train alone", lambda f: images(f, train=20), (18, 2, None), ["every tenth"]),
    (SPLITS, "capitals are classes", lambda f: images(f, Train=10, Test=10), (18, 2, 2), ["Test (10), Train (10)"]),
    (
        SPLITS,
        "val is a class",
        lambda f: images(f, train=10, val=10),
        (18, 2, 2),
        ["train: no split, since val beside it"],
    ),
    (
        SPLITS,
        "a folder without files beside",
        lambda f: (images(f, train=6, test=3), (f / "x").mkdir()),
        (6, 3, None),
        [],
    ),
    (
        CLASSES,
        "that look like splits",
        lambda f: images(f, **{"beaker": 10, "flask": 10, "test-tube": 10}),
        (27, 3, 3),
        ["test-tube (10)"],
    ),
    (CLASSES, "train_station", lambda f: images(f, harbour=10, train_station=10), (18, 2, 2), ["train_station (10)"]),
    (CLASSES, "dev, eval", lambda f: images(f, dev=10, eval=10), (18, 2, 2), ["dev (10), eval (10)"]),
    (CLASSES, "of one file each", lambda f: images(f, a=1, b=1, c=1), (1, 2, 3), ["a (1), b (1), c (1)"]),
    (CLASSES, "one with folders in it", lambda f: images(f, a=5, b__x=3, b__y=2), (8, 2, 2), ["a (5), b (5)"]),
    (CLASSES, "one is not two", lambda f: images(f, cat=10), (8, 2, None), []),
    (CLASSES, "with signs of patterns", lambda f: images(f, **{"a[1]*": 10, "b?{x}": 10}), (18, 2, 2), ["a[1]* (10)"]),
    (CLASSES, "not in Latin letters", lambda f: images(f, кот=10, 犬=10), (18, 2, 2), ["кот (10), 犬 (10)"]),
    (
        "one folder in which everything lies",
        "above classes",
        lambda f: images(f, set__a=10, set__b=10),
        (18, 2, 2),
        ["all images lie in set"],
    ),
    (
        "one folder in which everything lies",
        "above splits",
        lambda f: images(f, set__data__train=5, set__data__test=4),
        (5, 4, None),
        ["all images lie in set/data"],
    ),
    (
        "images beside splits",
        "one",
        lambda f: images(f, top=1, train=5, test=4),
        (5, 4, None),
        ["left out, beside the folders of the splits: 00.png"],
    ),
    (
        "images beside class folders",
        "some",
        lambda f: images(f, top=2, a=9, b=9),
        (18, 2, None),
        ["no classes: 2 images beside"],
    ),
    (
        "no test split",
        "names like splits",
        lambda f: ([put(f, f"pregnancy test {k}.png") for k in range(20)], put(f, "x.png")),
        (19, 2, None),
        ["every tenth"],
    ),
    (
        "no test split",
        "named test and train",
        lambda f: [put(f, f"{k}.png") for k in ("test", "train", "a_test", "val")],
        (2, 2, None),
        [],
    ),
    (
        "test and validation",
        "three splits",
        lambda f: images(f, train=5, test=4, validation=3),
        (5, 4, None),
        ["left out, since 'test' is the split to test on: validation/00.png and 2 more"],
    ),
    (
        "test and validation",
        "validation alone",
        lambda f: images(f, train=5, validation=3),
        (5, 3, None),
        ["3 of split 'validation'"],
    ),
    *(
        (ENDINGS, f"{n} {s}", captions(n, s), (n - 2, 2, None), [f"00{s} and {n - 1} more"])
        for n in (11, 12)
        for s in (".txt", ".json", ".csv", ".xml")
    ),
    *((METADATA, s, listed(s, 12), (10, 2, None), []) for s in ("csv", "jsonl", "parquet")),
    (METADATA, "some are not listed", listed("csv", 11), (9, 2, None), ["listed in no metadata file: 11.png"]),
    ("zip archives", "one", archive, (18, 2, None), []),
    (
        HIDDEN,
        "all of them",
        link_out,
        (2, 2, None),
        [
            "left out, hidden: .cache and 1 more",
            "links that lead out of the folder: x.png and 1 more",
            "not followed: linked",
            "neither files nor folders: pipe.png and 1 more",
        ],
    ),
    (TABLES, "in one", tables("x.parquet"), (8, 2, None), []),
    (TABLES, "by folders", tables("train/x.parquet", "test/y.parquet"), (10, 10, None), []),
    (TABLES, "by names", tables("train.parquet", "test.parquet"), (10, 10, None), []),
    (
        TABLES,
        "by the hub's names",
        tables(
            "data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"
        ),
        (20, 10, None),
        [],
    ),
    (TABLES, "with names like splits", tables("my_test.parquet", "train.parquet"), (18, 2, None), []),
]

REFUSED_FOLDERS: list[tuple[str, str, Callable[[Path], object], str]] = [
    (TABLES, "damaged", lambda f: put(f, "x.parquet", b"PAR1 damaged PAR1"), "cannot be read as a data set"),
    (
        "Parquet files and images",
        "one of each",
        lambda f: (images(f, top=3), table(f / "x.parquet", 3)),
        "holds images",
    ),
    (METADATA, "without names of files", lambda f: (images(f, top=3), put(f, "metadata.csv", "a\n1\n")), "file_name"),
    (
        METADATA,
        "a file elsewhere",
        lambda f: (images(f, top=3), put(f, "metadata.csv", "file_name\n../x.png\n")),
        "file_name",
    ),
    (
        METADATA,
        "a file that is missing",
        lambda f: (images(f, top=3), put(f, "metadata.csv", "file_name\ngone.png\n00.png\n01.png\n")),
        "gone.png",
    ),
    (
        METADATA,
        "a missing name",
        lambda f: (images(f, top=3), put(f, "metadata.csv", "file_name,b\n00.png,1\n,1\n01.png,1\n")),
        "row 1 has no image|data set",
    ),
    (ENDINGS, "nothing else", lambda f: put(f, "notes.txt", "text"), "there are no images"),
    ("no test split", "one image", lambda f: images(f, top=1), "1 image"),
    ("zip archives", "damaged", lambda f: put(f, "x.zip", b"PK no archive"), "data set"),
]


def test_the_page_has_a_row_for_each_rule_of_folders_and_no_other() -> None:
    assert sorted(rules("What a folder means")) == sorted({case[0] for case in [*FOLDERS, *REFUSED_FOLDERS]})


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("make", "found", "words"), [case[2:] for case in FOLDERS], ids=[f"{rule}: {what}" for rule, what, *_ in FOLDERS]
)
def test_folders_are_taken_by_the_rules(
    tmp_path: Path, make: Callable[[Path], object], found: tuple[int, int, int | None], words: list[str]
) -> None:
    make(tmp_path / "set")
    before = contents(tmp_path)
    data = hub_dataset(str(tmp_path / "set"), channels=1)
    assert (len(data.train), len(data.test), data.classes) == found
    told = "\n".join(data.description)
    assert not [each for each in words if each not in told], told
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("make", "reason"),
    [case[2:] for case in REFUSED_FOLDERS],
    ids=[f"{rule}: {what}" for rule, what, *_ in REFUSED_FOLDERS],
)
def test_folders_without_one_meaning_are_refused(tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
    make(tmp_path / "set")
    with pytest.raises(BadInput, match=reason) as caught:
        hub_dataset(str(tmp_path / "set"), channels=1)
    assert caught.value.next_step or caught.value.expected


def test_a_page_that_declares_configurations_is_heeded(tmp_path: Path) -> None:
    """As a set from the hub has it: its splits are what README.md says, whatever the files are called."""
    table(tmp_path / "one.parquet", 6)
    table(tmp_path / "two.parquet", 4)
    declared = [("train", "one.parquet"), ("test", "two.parquet")]
    files = "".join(f"  - split: {split}\n    path: {name}\n" for split, name in declared)
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n- config_name: small\n  data_files:\n{files}---\n")
    for config in (None, "small"):
        data = hub_dataset(str(tmp_path), config=config, channels=1)
        assert (len(data.train), len(data.test)) == (6, 4)
        assert "splits as README.md declares them" in data.description
    with pytest.raises(BadInput, match="large"):
        hub_dataset(str(tmp_path), config="large")


def test_a_changed_table_is_read_anew(tmp_path: Path) -> None:
    path = table(tmp_path / "x.parquet", 5)
    assert len(hub_dataset(str(path)).train) == 3
    table(path, 8)
    assert len(hub_dataset(str(path)).train) == 6


def test_a_run_says_what_it_understood(tmp_path: Path) -> None:
    images(tmp_path / "set", a=10, b=10)
    told: list[str] = []
    watcher = Watcher()
    watcher.message = told.append  # type: ignore[method-assign]
    experiment = {
        "dataset": {"name": "hub", "path": str(tmp_path / "set"), "channels": 1},
        "model": {"name": "mlp", "width": 4, "depth": 1},
        "enforcer": {"name": "gradient"},
        "training": {"steps": 1, "batch_size": 2},
        "evaluation": {"metrics": []},
    }
    train(experiment, tmp_path / "run", watcher=watcher)
    assert told[-2:] == ["18 images to train on, 2 (every tenth, at least two) to test on", "2 classes: a (10), b (10)"]
