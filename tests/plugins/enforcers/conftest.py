"""Small operators, frozen copies and gradients that the tests of the enforcers share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from idemlab import Enforcer, Orbit, Step

Gradients = list[Tensor]


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    """The mathematics is tested in double precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 9), nn.SiLU(), nn.Linear(9, 6))


def conv(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), norm, nn.SiLU(), nn.Conv2d(4, 2, 3, padding=1))


OPERATORS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (mlp, (6,)),
    "conv-group-norm": (lambda: conv(nn.GroupNorm(2, 4)), (2, 5, 5)),
    "conv-batch-norm": (lambda: conv(nn.BatchNorm2d(4)), (2, 5, 5)),
}


@pytest.fixture(params=list(OPERATORS))
def operator_name(request: pytest.FixtureRequest) -> str:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def operator(operator_name: str) -> nn.Module:
    torch.manual_seed(0)
    return OPERATORS[operator_name][0]()


@pytest.fixture
def draw(operator_name: str) -> Callable[[], Tensor]:
    """Draws a batch of five points for `operator`."""
    return lambda: torch.randn(5, *OPERATORS[operator_name][1])


@pytest.fixture
def frozen() -> Callable[[nn.Module], nn.Module]:
    """F: a deep copy whose parameters are fixed."""
    return lambda operator: copy.deepcopy(operator).requires_grad_(False)


def _gradients(loss: Tensor, operator: nn.Module) -> Gradients:
    return [
        torch.zeros_like(p) if g is None else g
        for p, g in zip(
            operator.parameters(),
            torch.autograd.grad(loss, list(operator.parameters()), allow_unused=True, retain_graph=True),
            strict=True,
        )
    ]


@pytest.fixture
def gradients() -> Callable[[Tensor, nn.Module], Gradients]:
    """The gradient of a scalar by each parameter."""
    return _gradients


@pytest.fixture
def enforced() -> Callable[..., tuple[Tensor, Gradients]]:
    """(loss [B], gradient of its mean by the parameters) of an enforcer, through backward() as in training."""

    def run(
        enforcer: Enforcer, operator: nn.Module, x: Tensor, step: Step | None = None, extra: Tensor | float = 0.0
    ) -> tuple[Tensor, Gradients]:
        loss = enforcer(Orbit(operator, x), step or Step()).loss
        assert loss.shape == x.shape[:1]
        operator.zero_grad()
        (loss.mean() + extra).backward()
        return loss.detach(), [torch.zeros_like(p) if p.grad is None else p.grad for p in operator.parameters()]

    return run


@pytest.fixture
def difference() -> Callable[[Gradients, Gradients], float]:
    """|a - b| / |b| over all parameters."""

    def relative(a: Gradients, b: Gradients) -> float:
        flat = [torch.cat([t.flatten() for t in side]) for side in (a, b)]
        return float((flat[0] - flat[1]).norm() / flat[1].norm())

    return relative


@pytest.fixture(scope="session")
def stays_idempotent() -> Callable[..., None]:
    """A function that demands f(f(x)) = f(x) and f^50(x) = f(x) of an architecture, up to a share in each precision."""

    def check(f: nn.Module, x: Tensor, **bounds: float) -> None:
        for precision, bound in bounds.items():
            f.to(getattr(torch, precision))
            with torch.no_grad():
                y = far = f(x.to(getattr(torch, precision)))
                for _ in range(49):
                    far = f(far)
                assert (f(y) - y).norm() <= bound * y.norm()
                assert (far - y).norm() <= 10 * bound * y.norm()

    return check


@pytest.fixture(scope="session")
def jacobian() -> Callable[[nn.Module, Tensor], Tensor]:
    """J [n, n] at one point [*shape]."""

    def of(f: nn.Module, x: Tensor) -> Tensor:
        J = torch.autograd.functional.jacobian(lambda t: f(t[None])[0].flatten(), x)  # type: ignore[no-untyped-call]
        return J.reshape(x.numel(), -1)  # type: ignore[no-any-return]

    return of


class Linear(nn.Module):
    """x -> K x for rows x, bias-free."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(matrix.clone())

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T


@pytest.fixture
def linear() -> Callable[[Tensor], nn.Module]:
    return Linear
