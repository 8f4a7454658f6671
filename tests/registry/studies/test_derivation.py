"""The study `derivation` against facts found by other means: numbers, and matrices that are random."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
import torch

from idemlab.contracts.step import generator
from idemlab.studies.study import Findings, Material
from idemlab_registry.studies import ansatz, derivation, family, single_layer


@pytest.fixture(scope="module")
def findings() -> Findings:
    return derivation.study().examine(Material({}, True, lambda line: None))


def _oblique(n: int, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """A random oblique projector and a random perturbation."""
    random = np.random.default_rng(n * 10 + rank)
    S = random.normal(size=(n, n))
    P = S @ np.diag([1.0] * rank + [0.0] * (n - rank)) @ np.linalg.inv(S)
    return P, random.normal(size=(n, n))


def _at(p: sympy.Expr, K: np.ndarray) -> np.ndarray:
    coefficients = [float(c) for c in sympy.Poly(p, ansatz.x).all_coeffs()]
    total = np.zeros_like(K)
    for c in coefficients:
        total = total @ K + c * np.eye(len(K))
    return total


def test_the_words_are_independent() -> None:
    """The conditions need that no word is a combination of others: 1 and P at order 0, D, PD, DP, PDP at order 1."""
    P, D = _oblique(4, 2)
    zero, first = [np.eye(4), P], [D, P @ D, D @ P, P @ D @ P]
    assert np.linalg.matrix_rank(np.stack([w.ravel() for w in zero])) == 2
    assert np.linalg.matrix_rank(np.stack([w.ravel() for w in first])) == 4


@pytest.mark.parametrize("order", [1, 2])
def test_reduction_agrees_with_matrices(order: int) -> None:
    """(P + tD)^5, reduced, has the matrix expansion's coefficients of t up to the order."""
    K = ansatz.reduced((ansatz.P + ansatz.D) ** 5, order)
    P, D = _oblique(4, 2)
    matrices = {ansatz.P: P, ansatz.D: D}
    by_order = [np.zeros((4, 4)) for _ in range(order + 1)]
    for term in sympy.Add.make_args(K):
        commuting, word = term.args_cnc()
        product, ds = float(sympy.Mul(*commuting)) * np.eye(4), 0
        for factor in word:
            base, power = factor.as_base_exp()
            ds += int(power) * (base == ansatz.D)
            product = product @ np.linalg.matrix_power(matrices[base], int(power))
        by_order[ds] += product
    t = np.exp(2j * np.pi * np.arange(8) / 8)  # coefficients of a polynomial of degree 5 by Fourier
    samples = np.stack([np.linalg.matrix_power(P + s * D, 5) for s in t])
    expected = np.fft.fft(samples, axis=0).real / 8
    for k in range(order + 1):
        np.testing.assert_allclose(by_order[k], expected[k], rtol=1e-9, atol=1e-9 * np.abs(expected[k]).max())


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_below_three_only_constants(degree: int) -> None:
    assert {s.polynomial for s in ansatz.solutions(degree)} == {sympy.Integer(0), sympy.Integer(1)}


def test_at_three_the_cubic_alone_keeps_the_idempotent() -> None:
    found = ansatz.solutions(3)
    cubic = 3 * ansatz.x**2 - 2 * ansatz.x**3
    assert {sympy.expand(s.polynomial) for s in found} == {0, 1, cubic, sympy.expand(1 - cubic)}
    assert [s.polynomial for s in found if s.meaning == "keeps P"] == [cubic]


@pytest.mark.parametrize("degree", [3, 4, 5, 6])
def test_solutions_are_complete(degree: int) -> None:
    """The conditions leave no other direction free at a solution: their Jacobian has the rank that is left for them."""
    unknowns, words = ansatz.conditions(degree)
    jacobian_at = sympy.lambdify(unknowns, sympy.Matrix(list(words.values())).jacobian(unknowns))
    for solution in ansatz.solutions(degree):
        p = solution.polynomial.subs(dict.fromkeys(solution.polynomial.free_symbols - {ansatz.x}, 0.37))
        coefficients = [float(c) for c in reversed(sympy.Poly(p, ansatz.x).all_coeffs())]
        coefficients += [0.0] * (degree + 1 - len(coefficients))
        assert np.linalg.matrix_rank(jacobian_at(*coefficients), tol=1e-9) == degree + 1 - solution.free


@pytest.mark.parametrize("degree", [3, 4, 5])
def test_solutions_solve_on_matrices(degree: int) -> None:
    """K'^2 - K' is of second order in D for each solution: halving D quarters it."""
    P, D = _oblique(5, 2)
    for solution in ansatz.solutions(degree):
        p = solution.polynomial.subs(dict.fromkeys(solution.polynomial.free_symbols - {ansatz.x}, 0.7))
        left = []
        for size in (1e-4, 5e-5):
            K = _at(p, P + size * D)
            left.append(np.abs(K @ K - K).max())
        assert left[1] < 0.26 * left[0] or left[0] < 1e-12


@pytest.mark.parametrize("p", [ansatz.x**2, 3 * ansatz.x**2 + 2 * ansatz.x**3, 2 * ansatz.x**3 - ansatz.x])
def test_other_polynomials_fail_on_matrices(p: sympy.Expr) -> None:
    P, D = _oblique(5, 2)
    K = _at(p, P + 1e-4 * D)
    assert np.abs(K @ K - K).max() > 1e-5


def test_second_order_remainder_on_matrices() -> None:
    P, D = _oblique(4, 2)
    size = 1e-4
    K = _at(ansatz.CUBIC, P + size * D)
    first = P @ D + D @ P - D
    np.testing.assert_allclose((K @ K - K) / size**2, -3 * first @ first, atol=1e-2 * np.abs(first @ first).max())


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("cubic (McWeeny)", None),
        ("TRS4", None),
        ("Holas-5", None),
        ("HPCP", [sympy.Rational(1, 2)]),
        ("Palser-Manolopoulos, c >= 1/2", [sympy.Rational(1, 2)]),
        ("Palser-Manolopoulos, c <= 1/2", [sympy.Rational(1, 2)]),
        ("damped cubic", [sympy.Integer(1)]),
        ("SP2, downwards", []),
        ("SP2, upwards", []),
        ("plus sign of the draft", []),
    ],
)
def test_which_members_solve(name: str, values: list[sympy.Expr] | None) -> None:
    p, parameter = ansatz.family()[name]
    assert ansatz.values_that_solve(p, parameter) == values
    if values:  # what the trace-steered members and the damped one become there
        assert sympy.expand(sympy.simplify(p.subs(parameter, values[0]) - ansatz.CUBIC)) == 0


@pytest.mark.parametrize(
    "member",
    [
        family.CUBIC,
        family.HOLAS_5,
        family.SP2_DOWN,
        family.SP2_UP,
        family.PLUS_SIGN,
        family.trs4(2),
        family.damped(0.5),
    ],
    ids=lambda member: member.name,
)
def test_symbols_and_numbers_are_the_same_family(member: family.Member) -> None:
    base = member.name.split(",")[0] if member.name.startswith(("TRS4", "damped")) else member.name
    p, parameter = ansatz.family()["damped cubic" if base == "damped" else base]
    if parameter is not None:
        p = p.subs(parameter, {"TRS4": 2, "damped": sympy.Rational(1, 2)}[base])
    points = np.linspace(-1, 2, 7)
    np.testing.assert_allclose(member(points), [float(p.subs(ansatz.x, v)) for v in points], rtol=1e-12, atol=1e-12)


def test_contraction() -> None:
    N, x = ansatz.N, ansatz.x
    assert ansatz.in_residual(ansatz.CUBIC) == 4 * N**3 - 3 * N**2
    assert ansatz.contraction(ansatz.family()["Holas-5"][0])[0] == 3
    assert ansatz.contraction(x**2)[0] == 1
    assert ansatz.in_residual(x**2) is None
    assert ansatz.orders(ansatz.family()["TRS4"][0].subs(sympy.Symbol("sigma"), 6)) == (2, 3)
    order, rest = ansatz.contraction(ansatz.CUBIC)
    value = float((rest * (x**2 - x) ** order).subs(x, 0.3))
    h = 3 * 0.09 - 2 * 0.027
    assert value == pytest.approx(h * h - h)


def test_whitened_layer_through_the_enforcers() -> None:
    stream = generator("test", "layer")
    K = single_layer.rotated(0.6, 1, 5, stream)[0]
    ordinary = single_layer.differentiated("gradient", K)
    variable = K.clone().requires_grad_()
    (0.5 * (variable @ variable - variable).square().sum()).backward()
    torch.testing.assert_close(ordinary, variable.grad)
    torch.testing.assert_close(single_layer.ordinary(K), ordinary)
    modified = single_layer.differentiated("cubic", K)
    torch.testing.assert_close(K - modified, 3 * K @ K - 2 * K @ K @ K)
    torch.testing.assert_close(single_layer.modified(K), modified)
    torch.testing.assert_close(single_layer.ordinary(K.mT), single_layer.ordinary(K).mT)


def test_the_symbolic_gradient_is_the_formula() -> None:
    assert single_layer.symbolic_difference(2) == sympy.zeros(2)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_rotated_has_its_asymmetry(share: float) -> None:
    K = single_layer.rotated(share, 3, 6, generator("test"))
    torch.testing.assert_close(single_layer.asymmetry(K), torch.full((3,), share, dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.matrix_norm(K), torch.full((3,), 2.0**0.5, dtype=torch.float64))


def test_oblique_has_its_spectrum_and_condition() -> None:
    K = single_layer.oblique(5.0, 4, 6, generator("test"))
    eigenvalues = torch.linalg.eigvals(K)
    assert eigenvalues.imag.abs().max() < 1e-10
    inner = (eigenvalues.real > -0.3) & (eigenvalues.real < 0.4) | (eigenvalues.real > 0.6) & (eigenvalues.real < 1.3)
    assert bool(inner.all())
    symmetric = single_layer.oblique(1.0, 4, 6, generator("test"))
    assert float(single_layer.asymmetry(symmetric).max()) < 1e-14
    assert float(single_layer.asymmetry(K).min()) > 0.05


def test_purified_residual_tells_divergence() -> None:
    good, bad = torch.diag(torch.tensor([0.4, 1.2])).double(), torch.diag(torch.tensor([0.4, 1.7])).double()
    left = single_layer.purified_residual(torch.stack([good, bad]))
    assert left[0] < 1e-12
    assert left[1] > 1e-1


def test_claims(findings: Findings) -> None:
    holds = [claim.holds for claim in findings.claims]
    assert len(holds) == 12
    refuted = [claim.claim for claim in findings.claims if claim.holds is not True]
    assert refuted == [
        "For other K the two directions differ, and yet have a positive cosine.",
        "The gradient of MB is larger than that of OB.",
    ]
    erratum = next(claim for claim in findings.claims if claim.claim.startswith("The recurrence"))
    assert "p(1) = 5" in erratum.ours


def test_angles_fall_with_asymmetry(findings: Findings) -> None:
    angles = findings.tables["angles"]
    for _, table in angles.groupby("ensemble"):
        assert table["median"].iloc[0] == pytest.approx(1, abs=1e-12)
        assert table["median"].is_monotonic_decreasing
    random = angles[angles["ensemble"] == "random, by asymmetry"]
    assert random["largest"].iloc[-1] < 0


def test_everything_is_captioned(findings: Findings) -> None:
    assert set(findings.captions) == set(findings.figures) | set(findings.tables)
    assert len(findings.captions) == len(findings.figures) + len(findings.tables)
