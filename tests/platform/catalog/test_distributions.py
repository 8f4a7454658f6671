"""Environments as they are found: a broken record is told as what it is, and is no fault of the others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from idemlab import Catalog, Failure
from idemlab.catalog.distributions import find_plugins, identity, installed_version, owner_of

Install = Callable[..., None]

POINT = "[idemlab]\nodd = odd\n"
NAMED = "Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n"

BROKEN: dict[str, tuple[dict[str, bytes], str]] = {
    # what is wrong: (files by path, the beginning of what is told)
    "no METADATA": (
        {"odd-1.0.dist-info/entry_points.txt": POINT.encode()},
        "has a broken record: METADATA is missing",
    ),
    "empty METADATA": (
        {"odd-1.0.dist-info/entry_points.txt": POINT.encode(), "odd-1.0.dist-info/METADATA": b""},
        "has a broken record: METADATA is missing, empty or without a name",
    ),
    "no name": (
        {"odd-1.0.dist-info/entry_points.txt": POINT.encode(), "odd-1.0.dist-info/METADATA": b"Version: 1.0\n"},
        "has a broken record: METADATA has no Name",
    ),
    "no version": (
        {"odd-1.0.dist-info/entry_points.txt": POINT.encode(), "odd-1.0.dist-info/METADATA": b"Name: odd\n"},
        "has a broken record: METADATA has no Version",
    ),
    "malformed name": (
        {
            "odd-1.0.dist-info/entry_points.txt": POINT.encode(),
            "odd-1.0.dist-info/METADATA": b"Name: o:d\nVersion: 1\n",
        },
        "has a broken record: METADATA has a malformed name",
    ),
    "METADATA in another encoding": (
        {
            "odd-1.0.dist-info/entry_points.txt": POINT.encode(),
            "odd-1.0.dist-info/METADATA": NAMED.encode() + b"Author: M\xfcller\n",
        },
        "has a broken record: METADATA is not in UTF-8",
    ),
    "METADATA is a folder": (
        {"odd-1.0.dist-info/entry_points.txt": POINT.encode(), "odd-1.0.dist-info/METADATA/x": b""},
        "has a broken record: METADATA is missing",
    ),
    "entry points in another encoding": (
        {
            "odd-1.0.dist-info/entry_points.txt": POINT.encode() + b"# \xfc",
            "odd-1.0.dist-info/METADATA": NAMED.encode(),
        },
        "has a broken record: entry_points.txt is not in UTF-8",
    ),
    "entry points are a folder": (
        {"odd-1.0.dist-info/entry_points.txt/x": b"", "odd-1.0.dist-info/METADATA": NAMED.encode()},
        "has a broken record: entry_points.txt cannot be read: Is a directory",
    ),
    "no equals sign": (
        {"odd-1.0.dist-info/entry_points.txt": b"[idemlab]\nodd\n", "odd-1.0.dist-info/METADATA": NAMED.encode()},
        "line 2 of its entry_points.txt, 'odd', names no module",
    ),
    "no value": (
        {"odd-1.0.dist-info/entry_points.txt": b"[idemlab]\n\nodd =\n", "odd-1.0.dist-info/METADATA": NAMED.encode()},
        "line 3 of its entry_points.txt, 'odd =', names no module",
    ),
    "no name of a plugin": (
        {"odd-1.0.dist-info/entry_points.txt": b"[idemlab]\n= odd\n", "odd-1.0.dist-info/METADATA": NAMED.encode()},
        "line 2 of its entry_points.txt, '= odd', names no module",
    ),
    "no module": (
        {
            "odd-1.0.dist-info/entry_points.txt": b"[idemlab]\nodd = a b!\n",
            "odd-1.0.dist-info/METADATA": NAMED.encode(),
        },
        "line 2 of its entry_points.txt, 'odd = a b!', names no module",
    ),
    "an interrupted pip install": (
        {"~dd-1.0.dist-info/entry_points.txt": POINT.encode(), "~dd-1.0.dist-info/METADATA": NAMED.encode()},
        "is left over from an interrupted pip install",
    ),
    "an egg without PKG-INFO": (
        {"odd.egg-info/entry_points.txt": POINT.encode()},
        "has a broken record: METADATA is missing",
    ),
}


@pytest.fixture
def plant(site: Path) -> Callable[[dict[str, bytes]], None]:
    """A function that writes files below a folder on `sys.path`."""

    def write(files: dict[str, bytes]) -> None:
        for name, content in files.items():
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_bytes(content)

    return write


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_record_is_told_for_that_distribution_alone(
    case: str, plant: Callable[[dict[str, bytes]], None], install: Install, good_code: str, site: Path
) -> None:
    files, told = BROKEN[case]
    install("good", good_code)
    plant(files)
    found = find_plugins([site])
    assert [identity(point.dist) for point in found.entry_points] == [("good", "1.0")]
    (failure,) = found.failures
    assert failure.cause.startswith(told)
    assert str(site) in failure.cause, "the place is told"
    assert failure.plugin.distribution in ("odd", "~dd")
    assert failure.fix
    assert "\n" not in failure.cause + failure.fix
    catalog = Catalog(found.entry_points, found.failures)
    assert catalog.broken == [failure.plugin.distribution]
    assert len([entry for entry in catalog if entry.plugin in catalog.plugins]) == 4
    with pytest.raises(Failure):
        Catalog(found.entry_points, found.failures, strict=True)


HARMLESS: dict[str, dict[str, bytes]] = {
    # none of these has to do with plugins
    "an empty record": {"odd-1.0.dist-info/RECORD": b""},
    "a record without a version in its name": {"odd.dist-info/METADATA": NAMED.encode()},
    "no name at all": {".dist-info/METADATA": NAMED.encode(), ".egg-info/PKG-INFO": b""},
    "other entry points without METADATA": {
        "odd-1.0.dist-info/entry_points.txt": b"[console_scripts]\nodd = odd:main\n"
    },
    "other entry points without value": {"odd-1.0.dist-info/entry_points.txt": b"[console_scripts]\nodd\n"},
    "other entry points in another encoding": {"odd-1.0.dist-info/entry_points.txt": b"[console_scripts]\n# \xfc\n"},
    "no section": {"odd-1.0.dist-info/entry_points.txt": b"odd = odd\n"},
    "an empty section": {"odd-1.0.dist-info/entry_points.txt": b"[idemlab]\n\n# none yet\n"},
    "an egg that is a file": {"odd-1.0.egg-info": NAMED.encode()},
    "a record that is a file": {"odd-1.0.dist-info": NAMED.encode()},
}


@pytest.mark.parametrize("case", list(HARMLESS))
def test_what_has_no_plugins_is_passed_over(
    case: str, plant: Callable[[dict[str, bytes]], None], install: Install, good_code: str, site: Path
) -> None:
    install("good", good_code)
    plant(HARMLESS[case])
    found = find_plugins([site])
    assert [point.name for point in found.entry_points] == ["good"]
    assert found.failures == ()


@pytest.mark.parametrize("suffix", ["odd-1.0.dist-info/METADATA", "odd.egg-info/PKG-INFO"])
def test_records_of_both_kinds_are_read(suffix: str, plant: Callable[[dict[str, bytes]], None], site: Path) -> None:
    plant(
        {suffix: NAMED.encode(), f"{Path(suffix).parent}/entry_points.txt": b"[idemlab]\nodd = odd.sub : hooks [x]\n"}
    )
    (point,) = find_plugins([site]).entry_points
    assert (point.name, point.module, point.attr, identity(point.dist)) == ("odd", "odd.sub", "hooks", ("odd", "1.0"))


def test_the_good_lines_of_a_record_are_kept(plant: Callable[[dict[str, bytes]], None], site: Path) -> None:
    lines = b"[console_scripts]\nbroken\n[idemlab]\na = odd\nb\na = other\nc = odd.c\n[other]\nd\n"
    plant({"odd-1.0.dist-info/METADATA": NAMED.encode(), "odd-1.0.dist-info/entry_points.txt": lines})
    found = find_plugins([site])
    assert [(point.name, point.value) for point in found.entry_points] == [("a", "odd"), ("c", "odd.c")]
    assert [failure.cause.split(" (")[0] for failure in found.failures] == [
        "line 5 of its entry_points.txt, 'b', names no module",
        "line 6 of its entry_points.txt names 'a' a second time",
    ]


def test_of_two_records_in_one_folder_the_newer_counts(plant: Callable[[dict[str, bytes]], None], site: Path) -> None:
    for version in ("9.0", "10.0", "odd"):
        plant(
            {
                f"odd-{version}.dist-info/METADATA": NAMED.replace("1.0", version).encode(),
                f"odd-{version}.dist-info/entry_points.txt": POINT.encode(),
            }
        )
    found = find_plugins([site])
    assert [identity(point.dist) for point in found.entry_points] == [("odd", "10.0")]
    assert [failure.plugin.version for failure in found.failures] == ["9.0", "odd"]
    for failure in found.failures:
        assert failure.cause.startswith("is recorded a second time beside version 10.0, which is used")
        assert failure.fix == f"remove the folder {site / f'odd-{failure.plugin.version}.dist-info'}"


def test_of_two_folders_the_first_counts(tmp_path: Path) -> None:
    for folder, name in (("first", "Odd_Name"), ("second", "odd.name")):
        info = tmp_path / folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(POINT)
    found = find_plugins([tmp_path / "first", tmp_path / "second", tmp_path / "first"])
    assert [identity(point.dist)[0] for point in found.entry_points] == ["Odd_Name"]
    assert found.failures == ()


def test_an_unreadable_record_is_told(
    plant: Callable[[dict[str, bytes]], None], site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own reader takes a file that must not be read for one that is not there."""
    plant({"odd-1.0.dist-info/METADATA": NAMED.encode(), "odd-1.0.dist-info/entry_points.txt": POINT.encode()})

    def refuse(path: Path, *_: object, **__: object) -> str:
        if path.name == "entry_points.txt":
            raise PermissionError(13, os.strerror(13))
        return NAMED

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    (failure,) = find_plugins([site]).failures
    assert failure.cause.startswith("has a broken record: entry_points.txt cannot be read: Permission denied")


def test_a_module_under_two_names_is_told(install: Install, good_code: str, site: Path) -> None:
    install("good", good_code)
    (site / "good-1.0.dist-info" / "entry_points.txt").write_text("[idemlab]\na = good\nb = good\n")
    found = find_plugins([site])
    catalog = Catalog(found.entry_points, found.failures)
    assert [plugin.name for plugin in catalog.plugins] == ["a"]
    (failure,) = catalog.failures
    assert failure.cause == "loads the same module as the plugin good:a"


def test_a_version_is_told_or_said_to_be_missing(plant: Callable[[dict[str, bytes]], None]) -> None:
    plant(
        {
            "odd.py": b"",
            "odd-1.0.dist-info/RECORD": b"odd.py,,\n",
            "odd-1.0.dist-info/METADATA": b"\xff",
            "ok-2.dist-info/RECORD": b"",
        }
    )
    plant({"ok-2.dist-info/METADATA": b"Name: ok\nVersion: 2\n", "ok-2.dist-info/top_level.txt": b"fine"})
    assert installed_version("odd") == "?"
    assert installed_version("ok") == "2"
    assert installed_version("not-there-at-all") is None
    assert installed_version("") is None
    assert owner_of("odd") == "odd"
    assert owner_of("fine") == "ok"
    assert owner_of("not_there_at_all") is None


def test_without_a_distribution_there_is_no_identity() -> None:
    assert identity(None) == ("unknown", "?")
