"""What the built-in enforcers promise and demand, from their arguments. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from idemlab import EnforcerKind, Traits


def kinds(*kinds: EnforcerKind) -> frozenset[EnforcerKind]:
    return frozenset(kinds)


def gradient_traits(routing: str, distance: str, depth: int, **_: Any) -> Traits:
    return Traits(
        kinds=kinds(EnforcerKind.LOSS),
        smooth=distance == "l2",
        orthogonally_equivariant=distance == "l2",
        live_depth=depth,
        # One half of the gradient alone leads away from some idempotents: the inner one from 1, the outer one from 0.
        attracts=routing == "full",
    )


def purification_traits(method: str, **_: Any) -> Traits:
    steers = method in ("sp2", "trs4", "hpcp", "pm")
    # A step of HPCP leads a little out of [0, 1], and never out of this wider interval.
    domain = (-0.1, 1.1) if method == "hpcp" else (0.0, 1.0) if steers or method == "optimal" else None
    return Traits(
        kinds=kinds(EnforcerKind.PROJECTION),
        linear_only=True,
        orthogonally_equivariant=True,
        targets_rank=steers,
        domain=domain,
    )


def rank_traits(spectrum: float, probes: int | None, **_: Any) -> Traits:
    return Traits(
        kinds=kinds(EnforcerKind.LOSS),
        smooth=False,
        orthogonally_equivariant=probes is None,
        batch_coupled=True,
        stochastic=probes is not None,
        targets_rank=True,
        batch_statistics=False,  # J would be that of the whole batch
        live_depth=2 if probes else 1,
        attracts=spectrum > 0,  # the traces alone are met by other maps, too
    )


def relative_traits(**_: Any) -> Traits:
    return Traits(
        kinds=kinds(EnforcerKind.LOSS),
        smooth=False,  # near a constant map the error is 1, even of the square
        orthogonally_equivariant=True,
        batch_coupled=True,
        live_depth=1,
    )


def ign_traits(tightness: float, clamp: float, distance: str, routing: str, **_: Any) -> Traits:
    clamped = tightness > 0 and clamp > 0
    cubic = routing in ("cubic", "cubic-both")
    cubic_only = cubic and tightness == 0
    return Traits(
        kinds=kinds(EnforcerKind.LOSS, EnforcerKind.SUBSTITUTION) if cubic else kinds(EnforcerKind.LOSS),
        smooth=distance == "l2" or cubic_only,
        # The clamp's scale is the reconstruction, whose distance is not known here.
        orthogonally_equivariant=(distance == "l2" or cubic_only) and not clamped,
        needs_reconstruction=clamped,
        batch_statistics=not (clamped and routing == "reversal"),
        live_depth=0 if cubic_only else 1,
        attracts=cubic_only,
        expands=tightness > 0,
    )


def hybrid_traits(enforcers: list[Traits], mode: str, **_: Any) -> Traits:
    """A promise holds if all members make it; a demand holds if any member makes it."""
    domains = [member.domain for member in enforcers if member.domain is not None]
    return Traits(
        kinds=frozenset().union(*(member.kinds for member in enforcers)),
        linear_only=any(member.linear_only for member in enforcers),
        smooth=all(member.smooth for member in enforcers),
        orthogonally_equivariant=all(member.orthogonally_equivariant for member in enforcers),
        batch_coupled=mode == "switch" or any(member.batch_coupled for member in enforcers),
        stochastic=any(member.stochastic for member in enforcers),
        needs_double_backward=any(member.needs_double_backward for member in enforcers),
        needs_reconstruction=any(member.needs_reconstruction for member in enforcers),
        batch_statistics=all(member.batch_statistics for member in enforcers),
        targets_rank=any(member.targets_rank for member in enforcers),
        preserves_rank=all(member.preserves_rank for member in enforcers),
        domain=(max(low for low, _ in domains), min(high for _, high in domains)) if domains else None,
        live_depth=max(member.live_depth for member in enforcers),
        attracts=all(member.attracts for member in enforcers),
        expands=all(member.expands for member in enforcers),
        exact=any(member.exact for member in enforcers),
        wraps=_together(member.wraps for member in enforcers),
        calls=_together(member.calls for member in enforcers),
    )


def _together(names: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for each in names for name in each))
