"""Notes about a folder: unused columns, a folder that is no split, archives that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from idemlab import BadInput
from idemlab_data.hub import hub_dataset

pytestmark = pytest.mark.usefixtures("own_cache")


# -- columns of a table ---------------------------------------------------------------------------------------------------

NO_CLASS = "no classes, since 'label' is not set"
COLUMNS: dict[str, tuple[str, str | None, int | None, str | None]] = {
    # what: (columns beside file_name, argument `label`, classes, what is told)
    "none": ("", None, None, None),
    "label": (
        "label",
        None,
        None,
        f'not used: the column label; {NO_CLASS}: label = "label" takes them from that column',
    ),
    "Class among others": (
        "text,Class",
        None,
        None,
        f'not used: the columns text, Class; {NO_CLASS}: label = "Class" takes them from that column',
    ),
    "text": ("text", None, None, f"not used: the column text; {NO_CLASS} to the column that holds them"),
    "label is used": ("label", "label", 1, None),
    "text beside the label": ("label,text", "label", 1, "not used: the column text"),
    "no classes asked for": ("label", "", None, "not used: the column label"),
    "many": (
        ",".join(f"c{number}" for number in range(20)),
        "c3",
        1,
        "not used: the columns c0, c1, c2, c4, c5, c6, c7, c8 and 11 more",
    ),
}


@pytest.mark.parametrize("case", list(COLUMNS))
def test_a_column_without_use_is_told_with_the_way_to_use_it(case: str, folder: Any) -> None:
    columns, label, classes, told = COLUMNS[case]
    folder.images(top=12)
    names = ["file_name", *filter(None, columns.split(","))]
    lines = [",".join([f"{number:02d}.png", *("same" for _ in names[1:])]) for number in range(12)]
    folder.put("metadata.csv", "\n".join([",".join(names), *lines]) + "\n")
    data = hub_dataset(str(folder.path), channels=1, label=label)
    assert data.classes == classes
    assert [sentence for sentence in data.description if sentence.startswith("not used")] == ([told] if told else [])


# -- one folder alone -----------------------------------------------------------------------------------------------------

ALONE = "no classes: all images lie in one folder, "
NO_SPLIT = ", which is not a split because it is not named train, test or validation"
FOLDERS: dict[str, str | None] = {
    # where all images lie: what is told
    "val": f"{ALONE}val{NO_SPLIT}",
    "valid": f"{ALONE}valid{NO_SPLIT}",
    "Test": f"{ALONE}Test{NO_SPLIT}",
    "cat": f"{ALONE}cat{NO_SPLIT}",
    "set/val": f"{ALONE}val{NO_SPLIT}",
    "train/cat": f"{ALONE}cat",
    "train": None,
    "validation": None,
    ".": None,
}


@pytest.mark.parametrize("place", list(FOLDERS))
def test_one_folder_alone_is_told_to_be_no_class(place: str, folder: Any) -> None:
    folder.images(**{place: 12})
    data = hub_dataset(str(folder.path), channels=1)
    assert data.classes is None
    told = FOLDERS[place]
    assert [each for each in data.description if each.startswith("no classes")] == ([told] if told else [])


# -- archives -------------------------------------------------------------------------------------------------------------

ARCHIVES: dict[str, Callable[[bytes], bytes]] = {
    # what is wrong: made of a whole archive
    "no archive": lambda whole: b"<html>not found</html>",
    "empty": lambda whole: b"",
    "cut off": lambda whole: whole[:-30],
    "damaged list": lambda whole: whole.replace(b"PK\x01\x02", b"PK\x00\x00"),
}


@pytest.mark.parametrize("beside", [0, 4])
@pytest.mark.parametrize("case", list(ARCHIVES))
def test_an_archive_that_cannot_be_read_is_named(case: str, beside: int, folder: Any) -> None:
    folder.images(top=beside)
    broken = ARCHIVES[case](folder.archive("a.zip", 3).read_bytes())
    for name in ("b.zip", "c.ZIP"):
        (folder.path / name).write_bytes(broken)
    with pytest.raises(BadInput, match=r"the archive cannot be read: .*; the same holds for 1 more") as caught:
        hub_dataset(str(folder.path), channels=1)
    assert caught.value.where == str(folder.path / "b.zip")
    assert caught.value.next_step == "replace it, or move it out of the folder"
