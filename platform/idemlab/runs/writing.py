"""Write the files of a run: when training begins, at every log entry, and when it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from ..catalog.catalog import Catalog
from ..contracts.dataset import Dataset
from ..errors import Failure
from ..experiment.experiment import Experiment
from ..objective.evaluation import Evaluation, worst_class
from ..objective.fingerprint import fingerprint
from ..objective.preflight import Plan
from ..system import strict_json
from ..system.files import unwritten, write_text
from .environment import describe_environment
from .run import Run, Which
from .weights import write_tensors

__all__ = [
    "append_entry",
    "write_certificate",
    "write_circumstances",
    "write_entries",
    "write_experiment",
    "write_operator",
    "writing",
]


@contextmanager
def writing(run: Run, what: str) -> Iterator[None]:
    """Report a failed write, such as on a full disk, as a `Failure` that names the file.

    Raises:
        Failure: if the write fails; files written before stay.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise Failure(
            f"{what} cannot be written: {error}",
            where=str(run.path),
            next_step=f"{unwritten(error)}, then resume the run with: {run.resuming}",
        ) from error


def write_experiment(run: Run, experiment: Experiment) -> None:
    """Write experiment.toml, the resolved experiment."""
    with writing(run, run.experiment_file.name):
        write_text(run.experiment_file, experiment.to_toml())


def write_entries(run: Run, entries: Sequence[Mapping[str, Any]]) -> None:
    """Rewrite metrics.jsonl with exactly these entries."""
    with writing(run, run.metrics_file.name):
        write_text(run.metrics_file, "".join(strict_json.dumps(entry) + "\n" for entry in entries))


def append_entry(run: Run, step: int, split: str, values: Mapping[str, float], clock: Mapping[str, float]) -> None:
    """Append one line to metrics.jsonl.

    Args:
        clock: timings, written under "time" because they differ from run to run.
    """
    entry = {"step": step, "split": split} | dict(values) | {"time": dict(clock)}
    with writing(run, run.metrics_file.name), run.metrics_file.open("a", encoding="utf-8") as file:
        file.write(strict_json.dumps(entry) + "\n")


def write_circumstances(
    run: Run, catalog: Catalog, plan: Plan, device: torch.device, processes: int, changes: Sequence[str] = ()
) -> None:
    """Write environment.json: versions, hardware and the preflight's plan.

    Args:
        changes: what has changed since the run began; appended to the changes recorded before.
    """
    facts = asdict(plan)
    facts.pop("traits")
    content = describe_environment(catalog, device, processes) | {"plan": facts}
    try:
        before = (run.environment or {}).get("changes", [])
    except Failure:  # damaged, which `changes` reports
        before = []
    if recorded := [*before, *changes]:
        content["changes"] = recorded
    with writing(run, run.environment_file.name):
        _write_json(run.environment_file, content)


def write_operator(
    run: Run,
    weights: Mapping[str, Tensor],
    dataset: Dataset,
    *,
    which: Which = "last",
    classes: int | None = None,
    step: int | None = None,
    prefix: str | None = "",
) -> None:
    """Write the weights of an operator, with the shape and range of its samples.

    Args:
        weights: the whole state of the operator.
        classes: of the condition, if there is one.
        step: after which the weights were this, if that is not the end of the run.
        prefix: as in `Objective`; lets another run start from the model inside the operator.
    """
    # One key: safetensors writes several in no fixed order, and equal runs must leave equal bytes.
    sample: dict[str, Any] = {"shape": dataset.shape, "range": dataset.range} | ({} if step is None else {"step": step})
    if classes is not None:
        sample["classes"] = classes
    if prefix != "":
        sample["model"] = prefix
    sample["sha256"] = fingerprint(weights, sample)
    path = run.weights_of(which)
    with writing(run, path.name):
        write_tensors(path, weights, {"sample": json.dumps(sample)})


def write_certificate(
    run: Run, evaluation: Evaluation, *, steps: int, flops: float, which: Which = "last", remark: str = ""
) -> None:
    """Write a certificate. That of the last weights, certificate.json, marks the run as finished: write it last.

    Args:
        steps, flops: what the training took.
        remark: a further sentence for the verdict.
    """
    certificate = {
        "verdict": evaluation.verdict.value,
        "sentence": f"{evaluation.sentence} {remark}".strip(),
        "steps": steps,
        "flops": flops,
        "inputs": {
            name: c.as_dict() | _by_class(evaluation, name) | {"figures": evaluation.metrics[name]}
            for name, c in evaluation.certificates.items()
        },
    }
    path = run.certificate_of(which)
    with writing(run, path.name):
        _write_json(path, certificate)


def _by_class(evaluation: Evaluation, inputs: str) -> dict[str, Any]:
    """The numbers of each f(., c), and the worst class; nothing without a condition on classes."""
    certificates = evaluation.classes.get(inputs, {})
    if not certificates:
        return {}
    keys = ("points", "relative", "absolute", "spread", "input_spread", "displacement", "verdict")
    told = {
        str(c): {key: value for key, value in one.as_dict().items() if key in keys}
        | {"figures": evaluation.metrics_of_classes[inputs][c]}
        for c, one in certificates.items()
    }
    return {"worst_class": worst_class(certificates), **evaluation.of_classes(inputs), "classes": told}


def _write_json(path: Path, content: Any) -> None:
    write_text(path, strict_json.dumps(content, indent=1))
