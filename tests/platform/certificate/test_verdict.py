"""The verdict's rules, from numbers alone and on operators whose kind is known."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from unittest.mock import ANY

import pytest
import torch
from torch import Tensor, nn

from idemlab import certify
from idemlab.certificate.verdict import Evidence, Verdict

GENUINE = Evidence(
    relative=0.01, spread=1.0, input_spread=1.0, displacement=0.5, rounding=1e-7, off_manifold=True, discrete=False
)


@pytest.mark.parametrize(
    ("changes", "verdict", "notes"),
    [
        ({}, "genuine", []),
        ({"relative": 0.1}, "genuine", []),
        ({"relative": 0.101}, "not idempotent", []),
        ({"relative": float("nan")}, "not idempotent", []),
        ({"spread": 0.049, "relative": 0.101}, "constant", []),
        ({"spread": 0.049, "relative": 0.1}, "genuine", ["narrow: 4.9 % of the inputs' spread"]),
        ({"spread": 0.05, "relative": 0.9}, "not idempotent", []),
        ({"spread": 4e-7, "relative": 0.0}, "constant", []),
        ({"displacement": 0.049}, "identity", []),
        ({"displacement": 0.049, "off_manifold": False}, "genuine", []),
        ({"displacement": 0.05}, "genuine", []),
        ({"displacement": 0.02, "relative": 0.2}, "not idempotent", []),
        ({"discrete": True}, "genuine", ["discrete: a small change of the input changes nothing"]),
        (
            {"discrete": True, "displacement": 0.004},
            "identity",
            ["fine rounding: it moves its inputs by 0.4 % of their spread"],
        ),
        (
            {"displacement": 0.08, "relative": 0.08},
            "genuine",
            ["gradual: the second application moves the points 100 % as far as the first"],
        ),
    ],
)
def test_the_rules(changes: dict[str, float], verdict: str, notes: list[str]) -> None:
    evidence = replace(GENUINE, **changes)
    assert (evidence.verdict, list(evidence.notes)) == (verdict, notes)
    told = [f"{note[0].upper()}{note[1:]}." for note in notes]
    assert evidence.sentence == " ".join([Verdict(verdict).sentence, *told])


# -- operators --------------------------------------------------------------------------------------------------------


def _ball(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True).clamp_min(1)


def _simplex(x: Tensor) -> Tensor:
    """Onto the probability simplex, by sorting (Held, Wolfe & Crowder 1974)."""
    excess = x.sort(1, descending=True).values.cumsum(1) - 1
    level = (excess / torch.arange(1, x.shape[1] + 1)).max(1, keepdim=True).values
    return (x - level).clamp_min(0)


def _two(x: Tensor) -> Tensor:
    return torch.cat([x[:, :2], 0 * x[:, 2:]], 1)


def _straight_through(x: Tensor) -> Tensor:
    return x + (x.round() - x).detach()


class _FloorWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.floor()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient


def _jpeg(x: Tensor) -> Tensor:
    """A round trip of 28 x 28 grey pixels in 0 ... 1."""
    from PIL import Image

    out = []
    for row in x:
        pixels = (row.view(28, 28) * 255).round().clamp(0, 255).to(torch.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels.numpy()).save(file, "jpeg", quality=50)
        out.append(torch.frombuffer(bytearray(Image.open(file).tobytes()), dtype=torch.uint8).to(x) / 255)
    return torch.stack(out).view_as(x)


def _codebook(x: Tensor) -> Tensor:
    codes = torch.randn(16, x.shape[1], generator=torch.Generator().manual_seed(1)).to(x)
    return codes[torch.cdist(x, codes).argmin(1)]


def _normal(n: int, count: int = 100) -> Tensor:
    return torch.randn(count, n, generator=torch.Generator().manual_seed(0))


GRADIENT = "no spectrum: the gradient of f is not its derivative (a straight-through estimate, say)"
KINK = pytest.approx(783.5, abs=0.5)
"""Rank at the boundary, where one direction or none is lost as rounding will have it."""
OPERATORS: list[tuple[str, Callable[[Tensor], Tensor], Tensor, str, set[str], float | None]] = [
    # name, f, x, verdict, first words of the notes, rank
    ("round", torch.round, _normal(12), "genuine", {"discrete"}, 0),
    ("sign", torch.sign, _normal(12), "genuine", {"discrete"}, 0),
    ("floor, which jumps at its own outputs", torch.floor, _normal(12), "genuine", {"discrete"}, 0),
    ("fine rounding", lambda x: (100 * x).round() / 100, _normal(12), "identity", {"fine rounding"}, 0),
    ("codebook", _codebook, _normal(12), "genuine", {"discrete"}, None),
    ("straight through", _straight_through, _normal(12), "genuine", {"discrete"}, None),
    ("floor with a gradient", _FloorWithGradient.apply, _normal(12), "genuine", {"discrete"}, None),
    ("rounding of many numbers", torch.round, _normal(1100, 20), "genuine", {"discrete"}, 0),
    ("straight through, many numbers", _straight_through, _normal(1100, 20), "genuine", {"discrete"}, None),
    ("jpeg", _jpeg, torch.rand(20, 784, generator=torch.Generator().manual_seed(0)), "genuine", {"discrete"}, None),
    ("ball", _ball, _normal(784), "genuine", {"narrow"}, KINK),
    ("simplex", _simplex, _normal(784), "genuine", {"narrow"}, ANY),
    ("two coordinates", _two, _normal(784), "genuine", set(), 2),
    ("two coordinates of many", _two, _normal(1100), "genuine", {"narrow"}, 2),
    ("orthant", torch.relu, _normal(12), "genuine", set(), 6.5),
    ("a cube far below its inputs", lambda x: x.clamp(-1, 1), 100 * _normal(12), "genuine", {"narrow"}, 12),
    ("constant", lambda x: 0 * x + 0.3, _normal(12), "constant", set(), 0),
    ("constant up to rounding", lambda x: 1e-8 * x + 0.3, _normal(12), "constant", set(), 0),
    ("nearly constant", lambda x: 1e-3 * x + 0.3, _normal(12), "constant", set(), 0),
    ("identity", nn.Identity(), _normal(12), "identity", set(), 12),
]  # fmt: skip


@pytest.mark.parametrize(
    ("f", "x", "verdict", "notes", "rank", "dtype"),
    [
        pytest.param(*others, dtype, id=f"{name}-{dtype}".replace("torch.", ""))
        for name, *others in OPERATORS
        for dtype in (torch.float32, torch.float64)
        if dtype is torch.float32 or others[1].shape[1] < 100  # hundreds of numbers take a second
    ],
)
def test_operators_of_a_known_kind(
    f: Callable[[Tensor], Tensor], x: Tensor, verdict: str, notes: set[str], rank: float | None, dtype: torch.dtype
) -> None:
    certificate = certify(f, x.to(dtype), rank_points=2)
    told = {note.partition(":")[0] for note in certificate.notes}
    assert (certificate.verdict, told, certificate.rank) == (verdict, notes, rank)
    if f in (_straight_through, _FloorWithGradient.apply):
        assert certificate.remark == GRADIENT


def test_a_surrogate_gradient_of_a_map_that_is_not_discrete_is_told() -> None:
    """f moves by half of what its gradient says."""

    def f(x: Tensor) -> Tensor:
        return x + 0.5 * (x - x.detach())

    assert certify(f, _normal(12)).remark == GRADIENT
    assert certify(lambda x: 1.0 * x, _normal(12)).remark == ""


EQUAL: list[tuple[str, Callable[[Tensor], Tensor], str, str]] = [
    # name, f, verdict where f should move its inputs, verdict where f(x) = x is correct
    ("identity", lambda x: 1.0 * x, "identity", "genuine"),
    ("identity up to rounding", lambda x: x / 3 * 3, "identity", "genuine"),
    ("projection that has the input in its image", lambda x: x.clamp(0, 1), "identity", "genuine"),
    ("constant", lambda x: 0 * x + 0.3, "constant", "constant"),
    ("projection that moves the input", lambda x: x.clamp(0.5, 1), "constant", "constant"),
    ("constant that is the input", lambda x: 0 * x + 0.1, "identity", "genuine"),
    ("twice", lambda x: 2 * x, "not idempotent", "not idempotent"),
    ("half way", lambda x: 0.5 * x + 0.25, "not idempotent", "not idempotent"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(("f", "off", "on"), [case[1:] for case in EQUAL], ids=[case[0] for case in EQUAL])
def test_equal_inputs_show_no_collapse(f: Callable[[Tensor], Tensor], off: str, on: str, dtype: torch.dtype) -> None:
    """Equal inputs have equal images, whatever f does. The certificate says what it cannot tell."""
    x = torch.full((7, 3), 0.1, dtype=dtype)
    for off_manifold, verdict in ((True, off), (False, on)):
        certificate = certify(f, x, off_manifold=off_manifold, rank_points=1)
        assert certificate.verdict == verdict
        assert certificate.sentence.endswith(
            "All inputs are the same, so nothing is known about other inputs, or whether the output depends on the input."
        )
        assert certificate.notes == ()
        assert certificate.input_spread == certificate.spread == 0
        assert certificate.relative[0] == (0 if verdict != "not idempotent" else float("inf"))
        assert certificate.remark == "all inputs are the same, so that their spread is zero"
