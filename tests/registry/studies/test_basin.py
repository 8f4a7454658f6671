"""The study `basin`: pictures against bisection, symmetries, and plain iteration of single points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import idemlab
from idemlab.studies.study import Findings, Material
from idemlab_registry.studies import basin, colouring, family, julia, reals

SYMMETRIC: julia.Window = (-0.8, 1.8, -0.7, 0.7)
SWAPPED = np.array([1, 0, julia.INFINITY, julia.UNDECIDED])
ids = {"ids": lambda member: member.name}


@pytest.fixture(scope="module")
def findings() -> Findings:
    return basin.study().examine(Material({}, True, lambda line: None))


@pytest.mark.parametrize("member", basin.MEMBERS, **ids)
def test_points_against_plain_iteration(member: family.Member) -> None:
    found = julia.basins(member, SYMMETRIC, width=23, height=17)
    for z, limit in zip(julia.plane(SYMMETRIC, 23, 17).ravel(), found.limit.ravel(), strict=True):
        coefficients = member.coefficients
        for _ in range(300):
            z = sum(c * z**i for i, c in enumerate(coefficients))
            if abs(z) > 1e6:
                break
        expected = (
            julia.INFINITY if abs(z) > 1e6 else 0 if abs(z) < 1e-9 else 1 if abs(z - 1) < 1e-9 else julia.UNDECIDED
        )
        assert limit == expected


@pytest.mark.parametrize("member", [family.CUBIC, family.damped(0.5), family.HOLAS_5, family.trs4(3)], **ids)
def test_complement_exchanges_the_roots(member: family.Member) -> None:
    found = julia.basins(member, SYMMETRIC, width=120, height=80)
    assert (SWAPPED[found.limit[:, ::-1]] == found.limit).all()
    np.testing.assert_allclose(found.steps[:, ::-1], found.steps, atol=0.02)


def test_complement_of_trs4_is_six_minus_sigma() -> None:
    few, many = (julia.basins(family.trs4(sigma), SYMMETRIC, width=120, height=80) for sigma in (1, 5))
    assert (SWAPPED[few.limit[:, ::-1]] == many.limit).all()
    assert few.share(0) != many.share(0)


@pytest.mark.parametrize("member", basin.MEMBERS, **ids)
def test_conjugation(member: family.Member) -> None:
    found = julia.basins(member, (-0.7, 1.3, -0.6, 0.6), width=80, height=60)
    assert (found.limit[::-1] == found.limit).all()
    np.testing.assert_array_equal(found.steps[::-1], found.steps)


@pytest.mark.parametrize("member", [family.CUBIC, family.damped(0.25), family.HOLAS_5, family.trs4(1.5)], **ids)
def test_boundary_on_the_real_axis_is_that_of_bisection(member: family.Member) -> None:
    found = julia.basins(member, (-1.2, 2.2, -1e-9, 1e-9), width=3200, height=1)
    x = julia.plane(found.window, 3200, 1).real[0]
    for root in (0, 1):
        ends = reals.immediate_basin(member, root)
        assert ends is not None
        left, right = ends
        inside = (x > left) & (x < right)
        assert (found.limit[0][inside] == root).all()
        just_outside = [np.flatnonzero(x < left)[-1], np.flatnonzero(x > right)[0]]
        assert (found.limit[0][just_outside] != root).all()


def test_the_same_numbers_as_the_weight_projection() -> None:
    """The scalar map is what the enforcer of the catalog does to an eigenvalue, complex ones too."""
    catalog = idemlab.installed()
    for step in (1.0, 0.5):
        table = {"name": "purification", "step": step}
        enforcer = catalog.check("enforcer", table, "test").build()
        z = torch.tensor([[[0.3 + 0.2j]], [[-0.7 + 1j]]], dtype=torch.complex128)
        expected = family.damped(step)(z.numpy())
        np.testing.assert_allclose(enforcer.project(z).numpy(), expected, rtol=1e-14)


def test_a_matrix_goes_where_its_eigenvalues_go() -> None:
    """purify reaches the spectral projector for the eigenvalues in the basin of 1."""
    random = torch.Generator().manual_seed(0)
    eigenvalues = np.array([0.1 + 0.2j, 0.9 - 0.25j, -0.5 + 0.01j, 1.5, 0.55])
    S = torch.randn(5, 5, dtype=torch.complex128, generator=random)
    K = S @ torch.diag(torch.from_numpy(eigenvalues)) @ torch.linalg.inv(S)
    ends = []
    for z in eigenvalues:
        window = (z.real - 1e-9, z.real + 1e-9, z.imag - 1e-9, z.imag + 1e-9)
        ends.append(float(julia.basins(family.CUBIC, window, width=1, height=1).limit[0, 0]))
    assert ends == [0, 1, 1, 0, 1]
    expected = S @ torch.diag(torch.tensor(ends, dtype=torch.complex128)) @ torch.linalg.inv(S)
    purified = idemlab.purify(K)
    assert purified.idempotent
    torch.testing.assert_close(purified.matrix, expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("member", [family.CUBIC, family.damped(0.5), family.HOLAS_5, family.trs4(6)], **ids)
@pytest.mark.parametrize("window", [(0.05, 0.2, -1e-9, 1e-9), (1.02, 1.15, -1e-9, 1e-9), (2.5, 40, -1e-9, 1e-9)])
def test_steps_have_no_jumps(member: family.Member, window: julia.Window) -> None:
    steps = julia.basins(member, window, width=4001, height=1).steps[0]
    assert np.ptp(steps) > 0.4
    assert np.abs(np.diff(steps)).max() < 0.02


def test_steps_grow_by_one_an_iteration() -> None:
    """The count is continuous: a point and its image differ by one, whichever limit they have."""
    points = {0.45: 0, 1.3: 1, 2.5: julia.INFINITY, 0.3 + 0.1j: 0, 0.4 + 0.9j: julia.INFINITY}
    for member in (family.CUBIC, family.damped(0.5), family.HOLAS_5):
        for z, limit in points.items():
            here, there = (_at(member, complex(point)) for point in (z, member(z)))
            if member is family.CUBIC:
                assert here.limit[0, 0] == limit
            assert here.steps[0, 0] - there.steps[0, 0] == pytest.approx(1, abs=0.01)


def _at(member: family.Member, z: complex) -> julia.Basins:
    window = (z.real - 1e-13, z.real + 1e-13, z.imag - 1e-13, z.imag + 1e-13)
    return julia.basins(member, window, width=1, height=1)


def test_undecided_is_told() -> None:
    found = julia.basins(family.CUBIC, (0.4, 0.6, -0.1, 0.1), width=41, height=41, iterations=10)
    assert found.limit[20, 20] == julia.UNDECIDED  # 1/2 itself
    assert found.steps[20, 20] == 10
    assert found.limit[20, 0] == 0
    assert 0 < found.share(julia.UNDECIDED) < 1


def test_inside_the_quarter_the_nearer_root() -> None:
    window = (-0.3, 1.3, -0.3, 0.3)
    z = julia.plane(window, 160, 60)
    found = julia.basins(family.CUBIC, window, width=160, height=60)
    inside = np.abs(z * z - z) < 0.25
    assert (found.limit[inside] == (z.real > 0.5)[inside]).all()
    assert (found.limit[~inside] < julia.INFINITY).any()


def test_distance_after_ten() -> None:
    window = (-0.5, 1.5, -0.5, 0.5)
    distance = julia.distance_after(family.CUBIC, window, width=40, height=20)
    z = julia.plane(window, 40, 20)[7, 11]
    for _ in range(10):
        z = 3 * z**2 - 2 * z**3
    assert distance[7, 11] == pytest.approx(min(abs(z), abs(z - 1)), abs=1e-15)
    assert np.isinf(distance[0, 20])
    start = julia.distance_after(family.CUBIC, window, width=40, height=20, iterations=0)
    assert start[10, 10] == pytest.approx(abs(julia.plane(window, 40, 20)[10, 10]))


@pytest.mark.parametrize("window", [(1, 0, 0, 1), (0, 1, 1, 1)])
def test_an_empty_window_is_refused(window: julia.Window) -> None:
    with pytest.raises(ValueError, match="is empty"):
        julia.basins(family.CUBIC, window)


def test_escape_radius() -> None:
    angles = np.exp(2j * np.pi * np.arange(60) / 60)
    for member in (*basin.MEMBERS, family.damped(0.1), family.trs4(2.9)):
        edge = member.escape_radius * angles
        assert (np.abs(member(edge)) >= 2 * np.abs(edge) * (1 - 1e-12)).all()


@pytest.mark.parametrize(
    ("member", "at_zero", "at_one"),
    [
        (family.CUBIC, (2, 3.0), (2, -3.0)),
        (family.HOLAS_5, (3, 10.0), (3, 10.0)),
        (family.damped(0.25), (1, 0.75), (1, 0.75)),
        (family.trs4(0), (3, 4.0), (2, -6.0)),
        (family.SP2_DOWN, (2, 1.0), None),
        (family.PLUS_SIGN, (2, 3.0), None),
    ],
)
def test_contraction(
    member: family.Member, at_zero: tuple[int, float] | None, at_one: tuple[int, float] | None
) -> None:
    assert member.contraction(0) == pytest.approx(at_zero)
    assert (None if at_one is None else pytest.approx(at_one)) == member.contraction(1)


def test_colours() -> None:
    limit = np.array([[0, 1], [julia.INFINITY, julia.UNDECIDED]], dtype=np.uint8)
    rgb = colouring.picture(julia.Basins(limit, np.full((2, 2), 4.0), SYMMETRIC))
    assert rgb[0, 0, 2] > rgb[0, 0, 0] + 0.3  # blue
    assert rgb[0, 1, 0] > rgb[0, 1, 2] + 0.3  # orange
    assert np.ptp(rgb[1, 0]) < 0.02  # grey
    assert (rgb[1, 1] == 0).all()
    slower = colouring.picture(julia.Basins(limit, np.full((2, 2), 12.0), SYMMETRIC))
    assert (slower.sum(2)[:1] < rgb.sum(2)[:1]).all()
    np.testing.assert_allclose(
        colouring.picture(julia.Basins(limit, np.full((2, 2), 4.0), SYMMETRIC), 2)[0, 0], rgb.mean((0, 1))
    )


@pytest.mark.long
def test_claims_and_table(findings: Findings) -> None:
    assert [claim.holds for claim in findings.claims] == [None, True, True, True, True]
    table = findings.tables["basins"].set_index("member")
    shares = ["share to 0", "share to 1", "share diverging", "share undecided"]
    assert table[shares].sum(axis=1).to_numpy() == pytest.approx(1, abs=2e-4)
    assert table.loc["SP2, downwards", "radius at 0"] == pytest.approx(1, abs=0.006)
    cubic, trs4 = table.loc["cubic (McWeeny)"], table.loc["TRS4, sigma = 3"]
    assert cubic.drop("degree").equals(trs4.drop("degree"))
    assert table.loc["damped, s = 0.5", "share to 1"] > cubic["share to 1"]


def test_everything_is_captioned(findings: Findings) -> None:
    assert set(findings.captions) == set(findings.figures) | set(findings.tables)
    assert not set(findings.figures) & set(findings.tables)
