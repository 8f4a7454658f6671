"""A plugin with one of everything, for the tests of the catalog."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from idemlab import Catalog

GOOD = """
from typing import Annotated, Literal
from annotated_types import Ge
from idemlab import EnforcerSpec, ModelSpec, SourceSpec, Traits, hookimpl

def pull(weight: Annotated[float, Ge(0)] = 1.0, mode: Literal["hard", "soft"] = "soft", limit: int | None = None):
    return ("pull", weight, mode, limit)

def noise(scale: float = 1.0):
    return ("noise", scale)

def many(members: "list[Enforcer]", points: "Source | None" = None):
    return ("many", members, points)

def net(shape: tuple[int, ...], width: int = 8):
    return ("net", shape, width)

@hookimpl
def provide_enforcers():
    yield EnforcerSpec(name="pull", factory=pull, summary="Pulls.", aliases=("tug",), traits=Traits(live_depth=2))
    yield EnforcerSpec(
        name="many",
        factory=many,
        summary="Many.",
        traits=lambda members, points: Traits(live_depth=sum(member.live_depth for member in members)),
    )

@hookimpl
def provide_sources():
    return [SourceSpec(name="noise", factory=noise, summary="Noise.")]

@hookimpl
def provide_models():
    yield ModelSpec(name="net", factory=net, summary="A net.")
"""


@pytest.fixture
def good_code() -> str:
    """The code of the plugin."""
    return GOOD


@pytest.fixture
def good(install: Callable[..., None], catalog: Callable[..., Catalog]) -> Catalog:
    """A catalog of this plugin alone."""
    install("good", GOOD)
    return catalog(strict=True)
