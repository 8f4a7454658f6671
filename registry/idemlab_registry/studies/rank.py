"""Rank by choice: the enforcer `rank` on an unmodified MLP, measured by exact Jacobians at f(x)."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import torch
from pandas import DataFrame
from torch import Tensor

from idemlab import Claim, Findings, Material, Study, Trial

from .trained import Trained

__all__ = ["examine", "measured", "study"]

POINTS = 512
HEADINGS = {"noise": "Gaussian noise in R^16, no data term", "torus": "beside data, a torus in R^16"}
"""Name of the sweep -> what a reader calls it."""
BOUNDS = {
    "|tr J - r|, median": 0.25,
    "points with another count": 0.05,
    "|eigenvalues| in (0.1, 0.9)": 0.01,
    "relative error": 0.01,
    "seconds": 60.0,
}
"""Column of the table -> the largest value at which the rank counts as reached."""


def study() -> Study:
    """The study, with the sweeps of rank.toml."""
    return Study.from_toml(Path(__file__).with_suffix(".toml"), examine)


def examine(material: Material) -> Findings:
    """One row for each run, and one claim for each rank."""
    rows = []
    for name, results in material.results.items():
        for trial in results.trials:
            if trial.state == "complete":
                material.say(f"{name}: rank by exact Jacobians, seed {trial.seed}")
                rows.append(_row(name, trial))
    findings = Findings(text=_text(material))
    if rows:
        findings.tables["ranks"] = DataFrame(rows)
        findings.captions["ranks"] = (
            f"Exact Jacobians J at f(x), at {POINTS} test points; another count: not exactly r singular values above 1/2. "
            "Seconds of training and evaluation, as the run itself measures them."
        )
        keys = sorted({(str(row["where"]), int(row["rank r"])) for row in rows})
        findings.claims = [
            _claim(where, r, [row for row in rows if (row["where"], row["rank r"]) == (where, r)]) for where, r in keys
        ]
    return findings


def _row(name: str, trial: Trial) -> dict[str, Any]:
    trained = Trained.of(trial.run)
    r = int(trained.experiment.enforcer.arguments["rank"])
    x = trained.test(POINTS).input
    row = {"where": HEADINGS[name], "rank r": r, "seed": trial.seed, "verdict": trial.verdict}
    return row | measured(trained.operator, x, r) | {"seconds": trial.seconds}


def measured(f: torch.nn.Module, x: Tensor, r: int) -> dict[str, float]:
    """Columns of the table, for an operator on vectors at points x [N, n]."""
    with torch.no_grad():
        y = f(x)
        error = ((f(y) - y).square().sum() / (y - y.mean(0)).square().sum()).sqrt()
    jacobian = torch.func.vmap(torch.func.jacrev(lambda point: f(point[None])[0]))
    J = jacobian(y).detach().double()
    off = (J.diagonal(dim1=1, dim2=2).sum(1) - r).abs()
    count = (torch.linalg.svdvals(J) > 0.5).sum(1)
    sizes = torch.linalg.eigvals(J).abs()
    return {
        "|tr J - r|, median": float(off.median()),
        "points with another count": float((count != r).double().mean()),
        "|eigenvalues| in (0.1, 0.9)": float(((sizes > 0.1) & (sizes < 0.9)).double().mean()),
        "relative error": float(error),
    }


def _reached(row: dict[str, Any]) -> bool:
    return row["verdict"] == "genuine" and all(row[column] <= bound for column, bound in BOUNDS.items())


def _claim(where: str, r: int, rows: list[dict[str, Any]]) -> Claim:
    reached = sum(map(_reached, rows))
    told = "; ".join(
        f"{column} {median(values):.2g} (at most {max(values):.2g})"
        for column in BOUNDS
        for values in [[float(row[column]) for row in rows]]
    )
    return Claim(
        claim=f"{where}: the loss sets the rank to {r}, within the bounds above, on every seed.",
        ours=f"{reached} of {len(rows)} seeds; {told}",
        conclusion="It does." if reached == len(rows) else "It does not on every seed.",
        holds=reached == len(rows),
    )


def _text(material: Material) -> str:
    bounds = ", ".join(f"{column} at most {bound:g}" for column, bound in BOUNDS.items())
    text = f"A rank counts as reached where the verdict is genuine and these hold: {bounds}."
    return text + (" This is the small version: few steps and seeds." if material.quick else "")
