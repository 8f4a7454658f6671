"""What a mutant is, for the files beside this one that list them. Run by its path (`runpy`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from idemlab import Enforcement, Enforcer, EnforcerKind, Orbit, Step, Traits

LOSS, SUBSTITUTION, PROJECTION, ARCHITECTURE = (
    frozenset({kind})
    for kind in (EnforcerKind.LOSS, EnforcerKind.SUBSTITUTION, EnforcerKind.PROJECTION, EnforcerKind.ARCHITECTURE)
)


@dataclass(frozen=True)
class Mutant:
    """An enforcer with one mistake.

    Args:
        make: builds it.
        traits: as declared.
        caught_by: checks that must fail, among others perhaps.
        arguments: of the factory.
    """

    make: Callable[..., Enforcer]
    traits: Traits
    caught_by: tuple[str, ...]
    arguments: dict[str, Any] = field(default_factory=dict)


MUTANTS: dict[str, Mutant] = {}


def mutant(name: str, traits: Traits, *caught_by: str, **arguments: Any) -> Callable[[Any], Any]:
    """Put a class, or the loss of a stateless enforcer, on the list."""

    def register(made: Any) -> Any:
        if isinstance(made, type):
            MUTANTS[name] = Mutant(made, traits, caught_by, arguments)
            return made

        class Stateless(Enforcer):
            def forward(self, orbit: Orbit, step: Step) -> Enforcement:
                return Enforcement(loss=made(orbit, step))

        MUTANTS[name] = Mutant(Stateless, traits, caught_by, arguments)
        return made

    return register
