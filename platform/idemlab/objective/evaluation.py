"""Evaluation: the certificate and the metrics at every set of evaluation inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..certificate.certificate import Certificate, certify
from ..certificate.verdict import Verdict
from ..contracts.dataset import Batch
from ..contracts.orbit import Orbit
from ..contracts.step import Step
from ..experiment.experiment import Experiment
from .parts import Inputs, Parts

__all__ = ["Evaluation", "Examples", "evaluate", "evaluation_batch", "examples", "overall"]

Apply = Callable[[Tensor, Tensor | None], Tensor]
"""f(x, condition), however the operator is wrapped."""

_SEVERITY = [Verdict.CONSTANT, Verdict.IDENTITY, Verdict.NOT_IDEMPOTENT, Verdict.GENUINE]


@dataclass(frozen=True)
class Evaluation:
    """Certificates and figures by evaluation inputs (`data`, `noise`, ...).

    Args:
        certificates: one for each set of inputs.
        figures: metric figures of each set of inputs.
    """

    certificates: dict[str, Certificate]
    figures: dict[str, dict[str, float]]

    @property
    def verdict(self) -> Verdict:
        """The verdict of the whole: the most severe one over all inputs."""
        return overall(certificate.verdict for certificate in self.certificates.values())

    def flat(self) -> dict[str, float]:
        """All figures under keys like ``noise/relative``, for metrics.jsonl."""
        flat: dict[str, float] = {}
        for name, certificate in self.certificates.items():
            flat[f"{name}/absolute"] = certificate.absolute[0]
            flat[f"{name}/relative"] = certificate.relative[0]
            flat[f"{name}/spread"] = certificate.spread
            if certificate.rank is not None and certificate.trace is not None:
                flat[f"{name}/rank"] = certificate.rank
                flat[f"{name}/trace"] = certificate.trace
            for key, value in self.figures[name].items():
                flat[f"{name}/{key}"] = value
        return flat


def overall(verdicts: object) -> Verdict:
    """The most severe of several verdicts."""
    return min(verdicts, key=_SEVERITY.index)  # type: ignore[call-overload,no-any-return]


def evaluation_batch(experiment: Experiment, parts: Parts | Inputs, device: torch.device) -> Batch:
    """The test samples that are evaluated: the first ones, on the device, in floating point."""
    count = min(experiment.evaluation.points, len(parts.dataset.test))
    dtype: torch.dtype = getattr(torch, experiment.training.dtype)
    return parts.dataset.test.__getitems__(list(range(count))).to(device, dtype, parts.dataset.range)


def _inputs(experiment: Experiment, parts: Parts | Inputs, batch: Batch) -> dict[str, Batch]:
    """The evaluation inputs by name, the test data first; drawn alike in every evaluation."""
    named = {"data": batch}
    for name, source in parts.inputs.items():
        step = Step(seed=experiment.training.seed, purpose=f"evaluation {name}")
        named[name] = batch.replace(input=source.to(batch.input.device).fresh(batch, step))
    return named


def evaluate(
    experiment: Experiment, parts: Parts, apply: Apply, device: torch.device, *, rank_points: int
) -> Evaluation:
    """Measure the operator at the test data and at every further set of inputs.

    Args:
        apply: f(x, condition), through the wrapped objective.
        rank_points: samples at which the Jacobian is computed; 0 for none.
    """
    certificates, figures = {}, {}
    for name, batch in _inputs(experiment, parts, evaluation_batch(experiment, parts, device)).items():
        certificates[name] = certify(
            apply if batch.condition is not None else lambda x: apply(x, None),
            batch.input,
            condition=batch.condition,
            depth=experiment.evaluation.depth,
            rank_points=rank_points,
            off_manifold=name != "data" or batch.target is not batch.input,
            batch_size=experiment.evaluation.batch_size,
        )
        figures[name] = _metrics(experiment, parts, apply, name, batch)
    return Evaluation(certificates, figures)


class _Applied(nn.Module):
    """A plain function in the form that an orbit takes."""

    def __init__(self, apply: Apply) -> None:
        super().__init__()
        self._apply_operator = apply

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self._apply_operator(x, condition)


@torch.no_grad()
def _metrics(experiment: Experiment, parts: Parts, apply: Apply, name: str, batch: Batch) -> dict[str, float]:
    metrics = [metric for inputs, metric in parts.metrics if not inputs or name in inputs]
    totals: dict[str, Tensor] = {}
    if not metrics:
        return {}
    size = experiment.evaluation.batch_size
    for start in range(0, len(batch), size):
        part = batch.rows(slice(start, start + size))
        orbit = Orbit(_Applied(apply), part.input, part.condition)
        for metric in metrics:
            for key, values in metric(orbit, part).items():
                totals[key] = totals.get(key, torch.zeros((), dtype=torch.float64)) + values.double().sum().cpu()
    figures = {key: float(total) / len(batch) for key, total in totals.items()}
    for metric in metrics:
        figures |= metric.compute()
    return figures


@dataclass(frozen=True)
class Examples:
    """Some orbits of one set of inputs, for pictures.

    Args:
        name: of the inputs.
        orbit: [f^0(x), f^1(x), ...], each [N, *shape] on the CPU.
        target: what f should make of them, [N, *shape]; None where the inputs are not made of the data (noise, say).
    """

    name: str
    orbit: list[Tensor]
    target: Tensor | None


@torch.no_grad()
def examples(
    experiment: Experiment, parts: Parts | Inputs, apply: Apply, device: torch.device, count: int = 12
) -> list[Examples]:
    """The first few orbits of each set of evaluation inputs: not chosen for their looks."""
    shown = []
    for name, batch in _inputs(experiment, parts, evaluation_batch(experiment, parts, device)).items():
        part = batch.rows(slice(0, count))
        orbit = [part.input]
        for _ in range(experiment.evaluation.depth):
            orbit.append(apply(orbit[-1], part.condition))
        made_of_data = name == "data" or parts.inputs[name].made_of_data
        target = part.target.float().cpu() if made_of_data else None
        shown.append(Examples(name, [points.float().cpu() for points in orbit], target))
    return shown
