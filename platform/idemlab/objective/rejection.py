"""Rejection of generated samples by the norm of the Jacobian: it leaves out samples between the classes.

The image of a continuous f is connected. Between separate classes it must pass through points that belong to none, and it
does so fast: there |J_f| is largest (Tanielian et al. 2020, arXiv 2006.04596, who reject by it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..contracts.dataset import Batch
from ..contracts.orbit import Orbit
from ..contracts.step import generator
from ..errors import BadInput
from ..experiment.experiment import Experiment
from ..wording import counted, listed, number
from .parts import Parts

__all__ = ["Rejection", "check_rejection", "reject", "slopes"]

_PROBES = 8


@dataclass(frozen=True)
class Rejection:
    """Which of the generated samples are kept.

    Args:
        kept: their numbers, in order.
        total: number of samples.
        limit: the largest |J| among them.
    """

    kept: list[int]
    total: int
    limit: float

    def sentence(self, name: str) -> str:
        """What was left out, for the report."""
        return (
            f"At {name} the values named kept_... leave out the {self.total - len(self.kept)} of "
            f"{counted(self.total, 'sample')} with the largest Jacobian, |J| > {number(self.limit)}."
        )

    def values(self) -> dict[str, float]:
        """The share left out and the limit, for the metrics."""
        return {"rejected": 1 - len(self.kept) / self.total, "jacobian_limit": self.limit}


def check_rejection(experiment: Experiment, parts: Parts) -> None:
    """Refuse `reject` where no samples are generated, or no metric measures them.

    Raises:
        BadInput: names a way out.
    """
    if not experiment.evaluation.reject:
        return
    generated = [name for name, source in parts.inputs.items() if not source.made_of_data]
    if not generated:
        raise BadInput(
            "no generated samples are evaluated, so none can be rejected",
            where="[evaluation], keys 'reject' and 'inputs'",
            expected="inputs that are not made of data",
            next_step='set evaluation.inputs = { noise = "gaussian" }, or evaluation.reject = 0',
        )
    if not any(not inputs or set(inputs) & set(generated) for inputs, _ in parts.metrics):
        raise BadInput(
            f"no metric measures the generated samples at {listed(generated)}, so leaving some out changes nothing",
            where="[evaluation], keys 'reject' and 'metrics'",
            expected="a metric whose values are compared with and without the rejected samples",
            next_step='set evaluation.metrics = ["diversity"], for instance, or evaluation.reject = 0',
        )


def reject(
    apply: Callable[..., Tensor], orbits: Sequence[Orbit], batch: Batch, share: float, *, eps: float | None = None
) -> Rejection:
    """Leave out the share of the samples at which |J_f| is largest; at least two stay.

    Args:
        eps: of the precision that f is computed in; default: that of the inputs.
    """
    found = slopes(apply, orbits, eps=eps)
    keep = max(2, len(batch) - round(share * len(batch)))
    order = torch.argsort(found, stable=True)[:keep]
    return Rejection(sorted(order.tolist()), len(batch), float(found[order[-1]]))


@torch.no_grad()
def slopes(apply: Callable[..., Tensor], orbits: Sequence[Orbit], *, eps: float | None = None) -> Tensor:
    """|J_f(x)|_F at the inputs of all orbits, [N] in double precision on the CPU.

    E |J v|² = |J|² for v of N(0, I): the mean over eight directions, the same for all samples, by finite differences. So it
    needs no gradient, and sees the jumps of rounded codes. Its standard deviation is 4 % where J has 50 equal singular
    values.
    """
    inputs = [orbit.input for orbit in orbits]
    shape, dtype = inputs[0].shape[1:], inputs[0].dtype
    size = float(torch.stack([x.cpu().double().square().mean() for x in inputs]).mean().sqrt()) or 1.0
    h = (eps or torch.finfo(dtype).eps) ** (1 / 3) * size
    directions = torch.randn(_PROBES, *shape, generator=generator(0, "rejection"), dtype=torch.float64)
    found = []
    for orbit in orbits:
        x, y = orbit.input, orbit.output.cpu().double()  # not all devices have float64
        total = torch.zeros(len(x), dtype=torch.float64)
        for v in directions:
            moved = x + h * v.to(x)
            after = apply(moved) if orbit.condition is None else apply(moved, orbit.condition)
            total += ((after.cpu().double() - y) / h).flatten(1).square().sum(1)
        found.append((total / _PROBES).sqrt())
    return torch.cat(found)
