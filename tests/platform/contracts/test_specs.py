"""What a plugin may say of one named thing."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from idemlab import EnforcerKind, EnforcerSpec, MetricSpec, ModelSpec, Traits
from idemlab.contracts.specs import API_VERSION, KINDS, OLDEST_API_VERSION, Spec


def build() -> None:
    """Stands for a factory."""


def spec(**fields: Any) -> EnforcerSpec:
    return EnforcerSpec(**{"name": "cubic", "factory": build, "summary": "One line."} | fields)


@pytest.mark.parametrize("name", ["cubic", "cubic-projection", "l1", "3d-unet", "a-b-c"])
def test_good_names(name: str) -> None:
    assert spec(name=name).name == name
    assert spec(aliases=(name,)).aliases == (name,)


@pytest.mark.parametrize(
    "name", ["", "Cubic", "cubic projection", "cubic_projection", "-cubic", "a--b", "a:b", "a\n", 3]
)
def test_bad_names_say_how_a_name_looks(name: Any) -> None:
    for fields in ({"name": name}, {"aliases": (name,)}):
        with pytest.raises(ValueError, match=r"EnforcerSpec name .*lower-case words joined by hyphens"):
            spec(**fields)


def test_a_text_is_no_tuple_of_aliases() -> None:
    with pytest.raises(ValueError, match=r"'cubic': aliases are a tuple, like \('dcgan',\)"):
        spec(aliases="dcgan")


def test_a_factory_must_be_callable() -> None:
    with pytest.raises(ValueError, match="'cubic': factory must be a function"):
        spec(factory="idemlab_enforcers.cubic")


@pytest.mark.parametrize("version", ["1", 1.0, None, True])
def test_the_api_version_is_a_number(version: Any) -> None:
    with pytest.raises(ValueError, match="'cubic': api_version must be a whole number"):
        spec(api_version=version)


def test_specs_are_frozen_and_keyword_only() -> None:
    with pytest.raises(FrozenInstanceError):
        spec().name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError, match="positional"):
        EnforcerSpec("cubic", build, "One line.")  # type: ignore[misc]


def test_defaults_are_of_this_version() -> None:
    plain = spec()
    assert plain.api_version == API_VERSION
    assert OLDEST_API_VERSION <= API_VERSION
    assert (plain.reference, plain.install, plain.aliases) == ("", "", ())
    assert MetricSpec(name="m", factory=build, summary="").inputs == ()


def test_kinds_are_listed_once_each_and_in_order() -> None:
    assert list(KINDS) == [
        "model",
        "dataset",
        "enforcer",
        "source",
        "metric",
        "optimizer",
        "schedule",
        "tracker",
        "experiment",
        "study",
        "suite",
    ]
    assert all(issubclass(cls, Spec) and cls.kind == kind for kind, cls in KINDS.items())


def test_traits_are_constant_or_follow_the_arguments() -> None:
    constant = Traits(kinds=frozenset({EnforcerKind.LOSS}), live_depth=1)
    assert spec(traits=constant).traits_for({"depth": 3}) is constant
    follows = spec(traits=lambda depth, **_: Traits(live_depth=depth))
    assert follows.traits_for({"depth": 3, "weight": 1.0}).live_depth == 3
    assert spec().traits_for({}) == Traits()


def test_traits_promise_nothing_by_default() -> None:
    traits = Traits()
    assert traits.kinds == frozenset()
    assert traits.smooth
    assert traits.batch_statistics
    costs = (traits.linear_only, traits.batch_coupled, traits.stochastic, traits.needs_double_backward)
    assert costs == (False, False, False, False)
    assert traits.domain is None
    assert [str(kind) for kind in EnforcerKind] == [
        "loss",
        "gradient substitution",
        "weight projection",
        "architecture",
    ]


def test_a_kind_belongs_to_the_class() -> None:
    assert ModelSpec(name="m", factory=build, summary="").kind == "model"
