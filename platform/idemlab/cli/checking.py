"""`check`: run the conformance checks on an enforcer, model, dataset, optimiser or another thing of a plugin."""

from __future__ import annotations

import os
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..catalog.catalog import installed
from ..catalog.provided import Provided
from ..contracts.specs import KINDS
from ..errors import BadInput
from ..watching.terminal import console
from .app import app, example
from .browsing import kind_of, matching
from .console import show, show_json, table
from .options import Json

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..testing import Report

_STYLES = {
    "passed": "green",
    "failed": "bold red",
    "failed as expected": "yellow",
    "passed, expected to fail": "bold red",
}


@app.command(
    epilog=example(
        "idemlab check cubic --quick",
        "idemlab check gradient --set routing=inner",
        "idemlab check ign --expect-failure 'finite-at-extremes=overflows at 1e30'",
    )
)
def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Name of an enforcer, model, dataset, source, metric, optimizer, schedule or tracker.",
            show_default=False,
        ),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Set an argument; `idemlab show NAME` lists all.", show_default=False
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Kind of the thing, if several share the name.", show_default=False),
    ] = None,
    expected: Annotated[
        list[str] | None,
        typer.Option(
            "--expect-failure",
            metavar="CHECK=REASON",
            help="A check that is expected to fail, and why.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Try fewer linear maps.")] = False,
    as_json: Json = False,
) -> None:
    """Run the conformance checks on a named thing: an enforcer, a model, a data set, an optimizer, ..."""
    entries = _checkable(name, kind)
    given = {key: _value(text) for key, text in _pairs(arguments, "--set", "routing=inner")}
    reasons = dict(_pairs(expected, "--expect-failure", "attracted-to-the-end='why it fails'"))
    if len(entries) > 1 and (given or reasons):
        kinds = sorted({entry.spec.kind for entry in entries})
        raise BadInput(
            f"'{name}' names {len(entries)} things, but arguments and expected failures need exactly one",
            choices=[f"--kind {kind}" for kind in kinds] if len(kinds) > 1 else [e.full_name for e in entries],
            next_step=f"idemlab check {name} --kind {kinds[0]}"
            if len(kinds) > 1
            else f"idemlab check {entries[0].full_name}",
        )
    reports = []
    with _watching() as watch, _no_traces():
        from ..testing import check_thing

        for entry in entries:
            report = check_thing(
                entry.spec.kind, entry.full_name, given, expected_failures=reasons, quick=quick, watch=watch
            )
            reports.append(report)
    if as_json:
        dicts = [report.as_dict() for report in reports]
        show_json(dicts[0] if len(dicts) == 1 else dicts)
    else:
        for position, report in enumerate(reports):
            if position:
                show("")
            _show(report)
    if not all(report.passed for report in reports):
        raise typer.Exit(1)


def _checkable(name: str, kind: str | None) -> list[Provided]:
    """All entries with this name whose kind has checks."""
    kinds = [kind for kind in KINDS if kind not in ("experiment", "study", "suite")]
    entries = matching(installed(), name, kind_of(kind) if kind is not None else None, kinds)
    found = [entry for entry in entries if entry.spec.kind in kinds]
    if not found:
        raise BadInput(
            f"'{name}' is of the kind {entries[0].spec.kind}, which has no checks",
            expected=f"a name of one of these kinds: {', '.join(kinds)}",
            next_step="idemlab list",
        )
    return found


def _pairs(texts: Sequence[str] | None, option: str, instance: str) -> Iterator[tuple[str, str]]:
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise BadInput(f"'{text}' is not of the form key=value", where=option, expected=f"for instance {instance}")
        yield key.strip(), value


def _value(text: str) -> Any:
    """A value as in an experiment file; otherwise the text itself."""
    try:
        loaded = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        loaded = {}
    return loaded["value"] if len(loaded) == 1 else text.strip()


@contextmanager
def _watching() -> Iterator[Callable[[str], None]]:
    """Show the name of the running check on a terminal."""
    out = console(sys.stderr)
    if not out.is_terminal:
        yield lambda _: None
        return
    with out.status("loading") as status:
        yield lambda check: status.update(check)


@contextmanager
def _no_traces() -> Iterator[None]:
    """Let hypothesis keep its files in a temporary folder instead of the working folder."""
    key = "HYPOTHESIS_STORAGE_DIRECTORY"
    before = os.environ.get(key)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault(key, folder)
        try:
            yield
        finally:
            if before is None:
                os.environ.pop(key, None)


def _show(report: Report) -> None:
    from rich.text import Text

    rows = [
        [
            row.check,
            Text(row.outcome, style=_STYLES[row.outcome]),
            f"{row.seconds:.1f}",
            row.reason or row.statement,
        ]
        for row in report.rows
    ]
    show(table(["check", "", "s", "statement"], rows, right=["s"]), "", report.summary())
    if not report.passed:
        show("", report.failures())
