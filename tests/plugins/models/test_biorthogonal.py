"""encode(decode(h)) = h to rounding, whatever the weights; rounded codes; a singular layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import idemlab
from idemlab import Failure


def build(name: str, shape: tuple[int, ...], arguments: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    operator = idemlab.installed().check("model", {"name": name} | arguments, "here").build(shape)
    assert isinstance(operator, nn.Module)
    return operator


def moved(shape: tuple[int, ...] = (9,), **arguments: Any) -> nn.Module:
    f = build("biorthogonal", shape, {"latent": 3, "widths": [5, 7]} | arguments)
    with torch.no_grad():
        for p in f.parameters():
            p += 0.1 * torch.randn_like(p)
    return f


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    scale=st.floats(0.01, 10.0),
    slope=st.floats(0.2, 0.95),
    activation=st.sampled_from(["smooth", "leaky"]),
)
def test_a_code_survives_decoding_and_encoding(seed: int, scale: float, slope: float, activation: str) -> None:
    h = scale * torch.randn(4, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    f = moved(slope=slope, activation=activation)
    for dtype, bound in ((torch.float64, 1e-10), (torch.float32, 1e-2)):
        code = h.to(dtype)
        again = f.to(dtype).encode(f.decode(code))
        assert (again - code).norm() <= bound * (code.norm() + 1)


def test_the_rank_is_the_width_of_the_code() -> None:
    f = moved().double()
    for _ in range(3):
        y = f(torch.randn(1, 9, dtype=torch.float64))[0].detach()
        jacobian = torch.autograd.functional.jacobian(lambda t: f(t[None])[0], y)
        values = torch.linalg.svdvals(jacobian)
        assert (values > 0.5).sum() == 3
        assert values[3] < 1e-9


def test_rounded_codes_do_not_drift_at_all() -> None:
    f = moved(cell=0.1).eval()
    x = torch.randn(16, 9)
    with torch.no_grad():
        y = far = f(x)
        for _ in range(49):
            far = f(far)
        assert torch.equal(far, y)
        code = f.encode(x)
        assert torch.equal(code, 0.1 * torch.round(code / 0.1))
        assert (f.unrounded(f.decode(code)) - code).abs().max() < 0.1 / 2 * 1e-2, "far below half a cell"


def test_samples_of_whole_numbers_do_not_round_the_results() -> None:
    whole = torch.ones(2, 9, dtype=torch.int64)
    assert torch.equal(moved()(whole), moved()(whole.float()))


def test_rounding_lets_the_gradient_through() -> None:
    """The gradient is that of f without rounding, taken at the rounded code."""
    f, x = moved(cell=0.5).double(), torch.randn(4, 9, dtype=torch.float64)
    parameters = list(f.parameters())
    ours = torch.autograd.grad(f(x).square().sum(), parameters)
    h = f.unrounded(x)
    literal = f.decode(h + (0.5 * torch.round(h / 0.5) - h).detach())
    for a, b in zip(ours, torch.autograd.grad(literal.square().sum(), parameters), strict=True):
        torch.testing.assert_close(a, b)


def test_a_singular_layer_is_told() -> None:
    f = moved()
    with torch.no_grad():
        f.layers[0].X.zero_()
    with pytest.raises(Failure, match="X P of the layer from 3 to 5 is singular"):
        f(torch.randn(2, 9))


@pytest.mark.parametrize("activation", ["smooth", "leaky"])
def test_it_starts_at_the_principal_components(activation: str) -> None:
    rows = torch.randn(60, 9, generator=torch.Generator().manual_seed(0)) * torch.linspace(3, 0.1, 9) + 1
    f = build("biorthogonal", (9,), {"latent": 3, "widths": [5, 7], "activation": activation})
    f.start_from(idemlab.Dataset.of_tensors(rows, rows))
    centred = rows - rows.mean(0)
    components = torch.linalg.svd(centred, full_matrices=False).Vh[:3]
    torch.testing.assert_close(f(rows), centred @ components.T @ components + rows.mean(0), rtol=1e-4, atol=1e-4)
    f(rows).square().sum().backward()
    assert all(bool(p.grad.abs().max() > 0) for p in f.parameters())


def test_a_training_is_exact_and_rounded_codes_stay(tmp_path: Path) -> None:
    run = idemlab.train(
        "mlp-gradient",
        tmp_path / "run",
        overrides=[
            "model.name=biorthogonal",
            "model.latent=4",
            "model.cell=0.05",
            "enforcer.name=none",
            "training.steps=3",
            "evaluation.points=32",
            "evaluation.metrics=['codes-that-stay']",
        ],
    )
    assert run.certificate is not None
    for measured in run.certificate["inputs"].values():
        assert measured["exact"] is True
        assert measured["discrete"] is True
        assert measured["drift"] < 1e-6  # the batches differ in size, and with it how sums are rounded
        assert measured["relative"] == [0, 0, 0]
        assert measured["figures"]["codes_that_stay"] == 1
        assert measured["figures"]["code_error"] < 0.01


def test_the_activations_are_inverses_of_each_other() -> None:
    from idemlab_models.biorthogonal import _Pair

    t = torch.linspace(-50, 50, 1001, dtype=torch.float64)
    for smooth in (True, False):
        pair = _Pair(0.3, smooth=smooth)
        torch.testing.assert_close(pair.undo(pair(t)), t, rtol=1e-12, atol=1e-12)
        slope = (pair(t)[1:] - pair(t)[:-1]) / (t[1:] - t[:-1])
        assert slope[0] == pytest.approx(0.3, rel=0.01)
        assert slope[-1] == pytest.approx(1 / 0.3, rel=0.01)


def test_its_listing_claims_exactness() -> None:
    specs = {entry.spec.name: entry.spec for entry in idemlab.installed().entries("model")}
    assert [name for name, spec in specs.items() if getattr(spec, "exact", False)] == ["biorthogonal"]
