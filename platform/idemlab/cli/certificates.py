"""Shows the certificate of a run as tables, with the verdict in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..runs.summary import Kept
from ..wording import number
from .console import show, table

__all__ = ["show_certificate", "show_other_weights"]

COLOURS = {"genuine": "bold green", "identity": "bold yellow"}
"""Colours of the verdicts; all other verdicts are red."""


def show_certificate(certificate: Mapping[str, Any]) -> None:
    """Print the contents of certificate.json: one row for each set of evaluation inputs, the thresholds, the verdict."""
    from rich.text import Text

    inputs: Mapping[str, Any] = certificate["inputs"]
    depth = max(len(c["relative"]) for c in inputs.values())
    powers = ["f", *(f"f{k}" for k in range(2, depth + 1))]
    columns = [
        "inputs",
        *(f"error at {power}" for power in powers),
        "absolute",
        "rank / n",
        "trace",
        "spread",
        "verdict",
    ]
    rows = [
        [
            name,
            *(number(error) for error in c["relative"]),
            number(c["absolute"][0]),
            number(None) if c["rank"] is None else f"{c['rank']:g} / {c['dimension']}",
            number(c["trace"]),
            number(c["spread"]),
            Text(c["verdict"], style=COLOURS.get(c["verdict"], "bold red")),
        ]
        for name, c in inputs.items()
    ]
    show("", table(columns, rows, right=columns[1:-1]))
    _show_metrics({name: c["figures"] for name, c in inputs.items()})
    thresholds: Mapping[str, float] = next(iter(inputs.values()))["thresholds"]
    small = [
        "error at f: relative, sqrt(sum |f(f(x)) - f(x)|^2 / sum |f(x) - mean f(x)|^2); absolute: mean |f(f(x)) - f(x)|",
        *(f"{rule} {value:g}" for rule, value in thresholds.items()),
    ]
    show("", *(Text(line, style="dim") for line in small))
    name = str(certificate["verdict"])
    verdict = Text.assemble("Verdict: ", (name, COLOURS.get(name, "bold red")), f". {certificate['sentence']}")
    show("", verdict)


def show_other_weights(weights: Sequence[Kept]) -> None:
    """Print one row for each set of weights of a run, where it kept others than the last: their average, the best."""
    from rich.text import Text

    if not weights:
        return
    names = list(weights[0].errors)
    columns = ["weights", "step", *(f"error at {name}" for name in names), "verdict"]
    rows = [
        [
            kept.which,
            str(kept.step),
            *(number(kept.errors[name]) for name in names),
            Text(kept.verdict, style=COLOURS.get(kept.verdict, "bold red")),
        ]
        for kept in weights
    ]
    show("", table(columns, rows, right=columns[1:-1]))


def _show_metrics(metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Print the metrics: one row per metric, one column per set of inputs."""
    names = list(dict.fromkeys(name for of_inputs in metrics.values() for name in of_inputs))
    measured = [inputs for inputs, of_inputs in metrics.items() if of_inputs]
    if names:
        rows = [[name.replace("_", " "), *(number(metrics[i].get(name)) for i in measured)] for name in names]
        show("", table(["metric", *measured], rows, right=measured))
