"""What folders mean, by the table of docs/data.md: each row has its variants here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from idemlab import BadInput, train
from idemlab.watching.watcher import Watcher
from idemlab_data.hub import hub_dataset

pytestmark = pytest.mark.usefixtures("own_cache")

Fill = Callable[[Any], object]
"""Fills the folder of the fixture `folder`."""


# -- folders: (rule, variant, make, (train, test, classes), words of the description) -------------------------------------


def link_out(f: Any) -> None:
    f.images(top=4)
    f.put("../outside/secret.png")
    outside = f.path.parent / "outside"
    os.symlink(outside / "secret.png", f.path / "z.png")
    os.symlink(outside, f.path / "linked")
    os.symlink(f.path / "gone", f.path / "y.png")
    os.symlink("x.png", f.path / "x.png")
    f.put(".hidden.png")
    f.put(".cache/1.png")
    os.mkfifo(f.path / "pipe.png")


def captions(count: int, suffix: str) -> Fill:
    def make(f: Any) -> None:
        f.images(top=count)
        for number in range(count):
            f.put(f"{number:02d}{suffix}", "a,b\n1,2\n")

    return make


def listed(suffix: str, count: int) -> Fill:
    def make(f: Any) -> None:
        f.images(top=12)
        names = [f"{number:02d}.png" for number in range(count)]
        if suffix == "csv":
            f.put("metadata.csv", "file_name,text\n" + "".join(f"{name},a\n" for name in names))
        elif suffix == "jsonl":
            f.put("metadata.jsonl", "".join(f'{{"file_name": "{name}", "text": "a"}}\n' for name in names))
        else:
            parquet.write_table(pa.table({"file_name": names}), f.path / "metadata.parquet")

    return make


def tables(*names: str) -> Fill:
    return lambda f: [f.table(name, 10) for name in names]


SPLITS, CLASSES = "folders named train, test, validation", "other folders at the top, or in a split"
ENDINGS, TABLES = "files with other endings", "Parquet files"
METADATA = "metadata.csv, metadata.jsonl, metadata.parquet"
HIDDEN = "hidden files, links out of the folder or to nothing"

FOLDERS: list[tuple[str, str, Fill, tuple[int, int, int | None], list[str]]] = [
    (
        SPLITS,
        "both",
        lambda f: f.images(train=6, test=3),
        (6, 3, None),
        ["6 images of split 'train'", "3 of split 'test'"],
    ),
    (SPLITS, "with classes", lambda f: f.images(train__a=3, train__b=3, test__a=2), (6, 2, 2), ["a (5), b (3)"]),
    (SPLITS, "train alone", lambda f: f.images(train=20), (18, 2, None), ["every tenth"]),
    (SPLITS, "capitals are classes", lambda f: f.images(Train=10, Test=10), (18, 2, 2), ["Test (10), Train (10)"]),
    (
        SPLITS,
        "val is a class",
        lambda f: f.images(train=10, val=10),
        (18, 2, 2),
        ["train: no split, since val beside it"],
    ),
    (
        SPLITS,
        "a folder without files beside",
        lambda f: (f.images(train=6, test=3), (f.path / "x").mkdir()),
        (6, 3, None),
        [],
    ),
    (
        CLASSES,
        "that look like splits",
        lambda f: f.images(**{"beaker": 10, "flask": 10, "test-tube": 10}),
        (27, 3, 3),
        ["test-tube (10)"],
    ),
    (CLASSES, "train_station", lambda f: f.images(harbour=10, train_station=10), (18, 2, 2), ["train_station (10)"]),
    (CLASSES, "dev, eval", lambda f: f.images(dev=10, eval=10), (18, 2, 2), ["dev (10), eval (10)"]),
    (CLASSES, "of one file each", lambda f: f.images(a=1, b=1, c=1), (1, 2, 3), ["a (1), b (1), c (1)"]),
    (CLASSES, "one with folders in it", lambda f: f.images(a=5, b__x=3, b__y=2), (8, 2, 2), ["a (5), b (5)"]),
    (CLASSES, "one is not two", lambda f: f.images(cat=10), (8, 2, None), []),
    (CLASSES, "with signs of patterns", lambda f: f.images(**{"a[1]*": 10, "b?{x}": 10}), (18, 2, 2), ["a[1]* (10)"]),
    (CLASSES, "not in Latin letters", lambda f: f.images(кот=10, 犬=10), (18, 2, 2), ["кот (10), 犬 (10)"]),
    (
        "one folder in which everything lies",
        "above classes",
        lambda f: f.images(set__a=10, set__b=10),
        (18, 2, 2),
        ["all images lie in set"],
    ),
    (
        "one folder in which everything lies",
        "above splits",
        lambda f: f.images(set__data__train=5, set__data__test=4),
        (5, 4, None),
        ["all images lie in set/data"],
    ),
    (
        "images beside splits",
        "one",
        lambda f: f.images(top=1, train=5, test=4),
        (5, 4, None),
        ["left out, beside the folders of the splits: 00.png"],
    ),
    (
        "images beside class folders",
        "some",
        lambda f: f.images(top=2, a=9, b=9),
        (18, 2, None),
        ["no classes: 2 images beside"],
    ),
    (
        "no test split",
        "names like splits",
        lambda f: ([f.put(f"pregnancy test {k}.png") for k in range(20)], f.put("x.png")),
        (19, 2, None),
        ["every tenth"],
    ),
    (
        "no test split",
        "named test and train",
        lambda f: [f.put(f"{k}.png") for k in ("test", "train", "a_test", "val")],
        (2, 2, None),
        [],
    ),
    (
        "test and validation",
        "three splits",
        lambda f: f.images(train=5, test=4, validation=3),
        (5, 4, None),
        ["left out, since 'test' is the split to test on: validation/00.png and 2 more"],
    ),
    (
        "test and validation",
        "validation alone",
        lambda f: f.images(train=5, validation=3),
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
    ("zip archives", "one", lambda f: f.archive("images.zip", 20), (18, 2, None), []),
    (
        HIDDEN,
        "all of them",
        link_out,
        (2, 2, None),
        [
            "left out, hidden: .cache and 1 more",
            "links that lead nowhere: x.png and 1 more",
            "links that lead out of the folder: z.png",
            "not followed: linked",
            "neither files nor folders: pipe.png",
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

REFUSED_FOLDERS: list[tuple[str, str, Fill, str]] = [
    (TABLES, "damaged", lambda f: f.put("x.parquet", b"PAR1 damaged PAR1"), "cannot be read as a data set"),
    (
        "Parquet files and images",
        "one of each",
        lambda f: (f.images(top=3), f.table("x.parquet", 3)),
        "holds images",
    ),
    (METADATA, "without names of files", lambda f: (f.images(top=3), f.put("metadata.csv", "a\n1\n")), "file_name"),
    (
        METADATA,
        "a file elsewhere",
        lambda f: (f.images(top=3), f.put("metadata.csv", "file_name\n../x.png\n")),
        "file_name",
    ),
    (
        METADATA,
        "a file that is missing",
        lambda f: (f.images(top=3), f.put("metadata.csv", "file_name\ngone.png\n00.png\n01.png\n")),
        "gone.png",
    ),
    (
        METADATA,
        "a missing name",
        lambda f: (f.images(top=3), f.put("metadata.csv", "file_name,b\n00.png,1\n,1\n01.png,1\n")),
        "row 1 has no image|data set",
    ),
    (ENDINGS, "nothing else", lambda f: f.put("notes.txt", "text"), "there are no images"),
    ("no test split", "one image", lambda f: f.images(top=1), "1 image"),
    ("zip archives", "damaged", lambda f: f.put("x.zip", b"PK no archive"), "data set"),
]


def test_the_page_has_a_row_for_each_rule_of_folders_and_no_other(rules: Callable[[str], list[str]]) -> None:
    assert sorted(rules("What a folder means")) == sorted({case[0] for case in [*FOLDERS, *REFUSED_FOLDERS]})


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("make", "found", "words"), [case[2:] for case in FOLDERS], ids=[f"{rule}: {what}" for rule, what, *_ in FOLDERS]
)
def test_folders_are_taken_by_the_rules(
    tmp_path: Path, folder: Any, make: Fill, found: tuple[int, int, int | None], words: list[str]
) -> None:
    make(folder)
    before = contents(tmp_path)
    data = hub_dataset(str(folder.path), channels=1)
    assert (len(data.train), len(data.test), data.classes) == found
    told = "\n".join(data.description)
    assert not [each for each in words if each not in told], told
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("make", "reason"),
    [case[2:] for case in REFUSED_FOLDERS],
    ids=[f"{rule}: {what}" for rule, what, *_ in REFUSED_FOLDERS],
)
def test_folders_without_one_meaning_are_refused(folder: Any, make: Fill, reason: str) -> None:
    make(folder)
    with pytest.raises(BadInput, match=reason) as caught:
        hub_dataset(str(folder.path), channels=1)
    assert caught.value.next_step or caught.value.expected


def test_a_page_that_declares_configurations_is_heeded(folder: Any) -> None:
    """As a set from the hub has it: its splits are what README.md says, whatever the files are called."""
    folder.table("one.parquet", 6)
    folder.table("two.parquet", 4)
    declared = [("train", "one.parquet"), ("test", "two.parquet")]
    files = "".join(f"  - split: {split}\n    path: {name}\n" for split, name in declared)
    folder.put("README.md", f"---\nconfigs:\n- config_name: small\n  data_files:\n{files}---\n")
    for config in (None, "small"):
        data = hub_dataset(str(folder.path), config=config, channels=1)
        assert (len(data.train), len(data.test)) == (6, 4)
        assert "splits as README.md declares them" in data.description
    with pytest.raises(BadInput, match="large"):
        hub_dataset(str(folder.path), config="large")


def test_a_changed_table_is_read_anew(folder: Any) -> None:
    path = folder.table("x.parquet", 5)
    assert len(hub_dataset(str(path)).train) == 3
    folder.table("x.parquet", 8)
    assert len(hub_dataset(str(path)).train) == 6


def test_a_run_says_what_it_understood(tmp_path: Path, folder: Any) -> None:
    folder.images(a=10, b=10)
    told: list[str] = []
    watcher = Watcher()
    watcher.message = told.append  # type: ignore[method-assign]
    experiment = {
        "dataset": {"name": "hub", "path": str(folder.path), "channels": 1},
        "model": {"name": "mlp", "width": 4, "depth": 1},
        "enforcer": {"name": "gradient"},
        "training": {"steps": 1, "batch_size": 2},
        "evaluation": {"metrics": []},
    }
    train(experiment, tmp_path / "run", watchers=[watcher])
    assert told[-2:] == ["18 images to train on, 2 (every tenth, at least two) to test on", "2 classes: a (10), b (10)"]
