"""Enforcers for the catalog of a test: one that differentiates twice, and the one with a state that docs/write-a-plugin.md
shows. Run by its path (`runpy`), it leaves `catalog`."""

from __future__ import annotations

import re
from pathlib import Path
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


PAGE = Path(__file__).parents[2] / "docs" / "write-a-plugin.md"
block = re.search(
    r'^```python title="[^"]*teacher.py"\n(.*?)^```$', PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
assert block is not None
shown: dict[str, Any] = {"__name__": "teacher"}
exec(compile(block[1], "teacher.py", "exec", dont_inherit=True), shown)

catalog = (
    idemlab.installed()
    .including(
        EnforcerSpec(
            name="penalty",
            factory=penalty,
            summary="Differentiates twice.",
            traits=Traits(kinds=frozenset({EnforcerKind.LOSS}), needs_double_backward=True, live_depth=1),
        )
    )
    .including(shown["SPEC"])
)
