"""Couplings invert, in every precision that claims to; they start at the principal components; scales are bounded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import idemlab
from idemlab import Dataset
from idemlab.contracts.step import generator


def build(name: str, shape: tuple[int, ...], arguments: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    operator = idemlab.installed().check("model", {"name": name} | arguments, "here").build(shape)
    assert isinstance(operator, nn.Module)
    return operator


CASES: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((7,), {}),
    ((7,), {"affine": False, "start": "none"}),
    ((3, 5), {"mixing": 3, "layers": 1}),
    ((2, 4, 8), {"scales": 2, "channels": 4}),
    ((1, 4, 4), {"scales": 1, "channels": 4, "mixing": 0, "layers": 0, "start": "none"}),
]


def moved(shape: tuple[int, ...], arguments: dict[str, Any]) -> nn.Module:
    g = build("coupling", shape, {"width": 8} | arguments)
    with torch.no_grad():
        for p in g.parameters():
            p += 0.3 * torch.randn_like(p)
    return g


def errors_of(g: nn.Module, t: Tensor) -> Tensor:
    """|g^-1(g(t)) - t| and |g(g^-1(t)) - t| of each sample, over what is rounded, [2, N] in double precision."""

    def size(v: Tensor) -> Tensor:
        return v.flatten(1).double().norm(dim=1)

    with torch.no_grad():
        z, y = g(t), g.inverse(t)
        return torch.stack([size(g.inverse(z) - t) / (size(t) + size(z)), size(g(y) - t) / (size(t) + size(y))])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize(("shape", "arguments"), CASES, ids=str)
def test_it_inverts_both_ways(shape: tuple[int, ...], arguments: dict[str, Any], scale: float) -> None:
    """Inputs of any size. At single inputs far outside the data an affine coupling is ill conditioned: there single
    precision loses what double precision loses, times the ratio of their precisions, and no more."""
    g = moved(shape, arguments)
    x = scale * torch.randn(500, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    double, single = errors_of(g.double(), x), errors_of(g.float(), x.float())
    assert double.median() <= 1e-13
    assert single.median() <= 1e-4
    ratio = torch.finfo(torch.float32).eps / torch.finfo(torch.float64).eps
    assert single.max() <= 100 * ratio * max(double.max(), torch.finfo(torch.float64).eps)
    if arguments.get("affine") is False:
        assert double.max() <= 1e-15
        assert single.max() <= 1e-6


def rows_of(count: int, n: int) -> Tensor:
    scales = torch.linspace(3, 0.1, n)
    return (
        torch.randn(count, n, generator=generator("rows"))
        * scales
        @ torch.linalg.qr(torch.randn(n, n, generator=generator("turn"))).Q
        + 1
    )


@pytest.mark.parametrize("count", [200, 5], ids=["many rows", "fewer rows than entries"])
def test_it_starts_at_the_principal_components(count: int) -> None:
    rows = rows_of(count, 8)
    g = build("coupling", (8,), {"mixing": 0, "layers": 2, "leading": 3})
    with torch.no_grad():
        for p in g.parameters():
            p.zero_()
    g.start_from(Dataset.of_tensors(rows, rows))
    centred = rows - rows.mean(0)
    _, _, components = torch.linalg.svd(centred, full_matrices=False)
    expected = (centred @ components[:3].T).abs()
    torch.testing.assert_close(g(rows)[:, :3].abs(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(g.inverse(g(rows)), rows, rtol=1e-4, atol=1e-4)


def test_the_rotation_keeps_lengths_even_where_it_is_rounded() -> None:
    g = build("coupling", (8,), {"mixing": 0, "layers": 0, "leading": 3})
    g.start_from(Dataset.of_tensors(rows_of(50, 8), rows_of(50, 8)))  # in float32
    x = torch.randn(4, 8, dtype=torch.float64)
    torch.testing.assert_close((g.double()(x) - g(0 * x)).norm(dim=1), x.norm(dim=1), rtol=1e-13, atol=0)


@pytest.mark.long
def test_a_training_starts_at_the_principal_components_and_keeps_them(tmp_path: Any) -> None:
    run = idemlab.train(
        "mlp-gradient",
        tmp_path / "run",
        overrides=[
            "model.name=coupling",
            "model.width=16",
            "model.leading=4",
            "enforcer.name=linearizer",
            "enforcer.rank=4",
            "training.steps=3",
            "evaluation.points=32",
            "evaluation.metrics=['invertibility','codes-that-stay']",
        ],
    )
    f, twin = idemlab.load(run), build("coupling", (16,), {"width": 16, "leading": 4})
    basis = next(part for part in f.network.parts if hasattr(part, "reflections"))
    other = next(part for part in twin.parts if hasattr(part, "reflections"))
    assert not torch.equal(basis.reflections, other.reflections)
    assert run.certificate is not None
    for measured in run.certificate["inputs"].values():
        assert measured["exact"] is True
        assert "Exact: to rounding" in measured["sentence"]
        assert measured["rank"] == 4
        assert measured["figures"]["inverse_error"] < 1e-5
        assert 1 <= measured["figures"]["condition"] < 100
        assert measured["figures"]["codes_that_stay"] == 1


def test_scales_are_bounded() -> None:
    """A coupling stretches no entry by more than exp(bound), so nor does its inverse."""
    g = build("coupling", (4,), {"mixing": 0, "layers": 1, "leading": 2, "start": "none", "bound": 0.5, "width": 8})
    with torch.no_grad():
        for p in g.parameters():
            p *= 100
    x = torch.randn(1, 4)
    scales = torch.autograd.functional.jacobian(lambda t: g(t[None])[0], x[0]).diagonal()
    assert torch.equal(scales[2:], torch.ones(2)), "these do not move"
    assert scales.max() <= torch.tensor(0.5).exp() + 1e-6
    assert scales.min() >= torch.tensor(-0.5).exp() - 1e-6
