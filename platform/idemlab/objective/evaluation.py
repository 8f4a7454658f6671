"""Evaluation: the certificate and the metrics at every set of evaluation inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

import torch
from torch import Tensor

from ..certificate.certificate import Certificate, certify_orbits, orbits_of
from ..certificate.verdict import Verdict
from ..contracts.dataset import Batch
from ..contracts.metric import Metric
from ..contracts.orbit import Orbit
from ..contracts.step import Step
from ..errors import Failure
from ..experiment.blame import suspects
from ..experiment.experiment import Experiment
from ..wording import clipped, counted, listed, number
from .parts import Inputs, Parts
from .rejection import reject

__all__ = [
    "Evaluation",
    "Examples",
    "Extremes",
    "evaluate",
    "evaluation_batch",
    "evaluation_inputs",
    "examples",
    "extremes",
    "overall",
    "worst_class",
]

Apply = Callable[..., Tensor]
"""f(x), or f(x, condition) where there is a condition; the operator may be wrapped."""

_JUDGED = 10
"""Fewest samples of a class that are measured alone: a spread of fewer says little."""
_SEVERITY = [Verdict.CONSTANT, Verdict.IDENTITY, Verdict.NOT_IDEMPOTENT, Verdict.GENUINE]


@dataclass(frozen=True)
class Evaluation:
    """Certificates and metrics by evaluation inputs (`data`, `noise`, ...).

    Args:
        certificates: one for each set of inputs.
        metrics: metric values of each set of inputs.
        classes: where the condition is a class, the certificates of each f(., c) at each set of inputs, without spectra.
        rejections: what was left out of the values named kept_..., a sentence for each set of inputs.
        metrics_of_classes: the per-sample metrics of each of these classes at each set of inputs.
    """

    certificates: dict[str, Certificate]
    metrics: dict[str, dict[str, float]]
    rejections: tuple[str, ...] = ()
    classes: dict[str, dict[int, Certificate]] = field(default_factory=dict)
    metrics_of_classes: dict[str, dict[int, dict[str, float]]] = field(default_factory=dict)

    @property
    def _every(self) -> dict[str, Certificate]:
        """All certificates, by inputs, and by inputs and class."""
        each = {f"{name}, class {c}": one for name, own in self.classes.items() for c, one in own.items()}
        return self.certificates | each

    @property
    def verdict(self) -> Verdict:
        """The verdict of the whole: the most severe one over all inputs, and over all classes of a condition."""
        return overall(certificate.verdict for certificate in self._every.values())

    @property
    def collapse(self) -> str:
        """Where f is constant, and how much so; empty where it is not."""
        constants = {n: c for n, c in self._every.items() if c.verdict is Verdict.CONSTANT}
        told = [f"{number(c.spread)} at {n} (inputs: {number(c.input_spread)})" for n, c in constants.items()]
        return f"f has collapsed to a constant: its spread is {', '.join(told)}" if told else ""

    @property
    def sentence(self) -> str:
        """The verdict in plain words, with the notes and remarks of each set of inputs."""
        verdict, sentences = self.verdict, []
        for name, certificate in self.certificates.items():
            if certificate.verdict is verdict:
                sentences += [f"At {name} it is {note}." for note in certificate.notes]
        if verdict is Verdict.GENUINE and not any(c.off_manifold for c in self.certificates.values()):
            sentences.append("Only data were measured, and there a projection and the identity look the same.")
        sentences += [f"At {name}: {c.remark}." for name, c in self.certificates.items() if c.remark]
        return " ".join([verdict.sentence, *self._of_classes, *sentences, *self.rejections])

    @property
    def _of_classes(self) -> list[str]:
        """What the sentence says about the operators f(., c), each of which has its own certificate."""
        if not self.classes:
            return []
        found = []
        for name, own in self.classes.items():
            worst = worst_class(own)
            severe = overall(one.verdict for one in own.values())
            those = [str(c) for c, one in own.items() if one.verdict is severe]
            under = "every class" if len(those) == len(own) else f"class {clipped(listed(those))}"
            said = "" if severe is Verdict.GENUINE else f"; {severe.value} under {under}"
            narrow = [str(c) for c, one in own.items() if any(note.startswith("narrow") for note in one.notes)]
            said += f"; narrow under class {clipped(listed(narrow))}" if narrow else ""
            found.append(
                f"class {worst} at {name}, with a relative error of {number(own[worst].relative[0])} "
                f"({number(self.certificates[name].relative[0])} over all classes{said})"
            )
        return [f"Each f(., c) was also measured by itself. The worst: {listed(found)}."]

    def of_classes(self, inputs: str) -> dict[str, float]:
        """What the classes of a condition add to the values at a set of inputs: the relative error of the worst class, and
        the smallest spread of a class, as a share of the spread of its inputs."""
        own = self.classes.get(inputs)
        if not own:
            return {}
        shares = [one.spread / one.input_spread for one in own.values() if one.input_spread > 0]
        narrowest = {"spread_narrowest_class": min(shares)} if shares else {}
        return {"relative_worst_class": own[worst_class(own)].relative[0]} | narrowest

    def flat(self) -> dict[str, float]:
        """All values under keys like ``noise/relative``, for metrics.jsonl."""
        flat: dict[str, float] = {}
        for name, certificate in self.certificates.items():
            flat[f"{name}/absolute"] = certificate.absolute[0]
            flat[f"{name}/relative"] = certificate.relative[0]
            flat[f"{name}/spread"] = certificate.spread
            flat[f"{name}/input_spread"] = certificate.input_spread
            if certificate.rank is not None and certificate.trace is not None:
                flat[f"{name}/rank"] = certificate.rank
                flat[f"{name}/trace"] = certificate.trace
            for key, value in (self.of_classes(name) | self.metrics[name]).items():
                flat[f"{name}/{key}"] = value
        return flat


def overall(verdicts: object) -> Verdict:
    """The most severe of several verdicts."""
    return min(verdicts, key=_SEVERITY.index)  # type: ignore[call-overload,no-any-return]


def worst_class(certificates: Mapping[int, Certificate]) -> int:
    """The class with the most severe verdict, and of several the one with the largest relative error."""
    return min(certificates, key=lambda c: (_SEVERITY.index(certificates[c].verdict), -certificates[c].relative[0]))


def evaluation_batch(experiment: Experiment, parts: Parts | Inputs, device: torch.device) -> Batch:
    """The first test samples, as many as the experiment evaluates, on the device in floating point."""
    count = min(experiment.evaluation.points, len(parts.dataset.test))
    dtype: torch.dtype = getattr(torch, experiment.training.dtype)
    return parts.dataset.test.__getitems__(list(range(count))).to(device, dtype, parts.dataset.range)


def evaluation_inputs(experiment: Experiment, parts: Parts | Inputs, batch: Batch) -> dict[str, Batch]:
    """The evaluation inputs by name, the test data first. Every evaluation draws the same inputs."""
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
        apply: f(x) or f(x, condition), through the wrapped objective.
        rank_points: samples at which the Jacobian is computed; 0 for none.

    Raises:
        Failure: if f(x) is not finite somewhere: the last step can do that, and no loss tells it.
    """
    certificates, values, classes, of_classes, rejections = {}, {}, {}, {}, []
    settings = experiment.evaluation
    exact = getattr(experiment.model.spec, "exact", False) or experiment.enforcer.traits().exact
    computed = torch.bfloat16 if experiment.training.precision == "bf16" else getattr(torch, experiment.training.dtype)
    for name, batch in evaluation_inputs(experiment, parts, evaluation_batch(experiment, parts, device)).items():
        orbits = orbits_of(apply, batch.input, batch.condition, settings.batch_size)
        with torch.no_grad():
            wild = sum(int((~torch.isfinite(orbit.output)).flatten(1).any(1).sum()) for orbit in orbits)
        if wild:
            raise Failure(
                f"f(x) is not finite at {wild} of {counted(len(batch), 'input')} '{name}'",
                where=suspects(experiment),
                next_step="set a lower optimizer.lr or enforcer.weight, or clip the gradient: set optimizer.clip = 1.0",
            )
        certificates[name] = certify_orbits(
            apply,
            orbits,
            depth=settings.depth,
            rank_points=rank_points,
            off_manifold=name != "data" or batch.target is not batch.input,
            batch_size=settings.batch_size,
            eps=torch.finfo(computed).eps,
            exact=exact,
        )
        if own := _by_class(apply, orbits, settings.depth, torch.finfo(computed).eps, certificates[name]):
            classes[name] = own
        metrics = [metric for inputs, metric in parts.metrics if not inputs or name in inputs]
        values[name], samples = _measured(metrics, orbits, batch)
        if own and batch.condition is not None:
            rows = {each: (batch.condition == each).cpu() for each in own}
            of_classes[name] = {
                each: {key: float(of_all[chosen].mean()) for key, of_all in samples.items()}
                for each, chosen in rows.items()
            }
        if settings.reject and name in parts.inputs and not parts.inputs[name].made_of_data:
            rejection = reject(apply, orbits, batch, settings.reject, eps=torch.finfo(computed).eps)
            rest = batch.rows(rejection.kept)
            kept, _ = _measured(metrics, orbits_of(apply, rest.input, rest.condition, settings.batch_size), rest)
            values[name] |= {f"kept_{key}": value for key, value in kept.items()} | rejection.values()
            if len(rejection.kept) < len(batch):
                rejections.append(rejection.sentence(name))
    return Evaluation(certificates, values, tuple(rejections), classes, of_classes)


def _by_class(
    apply: Apply, orbits: Sequence[Orbit], depth: int, eps: float, whole: Certificate
) -> dict[int, Certificate]:
    """The certificates of f(., c) for each class c with enough samples, from points that are known already.

    Empty if the condition is none, or no class.
    """
    conditions = [orbit.condition for orbit in orbits if orbit.condition is not None]
    if not all(map(_by_number, conditions)) or not conditions:
        return {}
    every = torch.cat(conditions)
    found = {}
    for each, count in zip(*(t.tolist() for t in every.unique(return_counts=True)), strict=True):  # type: ignore[no-untyped-call]
        if count < _JUDGED:
            continue
        found[each] = certify_orbits(
            apply,
            [Orbit.gathered(orbits, [c == each for c in conditions])],
            depth=depth,
            rank_points=0,
            off_manifold=whole.off_manifold,
            batch_size=count,
            eps=eps,
        )
    return found


@torch.no_grad()
def _measured(
    metrics: Sequence[Metric], orbits: Sequence[Orbit], batch: Batch
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """(the values of all metrics, those of each sample where there are any, [N]) at one set of inputs, from its orbits."""
    totals: dict[str, Tensor] = {}
    samples: dict[str, list[Tensor]] = {}
    start = 0
    for orbit in orbits if metrics else []:
        part = batch.rows(slice(start, start + len(orbit.input)))
        start += len(part)
        for metric in metrics:
            for key, values in metric(orbit, part).items():
                totals[key] = totals.get(key, torch.zeros((), dtype=torch.float64)) + values.cpu().double().sum()
                samples.setdefault(key, []).append(values.cpu().double())
    measured = {key: float(total) / len(batch) for key, total in totals.items()}
    for metric in metrics:
        measured |= metric.compute()
    return measured, {key: torch.cat(parts) for key, parts in samples.items()}


@dataclass(frozen=True)
class Examples:
    """Some orbits of one set of inputs, for pictures.

    Args:
        name: of the inputs.
        orbit: [f^0(x), f^1(x), ...], each [N, *shape] on the CPU.
        target: what f should make of them, [N, *shape]; None for inputs not made from the data, such as noise.
        classes: the class of each, where the condition is one.
    """

    name: str
    orbit: list[Tensor]
    target: Tensor | None
    classes: tuple[int, ...] = ()


@torch.no_grad()
def examples(
    experiment: Experiment, parts: Parts | Inputs, apply: Apply, device: torch.device, count: int = 12
) -> list[Examples]:
    """The first few orbits of each set of evaluation inputs, without selection. Under a condition on classes: the first few
    of each class, ordered by class."""
    data = evaluation_batch(experiment, parts, device)
    rows = list(range(min(count, len(data)))) if not _by_number(data.condition) else _in_classes(data.condition, count)
    batches = evaluation_inputs(experiment, parts, data)
    return [_shown(name, batch.rows(rows), experiment, parts, apply) for name, batch in batches.items()]


def _by_number(condition: Tensor | None) -> TypeGuard[Tensor]:
    """Whether a condition is a class number for each sample."""
    return (
        condition is not None and condition.ndim == 1 and not (condition.is_floating_point() or condition.is_complex())
    )


def _in_classes(condition: Tensor, count: int) -> list[int]:
    """At most `count` rows: the first of each class, then the second, ..., ordered by class."""
    seen: dict[int, int] = {}
    turns = []
    for row, each in enumerate(condition.tolist()):
        seen[each] = seen.get(each, -1) + 1
        turns.append((seen[each], each, row))
    return [row for _, row in sorted((each, row) for _, each, row in sorted(turns)[:count])]


def _shown(name: str, part: Batch, experiment: Experiment, parts: Parts | Inputs, apply: Apply) -> Examples:
    """The orbits of the samples of a batch."""
    orbit = Orbit(apply, part.input, part.condition)
    made_of_data = name == "data" or parts.inputs[name].made_of_data
    target = part.target.float().cpu() if made_of_data else None
    points = [orbit.input, *(orbit.ahead(k) for k in range(experiment.evaluation.depth))]
    classes = tuple(part.condition.tolist()) if _by_number(part.condition) else ()
    return Examples(name, [point.float().cpu() for point in points], target, classes)


@dataclass(frozen=True)
class Extremes:
    """Typical and worst samples of one set of inputs, by the change of f(x) in a second application.

    Args:
        typical: the samples around the median, and the median of their relative errors.
        worst: the samples with the largest errors, the largest first, and the largest error.
        points: number of samples they are chosen from.
    """

    typical: tuple[Examples, float]
    worst: tuple[Examples, float]
    points: int


@torch.no_grad()
def extremes(
    experiment: Experiment, parts: Parts | Inputs, apply: Apply, device: torch.device, count: int = 6
) -> list[Extremes]:
    """Typical and worst samples of each set of evaluation inputs, among all that the certificate measured."""
    found = []
    for name, batch in evaluation_inputs(experiment, parts, evaluation_batch(experiment, parts, device)).items():
        orbits = orbits_of(apply, batch.input, batch.condition, experiment.evaluation.batch_size)
        y = torch.cat([orbit.output for orbit in orbits]).flatten(1).double()
        change = (torch.cat([orbit.ahead(1) for orbit in orbits]).flatten(1).double() - y).norm(dim=1)
        errors = change / (y - y.mean(0)).norm(dim=1).square().mean().sqrt()
        order = errors.argsort(descending=True).tolist()
        some = max(1, min(count, len(order) // 2))
        first = (len(order) - some) // 2
        chosen = [order[first : first + some], order[:some]]
        shown = [_shown(name, batch.rows(rows), experiment, parts, apply) for rows in chosen]
        at = [float(errors.median()), float(errors[order[0]])]
        found.append(Extremes((shown[0], at[0]), (shown[1], at[1]), len(order)))
    return found
