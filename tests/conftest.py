"""Every worker computes with one thread: two workers of two threads each on two cores slow each other down tenfold."""

from __future__ import annotations

import base64
import copy
import functools
import gc
import os
from collections.abc import Callable
from typing import Any

import pytest
import typer.testing

from idemlab.system.threads import rest_while_waiting

os.environ["OMP_NUM_THREADS"] = "1"
rest_while_waiting()
typer.testing._get_command = functools.cache(typer.testing._get_command)  # the commands are made once, not at each call
gc.disable()  # collecting tests only adds objects, and looking for garbage takes a quarter of that time


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()


PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg==")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Render every figure as one pixel. A real one takes half a second, and few tests look at it."""
    monkeypatch.setattr("idemlab.reports.style.png", lambda figure: PIXEL)
    monkeypatch.setattr("idemlab.reports.style.inline", lambda figure: "<svg></svg>")


@pytest.fixture
def unplotted(undrawn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `undrawn`, and a report's curves and spectra are empty figures. For tests of its words alone."""
    from matplotlib.figure import Figure

    for name in ("training_curves", "jacobian_spectrum"):
        monkeypatch.setattr(f"idemlab.reports.curves.{name}", lambda entries: Figure())
    monkeypatch.setattr("idemlab.reports.curves.training_panels", lambda entries: {"loss": Figure()})


@pytest.fixture
def changing() -> Callable[[dict[str, Any]], Callable[..., dict[str, Any]]]:
    """Table of an experiment -> a function that gives a copy of it with whole tables or single keys (`table__key`)
    replaced."""

    def of(table: dict[str, Any]) -> Callable[..., dict[str, Any]]:
        def make(**changes: Any) -> dict[str, Any]:
            made = copy.deepcopy(table)
            for key, value in changes.items():
                name, _, inner = key.partition("__")
                if inner:
                    made.setdefault(name, {})[inner] = value
                else:
                    made[name] = value
            return made

        return make

    return of
