"""Each enforcer's gradient against its literal formula, written out with deep copies as the frozen networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from idemlab import Orbit, Step
from idemlab_enforcers.cubic import Cubic
from idemlab_enforcers.gradient import Gradient
from idemlab_enforcers.ign import IGN
from idemlab_enforcers.relative import Relative

EXACT = 1e-12


def l1(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().flatten(1).mean(1)


def l2(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().flatten(1).mean(1)


LITERAL = {"l1": l1, "l2": l2}


@pytest.mark.parametrize(
    ("cotangent", "constant"), [("unit", lambda n: 1), ("mean", lambda n: 1 / n), ("matched", lambda n: 2 / n)]
)
def test_cubic_is_its_cotangent_times_the_named_constant(
    cotangent, constant, operator, draw, frozen, gradients, enforced, difference
):
    x = draw()
    F, y = frozen(operator), operator(x)
    g = y.detach() - 3 * F(y.detach()) + 2 * F(F(y.detach()))
    expected = gradients(0.7 * constant(x[0].numel()) * (y * g).sum() / len(x), operator)
    _, got = enforced(Cubic(0.7, cotangent), operator, x)
    assert difference(got, expected) <= EXACT


@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("routing", ["full", "inner", "outer"])
def test_canonical_loss_reaches_the_parameters_as_routed(
    routing, distance, operator, draw, frozen, gradients, enforced, difference
):
    x, D = draw(), LITERAL[distance]
    F, y = frozen(operator), operator(x)
    literal = {
        "full": lambda: D(operator(y), y),
        "inner": lambda: D(F(y), y),
        "outer": lambda: D(operator(y.detach()), y.detach()),
    }[routing]()
    loss, got = enforced(Gradient(0.7, routing, distance, 1), operator, x)
    torch.testing.assert_close(loss, 0.7 * literal.detach(), rtol=EXACT, atol=0)
    assert difference(got, gradients(0.7 * literal.mean(), operator)) <= EXACT


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_inner_and_outer_gradient_sum_to_the_full_one(distance, operator, draw, enforced, difference):
    x = draw()
    full, inner, outer = (
        [g.clone() for g in enforced(Gradient(1.0, routing, distance, 1), operator, x)[1]]
        for routing in ("full", "inner", "outer")
    )
    assert difference([a + b for a, b in zip(inner, outer, strict=True)], full) <= EXACT


def test_depth_is_the_mean_over_the_orbit(operator, draw, gradients, enforced, difference):
    x = draw()
    f1 = operator(x)
    f2 = operator(f1)
    f3 = operator(f2)
    f4 = operator(f3)
    literal = (l2(f2, f1) + l2(f3, f2) + l2(f4, f3)) / 3
    loss, got = enforced(Gradient(1.0, "full", "l2", 3), operator, x)
    torch.testing.assert_close(loss, literal.detach(), rtol=EXACT, atol=0)
    assert difference(got, gradients(literal.mean(), operator)) <= EXACT


def test_relative_is_the_ratio_of_means_with_gradient_through_everything(
    operator, draw, gradients, enforced, difference
):
    x = draw()
    y = operator(x)
    literal = ((operator(y) - y).square().mean() / (y - y.mean(0)).square().mean()).sqrt()
    loss, got = enforced(Relative(0.7), operator, x)
    torch.testing.assert_close(loss, 0.7 * literal.detach().expand(5), rtol=EXACT, atol=0)
    assert difference(got, gradients(0.7 * literal, operator)) <= EXACT


def literal_ign(
    operator, F, x, z, *, clamp, distance, target=None, idempotence=20.0, tightness=2.5
) -> tuple[Tensor, Tensor]:
    """(r, L_idem and L_tight weighted) as printed in the paper; with `target`, the cubic cotangent in place of L_idem."""
    D = LITERAL[distance]
    r = D(operator(x), x)
    y = operator(z)
    still = y.detach()
    idempotent = D(F(y), y) if target is None else l2(y, target(F, still))
    tight = -D(operator(still), still)
    if clamp > 0:
        tight = torch.tanh(tight / (clamp * r)) * clamp * r
    return r, idempotence * idempotent + tightness * tight


def cubic_target(F: nn.Module, y: Tensor) -> Tensor:
    return 3 * F(y) - 2 * F(F(y))


def run_ign(enforcer, enforced, operator, x, z, distance):
    step = Step()
    r = LITERAL[distance](operator(x), x)
    step.reconstruction = r
    return enforced(enforcer, operator, z, step, extra=20 * r.mean())


@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("clamp", [0.0, 1.5])
@pytest.mark.parametrize("routing", ["reversal", "surrogate", "cubic"])
def test_ign_is_its_literal_formula(
    routing, clamp, distance, operator, operator_name, draw, frozen, gradients, enforced, difference
):
    x, z, F = draw(), draw(), frozen(operator)
    r, terms = literal_ign(
        operator, F, x, z, clamp=clamp, distance=distance, target=cubic_target if routing == "cubic" else None
    )
    loss, got = run_ign(IGN(20.0, 2.5, clamp, distance, routing), enforced, operator, x, z, distance)
    torch.testing.assert_close(loss, terms.detach(), rtol=EXACT, atol=EXACT)
    off = difference(got, gradients((20 * r + terms).mean(), operator))
    if routing == "reversal" and clamp > 0 and operator_name == "conv-batch-norm":
        assert off > 1e-6  # as the trait batch_statistics, False, declares
    else:
        assert off <= EXACT


@pytest.mark.parametrize("clamp", [0.0, 1.5])
def test_ign_by_the_cubic_alone_is_its_literal_formula(clamp, operator, draw, frozen, gradients, enforced, difference):
    x, z, F = draw(), draw(), frozen(operator)
    r = l1(operator(x), x)
    y = operator(z)
    w = operator(y.detach())
    tight = -l2(w, cubic_target(F, w.detach()))
    if clamp > 0:
        tight = torch.tanh(tight / (clamp * r)) * clamp * r
    terms = 20 * l2(y, cubic_target(F, y.detach())) + 2.5 * tight
    loss, got = run_ign(IGN(20.0, 2.5, clamp, "l1", "cubic-both"), enforced, operator, x, z, "l1")
    torch.testing.assert_close(loss, terms.detach(), rtol=EXACT, atol=EXACT)
    assert difference(got, gradients((20 * r + terms).mean(), operator)) <= EXACT


def test_reversal_with_the_clamp_is_inexact_under_batch_statistics_as_its_traits_say(
    frozen, gradients, enforced, difference
):
    torch.manual_seed(0)
    operator = nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.Tanh(), nn.Linear(9, 6))
    x, z = torch.randn(5, 6), torch.randn(5, 6)
    r, terms = literal_ign(operator, frozen(operator), x, z, clamp=1.5, distance="l2")
    expected = gradients((20 * r + terms).mean(), operator)
    off, exact = (
        difference(run_ign(IGN(20.0, 2.5, 1.5, "l2", routing), enforced, operator, x, z, "l2")[1], expected)
        for routing in ("reversal", "surrogate")
    )
    assert exact <= EXACT
    assert off > 1e-6


@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("routing", ["reversal", "surrogate", "cubic"])
def test_ign_without_tightness(routing, distance, operator, draw, frozen, gradients, enforced, difference):
    z = draw()
    F, y = frozen(operator), operator(z)
    literal = l2(y, cubic_target(F, y.detach())) if routing == "cubic" else LITERAL[distance](F(y), y)
    loss, got = enforced(IGN(20.0, 0.0, 1.5, distance, routing), operator, z)
    torch.testing.assert_close(loss, 20 * literal.detach(), rtol=EXACT, atol=0)
    assert difference(got, gradients(20 * literal.mean(), operator)) <= EXACT


@pytest.mark.parametrize("routing", ["reversal", "surrogate", "cubic"])
def test_ign_without_idempotence_is_tightness_alone(routing, operator, draw, gradients, enforced, difference):
    z = draw()
    still = operator(z).detach()
    expected = gradients(-2.5 * l1(operator(still), still).mean(), operator)
    _, got = enforced(IGN(0.0, 2.5, 0.0, "l1", routing), operator, z)
    assert difference(got, expected) <= EXACT


SATURATING = {"all": (-4, -2), "some": (-2.5, 1)}
"""Range of log10 of the reconstruction: small ones saturate the clamp at every sample, or at some."""


@pytest.mark.parametrize("decades", list(SATURATING.values()), ids=list(SATURATING))
@pytest.mark.parametrize("routing", ["reversal", "surrogate", "cubic"])
def test_ign_with_a_saturated_clamp(routing, decades, frozen, gradients, enforced, difference):
    torch.manual_seed(0)
    operator = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 6))
    z = torch.randn(5, 6)
    r = torch.logspace(*decades, 5) * (1 + operator(torch.randn(5, 6)).mean(1).sin())
    F, y = frozen(operator), operator(z)
    still = y.detach()
    idempotent = l2(y, cubic_target(F, still)) if routing == "cubic" else l1(F(y), y)
    bound = 1.5 * r
    t = -l1(operator(still), still)
    assert float(torch.cosh(t / bound).pow(-2).detach().min()) < 1e-6
    literal = 20 * idempotent + 2.5 * torch.tanh(t / bound) * bound
    expected = gradients(literal.mean(), operator)
    step = Step()
    step.reconstruction = r
    loss, got = enforced(IGN(20.0, 2.5, 1.5, "l1", routing), operator, z, step)
    torch.testing.assert_close(loss, literal.detach(), rtol=EXACT, atol=EXACT)
    # Under the reversal the floor below the slope of the clamp, 1e-6, is all that is lost.
    assert difference(got, expected) <= (1e-7 if routing == "reversal" else EXACT)


@pytest.mark.parametrize("routing", ["reversal", "surrogate", "cubic"])
def test_ign_is_finite_where_the_reconstruction_is_perfect(routing, enforced):
    torch.manual_seed(0)
    operator = nn.Linear(3, 3)
    step = Step()
    step.reconstruction = torch.zeros(4, requires_grad=True)
    loss, got = enforced(IGN(20.0, 2.5, 1.5, "l1", routing), operator, torch.randn(4, 3), step)
    assert torch.isfinite(loss).all()
    assert all(torch.isfinite(g).all() for g in got)
    assert torch.isfinite(step.reconstruction.grad).all()


@pytest.mark.parametrize(
    "enforcer",
    [
        Cubic(1.0, "unit"),
        Gradient(1.0, "full", "l2", 1),
        Gradient(1.0, "inner", "l2", 1),
        Gradient(1.0, "outer", "l2", 1),
        Relative(1.0),
        IGN(20.0, 2.5, 0.0, "l1", "reversal"),
        IGN(20.0, 2.5, 0.0, "l1", "surrogate"),
        IGN(20.0, 2.5, 0.0, "l1", "cubic"),
        IGN(20.0, 0.0, 0.0, "l1", "reversal"),
    ],
    ids=lambda e: type(e).__name__.lower(),
)
def test_inputs_are_not_mutated_and_the_error_is_known_to_the_objective(enforcer):
    torch.manual_seed(0)
    operator, x = nn.Linear(3, 3), torch.randn(4, 3)
    kept, weights = x.clone(), [p.detach().clone() for p in operator.parameters()]
    orbit = Orbit(operator, x)
    enforcer(orbit, Step()).loss.mean().backward()
    assert torch.equal(x, kept)
    assert all(torch.equal(p, w) for p, w in zip(operator.parameters(), weights, strict=True))
    assert orbit.known(2)
    torch.testing.assert_close(orbit.ahead(1), operator(operator(x)).detach(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("routing", ["reversal", "surrogate", "cubic"])
def test_ign_reports_its_terms_and_not_its_surrogates(routing):
    torch.manual_seed(0)
    operator, z, r = nn.Linear(3, 3), torch.randn(4, 3), torch.rand(4)
    step = Step()
    step.reconstruction = r
    reported = IGN(20.0, 2.5, 1.5, "l1", routing)(Orbit(operator, z), step).reported
    error = l1(operator(operator(z)), operator(z)).detach()
    torch.testing.assert_close(reported["idempotent_term"], error, rtol=EXACT, atol=0)
    torch.testing.assert_close(reported["tightness_term"], -torch.tanh(error / (1.5 * r)) * 1.5 * r, rtol=EXACT, atol=0)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch.compile's own
@pytest.mark.long
def test_reversal_compiles():
    torch.manual_seed(0)
    operator, z = nn.Linear(3, 3), torch.randn(4, 3)
    r = torch.rand(4)

    def gradient(compiled: bool) -> Tensor:
        enforcer = IGN(20.0, 2.5, 1.5, "l1", "reversal")

        def objective(z: Tensor) -> Tensor:
            step = Step()
            step.reconstruction = r
            return enforcer(Orbit(operator, z), step).loss.mean()

        operator.zero_grad()
        (torch.compile(objective, backend="aot_eager", fullgraph=True) if compiled else objective)(z).backward()
        return operator.weight.grad.clone()

    torch.testing.assert_close(gradient(True), gradient(False), rtol=EXACT, atol=0)
