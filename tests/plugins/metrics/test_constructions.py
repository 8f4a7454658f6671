"""Metrics of what is idempotent by construction: codes that stay, and how well a network inverts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import idemlab
from idemlab import BadInput, Batch, Orbit, installed


class Offers(nn.Module):
    """encode and decode by factors; g(x) = K x with its inverse."""

    def __init__(self, encodes: float = 1.0, decodes: float = 1.0, stretches: Tensor | None = None) -> None:
        super().__init__()
        self.encodes, self.decodes = encodes, decodes
        self.stretches = torch.ones(4) if stretches is None else stretches

    def encode(self, x: Tensor) -> Tensor:
        return self.encodes * x

    def decode(self, h: Tensor) -> Tensor:
        return self.decodes * h

    def transform(self, x: Tensor) -> Tensor:
        return x * self.stretches

    def inverse(self, z: Tensor) -> Tensor:
        return z / self.stretches


class Rounds(Offers):
    """Its own encode is rounded, and hides the error of the code before that."""

    def unrounded(self, x: Tensor) -> Tensor:
        return super().encode(x)

    def encode(self, x: Tensor) -> Tensor:
        return torch.round(self.unrounded(x))


def measured(name: str | dict[str, object], operator: nn.Module, x: Tensor) -> dict[str, float]:
    metric = installed().check("metric", name, "here").build()
    with torch.no_grad():
        per_sample = metric(Orbit(operator, x), Batch(x, x))
    return {key: float(value.double().mean()) for key, value in per_sample.items()} | metric.compute()


X = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 8.0, 9.0]])


@pytest.mark.parametrize("model", [Offers, Rounds])
def test_codes_stay_if_they_are_off_by_less_than_half_a_cell(model: type[Offers]) -> None:
    off = 1.0625  # a code 9 comes back as 9.5625, a code 4 as 4.25
    values = measured({"name": "codes-that-stay", "cell": 1.0}, model(decodes=off), X)
    assert values == pytest.approx({"codes_that_stay": 0.5, "code_error": 9 * 0.0625})
    exact = measured({"name": "codes-that-stay", "cell": 1.0}, model(), X)
    assert exact == {"codes_that_stay": 1.0, "code_error": 0.0}


def test_the_condition_number_is_that_of_the_jacobian() -> None:
    values = measured("invertibility", Offers(stretches=torch.tensor([5.0, 1.0, 0.5, 1.0])), X)
    assert values["condition"] == pytest.approx(10, rel=1e-3)
    assert values["inverse_error"] < 1e-6


def test_an_inverse_that_is_off_is_measured() -> None:
    class Off(Offers):
        def inverse(self, z: Tensor) -> Tensor:
            return 1.01 * super().inverse(z)

    assert measured("invertibility", Off(), X)["inverse_error"] == pytest.approx(0.01, rel=1e-3)


def test_the_rounding_at_a_sample_that_is_zero_is_no_share_of_nothing() -> None:
    class Shifted(Offers):
        def inverse(self, z: Tensor) -> Tensor:
            return super().inverse(z) + 0.1

    blank = torch.zeros(1, 4)
    values = measured("invertibility", Shifted(), torch.cat([3 * torch.ones(3, 4), blank]))
    assert values["inverse_error"] == pytest.approx((3 * 0.1 / 3 + 0.2 / 27**0.5) / 4, rel=1e-5)
    assert measured("invertibility", Shifted(), blank)["inverse_error"] == pytest.approx(0.2, rel=1e-5)


def test_an_operator_without_what_a_metric_calls_is_refused_before_training(tmp_path: object) -> None:
    with pytest.raises(BadInput) as caught:
        idemlab.train("mlp-gradient", f"{tmp_path}/run", overrides=["evaluation.metrics=['codes-that-stay']"])
    assert "metric 'codes-that-stay' calls 'encode' and 'decode'" in str(caught.value)
    assert "autoencoder" in caught.value.choices
