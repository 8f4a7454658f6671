"""The studies `trajectories` and `gradients`, and the training by hand that both look at."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from idemlab import Orbit
from idemlab.studies.study import Material
from idemlab_registry.studies import gradients, trajectories
from idemlab_registry.studies.gradients import measure
from idemlab_registry.studies.paths import METHODS, Problem
from idemlab_registry.studies.trajectories import MATCHED, Plane, walk

SMALL = Problem(dimension=6, width=8, depth=2, rate=0.5, steps=12, batch=16, points=64)


def test_both_methods_start_at_the_same_weights_and_go_their_own_ways() -> None:
    paths = {method: SMALL.walk(method, seed=3, every=5) for method in METHODS}
    assert paths["gradient"].steps == paths["cubic"].steps == [0, 5, 10, 12]
    assert torch.equal(paths["gradient"].weights[0], paths["cubic"].weights[0])
    assert not torch.equal(paths["gradient"].weights[-1], paths["cubic"].weights[-1])
    assert all(path.losses[-1] < path.losses[0] for path in paths.values())


def test_a_walk_depends_on_its_seed_alone() -> None:
    first, again, other = (SMALL.walk("cubic", seed, 12).weights for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_gradients_are_those_of_the_literal_formulas() -> None:
    operator = SMALL.operator(0).double()
    x = SMALL.noise().double()
    weights = torch.nn.utils.parameters_to_vector(operator.parameters()).detach().clone()
    parameters = list(operator.parameters())
    y = operator(x)
    loss = (operator(y) - y).square().mean()
    expected = {"gradient": torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])}
    y = operator(x)
    with torch.no_grad():
        cotangent = (y - 3 * operator(y) + 2 * operator(operator(y))) / len(x)
    expected["cubic"] = torch.cat([g.flatten() for g in torch.autograd.grad(y, parameters, cotangent)])
    for method in METHODS:
        torch.testing.assert_close(SMALL.gradient(operator, method, weights, x), expected[method])


def test_the_loss_is_that_of_the_weights_given() -> None:
    operator, x = SMALL.operator(0), SMALL.noise()
    path = SMALL.walk("gradient", 0, 12)
    assert SMALL.loss(operator, path.weights[-1], x) == path.losses[-1]
    y = Orbit(operator, x).ahead(0)
    assert path.losses[-1].item() == pytest.approx((operator(y) - y).square().mean().item())


def test_the_plane_of_points_in_a_plane_holds_all_of_them() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(9, 2, generator=generator, dtype=torch.float64)).Q
    flat = torch.randn(20, 2, generator=generator, dtype=torch.float64) * torch.tensor([3.0, 1.0])
    points = 5 + flat @ basis.T
    plane = Plane.through(points)
    assert sum(plane.explained) == pytest.approx(1)
    assert plane.explained[0] > plane.explained[1] > 0
    at = plane.coordinates(points)
    for point, (a, b) in zip(points, at, strict=True):
        torch.testing.assert_close(plane.point(a, b), point)


def test_what_is_told_of_a_walk() -> None:
    one = walk(SMALL, seed=0, every=3)
    assert one.cosine("cubic") == pytest.approx(1)
    assert -1 <= one.cosine("gradient") < 1
    for method, path in one.paths.items():
        squares = one.ends[method].relative[0] ** 2 * one.ends[method].spread ** 2
        assert squares == pytest.approx(path.losses[-1].item(), rel=1e-4)
        assert 0 < one.directness(method) <= 1 + 1e-6
    faster = replace(SMALL, rate=SMALL.rate * 3).walk("gradient", 0, 3)
    assert torch.equal(one.paths[MATCHED].weights, faster.weights)
    assert one.displacement(MATCHED) > one.displacement("gradient") > 0


def test_norms_and_cosines_at_the_start_do_not_depend_on_the_path() -> None:
    runs = [measure(SMALL, 0, path, every=6) for path in METHODS]
    assert runs[0].steps == [0, 6, 12]
    assert runs[0].norms["cubic"][0] == runs[1].norms["cubic"][0]
    assert runs[0].cosines[0] == runs[1].cosines[0]
    assert runs[0].norms["cubic"][-1] != runs[1].norms["cubic"][-1]
    operator, x = SMALL.operator(0), SMALL.noise()
    weights = SMALL.walk("gradient", 0, 12).weights[0]
    both = [SMALL.gradient(operator, method, weights, x) for method in METHODS]
    assert runs[0].norms["gradient"][0] == pytest.approx(both[0].norm().item())
    assert runs[0].cosines[0] == pytest.approx(torch.cosine_similarity(*both, dim=0).item())


@pytest.mark.parametrize(
    ("study", "quick"),
    [
        pytest.param(gradients, False, id="gradients", marks=pytest.mark.long),
        pytest.param(trajectories, True, id="trajectories, quickly", marks=pytest.mark.long),
        pytest.param(gradients, True, id="gradients, quickly", marks=pytest.mark.long),
        pytest.param(trajectories, False, id="trajectories", marks=pytest.mark.long),
    ],
)
def test_the_whole_study_on_a_small_problem(study: object, quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer steps than it has, and one seed the more for the larger version."""

    def small(**settings: int) -> Problem:
        return Problem(**{"dimension": 4, "width": 8, "points": 32, "batch": 8} | settings | {"steps": 8})  # type: ignore[arg-type]

    monkeypatch.setattr(study, "Problem", small)
    if study is trajectories and not quick:  # at each of its points a loss: fewer of them than under `quick`
        draw = trajectories._draw
        monkeypatch.setattr(trajectories, "_draw", lambda shown, points: draw(shown, points // 6))
    said: list[str] = []
    findings = study.study().examine(Material({}, quick, said.append))  # type: ignore[attr-defined]
    assert len(said) == (4 if quick else 10)
    assert len(findings.figures) == len(findings.tables) == 1
    for figure in findings.figures.values():
        figure.set_layout_engine("none")  # fitting it to its frame would double the time
        figure.draw_without_rendering()
    for name in (*findings.figures, *findings.tables):
        assert findings.captions[name]
    assert findings.claims
    for claim in findings.claims:
        assert claim.paper
        assert claim.ours
        assert "nan" not in claim.ours + claim.controlled
