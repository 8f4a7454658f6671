"""Checks of models: for every shape of sample that it takes, a model is an operator f: X -> X, sample by sample."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from safetensors.torch import load, save
from torch import Tensor

from ...contracts.orbit import Operator
from ...errors import BadInput
from ..exactness import exact_whatever_the_weights
from ..kit import CheckFailed, at_most, check, must
from ..subject import Subject
from ..trials import draws

__all__ = ["taken"]

_SHAPES = ((12,), (4, 6), (1, 8, 8), (3, 16, 16))
_LARGER = ((1, 28, 28), (3, 32, 32), (3, 64, 64))
"""Larger shapes, for a model that takes none of the small ones."""


def taken(subject: Subject, classes: int | None = None) -> Iterator[tuple[tuple[int, ...], Operator]]:
    """(shape, model in float64) for each shape that it takes; a model refuses other shapes when built or called.

    Args:
        classes: of a condition, for a model f(x, c).

    Raises:
        CheckFailed: if it takes none.
    """
    taken, refusals = 0, []
    for shape in _SHAPES + _LARGER:
        if taken and shape in _LARGER:
            return
        try:
            model = subject.model(shape, classes).double()
            x = draws(shape)
            with torch.no_grad():
                model(x) if classes is None else model(x, torch.zeros(len(x), dtype=torch.long))
        except (BadInput, RuntimeError, TypeError, ValueError) as error:
            refusals.append(f"{list(shape)}: {' '.join(str(error).split())}")
            continue
        taken += 1
        yield shape, model
    if not taken:
        raise CheckFailed(f"it takes no shape of sample that the kit has; {'; '.join(refusals)}")


@check("model", cause="an operator is f: X -> X: its output must have the shape of the input")
def shape_is_kept(subject: Subject) -> None:
    """Batches of 1, 2 and 5 samples keep their shape and precision."""
    for shape, f in taken(subject):
        for rows in (1, 2, 5):
            x = draws(shape, rows)
            y = f(x)
            must(isinstance(y, Tensor), f"it returned {type(y).__name__}, not a tensor")
            must(y.shape == x.shape, f"samples {list(x.shape)} became {list(y.shape)}")
            must(y.dtype == x.dtype, f"samples in {x.dtype} became {y.dtype}")


@check("model", cause="in evaluation, it still uses statistics of the batch, or mixes samples along dimension 0")
def samples_are_independent_in_evaluation(subject: Subject) -> None:
    """In evaluation, the output of a sample does not depend on the others of its batch."""
    for shape, f in taken(subject):
        x = draws(shape, 5)
        with torch.no_grad():
            together, alone = f.eval()(x), torch.cat([f(row) for row in torch.split(x, 1)])
        off = (together - alone).norm() / together.norm().clamp_min(1e-12)
        at_most(off, 1e-9, "|f(batch) - f(one by one)| / |f(batch)|")


@check("model", cause="randomness in evaluation, or weights that do not come from torch's own generator")
def evaluation_is_deterministic(subject: Subject) -> None:
    """Built twice from one seed, it has the same weights, and in evaluation it draws no random numbers."""
    for shape, f in taken(subject):
        twins = []
        for _ in range(2):
            torch.default_generator.manual_seed(3)
            twins.append(subject.model(shape).double().eval())
        x = draws(shape)
        before = torch.get_rng_state()
        with torch.no_grad():
            must(torch.equal(twins[0](x), twins[1](x)), "two built from one seed give different outputs")
            must(torch.equal(f.eval()(x), f(x)), "called twice it gives different outputs")
        must(torch.equal(torch.get_rng_state(), before), "in evaluation it drew from the global generator")


@check("model", cause="an in-place operation on the input: take a copy first")
def input_is_untouched(subject: Subject) -> None:
    """It does not change its input."""
    for shape, f in taken(subject):
        x = draws(shape)
        kept = x.clone()
        f(x)
        must(torch.equal(x, kept), "it changed its input")


@check("model", cause="a parameter that nothing uses, or an output that is detached")
def gradient_reaches_every_parameter(subject: Subject) -> None:
    """Through f(f(x)), a finite gradient reaches every parameter and the input."""
    for shape, f in taken(subject):
        x = draws(shape, 8).requires_grad_()
        f(f(x)).square().mean().backward()
        for name, value in [("the input", x), *f.named_parameters()]:
            if value.requires_grad:
                if value.grad is None:
                    raise CheckFailed(f"no gradient reaches {name}")
                must(bool(torch.isfinite(value.grad).all()), f"the gradient of {name} is not finite")


@check("model", cause="a constant made without dtype= and device= of the input; register it as a buffer")
def every_precision(subject: Subject) -> None:
    """Moved to float32 or bfloat16, it works in that precision."""
    for shape, f in taken(subject):
        exact = f.eval()(draws(shape)).detach()
        for dtype, bound in ((torch.float32, 1e-3), (torch.bfloat16, 0.3)):
            y = copy.deepcopy(f).to(dtype)(draws(shape).to(dtype)).detach()
            must(y.dtype == dtype, f"samples in {dtype} became {y.dtype}")
            off = (y.double() - exact).norm() / exact.norm().clamp_min(1e-12)
            at_most(off, bound, f"|f in {dtype} - f in float64| / |f|")


@check("model", cause="a normalisation without an epsilon, or an overflow")
def finite_at_extremes(subject: Subject) -> None:
    """Output and gradient are finite in float32 on zeros, on tiny and on large inputs."""
    for shape, model in taken(subject):
        f = model.float()
        for size in (0.0, 1e-20, 1e3):
            f.zero_grad(set_to_none=True)
            x = (size * draws(shape)).float().requires_grad_()
            y = f(x)
            y.mean().backward()
            gradients = [x.grad, *(p.grad for p in f.parameters())]
            must(bool(torch.isfinite(y).all()), f"its output on inputs of size {size:g} is not finite")
            finite = all(bool(torch.isfinite(g).all()) for g in gradients if g is not None)
            must(finite, f"its gradient on inputs of size {size:g} is not finite")


@check(
    "model", cause="state in plain attributes, or tensors that share memory: safetensors stores each tensor separately"
)
def state_round_trips(subject: Subject) -> None:
    """A new model restored from its state through safetensors, or a deep copy, gives the same outputs."""
    for shape, f in taken(subject):
        f(draws(shape))  # what is learned of a batch, such as running statistics, is part of it
        torch.default_generator.manual_seed(4)
        restored = subject.model(shape).double()
        restored.load_state_dict(load(save({k: v.contiguous() for k, v in f.state_dict().items()})))
        x = draws(shape)
        with torch.no_grad():
            expected = f.eval()(x)
            must(torch.equal(restored.eval()(x), expected), "restored from its state_dict it gives other outputs")
            must(torch.equal(copy.deepcopy(f)(x), expected), "its deep copy gives other outputs")


@check(
    "model",
    applies=lambda traits: traits.exact,
    cause="the model claims `exact`, and the encoder is not a left inverse of the decoder, or the code is off by more than "
    "half a cell, or half precision is left on under autocast: do not claim it, or mend it",
)
def exact_as_claimed(subject: Subject) -> None:
    """A model that claims it is idempotent to rounding, at depth 1 and at f^50, whatever its weights."""
    for shape, f in taken(subject):
        exact_whatever_the_weights(f, shape)
