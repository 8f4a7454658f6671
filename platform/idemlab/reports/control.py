"""The control of a run: a run of the same experiment that enforces nothing. Judge an enforcer by its improvement over the
control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..catalog.catalog import Catalog
from ..errors import BadInput, IdemlabError
from ..experiment import toml
from ..experiment.experiment import Experiment
from ..experiment.resolution import resolve
from ..runs.run import Run
from ..runs.summary import summarise

__all__ = ["Control", "control_of"]

_SAME = ("dataset", "model")
"""Tables of the experiment in which a control equals its run."""


@dataclass(frozen=True)
class Control:
    """A control beside a run.

    Args:
        run: the control.
        differs: keys in which its experiment differs, besides those of the enforcer.
        values: inputs -> name -> (value of the run, value of the control), for what both measured.
    """

    run: Run
    differs: tuple[str, ...]
    values: dict[str, dict[str, tuple[float | None, float | None]]]


def control_of(
    run: Run, experiment: Experiment, catalog: Catalog, given: Run | str | Path | None = None
) -> Control | None:
    """The control of a finished run; None if there is none.

    Without `given` it is looked for among the folders beside the run: a finished run that enforces nothing, with the same
    data, model and evaluation inputs. Of several, the one that differs in the fewest keys is taken, then the newest.

    Raises:
        BadInput: if `given` holds no finished run, or one of other samples.
    """
    table = toml.flat(toml.read(run.experiment_file))
    if given is not None:
        return _compared(run, _given(given, run, catalog), table)
    if not experiment.enforcer.traits().kinds:
        return None
    found: list[tuple[int, float, Run]] = []
    for file in run.path.resolve().parent.glob("*/experiment.toml"):
        other = Run(file.parent, run.catalog)
        if other.path == run.path.resolve() or not other.certificate_file.is_file() or not other.weights_file.is_file():
            continue
        try:
            if (differs := _differences(table, toml.flat(toml.read(file)))) is None:
                continue
            if resolve(file, catalog=catalog).enforcer.traits().kinds:
                continue
            found.append((len(differs), -other.certificate_file.stat().st_mtime, other))
        except (IdemlabError, OSError):
            continue  # the page of that run reports its damage
    return _compared(run, min(found, key=lambda one: one[:2])[2], table) if found else None


def _given(given: Run | str | Path, run: Run, catalog: Catalog) -> Run:
    control = given if isinstance(given, Run) else Run.open(given, catalog=run.catalog)
    if control.path.resolve() == run.path.resolve():
        raise BadInput(
            f"'{control.path}' is the run itself, and no control of it",
            expected="another finished run, best without an enforcer",
            next_step="choose another run as the control, or leave it out",
        )
    if control.certificate is None:
        raise BadInput(f"the control '{control.path}' is not finished", next_step=control.resuming)
    if control.shape != run.shape:
        raise BadInput(
            f"the control '{control.path}' has samples of shape {list(control.shape)}",
            expected=f"a run on samples of shape {list(run.shape)}",
        )
    one, other = ((each.needs_class, each.needs_class and each.classes) for each in (control, run))
    if one != other:
        asked = ["takes a condition" if each.needs_class else "takes no condition" for each in (control, run)]
        raise BadInput(
            f"the operator of the control '{control.path}' {asked[0]}, and that of the run {asked[1]}",
            expected="a control with the same classes" if run.needs_class else "a control without a condition",
        )
    return control


def _differences(table: Mapping[str, Any], other: Mapping[str, Any]) -> list[str] | None:
    """Keys in which two experiments differ besides the enforcer's; None if they differ where a control must not."""
    keys = [key for key in toml.differing([table, other]) if not key.startswith("enforcer.")]
    wrong = [key for key in keys if key.split(".")[0] in _SAME or key.startswith("evaluation.inputs.")]
    return None if wrong else keys


def _compared(run: Run, control: Run, table: Mapping[str, Any]) -> Control:
    keys = toml.differing([table, toml.flat(toml.read(control.experiment_file))])
    own, others = summarise(run).values, summarise(control).values
    hidden = ("input_spread", "trace")
    values = {
        inputs: {
            name: (value, others[inputs].get(name))
            for name, value in measured.items()
            if name in others[inputs] and name not in hidden
        }
        for inputs, measured in own.items()
        if inputs in others
    }
    return Control(control, tuple(key for key in keys if not key.startswith("enforcer.")), values)
