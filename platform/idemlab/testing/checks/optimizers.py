"""Checks of optimisers: every parameter is trained, by the rate that the schedule sets, and a checkpoint holds the state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...contracts.step import generator
from ..kit import CheckFailed, at_most, check, must
from ..subject import Subject

__all__: list[str] = []

_SHAPES = ((5,), (4, 3), (2, 3, 3, 3), ())
"""Of a bias, a matrix, the kernels of a convolution and a scale."""
_STEPS = 3
Optimizers = Sequence[torch.optim.Optimizer]


def _tensors(key: str, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.randn(shape, dtype=dtype, generator=generator(key, i)) for i, shape in enumerate(_SHAPES)]


def _parameters(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    return [nn.Parameter(value) for value in _tensors("parameters", dtype)]


def _built(subject: Subject, parameters: Sequence[nn.Parameter]) -> Optimizers:
    made = subject.build(list(parameters))
    return made if isinstance(made, list) else [made]


def _loss(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Half the squared distance to a fixed point, whose gradient has entries of all sizes up to about 2."""
    targets = _tensors("targets", parameters[0].dtype)
    return sum(((p - t).square().sum() / 2 for p, t in zip(parameters, targets, strict=True)), torch.zeros(()))


def _train(optimizers: Optimizers, parameters: Sequence[nn.Parameter], steps: int, share: float = 1.0) -> None:
    """Steps as training makes them, at a share of the rates that the optimisers begin with."""
    rates = [[_rate(group) for group in optimizer.param_groups] for optimizer in optimizers]
    for _ in range(steps):
        for optimizer, own in zip(optimizers, rates, strict=True):
            for group, rate in zip(optimizer.param_groups, own, strict=True):
                group["lr"] = rate * share
        for p in parameters:
            p.grad = None
        _loss(parameters).backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
    for optimizer, own in zip(optimizers, rates, strict=True):
        for group, rate in zip(optimizer.param_groups, own, strict=True):
            group["lr"] = rate


def _rate(group: dict[str, Any]) -> float:
    must("lr" in group, "a parameter group has no 'lr', so no schedule can scale it")
    return float(group["lr"])


def _same(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@check("optimizer", cause="it sorts out parameters by their shape, and forgets some or takes some twice")
def takes_every_parameter(subject: Subject) -> None:
    """It trains each parameter exactly once: vectors, matrices, kernels and scalars."""
    parameters = _parameters()
    taken = [id(p) for each in _built(subject, parameters) for group in each.param_groups for p in group["params"]]
    for shape, parameter in zip(_SHAPES, parameters, strict=True):
        times = taken.count(id(parameter))
        must(times == 1, f"it takes a parameter of shape {list(shape)} {times} times")
    must(len(taken) == len(parameters), "it trains parameters that it was not given")


@check("optimizer", cause="a wrong sign, or a step that is far too long for the rate")
def lowers_a_loss(subject: Subject) -> None:
    """Steps at its rate lower a quadratic loss."""
    parameters = _parameters()
    optimizers, before = _built(subject, parameters), float(_loss(parameters).detach())
    _train(optimizers, parameters, 10 * _STEPS)
    after = float(_loss(parameters).detach())
    must(after < before, f"after {10 * _STEPS} steps the loss is {after:.4g}, and it was {before:.4g}")


@check("optimizer", cause="it reads its own `lr` instead of group['lr'], which the schedule and the warm-up set")
def rate_scales_the_steps(subject: Subject) -> None:
    """At half the rate it moves the parameters less."""
    moved = []
    for share in (1.0, 0.5):
        parameters = _parameters()
        _train(_built(subject, parameters), parameters, _STEPS, share)
        away = [(p - q).detach().abs().sum() for p, q in zip(parameters, _parameters(), strict=True)]
        moved.append(float(sum(away)))
    must(moved[0] > 0, "its first steps move nothing")
    at_most(
        moved[1] / moved[0],
        0.9,
        "how far it moves the parameters at half the rate, over the distance at the full rate",
    )


@check("optimizer", cause="its state is in plain attributes: keep it in self.state, as tensors and plain values")
def state_round_trips(subject: Subject) -> None:
    """Restored from its state, which a checkpoint can hold, it goes on with the same bits."""
    parameters = _parameters(torch.float32)  # torch restores a state in the precision of the parameters
    optimizers = _built(subject, parameters)
    _train(optimizers, parameters, _STEPS)
    kept = [_stored(optimizer.state_dict()) for optimizer in optimizers]
    twins = [nn.Parameter(p.detach().clone()) for p in parameters]
    _train(optimizers, parameters, _STEPS)
    restored = _built(subject, twins)
    for optimizer, state in zip(restored, kept, strict=True):
        optimizer.load_state_dict(state)
    _train(restored, twins, _STEPS)
    must(_same(parameters, twins), "restored from its state_dict it takes other steps")


def _stored(node: Any, where: str = "state_dict()") -> Any:
    """A copy of a state, in the forms that a checkpoint has."""
    if isinstance(node, Tensor):
        return node.detach().clone()
    if isinstance(node, dict):
        return {key: _stored(value, f"{where}[{key!r}]") for key, value in node.items()}
    if type(node) in (list, tuple):
        return type(node)(_stored(value, f"{where}[{i}]") for i, value in enumerate(node))
    if node is not None and type(node) not in (bool, int, float, str):
        raise CheckFailed(f"{where} is {type(node).__name__}, neither a tensor nor a plain value")
    return node


@check("optimizer", cause="it draws random numbers: resumed, or on several processes, it would take other steps")
def deterministic(subject: Subject) -> None:
    """Two of them take the same steps, and the global generator is not used."""
    ended = []
    for seed in (1, 2):
        parameters = _parameters()
        torch.default_generator.manual_seed(seed)
        before = torch.get_rng_state()
        _train(_built(subject, parameters), parameters, _STEPS)
        must(torch.equal(torch.get_rng_state(), before), "it drew from the global generator")
        ended.append(parameters)
    must(_same(*ended), "two optimizers that begin alike take different steps")


@check(
    "optimizer", cause="`step` does not check whether `p.grad` is None, as for a parameter that a batch does not reach"
)
def leaves_what_has_no_gradient(subject: Subject) -> None:
    """A parameter without a gradient stays as it is."""
    parameters = _parameters()
    kept = [p.detach().clone() for p in parameters]
    optimizers = _built(subject, parameters)
    for p in parameters[1:]:
        p.grad = torch.ones_like(p)
    for optimizer in optimizers:
        optimizer.step()
    must(_same(parameters[:1], kept[:1]), "it moves a parameter that has no gradient")


@check("optimizer", cause="a division by the norm of the gradient, without a small number beside it")
def finite_at_zero_gradients(subject: Subject) -> None:
    """Gradients of zero leave all parameters finite."""
    parameters = _parameters()
    optimizers = _built(subject, parameters)
    for _ in range(_STEPS):
        for p in parameters:
            p.grad = torch.zeros_like(p)
        for optimizer in optimizers:
            optimizer.step()
    must(all(bool(torch.isfinite(p).all()) for p in parameters), "the parameters are not finite")


@check("optimizer", cause="a tensor of another precision in its state: use torch.zeros_like(p)")
def every_precision(subject: Subject) -> None:
    """It trains float32 as well as float64, and leaves the precision as it is."""
    for dtype in (torch.float32, torch.float64):
        parameters = _parameters(dtype)
        optimizers, before = _built(subject, parameters), float(_loss(parameters).detach())
        _train(optimizers, parameters, 10 * _STEPS)
        must(all(p.dtype == dtype for p in parameters), f"parameters of {dtype} get another precision")
        must(float(_loss(parameters).detach()) < before, f"{dtype} is not trained")
