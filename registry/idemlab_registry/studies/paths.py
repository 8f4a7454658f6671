"""Training by hand along a path of weights, for studies that look at the path itself rather than at its end."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from idemlab import Certificate, Enforcer, Orbit, Step, certify, generator, installed

__all__ = ["METHODS", "Path", "Problem"]

METHODS = {"gradient": {"name": "gradient"}, "cubic": {"name": "cubic", "cotangent": "unit"}}
"""The two methods by name: ordinary and modified backpropagation (OB and MB)."""


@dataclass(frozen=True)
class Path:
    """Weights on the way.

    Args:
        steps: at which they were kept, the start and the end among them, [T].
        weights: [T, P].
        losses: mean of the squared idempotence error at them, on one batch for all, [T].
    """

    steps: list[int]
    weights: Tensor
    losses: Tensor


@dataclass(frozen=True)
class Problem:
    """An MLP on Gaussian noise, trained by plain gradient descent without data term, as in `learning-rates`.

    Args:
        dimension: d, of a sample.
        width, depth: of the MLP.
        rate: learning rate.
        steps: number of steps.
        batch: samples a step.
        points: samples at which losses and gradients are measured, alike for all weights.
    """

    dimension: int = 16
    width: int = 32
    depth: int = 2
    rate: float = 0.07
    steps: int = 2500
    batch: int = 64
    points: int = 512

    def operator(self, seed: int) -> nn.Module:
        """f with the initial weights of a seed, the same for both methods."""
        catalog = installed()
        table = {"name": "mlp", "width": self.width, "depth": self.depth}
        torch.manual_seed(seed)
        operator: nn.Module = catalog.check("model", table, "[model]").build((self.dimension,))
        return operator

    def enforcer(self, method: str) -> Enforcer:
        """That of a method."""
        catalog = installed()
        enforcer: Enforcer = catalog.check("enforcer", METHODS[method], "[enforcer]").build()
        return enforcer

    def noise(self) -> Tensor:
        """The points at which everything is measured, [points, d]."""
        return torch.randn(self.points, self.dimension, generator=generator("measured at"))

    def walk(self, method: str, seed: int, every: int) -> Path:
        """Train by a method and keep the weights every so many steps."""
        operator, enforcer, measured = self.operator(seed), self.enforcer(method), self.noise()
        parameters = list(operator.parameters())
        like = torch.empty(self.batch, self.dimension)
        steps, weights = [0], [_weights(operator)]
        for index in range(self.steps):
            step = Step(seed=seed, index=index, progress=index / self.steps)
            gradients = _gradients(operator, enforcer, step.normal(like), step)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.sub_(self.rate * gradient)
            if (index + 1) % every == 0 or index + 1 == self.steps:
                steps.append(index + 1)
                weights.append(_weights(operator))
        kept = torch.stack(weights)
        return Path(steps, kept, torch.stack([self.loss(operator, each, measured) for each in kept]))

    @torch.no_grad()
    def loss(self, operator: nn.Module, weights: Tensor, x: Tensor) -> Tensor:
        """mean (f(f(x)) - f(x))^2 with these weights [P] at points x [N, d]."""
        vector_to_parameters(weights, operator.parameters())
        orbit = Orbit(operator, x)
        return (orbit.ahead(1) - orbit.ahead(0)).square().mean()

    def certificate(self, weights: Tensor) -> Certificate:
        """That of the operator with these weights [P], at the points where everything is measured."""
        operator = self.operator(0)
        vector_to_parameters(weights, operator.parameters())
        return certify(operator, self.noise(), depth=1, rank_points=4)

    def gradient(self, operator: nn.Module, method: str, weights: Tensor, x: Tensor) -> Tensor:
        """What a method follows with these weights [P] at points x [N, d], [P]."""
        vector_to_parameters(weights, operator.parameters())
        return torch.cat([g.flatten() for g in _gradients(operator, self.enforcer(method), x, Step())])


def _weights(operator: nn.Module) -> Tensor:
    return parameters_to_vector(operator.parameters()).detach().clone()


def _gradients(operator: nn.Module, enforcer: Enforcer, x: Tensor, step: Step) -> tuple[Tensor, ...]:
    loss = enforcer(Orbit(operator, x), step).loss
    return torch.autograd.grad(loss.mean(), list(operator.parameters()))
