"""Files that are not there or not TOML, and paths that stand in files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idemlab import BadInput, Catalog, resolve

Write = Callable[[str, str], Path]
Refused = Callable[..., BadInput]

LEAST = 'model = "net"\n[training]\nsteps = 5\n'

# -- a file that is not there ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "nearest"),
    [
        ("papr.toml", None),
        ("string.toml", None),
        ("paper.toml", "paper"),
        ("data/paper.toml", "paper"),
        (Path("papr"), None),
        ("lab/frist.toml", "lab/first.toml"),
        ("lab/first", "lab/first.toml"),
        ("lab/frist.yaml", "lab/first.toml"),
        ("runs/mondy", "runs/monday"),
        ("runs/paper", None),
        ("./paper", None),
        ("./runs/mondy", "runs/monday"),
        ("gone/first.toml", None),
        ("/no/such/place.toml", None),
    ],
)
def test_a_missing_file_is_told_with_where_it_was_looked_for(
    reference: str | Path, nearest: str | None, write: Write, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("lab/first.toml", LEAST)
    monkeypatch.chdir(write("runs/monday/experiment.toml", LEAST).parents[2])
    error = refused(reference)
    assert error.what == f"there is no file '{Path(reference)}'"
    assert error.where == f"looked for at {Path.cwd() / reference}"
    assert error.nearest == nearest, "a path for a path; an experiment only if it is called exactly so"
    assert "idemlab list experiments" in str(error.next_step)


def test_a_missing_base_is_looked_for_beside_its_file(write: Write, refused: Refused) -> None:
    write("lab/first.toml", LEAST)
    path = write("lab/second.toml", 'base = "frist.toml"')
    error = refused(path)
    assert error.where == f"{path}, key 'base', looked for at {path.with_name('frist.toml')}"
    assert error.nearest == str(path.with_name("first.toml"))


@pytest.mark.parametrize("address", ["https://host.org/sorting.toml", "hf://me/sorting", "git@host.org:me/sorting"])
def test_an_address_is_no_file(address: str, refused: Refused) -> None:
    error = refused(address)
    assert error.what == f"'{address}' is an address: experiments are read from files"
    assert error.nearest is None
    assert error.next_step == "download the file and give its path"


@pytest.mark.parametrize(
    "reference", ["x" * 5000, "y" * 5000 + ".toml", "a\0b", "a\0/b.toml", "\ud800", Path("x" * 5000)]
)
def test_what_no_file_can_be_called_is_a_missing_file(reference: Any, refused: Refused) -> None:
    assert len(str(refused(reference))) < 1000


# -- a file in another format -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "what", "expected"),
    [
        ("a.yaml", b"model:\n  name: mlp\n  width: 3\n", "this is YAML", '[model] on a line, and below it name = "mlp"'),
        ("a.toml", b"# mine\n\ntraining:  # how\n\n    steps: 100 # few\n", "this is YAML",
         "[training] on a line, and below it steps = 100"),
        ("a.toml", b"model: 'mlp'\r\ndataset: digits\r\n", "this is YAML", 'model = "mlp"'),
        ("a.yml", b"- 1\n- 2\n", "this is YAML", '[model] on a line, and below it name = "mlp"'),
        ("a.json", b'{"training": {"steps": 5}}', "this is JSON", "[training] on a line, and below it steps = 5"),
        ("a.toml", b'{"model": "mlp"}', "this is JSON", '[model] on a line, and below it name = "mlp"'),
        ("a.toml", b"{", "this is JSON", '[model] on a line, and below it name = "mlp"'),
        ("a.toml", b"[model\nname = 3", "not valid TOML: Expected ']'", None),
        ("a.toml", b"steps = 1\nsteps = 2", "not valid TOML: Cannot overwrite a value (at", None),
        ("a.toml", b"steps = " + b"9" * 5000, "not valid TOML: Exceeds the limit", None),
        ("a.toml", b"x = " + b"[" * 5000, "tables and lists are nested more than 32 deep", None),
        ("a.toml", b"x = " + b"[" * 50 + b"]" * 50, "tables and lists are nested more than 32 deep", None),
        ("a.toml", b"model: 3\nwidth = 5", "not valid TOML: Expected '='", None),
        ("a.toml", b"summary = '\xff'", "is not UTF-8 text: 'utf-8' codec can't decode byte 0xff", None),
        ("a.toml", 'summary = "x"'.encode("utf-16"), "is not UTF-8 text", None),
        ("a.toml", b"\x89PNG\r\n\x1a\n\0\0", "is not UTF-8 text", None),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_toml_is_told_as_what_it_is(
    name: str, content: bytes, what: str, expected: str | None, refused: Refused, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    error = refused(path)
    assert error.what.startswith(what)
    assert error.expected == expected
    assert error.where == str(path)


def test_a_mark_of_byte_order_is_no_fault(shop: Catalog, tmp_path: Path) -> None:
    """Windows' editors write one."""
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf" + ('dataset = "balls"\n' + LEAST).encode())
    assert resolve(tmp_path / "a.toml", catalog=shop).training.steps == 5


def test_a_table_that_holds_itself_is_told(refused: Refused) -> None:
    table: dict[str, Any] = {"model": "net"}
    table["dataset"] = table
    assert refused(table).what == "tables and lists are nested more than 32 deep"


# -- paths ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in which no file of the test lies."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def root(reference: Any, catalog: Catalog, *overrides: str) -> Any:
    return resolve(reference, overrides, catalog=catalog).dataset.arguments["root"]


@pytest.mark.parametrize(
    ("written", "found"),
    [("data", "lab/data"), ("./data", "lab/data"), ("../data", "data"), (".", "lab"), ("a/../b", "lab/b")],
)
def test_a_path_is_relative_to_its_file(
    written: str, found: str, shop: Catalog, write: Write, elsewhere: Path, tmp_path: Path
) -> None:
    path = write("lab/mine.toml", f'dataset = {{ name = "balls", root = "{written}" }}\n{LEAST}')
    assert root(path, shop) == tmp_path / found
    assert root(os.path.relpath(path), shop) == tmp_path / found


def test_an_absolute_path_and_one_from_home_stay(shop: Catalog, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for written, found in (("/data/faces", "/data/faces"), ("~/faces", "/home/me/faces")):
        path = write("mine.toml", f'dataset = {{ name = "balls", root = "{written}" }}\n{LEAST}')
        assert root(path, shop) == Path(found)


def test_a_path_of_a_base_is_relative_to_the_base(shop: Catalog, write: Write, elsewhere: Path, tmp_path: Path) -> None:
    write("lab/base.toml", f'dataset = {{ name = "balls", root = "data" }}\n{LEAST}')
    child = write("mine/child.toml", 'base = "../lab/base.toml"\n[dataset]\ncount = 3')
    assert root(child, shop) == tmp_path / "lab" / "data"
    child = write("mine/child.toml", 'base = "../lab/base.toml"\n[dataset]\nroot = "own"')
    assert root(child, shop) == tmp_path / "mine" / "own"


def test_a_path_of_an_override_or_a_table_is_relative_to_the_working_directory(
    shop: Catalog, write: Write, elsewhere: Path
) -> None:
    path = write("lab/mine.toml", f'dataset = "balls"\n{LEAST}')
    assert root(path, shop, "dataset.root=data") == elsewhere / "data"
    table = {"dataset": {"name": "balls", "root": "data"}, "model": "net", "training": {"steps": 5}}
    assert root(table, shop) == elsewhere / "data"
    assert root(table | {"dataset": {"name": "balls", "root": Path("data")}}, shop) == elsewhere / "data"


def test_a_resolved_file_means_the_same_wherever_it_lies(
    shop: Catalog, write: Write, elsewhere: Path, tmp_path: Path
) -> None:
    path = write("lab/mine.toml", f'dataset = {{ name = "balls", root = "data" }}\n{LEAST}')
    resolved = write("runs/first/experiment.toml", resolve(path, catalog=shop).to_toml())
    assert root(resolved, shop) == root(resolved.parent, shop) == tmp_path / "lab" / "data"


def test_paths_are_found_at_every_depth(
    install: Callable[..., None], catalog: Callable[..., Catalog], write: Write, elsewhere: Path, tmp_path: Path
) -> None:
    install(
        "deep",
        """
        from pathlib import Path
        from idemlab import DatasetSpec, EnforcerSpec, MetricSpec, ModelSpec, SourceSpec, hookimpl

        def files(of: list[Path], by: dict[str, Path] | None = None, pair: tuple[Path, int] | None = None,
                  at: Path = Path("default"), text: str = "text",
                  near: Path | str = "hub/set", far: Path | str = "hub/set"): ...
        def net(shape: tuple[int, ...]): ...
        def none(): ...
        def data(): ...
        def kept(file: Path): ...
        def holds(members: "list[Enforcer]"): ...
        def judged(weights: Path | None = None): ...

        @hookimpl
        def provide_datasets(): yield DatasetSpec(name="files", factory=files, summary="")
        @hookimpl
        def provide_models(): yield ModelSpec(name="net", factory=net, summary="")
        @hookimpl
        def provide_enforcers():
            yield EnforcerSpec(name="none", factory=none, summary="")
            yield EnforcerSpec(name="holds", factory=holds, summary="")
            yield EnforcerSpec(name="judge", factory=judged, summary="")
        @hookimpl
        def provide_sources():
            yield SourceSpec(name="data", factory=data, summary="")
            yield SourceSpec(name="kept", factory=kept, summary="")
        @hookimpl
        def provide_metrics(): yield MetricSpec(name="judged", factory=judged, summary="")
        """,
    )
    write("lab/b", "something of this name")
    path = write(
        "lab/mine.toml",
        """
        model = "net"
        dataset = { name = "files", of = ["a", "b"], by = { x = "c" }, pair = ["d", 3], text = "e", near = "b" }
        enforcer = { name = "holds", members = [{ name = "judge", weights = "w" }] }
        source = [{ name = "kept", file = "s" }]
        [training]
        steps = 5
        [reconstruction]
        input = { name = "kept", file = "u" }
        [evaluation]
        inputs = { x = { name = "kept", file = "i" } }
        metrics = [{ name = "judged", weights = "m" }]
        """,
    )
    found = resolve(path, catalog=catalog(strict=True))
    lab = tmp_path / "lab"
    assert found.dataset.arguments == {
        "of": [lab / "a", lab / "b"],
        "by": {"x": lab / "c"},
        "pair": (lab / "d", 3),
        "at": elsewhere / "default",
        "text": "e",
        "near": lab / "b",
        "far": "hub/set",
    }
    assert found.enforcer.arguments["members"][0].arguments["weights"] == lab / "w"
    assert found.sources[0].arguments["file"] == lab / "s"
    assert found.corruption.arguments["file"] == lab / "u"
    assert found.inputs["x"].arguments["file"] == lab / "i"
    assert found.metrics[0].arguments["weights"] == lab / "m"


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ("https://host.org/x.zip", "'https://host.org/x.zip' is an address, not a path"),
        ("a\\u0000b", "no path holds a null character"),
        ("~\\u0000", "no path holds a null character"),
    ],
)
def test_what_is_no_path_is_told(written: str, what: str, write: Write, refused: Refused) -> None:
    path = write("mine.toml", f'dataset = {{ name = "balls", root = "{written}" }}\n{LEAST}')
    error = refused(path)
    assert error.what == f"dataset 'balls': 'root': {what}"
    assert error.where == f"{path}, [dataset], key 'root'"
