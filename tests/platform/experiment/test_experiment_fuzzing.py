"""Experiment files and overrides with anything changed: they resolve, or end in a message that fits on a screen.

`HYPOTHESIS_PROFILE=thorough` runs a hundred and twenty times as many examples.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from idemlab import IdemlabError, installed, resolve

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
pytestmark = pytest.mark.timeout(3600 if THOROUGH else 300)
LINES, LETTERS = 24, 2400
"""A message of at most so many fits on a screen."""

VALID: dict[str, Any] = {
    "summary": "Everything that a file can say.",
    "dataset": {"name": "gaussian", "shape": [4], "train": 64, "test": 32},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "source": [{"name": "gaussian", "scale": 0.5}, {"name": "data"}],
    "enforcer": {"name": "gradient", "weight": 0.5},
    "reconstruction": {"distance": "l1", "weight": 1.0, "input": {"name": "corrupted", "noise": 0.5}},
    "optimizer": {"name": "adam", "lr": 0.01, "betas": [0.5, 0.9]},
    "training": {"steps": 12, "batch_size": 16, "log_every": 4, "trackers": []},
    "evaluation": {"every": 6, "inputs": {"noise": {"name": "gaussian"}}, "metrics": ["reconstruction-error"]},
}
BYTES = tomli_w.dumps(VALID).encode()


def fuzzing(examples: int) -> settings:
    return settings(
        max_examples=examples * 120 if THOROUGH else examples,
        deadline=None,
        derandomize=bool(os.environ.get("CI")) and not THOROUGH,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places in a nested table, its own included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, item in inner for place in paths(item, (*at, key)))]


def changed(value: Any, at: tuple[Any, ...], change: Any) -> Any:
    """A copy in which `change` has been made of the value at a place; None takes it away."""
    if not at:
        return change(value)
    items = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    made = changed(items[at[0]], at[1:], change)
    items[at[0]] = made
    items = {key: item for key, item in items.items() if item is not None}
    return items if isinstance(value, dict) else list(items.values())


WORDS = st.sampled_from(
    [
        "name",
        "weight",
        "scale",
        "base",
        "data",
        "noise",
        "gaussian",
        "mlp",
        "gradient",
        "none",
        "steps",
        "flops",
        "hub",
        "path",
    ]
)
TEXTS = st.one_of(WORDS, st.text(max_size=30), st.text(alphabet="x\n\t\0\x1b/.:~", max_size=80), st.just("x" * 10_000))
SCALARS = st.one_of(
    TEXTS, st.booleans(), st.integers(), st.floats(), st.dates(), st.times(), st.datetimes(),
    st.sampled_from([0, -1, 2**31, 2**63 - 1, 2**63, -(2**70), 1e308, float("inf"), float("nan")]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """The valid table with up to three values changed, taken away, added or wrapped."""
    table: Any = VALID
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from(paths(table)[1:] or [()]))
        kind = draw(st.sampled_from(["replace", "remove", "add", "list", "table", "deep"]))
        value = draw(VALUES)
        key = draw(TEXTS)
        depth = draw(st.integers(1, 60))

        def change(old: Any, kind: str = kind, value: Any = value, key: str = key, depth: int = depth) -> Any:
            if kind == "remove":
                return None
            if kind == "add" and isinstance(old, dict):
                return old | {key: value}
            if kind == "add" and isinstance(old, list):
                return [*old, value]
            if kind == "list":
                return [old]
            if kind == "table":
                return {key: old}
            if kind == "deep":
                for _ in range(depth):
                    old = [old]
                return old
            return value

        if at:
            table = changed(table, at, change)
    return dict(table)


def told_on_a_screen(reference: Any, *overrides: str) -> None:
    """Resolving succeeds, and its file again, or is told on one screen."""
    try:
        experiment = resolve(reference, overrides)
    except IdemlabError as error:
        text = str(error)
        assert len(text) <= LETTERS, text
        assert len(text.splitlines()) <= LINES, text
        assert all(character.isprintable() or character == "\n" for character in text), text
        return
    again = Path("again.toml")
    again.write_text(experiment.to_toml(), encoding="utf-8")
    assert resolve(again).table() == experiment.table()
    again.unlink()


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An empty working directory, which nothing but the test writes to."""
    assert installed().failures == []
    before, folder = Path.cwd(), tmp_path_factory.mktemp("here")
    os.chdir(folder)
    yield folder
    os.chdir(before)
    assert [path.name for path in folder.iterdir() if path.name not in ("mine.toml", "again.toml")] == []


@fuzzing(20)
@given(tables())
def test_a_given_table(table: dict[str, Any]) -> None:
    told_on_a_screen(table)


@fuzzing(13)
@given(tables())
def test_a_file_with_another_table(table: dict[str, Any]) -> None:
    try:
        text = tomli_w.dumps(table)
        content = text.encode()
    except (TypeError, ValueError):  # no file can say this
        return
    Path("mine.toml").write_bytes(content)
    told_on_a_screen("mine.toml")
    assert Path("mine.toml").read_bytes() == content


@fuzzing(20)
@given(
    st.lists(st.tuples(st.integers(0, len(BYTES)), st.integers(0, 20), st.binary(max_size=8)), min_size=1, max_size=4)
)
@example([(0, 0, b"\xef\xbb\xbf")])
@example([(0, 0, b"a = " + b"[" * 3000)])
@example([(0, 0, b"a = " + b"9" * 5000 + b"\n")])
@example([(0, 0, b"a = 0x" + b"f" * 5000 + b"\n")])
@example([(0, len(BYTES), b"")])
@example([(0, len(BYTES), b"model:\n  name: mlp\n")])
def test_a_file_with_other_bytes(changes: list[tuple[int, int, bytes]]) -> None:
    content = BYTES
    for start, length, new in changes:
        content = content[:start] + new + content[start + length :]
    Path("mine.toml").write_bytes(content)
    told_on_a_screen(Path("mine.toml"))
    assert Path("mine.toml").read_bytes() == content


KEYS = st.sampled_from([".".join(map(str, at)) for at in paths(VALID)[1:]])


@fuzzing(20)
@given(
    st.lists(
        st.one_of(
            st.builds("{}={}".format, KEYS, TEXTS),
            st.builds("{}.{}={}".format, KEYS, TEXTS, TEXTS),
            st.builds("{}={}".format, KEYS, VALUES),
            st.text(max_size=60),
        ),
        min_size=1,
        max_size=4,
    )
)
@example(["training.steps=1e400", "enforcer.weight=inf"])
@example(["source.99999999999999999999.scale=1"])
@example(["a" + ".a" * 5000 + "=1"])
@example(["model" + ".a" * 5000 + "=1"])
@example(["model=" + "[" * 5000])
@example(["summary=\udc80"])
@example(["training.steps=" + "9" * 5000])
def test_overrides(overrides: list[str]) -> None:
    told_on_a_screen(VALID, *overrides)


@fuzzing(13)
@given(st.one_of(TEXTS, st.builds("{}/{}".format, TEXTS, TEXTS), st.builds("{}.toml".format, TEXTS)))
@example("~nobody-at-all/x.toml")
@example("~\0")
@example("https://host.org/" + "x" * 5000)
def test_a_reference(reference: str) -> None:
    told_on_a_screen(reference)
    told_on_a_screen({"base": reference})
