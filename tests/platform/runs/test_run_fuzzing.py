"""Run folders with any one file damaged: what is read of them is right or told, and the rest stays as it was.

`HYPOTHESIS_PROFILE=thorough` runs eighty times as many examples.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from idemlab import IdemlabError, Run, compare, installed, load, resolve, train, write_report
from idemlab.runs.changes import changes
from idemlab.runs.summary import summarise

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
pytestmark = pytest.mark.timeout(3600 if THOROUGH else 300)


def fuzzing(examples: int) -> settings:
    return settings(
        max_examples=examples * 80 if THOROUGH else examples,
        deadline=None,
        derandomize=bool(os.environ.get("CI")) and not THOROUGH,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a smaller example is not worth the minutes
    )


TINY: dict[str, Any] = {
    "dataset": {"name": "gaussian", "shape": [4], "train": 64, "test": 32},
    "model": {"name": "mlp", "width": 4, "depth": 1},
    "enforcer": {"name": "gradient"},
    "training": {"steps": 4, "batch_size": 16, "log_every": 2, "checkpoint_every": 2},
    "evaluation": {"every": 2, "rank_points": 1, "metrics": ["reconstruction-error"]},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    return train(TINY, tmp_path_factory.mktemp("runs") / "whole").path


FILES = st.sampled_from(
    ["experiment.toml", "environment.json", "metrics.jsonl", "certificate.json", "operator.safetensors"]
)


def nested(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, item in inner for place in nested(item, (*at, key)))]


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes | None]:
    """What becomes of a file: cut short, overwritten in part or wholly, gone, or one value of its JSON another."""
    kind = draw(st.sampled_from(["cut", "bytes", "all", "gone", "json", "json"]))
    share, new = draw(st.floats(0, 1)), draw(st.binary(min_size=1, max_size=20))
    value = draw(st.sampled_from([None, 0, -1, 1e400, "x", [], {}, [1], {"a": 1}, True, "\x1b[31m", 10**30]))
    pick = draw(st.integers(0, 10_000))

    def damage(content: bytes) -> bytes | None:
        start = int(share * len(content))
        if kind == "gone":
            return None
        if kind == "cut":
            return content[:start]
        if kind == "all":
            return new
        if kind == "json":
            try:
                table = json.loads(content)
            except ValueError:
                return content[:start]
            at = nested(table)[pick % len(nested(table))]
            if not at:
                return json.dumps(value).encode()
            holder = table
            for key in at[:-1]:
                holder = holder[key]
            if pick % 3:
                holder[at[-1]] = value
            else:
                del holder[at[-1]]
            return json.dumps(table).encode()
        return content[:start] + new + content[start + len(new) :]

    return damage


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def told_on_a_screen(call: Callable[[], object]) -> None:
    try:
        call()
    except IdemlabError as error:
        text = str(error)
        assert len(text) <= 2400, text
        assert len(text.splitlines()) <= 24, text
        assert all(character.isprintable() or character == "\n" for character in text), text


def damaged(whole: Path, folder: Path, name: str, damage: Callable[[bytes], bytes | None]) -> Path:
    run = folder / "run"
    shutil.copytree(whole, run)
    content = damage((run / name).read_bytes())
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_bytes(content)
    return run


@fuzzing(15)
@given(name=FILES, damage=damages())
def test_what_is_read_of_a_damaged_run_is_right_or_told(
    whole: Path, name: str, damage: Callable[[bytes], bytes | None]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = damaged(whole, Path(folder), name, damage)
        before = contents(Path(folder))
        for part in ("experiment", "metrics", "certificate", "environment", "shape", "range"):
            told_on_a_screen(lambda part=part: getattr(Run.open(run), part))
        told_on_a_screen(lambda: summarise(Run.open(run)))
        told_on_a_screen(lambda: load(run))
        told_on_a_screen(lambda: changes(Run.open(run), resolve(TINY), installed()))
        assert contents(Path(folder)) == before, "reading changes nothing"


@pytest.mark.usefixtures("undrawn")
@fuzzing(2)
@given(name=FILES, damage=damages())
def test_a_report_of_a_damaged_run_is_written_or_refused(
    whole: Path, name: str, damage: Callable[[bytes], bytes | None]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = damaged(whole, Path(folder), name, damage)
        before = contents(Path(folder))
        told_on_a_screen(lambda: write_report(run))
        told_on_a_screen(lambda: compare([run, whole], out=Path(folder) / "compared"))
        after = contents(Path(folder))
        assert {path: after.get(path) for path in before if "report.html" not in path and "figures/" not in path} == {
            path: content for path, content in before.items() if "report.html" not in path and "figures/" not in path
        }


@pytest.mark.parametrize("key", ["verdict", "displacement", "relative", "spread", "figures"])
def test_a_certificate_without_a_value_that_the_report_shows_is_damaged(whole: Path, tmp_path: Path, key: str) -> None:
    def without(content: bytes) -> bytes:
        table = json.loads(content)
        del table["inputs"]["data"][key]
        return json.dumps(table).encode()

    run = damaged(whole, tmp_path, "certificate.json", without)
    with pytest.raises(IdemlabError, match=rf"damaged: inputs\.data\.{key}: field required"):
        _ = Run.open(run).certificate
