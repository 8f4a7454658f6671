"""The alignment of codes: its gradient, what it shares with the orbit, and the models that it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import idemlab
from idemlab import BadInput, Orbit, Step, installed


class Coder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(6, 3), nn.Linear(3, 6)
        self.encoded = self.decoded = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))

    def encode(self, x: Tensor) -> Tensor:
        self.encoded += 1
        return self.down(x).tanh()

    def decode(self, h: Tensor) -> Tensor:
        self.decoded += 1
        return self.up(h)


def test_its_gradient_is_that_of_the_literal_formula(enforced, difference):
    f, x = Coder(), torch.randn(5, 6)
    loss, ours = enforced(installed().check("enforcer", {"name": "alignment", "weight": 2.0}, "here").build(), f, x)
    h = f.encode(x)
    literal = 2.0 * (f.encode(f.decode(h)) - h).square().mean(1)
    torch.testing.assert_close(loss, literal.detach())
    assert difference(ours, list(torch.autograd.grad(literal.mean(), list(f.parameters())))) < 1e-13


@pytest.mark.parametrize("first", ["output", "code"])
def test_it_shares_what_the_orbit_has(first):
    f, x = Coder(), torch.randn(5, 6)
    orbit = Orbit(f, x)
    if first == "output":
        orbit.output  # noqa: B018  (as the reconstruction asks for it)
    installed().check("enforcer", {"name": "alignment"}, "here").build()(orbit, Step())
    y = orbit.output
    assert f.decoded == 1, "f(x) is decoded once"
    assert f.encoded == (3 if first == "output" else 2)
    torch.testing.assert_close(y, f(x))


def test_a_model_without_codes_is_refused_with_the_models_that_have_them(tmp_path):
    torch.set_default_dtype(torch.float32)
    with pytest.raises(BadInput) as caught:
        idemlab.train("mlp-gradient", tmp_path / "run", overrides=["enforcer.name=alignment"])
    assert {"autoencoder", "patches", "biorthogonal"} <= set(caught.value.choices)
    assert "'encode' and 'decode'" in str(caught.value)
    assert "model 'mlp'" in str(caught.value)
