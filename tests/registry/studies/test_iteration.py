"""The study `iteration` against the closed forms and against independent iteration."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from idemlab.studies.study import Findings, Material
from idemlab_registry.studies import family, iteration, reals


@pytest.fixture(scope="module")
def findings() -> Findings:
    return iteration.study().examine(Material({}, True, lambda line: None))


@pytest.mark.parametrize("s", [0.1, 0.5, 1.0])
def test_damped_facts(s: float) -> None:
    facts, member = iteration.damped_facts().at(s), family.damped(s)
    assert facts["slope_at_ends"] == pytest.approx(1 - s)
    assert facts["slope_at_half"] == pytest.approx(1 + s / 2)
    assert facts["right_end"] == pytest.approx((1 + math.sqrt(1 + 2 / s)) / 2)
    assert member(facts["right_end"]) == pytest.approx(0.5)
    assert facts["cycle"] == pytest.approx((1 + math.sqrt(1 + 4 / s)) / 2)
    assert member(facts["cycle"]) == pytest.approx(1 - facts["cycle"])
    assert member(1 - facts["cycle"]) == pytest.approx(facts["cycle"])
    assert facts["multiplier"] == pytest.approx(member.slope(facts["cycle"]) * member.slope(1 - facts["cycle"]))


@pytest.mark.parametrize(
    ("start", "root"),
    [(-0.366, 0), (-0.367, 1), (0.499, 0), (0.501, 1), (1.366, 1), (1.367, 0), (-0.619, math.inf), (1.619, math.inf)],
)
def test_limits_of_the_cubic(start: float, root: float) -> None:
    assert reals.limit(family.CUBIC, start) == root


def test_a_point_that_goes_nowhere() -> None:
    assert reals.limit(family.CUBIC, 0.5) is None


def test_immediate_basins() -> None:
    assert reals.immediate_basin(family.CUBIC, 0) == pytest.approx(((1 - 3**0.5) / 2, 0.5), abs=1e-12)
    assert reals.immediate_basin(family.SP2_DOWN, 0) == pytest.approx((-1, 1), abs=1e-12)
    assert reals.immediate_basin(family.SP2_DOWN, 1) is None
    assert reals.immediate_basin(family.PLUS_SIGN, 1) is None


def test_intervals_alternate_and_touch() -> None:
    intervals = iteration.basin_intervals(5)
    assert [interval.root for interval in intervals] == [1, 0, 1, 0, 1]
    for now, after in pairwise(intervals):
        assert now.right == after.left
    for interval in intervals:
        for share in (0.01, 0.3, 0.99):
            point = interval.left + share * (interval.right - interval.left)
            assert reals.limit(family.CUBIC, point) == interval.root
            assert reals.limit(family.CUBIC, 1 - point) == 1 - interval.root
    assert intervals[0].right == pytest.approx((1 + 3**0.5) / 2, abs=1e-14)


def test_orbit_ends_where_it_escapes() -> None:
    assert reals.orbit(family.CUBIC, 0.5, 3) == [0.5] * 4
    escaped = reals.orbit(family.CUBIC, 2.0, 50)
    assert len(escaped) < 10
    assert abs(escaped[-1]) > family.CUBIC.escape_radius


def test_steps_to() -> None:
    assert reals.steps_to(family.damped(0.5), 1 + 2**-20, 1, 2.1**-20) == 2
    assert reals.steps_to(family.CUBIC, 1.0, 1, 1e-12) == 0
    assert reals.steps_to(family.CUBIC, 0.9, 1, 1e-12) == 5  # 0.1, 0.028, 2.3e-3, 1.6e-5, 7.6e-10, 1.7e-18


def test_claims_and_tables(findings: Findings) -> None:
    assert [claim.holds for claim in findings.claims] == [True] * 5
    points = findings.tables["fixed-points"]
    cubic = points[points["map"] == "3 x^2 - 2 x^3"]
    assert cubic["value"].tolist() == [0, 0.5, 1]
    assert cubic["slope"].tolist() == [0, 1.5, 0]
    plus = points[points["map"] != "3 x^2 - 2 x^3"]
    assert plus["value"].to_numpy() == pytest.approx([(-3 - 17**0.5) / 4, 0, (-3 + 17**0.5) / 4])
    assert plus["kind"].tolist() == ["repelling", "superattracting", "repelling"]
    ratios = findings.tables["basin-ends"]["distance to the 2-cycle shrinks by"]
    assert ratios.is_monotonic_increasing
    assert ratios.iloc[-1] == pytest.approx(6, abs=1e-3)


def test_everything_is_captioned(findings: Findings) -> None:
    assert set(findings.captions) == set(findings.figures) | set(findings.tables)
    assert not set(findings.figures) & set(findings.tables)


def test_strip_shows_the_basins(findings: Findings) -> None:
    image = findings.figures["map"].axes[0].images[0]
    values = np.asarray(image.get_array())[0]
    x = np.linspace(*image.get_extent()[:2], len(values))
    assert set(values[(x > -0.36) & (x < 0.49)]) == {0}
    assert set(values[(x > 0.51) & (x < 1.36)]) == {1}
    assert set(values[x > 1.62]) == {2}
