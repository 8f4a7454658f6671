"""The enforcers as a user meets them: by name, through the catalog."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import torch
from torch import nn

from idemlab import BadInput, EnforcerKind, EnforcerSpec, Orbit, Step, Traits, installed

NAMES = [
    "alignment",
    "cubic",
    "purification",
    "gradient",
    "hybrid",
    "ign",
    "limit",
    "linearizer",
    "log-relative",
    "none",
    "rank",
    "relative",
    "section",
    "truncation",
    "union",
]
CUBIC_AND_GRADIENT = [{"name": "cubic"}, {"name": "gradient"}]


def check(table):
    return installed().check("enforcer", table, "here")


def traits(**table) -> Traits:
    return check(table).traits()


def build(**table):
    return check(table).build()


def spec(name):
    return installed().find("enforcer", name).spec


@pytest.mark.parametrize("name", NAMES)
def test_it_is_in_the_catalog_with_a_summary_and_help(name):
    entry = installed().find("enforcer", name)
    assert entry.plugin.distribution == "idemlab"
    assert entry.spec.summary.endswith(".")
    assert entry.spec.factory.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_its_help_explains_every_argument(name):
    from idemlab.catalog.schema import parameters

    arguments = [p.name for p in parameters(spec(name).factory)]
    explained = inspect.getdoc(spec(name).factory).partition("Args:")[2]
    assert [a for a in arguments if f"\n    {a}: " not in explained] == []


@pytest.mark.parametrize(
    ("alias", "name"),
    [("cubic-iteration", "cubic"), ("gradient-loss", "gradient"), ("cubic-projection", "purification")],
)
def test_aliases(alias, name):
    assert check(alias).name == name


def test_the_hook_module_loads_no_torch():
    code = "import sys, idemlab_enforcers.plugin as p; list(p.provide_enforcers()); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in NAMES
        if name not in ("alignment", "hybrid", "linearizer", "rank", "section", "truncation", "union")
    ],
)
def test_it_works_with_its_defaults(name):
    enforcer, operator = build(name=name), nn.Linear(3, 3)
    step = Step()
    step.reconstruction = torch.ones(4)
    loss = enforcer(Orbit(operator, torch.randn(4, 3)), step).loss
    declared = traits(name=name)
    if EnforcerKind.LOSS in declared.kinds or EnforcerKind.SUBSTITUTION in declared.kinds:
        assert loss.shape == (4,)
    else:
        assert loss is None
    projected = enforcer.project(torch.full((2, 2), 0.75))
    assert torch.equal(projected, torch.full((2, 2), 0.75)) == (EnforcerKind.PROJECTION not in declared.kinds)
    assert (enforcer.wrap(operator) is operator) == (EnforcerKind.ARCHITECTURE not in declared.kinds)


def test_defaults_are_those_of_the_papers():
    assert check("ign").arguments == {
        "idempotence": 20.0,
        "tightness": 2.5,
        "clamp": 1.5,
        "distance": "l1",
        "routing": "reversal",
    }
    assert check("cubic").arguments == {"weight": 1.0, "cotangent": "matched"}
    assert check("purification").arguments == {"method": "cubic", "rank": None, "gap": None, "step": 1.0}


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"name": "purification", "step": 0.0}, "step"),
        ({"name": "purification", "step": 1.5}, "step"),
        ({"name": "purification", "method": "mcweeny"}, "method"),
        ({"name": "purification", "method": "sp2", "rank": 2.5}, "rank"),
        ({"name": "purification", "method": "optimal", "gap": 0.6}, "gap"),
        ({"name": "cubic", "weight": -1.0}, "weight"),
        ({"name": "cubic", "cotangent": "double"}, "cotangent"),
        ({"name": "gradient", "depth": 0}, "depth"),
        ({"name": "gradient", "routing": "both"}, "routing"),
        ({"name": "ign", "clamp": -0.5}, "clamp"),
        ({"name": "hybrid", "enforcers": CUBIC_AND_GRADIENT, "warmup": 2.0}, "warmup"),
        ({"name": "hybrid", "enforcers": CUBIC_AND_GRADIENT, "threshold": 0.0}, "threshold"),
        ({"name": "linearizer", "rank": 0}, "rank"),
        ({"name": "linearizer", "rank": 2.5}, "rank"),
        ({"name": "linearizer", "rank": True}, "rank"),
        ({"name": "section", "rank": 0}, "rank"),
        ({"name": "limit", "depth": 0}, "depth"),
        ({"name": "rank", "rank": 0}, "rank"),
        ({"name": "rank", "rank": 2.5}, "rank"),
        ({"name": "rank", "rank": 2, "probes": 1}, "probes"),
        ({"name": "limit", "tolerance": 0.0}, "tolerance"),
        ({"name": "alignment", "weight": -1.0}, "weight"),
        ({"name": "hybrid", "enforcers": []}, "enforcers"),
        ({"name": "hybrid"}, "enforcers"),
    ],
)
def test_out_of_range_arguments_are_named(table, key):
    with pytest.raises(BadInput, match=f"'{key}'"):
        check(table)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "trs4"}, "needs a rank"),
        ({"method": "pm"}, "needs a rank here"),
        ({"method": "optimal"}, "needs the gap"),
        ({"rank": 2}, "takes no rank"),
    ],
)
def test_a_purification_without_what_its_method_needs_is_refused(arguments, said):
    with pytest.raises(BadInput, match=said):
        build(name="purification", **arguments)


def test_a_depth_that_its_routing_cannot_have_is_refused():
    with pytest.raises(BadInput, match="depth 2 needs the routing 'full'"):
        build(name="gradient", routing="inner", depth=2)


def test_a_switch_without_threshold_is_refused():
    with pytest.raises(BadInput, match="'threshold' belongs to mode 'switch'"):
        build(name="hybrid", enforcers=CUBIC_AND_GRADIENT, mode="switch")


def test_a_clamp_without_reconstruction_says_so():
    with pytest.raises(RuntimeError, match="no reconstruction term"):
        build(name="ign")(Orbit(nn.Linear(3, 3), torch.randn(4, 3)), Step())


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"name": "cubic"}, {"smooth": True, "orthogonally_equivariant": True, "live_depth": 0}),
        ({"name": "purification"}, {"linear_only": True, "live_depth": 0, "domain": None}),
        ({"name": "purification", "method": "trs4", "rank": 2}, {"targets_rank": True, "domain": (0.0, 1.0)}),
        ({"name": "purification", "method": "optimal", "gap": 0.1}, {"targets_rank": False, "domain": (0.0, 1.0)}),
        ({"name": "gradient"}, {"smooth": True, "orthogonally_equivariant": True, "live_depth": 1}),
        ({"name": "gradient", "distance": "l1"}, {"smooth": False, "orthogonally_equivariant": False}),
        ({"name": "gradient", "depth": 3}, {"live_depth": 3}),
        ({"name": "relative"}, {"batch_coupled": True, "smooth": False, "orthogonally_equivariant": True}),
        ({"name": "relative", "squared": True}, {"batch_coupled": True, "smooth": False}),
        ({"name": "log-relative"}, {"batch_coupled": True, "smooth": False, "live_depth": 1}),
        ({"name": "ign"}, {"needs_reconstruction": True, "batch_statistics": False, "smooth": False, "live_depth": 1}),
        ({"name": "ign", "clamp": 0}, {"needs_reconstruction": False, "batch_statistics": True}),
        ({"name": "ign", "tightness": 0}, {"needs_reconstruction": False, "batch_statistics": True}),
        ({"name": "ign", "routing": "surrogate"}, {"needs_reconstruction": True, "batch_statistics": True}),
        ({"name": "ign", "distance": "l2", "clamp": 0}, {"smooth": True, "orthogonally_equivariant": True}),
        ({"name": "ign", "distance": "l2"}, {"smooth": True, "orthogonally_equivariant": False}),
        ({"name": "ign", "routing": "cubic", "tightness": 0}, {"smooth": True, "live_depth": 0}),
        ({"name": "none"}, {"kinds": frozenset(), "live_depth": 0, "exact": False}),
        ({"name": "linearizer", "rank": 2}, {"exact": True, "wraps": ("inverse",)}),
        ({"name": "section", "rank": 2}, {"exact": True}),
        ({"name": "limit"}, {"exact": False}),
        ({"name": "rank", "rank": 2}, {"targets_rank": True, "stochastic": False, "attracts": True, "live_depth": 1}),
        ({"name": "rank", "rank": 2, "probes": 2}, {"stochastic": True, "orthogonally_equivariant": False}),
        ({"name": "rank", "rank": 2, "spectrum": 0}, {"attracts": False}),
        ({"name": "alignment"}, {"calls": ("encode", "decode")}),
        (
            {"name": "hybrid", "enforcers": [{"name": "linearizer", "rank": 2}, "alignment", "alignment"]},
            {"exact": True, "wraps": ("inverse",), "calls": ("encode", "decode")},
        ),
    ],
)
def test_traits(table, expected):
    got = traits(**table)
    assert {name: getattr(got, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("table", "kinds"),
    [
        ({"name": "cubic"}, {EnforcerKind.SUBSTITUTION}),
        ({"name": "purification"}, {EnforcerKind.PROJECTION}),
        ({"name": "ign"}, {EnforcerKind.LOSS}),
        ({"name": "ign", "routing": "cubic"}, {EnforcerKind.LOSS, EnforcerKind.SUBSTITUTION}),
        (
            {"name": "hybrid", "enforcers": [{"name": "purification"}, {"name": "gradient"}]},
            {EnforcerKind.PROJECTION, EnforcerKind.LOSS},
        ),
    ],
)
def test_kinds(table, kinds):
    assert traits(**table).kinds == kinds


def test_a_hybrid_has_what_its_members_have():
    blend = traits(name="hybrid", enforcers=CUBIC_AND_GRADIENT)
    assert (blend.smooth, blend.orthogonally_equivariant, blend.batch_coupled, blend.live_depth) == (
        True,
        True,
        False,
        1,
    )
    mixed = traits(name="hybrid", enforcers=[{"name": "purification"}, {"name": "ign"}, {"name": "relative"}])
    assert (mixed.linear_only, mixed.needs_reconstruction, mixed.batch_coupled) == (True, True, True)
    assert (mixed.smooth, mixed.orthogonally_equivariant, mixed.batch_statistics) == (False, False, False)
    assert mixed.domain is None


def test_a_switch_couples_the_batch_through_its_scale():
    assert traits(name="hybrid", mode="switch", threshold=0.25, enforcers=CUBIC_AND_GRADIENT).batch_coupled


def test_the_domain_of_a_hybrid_is_what_all_members_share():
    members = [Traits(domain=domain) for domain in ((0.0, 1.0), (-0.5, 0.8), None)]
    assert spec("hybrid").traits_for({"enforcers": members, "mode": "blend"}).domain == (0.0, 0.8)


def test_the_members_of_a_hybrid_are_those_of_the_catalog_in_use():
    own = EnforcerSpec(name="own", factory=lambda: None, summary="", traits=Traits(stochastic=True, live_depth=4))
    catalog = installed().including(own)  # not installed
    got = catalog.check("enforcer", {"name": "hybrid", "enforcers": ["cubic", "own"]}, "here").traits()
    assert (got.stochastic, got.live_depth) == (True, 4)


def test_a_hybrid_is_built_from_a_table():
    hybrid = build(name="hybrid", enforcers=[{"name": "cubic", "weight": 2.0}, "none"], warmup=0.5)
    operator, x = nn.Linear(3, 3), torch.randn(4, 3)
    alone = build(name="cubic", weight=2.0)
    loss = hybrid(Orbit(operator, x), Step(progress=0.25)).loss
    torch.testing.assert_close(loss, 0.5 * alone(Orbit(operator, x), Step()).loss, rtol=1e-13, atol=0)
