"""The model card of an operator: licence, verdict, certificate, pictures, and how to load it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .. import __version__
from ..errors import BadInput, nearest_match
from ..runs.run import Run
from ..wording import clipped, number, plural

__all__ = ["check_license", "model_card"]

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{1,60}")
_KNOWN = (
    *("apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-sa-4.0"),
    *("cc0-1.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "mit", "mpl-2.0", "openrail", "unlicense", "other"),
)
"""Frequent identifiers, as the hub writes them."""


def check_license(license: str | None) -> str:
    """The identifier of a licence.

    Raises:
        BadInput: if it is missing, or has not the form of one.
    """
    expected = "an identifier as the hub writes it, for instance mit, apache-2.0 or cc-by-4.0"
    if not license:
        raise BadInput(
            "a model card needs a licence: without one, nobody may use the operator",
            where="license",
            expected=expected,
            next_step="choose one, for instance `license = mit`",
        )
    if not _LICENSE.fullmatch(license):
        raise BadInput(
            f"'{clipped(license)}' is not the identifier of a licence",
            where="license",
            expected=expected,
            nearest=nearest_match(license, _KNOWN),
        )
    return license


def model_card(run: Run, name: str, license: str, pictures: Sequence[str]) -> str:
    """The card as Markdown, with the front matter that the hub reads.

    Args:
        run: a finished run.
        name: on the hub, ``owner/name``.
        license: its identifier.
        pictures: paths of the pictures, relative to the card.
    """
    certificate = run.certificate
    assert certificate is not None, "an unfinished run has no card"
    front = ["---", f"license: {license}", "library_name: idemlab", "tags:", "- idempotent", "- projection", "---"]
    summary = " ".join(run.experiment.summary.split())
    parts = [
        "\n".join(front),
        f"# {name.rpartition('/')[2]}",
        *([summary] if summary else []),
        f"**Verdict: {certificate['verdict']}.** {certificate['sentence']}",
        *(f"![{_caption(path)}]({path})" for path in pictures),
        "## Certificate",
        "The operator f should be idempotent, f(f(x)) = f(x). The relative error is |f(f(x)) - f(x)| as a share of the "
        "spread of f(x); at f2 it compares f(f(f(x))) with f(f(x)), and so on.",
        _errors(certificate["inputs"]),
        *_metrics(certificate["inputs"]),
        "## How to load it",
        _loading(run, name),
        "## Training",
        f"Trained for {certificate['steps']:,} {plural(certificate['steps'], 'step')} "
        f"({certificate['flops']:.2g} counted floating-point operations) on the data set "
        f"`{run.experiment.dataset.name}`, as model `{run.experiment.model.name}` with the enforcer "
        f"`{run.experiment.enforcer.name}`. `experiment.toml` holds every setting, `environment.json` the versions, and "
        f"`certificate.json` all that was measured. Made with idemlab {__version__}.",
    ]
    return "\n\n".join(parts) + "\n"


def _caption(path: str) -> str:
    name = path.rpartition("/")[2].removesuffix(".png")
    return "From top to bottom: x, f(x), f(f(x))" + ("" if name == "hero" else f", for {name.removeprefix('orbits-')}")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _errors(inputs: Mapping[str, Mapping[str, Any]]) -> str:
    depth = max(len(one["relative"]) for one in inputs.values())
    rows = []
    for name, one in inputs.items():
        errors = [number(error) for error in one["relative"]]
        rank = number(None) if one["rank"] is None else f"{one['rank']:g} / {one['dimension']}"
        errors += [number(None)] * (depth - len(errors))
        rows.append([name, *errors, rank, number(one["spread"]), str(one.get("verdict", ""))])
    powers = ["f", *(f"f{k}" for k in range(2, depth + 1))]
    return _table(["inputs", *(f"error at {power}" for power in powers), "rank / n", "spread", "verdict"], rows)


def _metrics(inputs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for one in inputs.values() for name in one["figures"])
    if not names:
        return []
    measured = [key for key, one in inputs.items() if one["figures"]]
    rows = [[name.replace("_", " "), *(number(inputs[key]["figures"].get(name)) for key in measured)] for name in names]
    return [_table(["metric", *measured], rows)]


def _loading(run: Run, name: str) -> str:
    """Code that loads the operator, with what has to be installed for it."""
    needed = {thing.plugin.distribution: thing.plugin.version for thing in run.experiment.things if not thing.given}
    others = [f"{each}=={version}" for each, version in sorted(needed.items()) if each != "idemlab"]
    object_too = ", model=module" if run.experiment.model.given else ""
    values = "" if run.range is None else f", from {run.range[0]:g} to {run.range[1]:g}"
    lines = [
        "```sh",
        f"pip install {' '.join(['idemlab', *others])}",
        "```",
        "",
        "```python",
        "import idemlab",
        "",
        f'f = idemlab.load("{name}"{object_too})',
        f"y = f(x{', c' if run.needs_class else ''})  # x is a tensor [N, {', '.join(map(str, run.shape))}]{values}",
        "```",
    ]
    if run.classes:
        takes = "It takes a condition" if run.needs_class else "It can be given a condition, too, as f(x, c)"
        numbers = (
            "numbers of clusters of the training samples" if run.experiment.condition == "clusters" else "class numbers"
        )
        lines += ["", f"{takes}: c is a tensor [N] of {numbers}, from 0 to {run.classes - 1}."]
    if object_too:
        lines += ["", "Its network was given as an object: `module` is one of the same class and size."]
    return "\n".join(lines)
