"""The purification family: each member is its polynomial, fixes idempotents, and ends at the right projector."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from idemlab import BadInput, Purifier, enforcer, purify
from idemlab.purification.composition import composition, minimax_cubic, minimax_quintic
from idemlab.purification.iteration import Ending
from idemlab.testing import exact_bases, idempotents, linear_maps, oblique_bases, orthogonal_bases, spectra

STEERED = ["sp2", "trs4", "hpcp", "pm"]
BY_SIDE = ["cubic", "holas-5", "holas-7", "optimal"]
POLYNOMIALS = {"cubic": [0, 0, 3, -2], "holas-5": [0, 0, 0, 10, -15, 6], "holas-7": [0, 0, 0, 0, 35, -84, 70, -20]}

# Multiples of 1/2, n <= 3: the seventh powers have few enough bits that both sides are exact.
HALVES = st.integers(-1, 3).map(lambda value: value / 2)
exact_maps = st.integers(1, 3).flatmap(lambda n: linear_maps(spectra(HALVES, size=n, largest_block=2), exact_bases))


def setting(method: str, rank: int) -> Purifier:
    return Purifier(method=method, rank=rank if method in STEERED else None, gap=0.2 if method == "optimal" else None)


@pytest.mark.parametrize("method", list(POLYNOMIALS))
@given(K=exact_maps)
def test_a_step_is_its_polynomial(method, K):
    powers = [torch.linalg.matrix_power(K.matrix, k) for k in range(8)]
    expected = sum(c * power for c, power in zip(POLYNOMIALS[method], powers, strict=False))
    assert torch.equal(Purifier(method=method).step(K.matrix), expected)


@pytest.mark.parametrize("method", BY_SIDE + STEERED)
@given(P=idempotents(basis=exact_bases))
def test_idempotents_stay(method, P):
    rank = round(float(P.matrix.trace()))
    moved = Purifier.step(setting(method, rank), P.matrix) - P.matrix
    # c and sigma, 0/0 there, are 1/2 and 3; a composition ends within rounding of 0 and 1
    assert float(moved.norm()) <= (1e-13 * max(1, float(P.matrix.norm())) ** 3 if method == "optimal" else 0)


inside = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(0.55, 1.0), min_size=n // 2, max_size=n // 2),
        st.lists(st.floats(0.0, 0.45), min_size=n - n // 2, max_size=n - n // 2),
    )
)


@pytest.mark.parametrize("method", BY_SIDE + STEERED)
@given(data=st.data())
def test_it_finds_the_projector_of_the_largest_eigenvalues(method, data):
    ones, zeros = data.draw(inside)
    values = st.sampled_from([(*ones, *zeros)])
    from idemlab.testing import Block

    spectrum = values.map(lambda each: tuple(Block(value) for value in each))
    K = data.draw(
        linear_maps(spectrum, data.draw(st.sampled_from([orthogonal_bases, lambda n: oblique_bases(n, 3.0)])))
    )
    rank = len(ones)
    rank_or_gap = {"rank": rank} if method in STEERED else {}
    result = purify(K.matrix, method, **rank_or_gap)
    assert result.idempotent, (result.ending, result.residuals)
    assert float((result.matrix - K.projector()).norm()) < 1e-9
    assert float((result.matrix @ result.matrix - result.matrix).norm()) < 1e-11


@pytest.mark.parametrize("method", STEERED)
def test_the_rank_decides_and_not_the_side_of_one_half(method):
    values = torch.linspace(0.02, 0.97, 12, dtype=torch.float64)
    Q = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    K = (Q * values) @ Q.T
    for rank in range(13):
        result = purify((K + K.T) / 2, method, rank=rank)
        expected = (Q * (torch.arange(12) >= 12 - rank)) @ Q.T
        assert result.idempotent, (rank, result.ending, result.residuals)
        assert float((result.matrix - expected).norm()) < 1e-10, rank


@pytest.mark.parametrize("method", ["hpcp", "pm"])
def test_without_a_rank_the_trace_is_kept_at_every_step(method):
    values = torch.tensor([0.9, 0.85, 0.75, 0.3, 0.2, 0.0], dtype=torch.float64)
    K = torch.diag(values)
    for _ in range(10):
        K = Purifier(method=method).step(K)
        assert float(K.trace()) == pytest.approx(3.0, abs=1e-13)


# -- optimal composition ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("low", [1e-4, 0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("minimax", [minimax_cubic, minimax_quintic])
def test_the_polynomials_equioscillate(low, minimax):
    """By Chebyshev's theorem none has a lower error if 1 - p takes it with alternating signs at one place more than it has
    coefficients."""
    coefficients, error = minimax(low)
    s = torch.linspace(low, 1, 200_001, dtype=torch.float64)
    left = 1 - sum(c * s ** (2 * k + 1) for k, c in enumerate(coefficients))
    assert float(left.abs().max()) == pytest.approx(error, rel=1e-6, abs=1e-12)
    touched = left[left.abs() >= error * (1 - 1e-6) - 1e-12].sign()
    changes = 1 + int((touched[1:] != touched[:-1]).sum())
    assert changes == len(coefficients) + 1


@pytest.mark.parametrize(("low", "error"), [(1e-3, 1e-12), (0.05, 1e-6), (0.9, 1e-15), (1 - 1e-9, 1e-15)])
def test_the_composition_ends_within_the_error(low, error):
    s = torch.linspace(low, 1, 20_001, dtype=torch.float64)
    for coefficients in composition(low, 1.0, error):
        s = sum(c * s ** (2 * k + 1) for k, c in enumerate(coefficients))
    assert float((s - 1).abs().max()) <= error + 1e-15 * 20


def gapped(n: int, distance: float) -> torch.Tensor:
    """A symmetric map with eigenvalues spread over [0, 1] but for the gap, the nearest at its edges."""
    half = n // 2
    g = torch.Generator().manual_seed(1)
    low = (0.5 - distance) * torch.rand(half - 1, generator=g, dtype=torch.float64)
    values = torch.cat([low, 1 - low, torch.tensor([0.5 - distance, 0.5 + distance], dtype=torch.float64)])
    Q = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64)).Q
    K = (Q * values) @ Q.T
    return (K + K.T) / 2


@pytest.mark.parametrize("distance", [1e-3, 5e-4])  # a gap of 1e-3 on either side, and of 1e-3 in all
def test_optimal_composition_takes_at_most_55_percent_of_the_products_of_the_cubic(distance):
    K = gapped(256, distance)
    cubic = purify(K, "cubic", tolerance=1e-10)
    optimal = purify(K, "optimal", gap=distance, spectrum="trusted", tolerance=1e-10)
    assert (cubic.ending, optimal.ending) == (Ending.TOLERANCE, Ending.TOLERANCE)
    assert optimal.residuals[-1] <= 1e-10
    assert float((cubic.matrix - optimal.matrix).norm()) < 1e-8
    assert optimal.products <= 0.55 * cubic.products, (optimal.products, cubic.products)


# -- what is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "mcweeny"}, "mcweeny"),
        ({"method": "cubic", "rank": 2}, "takes no rank"),
        ({"method": "sp2"}, "needs a rank"),
        ({"method": "sp2", "rank": -1}, "cannot be -1"),
        ({"method": "trs4", "rank": 1.5}, "cannot be 1.5"),
        ({"method": "trs4", "rank": True}, "cannot be true"),
        ({"method": "pm", "gap": 0.1}, "takes no gap"),
        ({"method": "optimal", "gap": 0.0}, "gap 0.0"),
        ({"method": "optimal", "gap": 0.6}, "gap 0.6"),
        ({"method": "optimal", "gap": "0.1"}, "gap '0.1'"),
        ({"method": 3}, "called '3'"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused(arguments, said):
    with pytest.raises(BadInput, match=said):
        Purifier(**arguments)


@pytest.mark.parametrize(
    ("values", "arguments", "said"),
    [
        ([0.2, 1.3], {"method": "sp2", "rank": 1}, "reach from 0.2 to 1.3"),
        ([0.2, -0.1], {"method": "optimal"}, "reach from -0.1 to 0.2"),
        ([0.2, 0.8], {"method": "trs4", "rank": 3}, "rank 3 is more than the n = 2"),
        ([0.2, 0.7, 0.7], {"method": "hpcp", "rank": 1}, "1 and 2, counted from the largest, are equal"),
        ([0.2, 0.7], {"method": "pm"}, "the trace is 0.9"),
        ([0.2, 0.5], {"method": "optimal"}, "an eigenvalue of the matrix is 1/2"),
        ([0.2, 0.51], {"method": "optimal", "gap": 0.1}, "0.01 from 1/2"),
    ],
)
def test_spectra_outside_the_domain_are_refused(values, arguments, said):
    with pytest.raises(BadInput, match=said):
        purify(torch.diag(torch.tensor(values, dtype=torch.float64)), **arguments)


K2 = torch.diag(torch.tensor([0.2, 0.8]))


@pytest.mark.parametrize(
    ("matrix", "arguments", "said"),
    [
        (K2, {"method": "optimal", "gap": 1e-300}, "gap of 1e-300 is below the precision of float32"),  # ran for ever
        (
            3 * K2,
            {"method": "sp2", "rank": 1, "spectrum": "rescaled"},
            r"called 'rescaled'(.|\n)*rescale\n(.|\n)*leave 'spectrum' out",
        ),  # was rescaled
        (torch.stack([K2, 3 * K2, K2 * torch.nan]), {"method": "sp2", "rank": 1}, "reach from 0.2 to 2.4"),
        (K2, {"max_steps": -1}, r"max_steps cannot be -1(.|\n)*leave 'max_steps' out"),
        (K2, {"max_steps": 2.5}, "max_steps cannot be 2.5"),
        (K2, {"tolerance": float("nan")}, "tolerance cannot be nan"),
        (K2, {"tolerance": -1e-3}, r"tolerance cannot be -0.001(.|\n)*leave 'tolerance' out"),
        (K2, {"tolerance": True}, "tolerance cannot be True"),
        (K2, {"method": None}, "the method is a NoneType"),
        (K2, {"method": lambda K: K[:1]}, r"makes shape \[1, 2\]"),
        (K2, {"method": lambda K: K.to(torch.int32)}, "matrices in int32 of matrices in float32"),
        (K2, {"method": lambda K: K.double()}, "matrices in float64 of matrices in float32"),
        (K2, {"method": lambda K: K.to(torch.complex64)}, "matrices in complex64 of matrices in float32"),
        (K2.tolist(), {}, "got a list"),
        (K2.to_sparse(), {}, "dense"),
        (K2.to("meta"), {}, "meta device"),
        (K2.to(torch.float8_e4m3fn), {}, "float8"),
    ],
)
def test_what_is_no_matrix_or_no_setting_is_refused_before_the_first_step(matrix, arguments, said):
    with pytest.raises(BadInput, match=said):
        purify(matrix, **arguments)


def test_an_enforcer_for_loops_purifies_as_the_one_inside():
    ours = purify(K2, enforcer("purification", method="holas-5"))
    assert torch.equal(ours.matrix, purify(K2, "holas-5").matrix)


def test_a_matrix_that_is_not_finite_diverges_alone_and_takes_no_gap_away_from_the_others():
    result = purify(torch.stack([K2, K2 * torch.nan]), "optimal")
    assert [each.ending is Ending.DIVERGED for each in result.members] == [False, True]
    assert purify(K2 * torch.inf, "optimal").ending is Ending.DIVERGED


def test_each_spectrum_of_a_stack_has_a_rounding_of_its_own():
    values = torch.tensor([[1000.0, 0.6, -999.0, 0.0], [0.50004, 0.2, 0.0, 1.0]])
    result = purify(torch.diag_embed(values), "optimal", spectrum="rescale")
    assert torch.allclose(result.matrix, torch.diag_embed((values > 0.5).float()), atol=1e-6)


def test_complex_eigenvalues_are_refused():
    turn = torch.tensor([[0.5, 0.3], [-0.3, 0.5]])
    with pytest.raises(BadInput, match="complex eigenvalues"):
        purify(turn, "sp2", rank=1)


def test_an_unknown_gap_is_measured_and_a_trusted_one_is_needed():
    K = gapped(8, 0.1)
    assert purify(K, "optimal").products == purify(K, "optimal", gap=0.1).products
    with pytest.raises(BadInput, match="needs to know the gap"):
        purify(K, "optimal", spectrum="trusted")


@pytest.mark.parametrize("method", ["optimal", *STEERED])
def test_a_spectrum_outside_is_moved_into_the_domain_on_request(method):
    values = torch.tensor([-1.0, 0.2, 0.7, 1.5], dtype=torch.float64)
    result = (
        purify(torch.diag(values), setting(method, 2), spectrum="rescale")
        if method != "optimal"
        else purify(torch.diag(values), "optimal", spectrum="rescale")
    )
    assert result.idempotent
    assert torch.allclose(result.matrix, torch.diag((values > 0.5).double()), atol=1e-12)


def test_from_outside_the_domain_a_trusted_spectrum_diverges_and_says_so():
    result = purify(torch.diag(torch.tensor([0.2, 3.0, -2.0])).double(), "sp2", rank=1, spectrum="trusted")
    assert result.ending in (Ending.DIVERGED, Ending.STEPS)
    assert not result.idempotent


def test_an_idempotent_of_another_rank_is_not_taken_for_the_one_asked_for():
    P = torch.diag(torch.tensor([1.0, 1.0, 0.0]))
    with pytest.raises(BadInput, match="are equal"):
        purify(P, "trs4", rank=1)
    trusted = purify(P, "trs4", rank=1, spectrum="trusted")
    assert trusted.ending is Ending.RANK
    assert not trusted.idempotent


# -- shapes and precisions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", BY_SIDE + STEERED)
def test_stacks_are_purified_like_their_members(method):
    K = torch.stack([gapped(6, d) for d in (0.01, 0.1, 0.3, 0.45)]).view(2, 2, 6, 6)
    arguments = {"rank": 3} if method in STEERED else {"gap": 0.01} if method == "optimal" else {}
    together = purify(K, method, **arguments)
    assert together.idempotent
    assert len(together.members) == 4
    for each, one in zip(together.members, K.view(-1, 6, 6), strict=True):
        alone = purify(one, method, **arguments)
        assert torch.allclose(each.matrix, alone.matrix, atol=1e-12)
        assert each.ending in (Ending.CONVERGED, Ending.FLOOR)
    assert torch.equal(together.matrix, torch.stack([each.matrix for each in together.members]).view(K.shape))
    assert together.residuals[0] == max(each.residuals[0] for each in together.members)


@pytest.mark.parametrize("method", BY_SIDE + STEERED)
def test_hermitian_maps_of_complex_numbers_are_purified(method):
    Q = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.complex128)).Q
    values = torch.tensor([0.1, 0.2, 0.4, 0.6, 0.9, 1.0], dtype=torch.float64)
    K = (Q * values) @ Q.mH
    result = purify((K + K.mH) / 2, setting(method, 3) if method != "optimal" else "optimal")
    assert result.idempotent
    assert float((result.matrix - (Q * (values > 0.5)) @ Q.mH).norm()) < 1e-10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", BY_SIDE + STEERED)
def test_half_precision_is_computed_and_returned_in_single(method, dtype):
    K = gapped(16, 0.2).to(dtype)
    result = purify(K, method, **({"rank": 8} if method in STEERED else {}))
    assert result.matrix.dtype is torch.float32
    assert result.idempotent
    assert result.residuals[-1] < 1e-5
    assert Purifier.step(setting(method, 8), K).dtype is dtype  # a weight keeps its precision
