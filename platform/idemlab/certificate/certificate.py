"""The certificate: the measured idempotence of an operator, and its verdict.

The absolute error is also small for a constant and for the identity. The certificate therefore always reports the relative
error, the spread and the rank with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ..contracts.orbit import Orbit
from ..contracts.step import generator
from ..wording import counted
from .card import badge, frame, rows_of
from .differences import discrete
from .given import Kept, Map, check_arguments
from .spectrum import Spectrum, on_reals, spectra_at
from .verdict import EXACT, FAR, ROUNDING, STAYS, THRESHOLDS, Evidence, Verdict

__all__ = ["Certificate", "certify", "certify_orbits", "orbits_of"]

TRIED = 8
"""Samples at which a small change of the input tests whether f is discrete."""
FOLLOWED = 16
"""Samples that are followed to f^50 where f claims to be exact."""
RESAMPLED = 1000
"""Number of bootstrap samples for the interval."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The measured idempotence of f at one set of inputs. Complex entries count with their modulus.

    The error of one sample is |f(f(x)) - f(x)| / spread, where spread^2 is the mean of |f(x) - mean f(x)|^2 over the
    samples; `relative[0]` is the root mean square of these errors.

    Args:
        points: number of inputs N.
        dimension: n, number of real numbers in one sample: two for a complex entry.
        absolute: mean |f^{k+1}(x) - f^k(x)| for k = 1, 2, ... (the paper's error).
        relative: sqrt(sum |f^{k+1} - f^k|^2 / sum |f^k - mean f^k|^2) over the whole set, for k = 1, 2, ...
        interval: 95 % bootstrap interval of `relative[0]`. Each resampled sample keeps its change and its distance from the
            mean.
        percentile_99: 99th percentile of the errors of the samples.
        worst_sample: index of the input with the largest error.
        worst_error: error of this input.
        spread: standard deviation of f(x) over the inputs, sqrt of the mean over entries of the variance.
        input_spread: standard deviation of x, defined in the same way.
        displacement: sqrt(sum |f(x) - x|^2 / sum |x - mean x|^2).
        off_manifold: whether f should move the inputs; False for test data, for instance.
        discrete: whether a small change of the input changes nothing, as for rounding.
        exact: whether the claim to be idempotent to rounding holds; None where nothing claims it.
        drift: |f^50(x) - f(x)| as a share of the spread, at some samples; None where no exactness is claimed.
        spectra: of the Jacobian at some f(x); empty if not requested, or for the reason in `remark`.
        verdict: see `Verdict`.
        sentence: the verdict in plain words, with the notes.
        notes: remarkable properties, each a phrase that follows "it is".
        remark: what could not be measured or was measured in another way, and why; empty if all went well.
    """

    points: int
    dimension: int
    absolute: tuple[float, ...]
    relative: tuple[float, ...]
    interval: tuple[float, float]
    percentile_99: float
    worst_sample: int
    worst_error: float
    spread: float
    input_spread: float
    displacement: float
    off_manifold: bool
    discrete: bool
    exact: bool | None
    drift: float | None
    spectra: tuple[Spectrum, ...]
    verdict: Verdict
    sentence: str
    notes: tuple[str, ...]
    remark: str

    @property
    def rank(self) -> float | None:
        """Median rank over the measured points, or None."""
        return median(s.rank for s in self.spectra) if self.spectra else None

    @property
    def trace(self) -> float | None:
        """Median trace of the Jacobian, or None."""
        return median(s.trace for s in self.spectra) if self.spectra else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the thresholds of the verdict."""
        return asdict(self) | {
            "verdict": self.verdict.value,
            "rank": self.rank,
            "trace": self.trace,
            "thresholds": THRESHOLDS,
        }

    def _repr_html_(self) -> str:
        """What a notebook shows: verdict, errors and spectrum."""
        measured = counted(self.points, "input")
        notes = f'<div style="margin: 4px 0">{escape(self.remark)}</div>' if self.remark else ""
        return frame(badge(self.verdict.value, self.sentence), rows_of({measured: self.as_dict()}), notes)


def certify(
    f: Map,
    x: Tensor,
    *,
    condition: Tensor | None = None,
    depth: int = 3,
    rank_points: int = 8,
    off_manifold: bool = True,
    batch_size: int = 250,
    exact: bool = False,
) -> Certificate:
    """Measure how idempotent f is at the inputs x, and give a verdict.

    Args:
        f: any callable [B, *shape] -> [B, *shape], or f(x, condition); a module is evaluated in evaluation mode and then
            put back. It may work in place, in NumPy or without a gradient.
        x: inputs [N, *shape], N >= 2, complex or in floating point of at least 16 bits, preferably off the manifold that f
            projects onto; not changed.
        condition: [N, ...], passed on as the second argument.
        depth: errors are measured for k = 1 ... depth.
        rank_points: number of inputs at which the Jacobian's spectrum is measured; 0 for none.
        off_manifold: set to False if f(x) = x is correct at x; then the verdict is never "identity".
        batch_size: samples per forward.
        exact: whether f claims to be idempotent to rounding; then the claim is checked, at f^50 too.

    Raises:
        ValueError: if f changes the shape or returns complex values for real inputs, or if x is not as described.
    """
    check_arguments(f, x, condition, depth=depth, rank_points=rank_points, batch_size=batch_size)
    kept = Kept(f, x)
    modes = {module: module.training for module in f.modules()} if isinstance(f, nn.Module) else {}
    if isinstance(f, nn.Module):
        f.eval()
    try:
        orbits = orbits_of(kept, x.detach().resolve_conj(), condition, batch_size)
        for orbit in orbits:
            orbit.ahead(depth)
        certificate = certify_orbits(
            kept,
            orbits,
            depth=depth,
            rank_points=rank_points,
            off_manifold=off_manifold,
            batch_size=batch_size,
            eps=kept.eps,
            remark=kept.remark,
            exact=exact,
        )
    finally:
        for module, training in modes.items():
            module.training = training
    return certificate


def orbits_of(f: Map, x: Tensor, condition: Tensor | None, batch_size: int) -> list[Orbit]:
    """The orbits of x [N, *shape] in batches."""
    parts = [slice(start, start + batch_size) for start in range(0, len(x), batch_size)]
    return [Orbit(f, x[rows], None if condition is None else condition[rows]) for rows in parts]


def certify_orbits(
    f: Map,
    orbits: Sequence[Orbit],
    *,
    depth: int,
    rank_points: int,
    off_manifold: bool,
    batch_size: int,
    eps: float,
    remark: str = "",
    exact: bool = False,
) -> Certificate:
    """The certificate of f from its orbits. Points are computed as needed, and metrics can share the orbits.

    Args:
        orbits: of all inputs, in batches, real or complex.
        depth, rank_points, off_manifold, batch_size: as for `certify`.
        eps: machine epsilon of the precision that f computes in.
        remark: a remark to include in the certificate.
        exact: whether f claims to be idempotent to rounding, in the precision of the inputs.
    """
    points = [[orbit.input for orbit in orbits]]
    points += [[orbit.ahead(k) for orbit in orbits] for k in range(depth + 1)]
    changes = [_squares(after, before) for before, after in pairwise(points[1:])]
    distances = [_squares(y, _mean(y)) for y in points]
    entries = sum(part.numel() for part in points[0])
    size = (float(sum(_wide(part).square().sum() for part in points[1])) / entries) ** 0.5
    same = all(bool((part == points[0][0][:1]).all()) for part in points[0])

    def settled(squares: Tensor) -> Tensor:
        """Squared distances. If all inputs are the same, no spread is there to compare with: rounding is no distance."""
        within = float(squares.sum()) <= entries * (ROUNDING * eps * size) ** 2
        return torch.zeros_like(squares) if same and within else squares

    changes, distances = [settled(each) for each in changes], [settled(each) for each in distances]
    spreads = [float(each.sum()) for each in distances]
    change, N, dimension = changes[0], len(distances[0]), _wide(points[0][0]).shape[1]
    errors = _over(change, distances[1].mean()).sqrt()
    worst = int(errors.argmax())
    x, y, inputs = _samples(orbits, points, min(TRIED, N))
    still = torch.no_grad()(_under(f, inputs))
    flat = all(discrete(*on_reals(still, each), eps) for each in (x, y))
    spectra: tuple[Spectrum, ...] = ()
    told = ""
    if rank_points:
        _, y, inputs = _samples(orbits, points, rank_points)
        each = inputs.split(1) if inputs is not None else [None] * len(y)  # type: ignore[no-untyped-call]
        at = ((_under(f, one), point) for one, point in zip(each, y, strict=True))
        spectra, told = spectra_at(at, discrete=flat, eps=eps, batch_size=batch_size)
    relative, drift, holds = _relative(changes[0], distances[1]), None, None
    if exact:
        drift = _drift(f, orbits, points, (spreads[1] / N) ** 0.5)
        rounding = torch.finfo(points[0][0].dtype).eps  # what computes exactly does so in the precision of its inputs
        holds = relative <= EXACT * rounding and drift <= STAYS * rounding
    if holds is False:
        claim = f"the claim to be exact does not hold: relative error {relative:.2g}, and {drift:.2g} from f to f^{FAR}"
        told = "; ".join(filter(None, [claim, told]))
    evidence = Evidence(
        relative=relative,
        spread=(spreads[1] / entries) ** 0.5,
        input_spread=(spreads[0] / entries) ** 0.5,
        displacement=_relative(settled(_squares(points[1], points[0])), distances[0]),
        rounding=eps * size,
        off_manifold=off_manifold,
        discrete=flat,
        exact=bool(holds),
    )
    if bad := _not_finite(points[1]):
        told = "; ".join(filter(None, [f"f(x) is not finite at {bad} of {counted(N, 'input')}", told]))
    if same:
        told = "; ".join(filter(None, ["all inputs are the same, so that their spread is zero", told]))
    return Certificate(
        points=N,
        dimension=dimension,
        absolute=tuple(_mean_modulus(a, b) for a, b in pairwise(points[1:])),
        relative=tuple(_relative(c, d) for c, d in zip(changes, distances[1:], strict=False)),
        interval=_interval(change, distances[1]),
        percentile_99=float(errors.quantile(0.99, interpolation="higher")),
        worst_sample=worst,
        worst_error=float(errors[worst]),
        spread=evidence.spread,
        input_spread=evidence.input_spread,
        displacement=evidence.displacement,
        off_manifold=off_manifold,
        discrete=flat,
        exact=holds,
        drift=drift,
        spectra=spectra,
        verdict=evidence.verdict,
        sentence=evidence.sentence,
        notes=evidence.notes,
        remark="; ".join(filter(None, [remark, told])),
    )


# -- points of a set in batches: a list of [b, *shape] ----------------------------------------------------------------


def _wide(t: Tensor) -> Tensor:
    """One row of real numbers a sample, [b, n], in double precision."""
    return (torch.view_as_real(t) if t.is_complex() else t).reshape(len(t), -1).double()


def _mean(parts: Sequence[Tensor]) -> Tensor:
    """The mean over all samples, [n]."""
    return torch.stack([_wide(part).sum(0) for part in parts]).sum(0) / sum(len(part) for part in parts)


def _not_finite(parts: Sequence[Tensor]) -> int:
    """Number of samples with an entry that is not finite."""
    return sum(int((~part.isfinite()).reshape(len(part), -1).any(1).sum()) for part in parts)


def _squares(parts: Sequence[Tensor], others: Sequence[Tensor] | Tensor) -> Tensor:
    """Squared distance of each sample from its counterpart, or from one point [n]: [N] on the CPU."""
    if isinstance(others, Tensor):
        rows = [_wide(part) - others for part in parts]
    else:
        rows = [_wide(part) - _wide(other) for part, other in zip(parts, others, strict=True)]
    return torch.cat([each.square().sum(1) for each in rows]).cpu()


def _mean_modulus(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Mean |difference| over all entries."""
    total = sum(float((b - a).abs().double().sum()) for a, b in zip(before, after, strict=True))
    return total / sum(part.numel() for part in before)


def _over(changes: Tensor, spread: Tensor) -> Tensor:
    """changes / spread. Without a spread it is 0 if nothing changes, and infinite otherwise."""
    return torch.where(spread > 0, changes / spread, torch.where(changes == 0, 0.0, torch.inf))


def _relative(changes: Tensor, distances: Tensor) -> float:
    """sqrt(sum of changes / sum of distances)."""
    return float(_over(changes.sum(), distances.sum()).sqrt())


def _interval(changes: Tensor, distances: Tensor) -> tuple[float, float]:
    """95 % bootstrap interval of `_relative`, with a fixed seed."""
    N, drawn = len(changes), []
    rng = generator(0, "bootstrap")
    for size in [min(RESAMPLED, 4_000_000 // N or 1)] * -(-RESAMPLED // min(RESAMPLED, 4_000_000 // N or 1)):
        rows = torch.randint(N, (size, N), generator=rng)
        drawn.append(_over(changes[rows].sum(1), distances[rows].sum(1)))
    low, high = (
        torch.cat(drawn).sqrt().quantile(torch.tensor([0.025, 0.975]).double(), interpolation="nearest").tolist()
    )
    return low, high


def _samples(
    orbits: Sequence[Orbit], points: Sequence[Sequence[Tensor]], count: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """(x, f(x), condition) of at most `count` evenly spaced samples."""
    N, size = sum(len(part) for part in points[0]), len(points[0][0])
    chosen = range(0, N, max(1, N // count))[:count]

    def pick(parts: Sequence[Tensor]) -> Tensor:
        return torch.stack([parts[i // size][i % size] for i in chosen])

    conditions = [orbit.condition for orbit in orbits if orbit.condition is not None]
    return pick(points[0]), pick(points[1]), pick(conditions) if conditions else None


@torch.no_grad()
def _drift(f: Map, orbits: Sequence[Orbit], points: Sequence[Sequence[Tensor]], spread: float) -> float:
    """Root mean square of |f^50(x) - f(x)| over some samples, as a share of the spread (of whole samples)."""
    _, y, inputs = _samples(orbits, points, FOLLOWED)
    still, far = _under(f, inputs), y
    for _ in range(FAR - 1):
        far = still(far)
    moved = float(_squares([far], [y]).mean()) ** 0.5
    return moved / spread if spread > 0 else 0.0 if moved == 0 else float("inf")


def _under(f: Map, conditions: Tensor | None) -> Callable[[Tensor], Tensor]:
    """f with the conditions fixed. They are repeated cyclically if there are more points than conditions."""
    if conditions is None:
        return f
    return lambda y: f(y, conditions.repeat(len(y) // len(conditions), *[1] * (conditions.ndim - 1)))
