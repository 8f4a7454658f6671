"""Checks of metrics: finite, repeatable values for samples or sets, and no memory of earlier sets."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ...contracts.dataset import Dataset
from ...contracts.metric import Metric
from ...contracts.orbit import Orbit
from ...errors import BadInput
from ...wording import counted
from ..kit import CheckFailed, at_most, check, must
from ..subject import Subject
from .settings import ROWS, batch_of, conditioned, data, operator_for

__all__: list[str] = []


def _fitted(subject: Subject) -> Iterator[tuple[Dataset, Metric]]:
    """(data, a metric fitted to them) for all data that it does not refuse; with a condition if it refuses them without.

    Raises:
        CheckFailed: if it refuses all.
    """
    taken, refusal = 0, ""
    for plain in data():
        for dataset in (plain, conditioned(plain)):
            metric: Metric = subject.build()
            try:
                metric.fit(dataset)
            except (BadInput, ValueError) as error:
                refusal = " ".join(str(error).split())
                continue
            taken += 1
            yield dataset, metric
            break
    if not taken:
        raise CheckFailed(f"it refuses all data that the kit has, the last ones with: {refusal}")


def _figures(metric: Metric, dataset: Dataset, start: int = 0, rows: int = ROWS) -> dict[str, Tensor]:
    """The metric's values of some samples, as an evaluation gets them."""
    batch = batch_of(dataset, start, rows)
    with torch.no_grad():
        return metric(Orbit(operator_for(dataset), batch.input, batch.condition), batch)


@check("metric", cause="per-sample values must be [B], one for each row; the evaluation takes the mean over the set")
def figures_are_per_sample(subject: Subject) -> None:
    """It gives finite values [B] per sample, or finite floats for the set, or both."""
    for dataset, metric in _fitted(subject):
        names = []
        for rows in (1, 5):
            for name, value in _figures(metric, dataset, rows=rows).items():
                must(isinstance(value, Tensor), f"'{name}' is {type(value).__name__}, not a tensor")
                must(
                    value.shape == (rows,),
                    f"'{name}' of {counted(rows, 'sample')} has the shape {list(value.shape)}, not [{rows}]",
                )
                must(bool(torch.isfinite(value).all()), f"'{name}' is not finite")
                names.append(name)
        for name, figure in metric.compute().items():
            must(isinstance(figure, float) and math.isfinite(figure), f"'{name}' is {figure!r}, not a finite float")
            names.append(name)
        must(bool(names), "it gives no figure")


@check("metric", cause="the value of one sample depends on the others of its batch")
def figures_do_not_depend_on_the_batch(subject: Subject) -> None:
    """The halves of a batch give the values of the whole batch, also for the set."""
    for dataset, metric in _fitted(subject):
        whole, whole_set = _figures(metric, dataset), metric.compute()
        halves = [_figures(metric, dataset, start, ROWS // 2) for start in (0, ROWS // 2)]
        halves_set = metric.compute()
        for name, value in whole.items():
            off = (torch.cat([half[name] for half in halves]) - value).norm()
            at_most(off, 1e-4 * float(value.norm()) + 1e-6, f"|'{name}' in halves - '{name}' in the whole|")
        for name, figure in whole_set.items():
            at_most(abs(halves_set[name] - figure), 1e-4 * abs(figure) + 1e-6, f"|'{name}' in halves - in the whole|")


@check("metric", cause="values of one set of inputs are still stored at the next set: clear them in compute")
def compute_forgets(subject: Subject) -> None:
    """The values of a set do not depend on the set before."""
    for dataset, metric in _fitted(subject):
        _figures(metric, dataset)
        first = metric.compute()
        _figures(metric, dataset, start=ROWS)
        metric.compute()
        _figures(metric, dataset)
        again = metric.compute()
        must(again.keys() == first.keys(), f"it gives {sorted(again)} where it gave {sorted(first)}")
        for name, figure in first.items():
            at_most(abs(again[name] - figure), 0.0, f"|'{name}' again - '{name}'|")


@check("metric", cause="torch.randn and the like: a metric draws from idemlab.step.generator, with a fixed key")
def deterministic(subject: Subject) -> None:
    """Fitted twice, it gives the same values, and it does not use the global generator."""
    for dataset, _ in _fitted(subject):
        results = []
        for seed in (1, 2):
            twin: Metric = subject.build()
            twin.fit(dataset)
            torch.default_generator.manual_seed(seed)
            before = torch.get_rng_state()
            results.append((_figures(twin, dataset), twin.compute()))
            must(torch.equal(torch.get_rng_state(), before), "it drew from the global generator")
        (a, a_set), (b, b_set) = results
        must(all(torch.equal(a[name], b[name]) for name in a) and a_set == b_set, "fitted twice it gives other figures")


@check("metric", cause="an in-place operation on the batch or on a point of the orbit")
def nothing_is_touched(subject: Subject) -> None:
    """It does not change the batch or the orbit."""
    for dataset, metric in _fitted(subject):
        batch, operator = batch_of(dataset), operator_for(dataset)
        kept, target = batch.input.clone(), batch.target.clone()
        with torch.no_grad():
            output = operator(kept)
            orbit = Orbit(operator, batch.input, batch.condition)
            metric(orbit, batch)
            metric.compute()
        must(torch.equal(batch.input, kept) and torch.equal(batch.target, target), "it changed the batch")
        must(torch.equal(orbit.ahead(0), output), "it changed a point of the orbit")
