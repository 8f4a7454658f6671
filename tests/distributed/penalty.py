"""An enforcer that differentiates twice, for the catalog of a test; run by its path (`runpy`), it leaves `catalog`."""

from __future__ import annotations

from typing import Any

import torch

import idemlab
from idemlab import Enforcement, Enforcer, EnforcerKind, EnforcerSpec, Orbit, Step, Traits


class Penalty(Enforcer):
    """|d/dy |f(y) - y|^2|^2 of each sample at y = f(x)."""

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        y = orbit.output
        with torch.enable_grad():
            y = y if y.requires_grad else y.detach().requires_grad_()
            error = (orbit.apply(y) - y).square().flatten(1).sum()
            (slope,) = torch.autograd.grad(error, y, create_graph=True)
        return Enforcement(loss=slope.square().flatten(1).sum(1))


def penalty() -> Any:
    """The penalty."""
    return Penalty()


catalog = idemlab.installed().including(
    EnforcerSpec(
        name="penalty",
        factory=penalty,
        summary="Differentiates twice.",
        traits=Traits(kinds=frozenset({EnforcerKind.LOSS}), needs_double_backward=True, live_depth=1),
    )
)
