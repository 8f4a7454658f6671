"""The certificate against operators whose idempotence is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from idemlab.certificate.certificate import certify
from idemlab.certificate.spectrum import EXACT_UP_TO, jacobian, spectra_at
from idemlab.certificate.verdict import Verdict


def _inputs(n: int = 12, count: int = 400) -> torch.Tensor:
    return torch.randn(count, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _oblique(rank: int, n: int = 12) -> torch.Tensor:
    """An oblique projector: S diag(1..1, 0..0) S^-1 with a basis S that is not orthogonal."""
    s = torch.randn(n, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 3 * torch.eye(n)
    ones = torch.diag(torch.tensor([1.0] * rank + [0.0] * (n - rank), dtype=torch.float64))
    return s @ ones @ torch.linalg.inv(s)


@pytest.mark.parametrize("rank", [1, 4, 11])
def test_a_projector_is_genuine_and_its_rank_is_found(rank: int) -> None:
    p = _oblique(rank)
    certificate = certify(lambda x: x @ p.T, _inputs())
    assert certificate.verdict is Verdict.GENUINE
    assert certificate.rank == rank
    assert certificate.trace == pytest.approx(rank)
    assert max(certificate.relative) < 1e-12
    assert max(certificate.absolute) < 1e-12
    assert min(s for spectrum in certificate.spectra for s in spectrum.singular_values[:rank]) >= 1 - 1e-9


def test_collapse_to_a_constant_is_not_called_idempotent_and_genuine() -> None:
    certificate = certify(lambda x: 0 * x + 0.3, _inputs())
    assert certificate.verdict is Verdict.CONSTANT
    assert certificate.rank == 0
    assert certificate.relative == (0.0, 0.0, 0.0)


def test_a_small_spread_is_constant_whatever_the_rank() -> None:
    assert certify(lambda x: 0.04 * x, _inputs(), rank_points=0).verdict is Verdict.CONSTANT
    assert certify(lambda x: 0.06 * x, _inputs(), rank_points=0).verdict is Verdict.NOT_IDEMPOTENT


def test_the_identity_is_told_by_what_it_leaves_alone() -> None:
    assert certify(lambda x: x, _inputs()).verdict is Verdict.IDENTITY
    assert certify(lambda x: x, _inputs(), rank_points=0).verdict is Verdict.IDENTITY
    # On the manifold f(x) = x is right.
    p = _oblique(4)
    on_manifold = _inputs() @ p.T
    assert certify(lambda x: x @ p.T, on_manifold, off_manifold=False).verdict is Verdict.GENUINE
    assert certify(lambda x: x @ p.T, on_manifold, off_manifold=True).verdict is Verdict.IDENTITY


def test_relative_error_is_the_formula() -> None:
    x = _inputs()
    y, after = 0.6 * x + 1, 0.36 * x + 1.6
    expected = math.sqrt(float((after - y).square().sum() / (y - y.mean(0)).square().sum()))
    certificate = certify(lambda t: 0.6 * t + 1, x, depth=2)
    assert certificate.relative[0] == pytest.approx(expected, rel=1e-12)
    assert certificate.absolute[0] == pytest.approx(float((after - y).abs().mean()), rel=1e-12)
    assert certificate.verdict is Verdict.NOT_IDEMPOTENT
    assert len(certificate.relative) == 2


def test_the_error_threshold_is_a_tenth() -> None:
    # A projector scaled by s has the relative error 1 - s.
    p = _oblique(3)
    assert certify(lambda x: 0.91 * x @ p.T, _inputs()).verdict is Verdict.GENUINE
    assert certify(lambda x: 0.89 * x @ p.T, _inputs()).verdict is Verdict.NOT_IDEMPOTENT


def test_a_rotation_has_full_rank_but_is_no_identity() -> None:
    q = torch.linalg.qr(_oblique(4)).Q
    certificate = certify(lambda x: x @ q, _inputs())
    assert certificate.rank == 12
    assert certificate.verdict is Verdict.NOT_IDEMPOTENT


def test_sorting_has_full_rank_at_its_outputs_but_is_no_identity() -> None:
    certificate = certify(lambda x: x.sort(1).values, _inputs())
    assert certificate.rank == 12
    assert certificate.verdict is Verdict.GENUINE


def test_a_slight_shrinking_of_everything_is_told() -> None:
    certificate = certify(lambda x: 0.92 * x, _inputs())
    assert certificate.verdict is Verdict.GENUINE
    assert certificate.notes == ("gradual: the second application moves the points 92 % as far as the first",)
    assert certify(lambda x: 0.97 * x, _inputs()).verdict is Verdict.IDENTITY


def test_not_a_number_is_not_idempotent() -> None:
    assert certify(lambda x: x * float("nan"), _inputs(), rank_points=0).verdict is Verdict.NOT_IDEMPOTENT


def test_jacobian_of_a_nonlinear_map_against_autograd() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 6)).double()
    y = torch.randn(6, dtype=torch.float64)
    expected = torch.autograd.functional.jacobian(net, y)
    assert torch.allclose(jacobian(net, y, batch_size=4), expected, atol=1e-14)


@pytest.mark.parametrize("rank", [0, 5, 60, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eigenvalues_of_maps_of_small_rank_are_those_of_the_whole_jacobian(rank: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(rank)
    a, b = (torch.randn(*size, generator=generator, dtype=dtype) / 10 for size in ((200, rank), (rank, 200)))
    (spectrum,), _ = spectra_at(
        [(lambda x: x @ (a @ b).T, torch.randn(200, dtype=dtype))], discrete=False, eps=torch.finfo(dtype).eps
    )
    expected = torch.linalg.eigvals((a @ b).double()).abs().sort(descending=True).values
    found = torch.tensor(spectrum.eigenvalue_moduli, dtype=torch.float64)
    within = 1e3 * torch.finfo(dtype).eps * max(1.0, float(expected[0]))
    torch.testing.assert_close(found[:rank], expected[:rank], rtol=0, atol=within)
    assert found.shape == (200,)
    assert bool((found[rank:] <= within).all())


def test_coarse_precision_hides_no_eigenvalue() -> None:
    basis = torch.linalg.qr(torch.randn(200, 30, generator=torch.Generator().manual_seed(0)))[0]
    eps = torch.finfo(torch.bfloat16).eps
    (spectrum,), _ = spectra_at([(lambda x: x @ basis @ basis.T, torch.zeros(200))], discrete=False, eps=eps)
    assert spectrum.eigenvalue_moduli[:30] == pytest.approx([1.0] * 30, abs=1e-5)


def test_large_maps_are_sketched_and_the_sketch_finds_rank_and_trace() -> None:
    n, rank = 1200, 20
    g = torch.Generator().manual_seed(2)
    u = torch.linalg.qr(torch.randn(n, rank, generator=g, dtype=torch.float64)).Q
    w = u + 0.3 * torch.randn(n, rank, generator=g, dtype=torch.float64) / math.sqrt(n)
    w = w @ torch.linalg.inv(u.T @ w)  # W^T U = I, so U W^T is an oblique projector
    y = torch.randn(n, generator=g, dtype=torch.float64)
    (spectrum,), remark = spectra_at([(lambda x: (x @ w) @ u.T, y)], discrete=False, eps=torch.finfo(y.dtype).eps)
    assert remark == ""
    exact = torch.linalg.svdvals(u @ w.T)[:rank]
    assert not spectrum.exact
    assert spectrum.rank == rank
    assert torch.allclose(torch.tensor(spectrum.singular_values[:rank], dtype=torch.float64), exact, rtol=1e-8)
    assert spectrum.trace == pytest.approx(rank, abs=4 * math.sqrt(2 * rank / 256))


def test_conditions_are_passed_on() -> None:
    x, scale = _inputs(), torch.linspace(0.5, 1, 400, dtype=torch.float64)[:, None]
    certificate = certify(lambda t, c: t * c, x, condition=scale, rank_points=2)
    expected = float(((scale**2 - scale) * x).abs().mean())
    assert certificate.absolute[0] == pytest.approx(expected)
    assert [s.trace for s in certificate.spectra] == pytest.approx([12 * float(scale[0]), 12 * float(scale[200])])


def test_a_module_is_evaluated_in_evaluation_mode_and_put_back() -> None:
    net = nn.Sequential(nn.BatchNorm1d(12), nn.Dropout(0.5)).double().train()
    before = net[0].running_mean.clone()
    certify(net, _inputs(), rank_points=0)
    assert net.training
    assert torch.equal(net[0].running_mean, before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": _inputs(count=1)}, "at least 2 inputs"),
        ({"x": torch.tensor(1.0)}, "at least 2 inputs"),
        ({"x": [1.0, 2.0]}, "a tensor as inputs, got list"),
        ({"x": _inputs().numpy()}, "a tensor as inputs, got ndarray"),
        ({"x": torch.zeros(5, 0)}, r"inputs with entries, got the shape \(5, 0\)"),
        ({"x": torch.tensor([[1.0], [torch.nan], [2.0]])}, r"1 of the 3 inputs in x is not, x\[1\] is the first"),
        ({"condition": 3}, "a tensor as condition, got int"),
        ({"condition": torch.zeros(7)}, r"one condition for each of \d+ inputs, got the shape \(7,\)"),
        ({"depth": 0}, "at least 1 as depth, got 0"),
        ({"depth": 1.5}, "whole number of at least 1 as depth, got 1.5"),
        ({"rank_points": -1}, "at least 0 as rank_points, got -1"),
        ({"batch_size": 0}, "at least 1 as batch_size, got 0"),
        ({"f": lambda x: x[:, :2]}, "keeps the shape"),
        ({"f": lambda x: x.sum(), "x": torch.randn(5)}, r"keeps the shape of its input: \(5,\) became \(\)"),
        ({"f": lambda x: x[1:]}, r"a point for each of its inputs: \d+ became \d+"),
        ({"f": torch.nn.Identity}, r"the class Identity: call it, Identity\(...\)"),
        ({"f": 3}, "a module or a function as f, got int"),
        ({"x": torch.zeros(5, 2, device="meta")}, "meta device"),
    ],
)  # fmt: skip
def test_wrong_use_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        certify(**{"f": lambda x: x, "x": _inputs()} | changes)


def test_counts_may_be_numpys() -> None:
    counts = {"depth": np.int64(2), "rank_points": np.int32(0), "batch_size": np.int64(5)}
    assert len(certify(torch.relu, _inputs(), **counts).relative) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("f", "verdict"), [(torch.relu, "genuine"), (torch.round, "genuine"), (torch.neg, "not idempotent")]
)
def test_a_sample_may_be_one_number(f: Callable[[torch.Tensor], torch.Tensor], verdict: str) -> None:
    x = 3 * torch.randn(60, generator=torch.Generator().manual_seed(0))
    flat, column = certify(f, x), certify(f, x[:, None])
    assert flat.verdict == verdict
    assert flat == column


def test_values_that_are_not_finite_are_told() -> None:
    x = _inputs(count=20)
    certificate = certify(lambda y: torch.where(y == x[3], torch.nan, y.relu()), x, rank_points=0)
    assert (certificate.verdict, certificate.worst_sample) == ("not idempotent", 3)
    assert certificate.remark == "f(x) is not finite at 1 of 20 inputs"


@pytest.mark.parametrize("n", [3, EXACT_UP_TO + 1])
def test_a_jacobian_that_is_not_finite_is_told(n: int) -> None:
    """LAPACK is not asked: with such a matrix oneMKL's eigenvalues end the process."""
    certificate = certify(lambda x: (0.0 * x).sqrt(), torch.randn(4, n), rank_points=1)
    assert (certificate.spectra, certificate.remark) == ((), "no spectrum: the Jacobian of f is not finite there")


def test_errors_of_a_moving_constant_are_infinite() -> None:
    certificate = certify(lambda x: 0 * x + x.mean() + 1, torch.zeros(3, 2), depth=1, rank_points=0)
    assert certificate.relative == (float("inf"),)
    assert certificate.remark == "all inputs are the same, so that their spread is zero"


def test_the_errors_of_single_samples_are_told() -> None:
    x = _inputs(count=200)
    x[17] *= 30  # moves 30 times as far as its fellows
    certificate = certify(lambda t: 0.6 * t + 1, x, depth=1, rank_points=0)
    y = 0.6 * x + 1
    errors = (0.6 * y + 1 - y).norm(dim=1) / (y - y.mean(0)).square().sum(1).mean().sqrt()
    assert certificate.worst_sample == 17
    assert certificate.worst_error == pytest.approx(float(errors[17]), rel=1e-12)
    assert certificate.percentile_99 == pytest.approx(float(errors.sort().values[-2]), rel=1e-12)
    assert float(errors.square().mean().sqrt()) == pytest.approx(certificate.relative[0], rel=1e-12)


@pytest.mark.long
def test_the_interval_holds_the_error_of_the_population_in_95_of_100_sets() -> None:
    """The true error of tanh at standard normal numbers is that at very many of them."""
    x, f = torch.randn(400_000, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64), torch.tanh
    true = float(((f(f(x)) - f(x)).square().sum() / f(x).square().sum()).sqrt())
    held = 0
    for rows in x[:40_000].split(400):
        low, high = certify(f, rows, depth=1, rank_points=0).interval
        held += low <= true <= high
    assert 89 <= held <= 100  # two standard deviations around 95 of 100
    again = [certify(f, x[:400], depth=1, rank_points=0).interval for _ in range(2)]
    assert again[0] == again[1]


def test_a_small_set_gives_the_exact_ends_of_an_interval_without_error() -> None:
    assert certify(torch.relu, _inputs(count=2), rank_points=0).interval == (0.0, 0.0)


def test_it_is_written_with_its_thresholds() -> None:
    written = certify(lambda x: x, _inputs(), rank_points=1).as_dict()
    assert written["verdict"] == "identity"
    assert written["rank"] == 12
    assert any("relative error" in key for key in written["thresholds"])
    assert written["sentence"] == Verdict("identity").sentence
    assert {"interval", "percentile_99", "worst_sample", "worst_error", "discrete", "remark"} <= set(written)


# -- the claim to be exact ------------------------------------------------------------------------------------------------


def _drifting(x: torch.Tensor) -> torch.Tensor:
    """A projector of float32 that shrinks what it keeps by 3e-5 at each application: too little to see at depth 1."""
    return x * (torch.arange(12) < 6).to(x) * (1 - 3e-5)


CLAIMS: list[tuple[str, Callable[[torch.Tensor], torch.Tensor], torch.dtype, bool]] = [
    ("a projector", lambda x: x @ _oblique(4).T.to(x), torch.float64, True),
    ("a projector in float32", lambda x: x @ _oblique(4).T.to(x), torch.float32, True),
    ("rounding", torch.round, torch.float32, True),
    ("off by a thousandth", lambda x: x * (torch.arange(12) < 6) * 0.999, torch.float32, False),
    ("drifting", _drifting, torch.float32, False),
    ("exact in float32 alone", lambda x: (x.float() @ _oblique(4).T.float()).to(x), torch.float64, False),
]


@pytest.mark.parametrize(("name", "f", "dtype", "holds"), CLAIMS, ids=[name for name, *_ in CLAIMS])
def test_a_claim_to_be_exact_is_shown_only_if_it_holds(
    name: str, f: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype, holds: bool
) -> None:
    x = _inputs().to(dtype)
    certificate = certify(f, x, exact=True, rank_points=0)
    assert certificate.exact is holds
    assert ("Exact: to rounding" in certificate.sentence) == holds
    assert ("the claim to be exact does not hold" in certificate.remark) == (not holds)
    assert certificate.as_dict()["drift"] == certificate.drift


def test_what_nothing_claims_is_not_measured() -> None:
    certificate = certify(lambda x: x @ _oblique(4).T, _inputs(), rank_points=0)
    assert (certificate.exact, certificate.drift) == (None, None)
    assert "exact" not in certificate.sentence.lower()
