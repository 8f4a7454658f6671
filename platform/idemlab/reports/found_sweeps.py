"""Reads the entries of a board for sweeps and for records of studies. Loads no torch."""

from __future__ import annotations

import csv
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..system import strict_json
from ..system.lock import held_by
from ..wording import clipped, counted, listed
from .found import TEXT, Found, Trials, Values, changed, described, first_file, logged, size

__all__ = ["found_study", "found_sweep"]


def found_sweep(folder: Path) -> tuple[Found, Trials]:
    """A sweep, and its trials by the names of their folders, as table.csv has them."""
    faults: list[str] = []
    plan: Mapping[str, Any] = {}
    try:
        plan = tomllib.loads((folder / "sweep.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        faults.append(f"sweep.toml is damaged: {error}")
    table, rows = folder / "table.csv", list[dict[str, str]]()
    if table.is_file():
        try:
            with table.open(encoding="utf-8", newline="") as file:
                rows = [{str(k): str(v) for k, v in row.items()} for row in csv.DictReader(file, strict=True)]
        except (OSError, ValueError, csv.Error) as error:
            faults.append(f"table.csv is damaged: {error}")
    own, first = plan.get("sweep"), plan.get("first")
    over = own.get("over") if isinstance(own, Mapping) else None
    keys = tuple(over) if isinstance(over, Mapping) else ()
    name = own.get("experiment") if isinstance(own, Mapping) else None
    metrics = [_metrics(row) for row in rows]
    points = tuple(
        (max((v for one in m.values() if (v := one.relative) is not None), default=None), row.get("verdict", ""))
        for row, m in zip(rows, metrics, strict=True)
    )
    genuine = [i for i, (error, verdict) in enumerate(points) if verdict == "genuine" and error is not None]
    best = min(genuine, key=lambda i: size(points[i][0]), default=None)
    running = held_by(folder) is not None
    told = f"Damaged: {listed(faults)}." if faults else _trials_told(rows, keys)
    found = Found(
        kind="sweep",
        path=folder,
        state="damaged" if faults else "running" if running else "finished" if rows else "not finished",
        told=clipped(told, TEXT),
        experiment=clipped(name) if isinstance(name, str) else "",
        parts=described(first)["parts"] if isinstance(first, Mapping) else (),
        values={} if best is None else metrics[best],
        trials=points,
        picture=first_file(folder, "sweep.png"),
        page=first_file(folder, "sweep.png"),
        changed=changed(table, folder / "sweep.toml"),
    )
    return found, {row["trial"].zfill(4): (row, keys) for row in rows if row.get("trial")}


def _trials_told(rows: list[dict[str, str]], keys: tuple[str, ...]) -> str:
    """Which trials there are, and what they try."""
    tried = f"It tries {listed([*keys])}." if keys else "It tries several seeds."
    if not rows:
        return f"{tried} It has no table yet."
    states = Counter(row.get("state", "") for row in rows)
    verdicts = Counter(row["verdict"] for row in rows if row.get("verdict"))
    outcomes = [f"{count} {what}" for what, count in [*verdicts.most_common(), *states.items()] if what != "complete"]
    return f"{counted(len(rows), 'trial')}: {listed(outcomes)}. {tried}"


def _metrics(row: Mapping[str, str]) -> dict[str, Values]:
    """Inputs -> values of one trial in the table of a sweep."""
    by_inputs: dict[str, dict[str, float | None]] = {}
    for key, text in row.items():
        inputs, slash, name = key.partition("/")
        if slash and name in ("relative", "absolute", "spread", "input_spread", "rank"):
            by_inputs.setdefault(clipped(inputs), {})[name] = _number(text)
    return {
        inputs: logged(values) for inputs, values in by_inputs.items() if any(v is not None for v in values.values())
    }


def found_study(folder: Path) -> Found:
    """The record of a study."""
    name, told, damaged = "", "", False
    try:
        record = strict_json.loads((folder / "claims.json").read_text(encoding="utf-8"))
        name = clipped(str(record["study"]))
        answers = Counter(
            {True: "hold", False: "do not hold"}.get(claim["holds"], "open") for claim in record["claims"]
        )
        size = " The small version." if record["quick"] else ""
        claims = listed([f"{count} {answer}" for answer, count in answers.items()])
        told = (f"Claims: {claims}. " if claims else "") + f"{record['summary']}{size}"
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        damaged, told = True, f"Damaged: claims.json: {error or type(error).__name__}."
    figures = sorted((folder / "figures").glob("*.png")) if (folder / "figures").is_dir() else []
    return Found(
        kind="study",
        path=folder,
        state="damaged" if damaged else "finished",
        told=clipped(told, TEXT),
        experiment=name,
        picture=figures[0] if figures else None,
        page=folder / "README.md",
        changed=changed(folder / "claims.json"),
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
