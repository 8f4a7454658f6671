"""A loaded operator equals the trained one, even in the random numbers that are not saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import idemlab
from idemlab import Enforcement, Enforcer, EnforcerSpec, ModelSpec, Orbit, Step, Traits


class Features(nn.Module):
    """Random features that are not part of the state."""

    features: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.randn(n, n), persistent=False)
        self.out = nn.Linear(n, n)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.out(torch.tanh(x @ self.features))
        return result


class Drawing(Enforcer):
    """Draws random numbers before the model is built, and more when it wraps the model."""

    def __init__(self) -> None:
        super().__init__()
        torch.randn(5)

    def wrap(self, operator: nn.Module) -> nn.Module:
        torch.randn(1)
        operator.register_buffer("features", torch.randn(4, 4), persistent=False)
        return operator

    def forward(self, orbit: Orbit, step: Step) -> Enforcement:
        return Enforcement(loss=(orbit.live(2) - orbit.output).square().mean(1))


def features(shape: tuple[int, ...]) -> nn.Module:
    return Features(shape[0])


def drawing() -> Enforcer:
    return Drawing()


@pytest.mark.parametrize("enforcer", ["gradient", "drawing"])
def test_what_was_drawn_and_is_not_saved_is_drawn_again(
    enforcer: str, tmp_path: Path, tiny: Callable[..., dict[str, Any]]
) -> None:
    catalog = idemlab.installed().including(ModelSpec(name="features", factory=features, summary="Features."))
    catalog = catalog.including(
        EnforcerSpec(name="drawing", factory=drawing, summary="Draws.", traits=Traits(live_depth=2))
    )
    table = tiny(model={"name": "features"}, enforcer={"name": enforcer}, training__seed=3)
    run = idemlab.train(table, tmp_path / "run", catalog=catalog)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    operator = idemlab.load(run.path, catalog=catalog)
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers go on as they were"
    assert run.certificate is not None
    trained = run.certificate["inputs"]["data"]["absolute"][0]
    test = idemlab.resolve(table, catalog=catalog).dataset.build().test
    x = test.__getitems__(list(range(len(test)))).input.to(torch.float32)
    with torch.no_grad():
        y = operator(x)
        assert float((operator(y) - y).abs().mean()) == pytest.approx(trained, rel=1e-5)
