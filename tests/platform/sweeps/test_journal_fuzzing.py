"""The journal of a sweep with anything changed in it: `status` tells in one screen, and the sweep goes on or is refused.

`HYPOTHESIS_PROFILE=thorough` runs sixty times as many examples.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from idemlab import Sweep, run_sweep
from idemlab.cli import app
from idemlab.sweeps import journal

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
VARIED = ("--over", "optimizer.lr=0.001,0.01")
SCREEN = 40
"""Lines that fit on a screen: a table of the trials, and a line for each damage."""

pytestmark = pytest.mark.timeout(0 if THOROUGH else 300)

Change = Callable[[bytes], bytes]


def fuzzing(examples: int) -> settings:
    return settings(
        max_examples=examples * 60 if THOROUGH else examples,
        deadline=None,
        derandomize=bool(os.environ.get("CI")) and not THOROUGH,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking an example takes minutes
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished sweep of two trials; not to be written to."""
    table = {
        "dataset": {"name": "gaussian", "shape": [2], "train": 8, "test": 4},
        "model": {"name": "linear"},
        "enforcer": {"name": "gradient"},
        "training": {"steps": 1, "batch_size": 4},
        "evaluation": {"rank_points": 0},
    }
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "tiny.toml").write_text(tomli_w.dumps(table))
    run_sweep(Sweep(experiment=str(folder / "tiny.toml"), over={"optimizer.lr": [1e-3, 1e-2]}), folder / "sweep")
    return folder


# -- what becomes of a journal -------------------------------------------------------------------------------------------

PLACES = st.integers(0, 2**16)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 2**70), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)),
    max_leaves=3,
)


def cut(place: int, by: bytes, length: int) -> Change:
    """Other bytes in the place of some."""

    def change(content: bytes) -> bytes:
        start = place % (len(content) + 1)
        return content[:start] + by + content[start + length :]

    return change


def rearranged(place: int, other: int, how: str) -> Change:
    """A line lost, told twice, moved, or without its end."""

    def change(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True) or [b""]
        line = lines.pop(place % len(lines))
        at = other % (len(lines) + 1)
        put = {"lost": [], "twice": [line, line], "moved": [line], "joined": [line.rstrip(b"\n")]}[how]
        return b"".join([*lines[:at], *put, *lines[at:]])

    return change


def altered(place: int, key: int, value: object) -> Change:
    """An operation that says something else under one of its keys."""

    def change(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True) or [b"{}"]
        at = place % len(lines)
        try:
            log = json.loads(lines[at])
            log[sorted(log)[key % len(log)]] = value
        except (ValueError, TypeError, AttributeError, ZeroDivisionError, IndexError):
            return content
        return b"".join([*lines[:at], json.dumps(log).encode() + b"\n", *lines[at + 1 :]])

    return change


CHANGES = st.one_of(
    st.builds(cut, PLACES, st.binary(max_size=8), st.one_of(st.integers(0, 8), st.just(2**20))),
    st.builds(cut, PLACES, st.just(b"\0" * 512), st.sampled_from([0, 512])),
    st.builds(rearranged, PLACES, PLACES, st.sampled_from(["lost", "twice", "moved", "joined"])),
    st.builds(altered, PLACES, PLACES, VALUES),
)


def called(*arguments: str | Path) -> str:
    """What the command line says; it ends as it says it does."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 1, 2), result.output
    assert "Traceback" not in result.output, result.output
    assert "bug in idemlab" not in result.output, result.output
    assert len(result.output.splitlines()) <= SCREEN, result.output
    return result.output


# -- the property --------------------------------------------------------------------------------------------------------


@pytest.mark.long
@fuzzing(2)
@given(changes=st.lists(CHANGES, min_size=1, max_size=3))
@example(changes=[cut(0, b"", 2**20)])
@example(changes=[cut(0, b"\0" * 4096, 2**20)])
@example(changes=[cut(26, b"\x80", 0)])  # not UTF-8, inside a text
def test_any_journal(changes: list[Change], whole: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "sweep")
        shutil.copytree(whole / "sweep", folder)
        file = folder / journal.JOURNAL
        content = file.read_bytes()
        for change in changes:
            content = change(content)
        file.write_bytes(content)
        called("status", folder)
        assert file.read_bytes() == content, "reading writes nothing"
        damage = journal.read(file).damage
        called("sweep", whole / "tiny.toml", *VARIED, "--out", folder, "--resume")
        copies = [copy.read_bytes() for copy in folder.glob("journal-damaged*.log")]
        assert copies == ([content] if damage else []), "what was there before is still readable"
        assert not journal.read(file).damage, "what was mended is whole"
        called("status", folder)
