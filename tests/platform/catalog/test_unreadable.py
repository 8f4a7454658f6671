"""Distributions whose entry points Python cannot read. Other packages fail; idemlab names the distribution and goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from idemlab import Catalog, DatasetSpec, Failure
from idemlab.catalog import unreadable as module
from idemlab.catalog.unreadable import scan_failure, spare_imports, unreadable

NAMED = "Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n"

BROKEN: dict[str, tuple[bytes, str]] = {
    # what is wrong: (entry_points.txt, what is told)
    "undecodable": (b"[console_scripts]\nfine = a:b\n\xff\xfe = x:y\n", "line 3 is not in UTF-8"),
    "undecodable comment": (b"# \xfc\n[console_scripts]\n", "line 1 is not in UTF-8"),
    "no equals sign": (b"[a]\n# fine\nb = c\n\n[d]\nodd one\n", "line 6, 'odd one', has no '='"),
}


@pytest.fixture
def fresh(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on `sys.path` for distributions. Nothing of earlier scans is remembered."""
    monkeypatch.setattr(module, "_told", [])
    unreadable.cache_clear()
    yield site
    unreadable.cache_clear()


def plant(site: Path, content: bytes, folder: str = "odd-1.0.dist-info") -> Path:
    (site / folder).mkdir(parents=True)
    (site / folder / "METADATA").write_text(NAMED)
    (site / folder / "entry_points.txt").write_bytes(content)
    return site / folder / "entry_points.txt"


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_distribution_is_named_with_its_file_and_line(case: str, fresh: Path) -> None:
    content, fault = BROKEN[case]
    file = plant(fresh, content)
    (found,) = unreadable()
    assert (found.name, found.version, found.file, found.fault) == ("odd", "1.0", str(file), fault)
    with pytest.raises((UnicodeDecodeError, TypeError, ValueError)) as raised:
        entry_points(group="x")
    told = scan_failure(raised.value)
    assert told is not None
    assert told.where == str(file)
    assert fault in told.what
    assert str(file.parent) in str(told.next_step)


def test_what_no_scan_reads_is_no_fault(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One record is complete. The broken one is hidden by an earlier folder."""
    plant(fresh, b"[console_scripts]\nfine = odd:main\n")
    plant(tmp_path / "later", BROKEN["undecodable"][0], "Odd-0.9.dist-info")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "later")])
    entry_points(group="x")
    assert unreadable() == ()
    environment: dict[str, str] = {}
    assert spare_imports(environment) == ()
    assert environment == {}


def test_other_errors_are_none_of_a_distribution(fresh: Path) -> None:
    plant(fresh, BROKEN["undecodable"][0])
    with pytest.raises(UnicodeDecodeError) as raised:
        b"\xff".decode()
    assert scan_failure(raised.value) is None


def test_the_imports_are_spared_once_and_the_users_choice_stands(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(fresh, BROKEN["undecodable"][0])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    environment = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "1"}
    assert [each.name for each in spare_imports(environment)] == ["odd"]
    assert environment == {
        "TORCH_DEVICE_BACKEND_AUTOLOAD": "1",
        "TRITON_BACKENDS_IN_TREE": "1",
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
    }
    assert spare_imports(environment) == (), "told once"


def test_a_plugin_that_scans_is_not_blamed(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = plant(fresh, BROKEN["no equals sign"][0])
    (fresh / "scanner.py").write_text("import importlib.metadata\nimportlib.metadata.entry_points(group='x')\n")
    catalog = Catalog([EntryPoint("scanner", "scanner", "idemlab")])
    (failure,) = catalog.failures
    assert "the distribution odd 1.0 has a broken entry_points.txt" in failure.cause
    assert str(file.parent) in failure.fix

    def scanning() -> object:
        return entry_points(group="x")

    monkeypatch.setenv("PYDANTIC_DISABLE_PLUGINS", "__all__")
    larger = Catalog([]).including(DatasetSpec(name="scans", factory=scanning, summary="Scans."))
    with pytest.raises(Failure, match=r"the distribution odd 1\.0 has a broken") as raised:
        larger.check("dataset", {"name": "scans"}, "dataset").build()
    assert raised.value.where == str(file)


@pytest.mark.long
@pytest.mark.parametrize(
    "case", [case if case == "undecodable" else pytest.param(case, marks=pytest.mark.slow) for case in BROKEN]
)
def test_a_command_and_a_call_go_on(case: str, tmp_path: Path) -> None:
    """A new process, where torch and pydantic still have to look for their own plugins."""
    file = plant(tmp_path / "site", BROKEN[case][0])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(tmp_path / "site")])}
    for name in ("TORCH_DEVICE_BACKEND_AUTOLOAD", "TRITON_BACKENDS_IN_TREE", "PYDANTIC_DISABLE_PLUGINS"):
        environment.pop(name, None)
    for arguments in (
        ["-m", "idemlab", "doctor", "mlp-hybrid"],
        ["-c", "import idemlab; idemlab.resolve('mlp-hybrid'); idemlab.train; print('samples to train on')"],
    ):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "samples to train on" in done.stdout
        assert "Traceback" not in done.stderr
        assert done.stderr.count(f"broken entry_points.txt: {BROKEN[case][1]} ({file})") == 1
