"""Models that take a condition: f(x, c) by a learned vector for each class; without one they are as ever."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from idemlab import BadInput, ModelSpec, installed
from idemlab.contracts.orbit import Orbit

CLASSES = 3
SHAPES = {"mlp": (6,), "autoencoder": (1, 8, 8), "patches": (1, 8, 8), "unet": (1, 8, 8), "attention": (5, 3)}
every_model = pytest.mark.parametrize("name", list(SHAPES))


def built(name: str, classes: int | None) -> torch.nn.Module:
    torch.manual_seed(0)
    model: torch.nn.Module = installed().check("model", {"name": name}, "test").build(SHAPES[name], classes)
    return model.double()


def points(name: str, count: int = 4) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(count, *SHAPES[name], dtype=torch.float64), torch.arange(count) % CLASSES


def test_these_are_all_that_say_so() -> None:
    specs = [entry.spec for entry in installed().entries("model")]
    assert {spec.name for spec in specs if isinstance(spec, ModelSpec) and spec.conditional} == set(SHAPES)


@every_model
def test_all_else_starts_as_without_a_condition_and_each_class_has_its_vector(name: str) -> None:
    plain, f = built(name, None), built(name, CLASSES)
    own, state = plain.state_dict(), f.state_dict()
    assert list(own) == [key for key in state if "label" not in key]
    assert all(torch.equal(state[key], value) for key, value in own.items())
    x, c = points(name)
    with torch.no_grad():
        for key, value in state.items():
            if "label" in key:
                value.zero_()
        assert torch.equal(f(x, c), plain(x))  # only the vectors tell the classes apart


@every_model
def test_faults_are_refused(name: str) -> None:
    x, c = points(name)
    f = built(name, CLASSES)
    for wrong, message in (
        (None, "takes a condition, and got none"),
        (c + 1, "a class below 0 or above 2"),
        (c - 1, "a class below 0 or above 2"),
        (c[:3], r"the condition has the shape \[3\] and the type int64"),
        (c.double(), "the type float64"),
        (c > 0, "the type bool"),
    ):
        with pytest.raises(BadInput, match=message):
            f(x, wrong)
    with pytest.raises(BadInput, match="takes no condition"):
        built(name, None)(x, c)


@pytest.mark.parametrize("name", ["autoencoder", "patches"])
def test_codes_are_made_and_read_under_the_condition(name: str) -> None:
    f, (x, c) = built(name, CLASSES), points(name)
    orbit = Orbit(f, x, c)
    h = orbit.encode(x)
    assert torch.equal(f.decode(h, c), f(x, c))  # type: ignore[operator]
    assert torch.equal(orbit.decode(h), orbit.output)
    for part, value in ((f.encode, x), (f.decode, h)):
        other = part(value, (c + 1) % CLASSES)  # type: ignore[operator]
        assert (other != part(value, c)).flatten(1).any(1).all()  # type: ignore[operator]


@pytest.mark.long
@every_model
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_derivatives_are_those_of_each_f_of_x(name: str) -> None:
    f, (x, c) = built(name, CLASSES), points(name, 2)
    v = torch.ones_like(x)
    together = Orbit(f, x, c).jvp(v)
    alone = [Orbit(lambda y, i=i: f(y, c[i : i + 1]), x[i : i + 1]).jvp(v[:1]) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(alone))
