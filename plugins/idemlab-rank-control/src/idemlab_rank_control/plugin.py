"""What this distribution offers. Nothing here imports torch, so that `idemlab list` stays fast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from annotated_types import Ge, Gt

from idemlab import EnforcerKind, EnforcerSpec, Traits, hookimpl


def rank_control(
    rank: Annotated[int, Ge(1)],
    weight: Annotated[float, Ge(0)] = 1.0,
    spectrum: Annotated[float, Ge(0)] = 1.0,
    probes: Annotated[int, Ge(2)] = 2,
    step: Annotated[float, Gt(0)] | None = None,
) -> Any:
    """Drives the Jacobian J of f at f(x) to rank r: to trace r, and to eigenvalues 0 and 1, at every sample.

    The loss is ((tr J - r)^2 + spectrum |J^2 - J|_F^2) / n, where n is the number of entries of one sample. Random
    probes v estimate both terms without bias. For the trace, two independent Hutchinson estimates t = v.Jv give
    (t1 - r)(t2 - r); the square of one would add its variance. For the spectrum, |J(Jv) - Jv|^2; without it, part of the
    trace hides in many small eigenvalues. J v is a central difference, so there is no double backward. The cost is 3F,
    and 12F for each probe (6F without spectrum).

    It sets the rank, but does not enforce f(f(x)) = f(x): combine it with another enforcer in `hybrid`. The estimates
    are random. A single batch can report a negative loss, and at a perfect projection the update is zero on average.

    Args:
        rank: r, at least 1 and at most n.
        weight: of the whole loss, >= 0.
        spectrum: weight of |J^2 - J|_F^2 against (tr J - r)^2, >= 0; 0 leaves the term out.
        probes: random vectors v for each sample, >= 2; more of them give less noise.
        step: h of the central difference, as a share of the root mean square of f(x) if that is above 1. The default is
            the cube root of the machine precision, 5e-3 in float32.
    """
    from .rank_control import RankControl

    return RankControl(rank, weight, spectrum, probes, step)


def _traits(spectrum: float, **_: Any) -> Traits:
    return Traits(
        kinds=frozenset({EnforcerKind.LOSS}),
        stochastic=True,
        targets_rank=True,
        batch_statistics=False,  # J would be that of the whole batch
        live_depth=2 if spectrum > 0 else 1,
        attracts=spectrum > 0,  # a trace alone is met by other maps, too
    )


@hookimpl
def provide_enforcers() -> Iterable[EnforcerSpec]:
    yield EnforcerSpec(
        name="rank-control",
        factory=rank_control,
        summary="Drives tr J at f(x) to a rank r, and the eigenvalues of J to 0 and 1.",
        reference="M. F. Hutchinson, Commun. Stat. Simul. Comput. 18 (1989) 1059, for the estimates of the trace",
        traits=_traits,
    )
