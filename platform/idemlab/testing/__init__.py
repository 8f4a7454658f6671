"""Tools for plugin authors: the conformance checks, and strategies for linear maps by spectrum and basis.

    from idemlab.testing import check_enforcer
    print(check_enforcer("my-enforcer"))

Each name is loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..errors import BadInput

if TYPE_CHECKING:
    from .bases import Bases as Bases
    from .bases import exact_bases as exact_bases
    from .bases import exact_orthogonal_bases as exact_orthogonal_bases
    from .bases import oblique_bases as oblique_bases
    from .bases import orthogonal_bases as orthogonal_bases
    from .callables import loss_spec as loss_spec
    from .doors import check_dataset as check_dataset
    from .doors import check_enforcer as check_enforcer
    from .doors import check_metric as check_metric
    from .doors import check_model as check_model
    from .doors import check_optimizer as check_optimizer
    from .doors import check_schedule as check_schedule
    from .doors import check_source as check_source
    from .doors import check_thing as check_thing
    from .doors import check_tracker as check_tracker
    from .doors import conformance_checks as conformance_checks
    from .doors import enforcer_checks as enforcer_checks
    from .doors import reproduce as reproduce
    from .kit import CheckFailed as CheckFailed
    from .linear_map import Basis as Basis
    from .linear_map import Block as Block
    from .linear_map import LinearMap as LinearMap
    from .linear_map import NearIdempotent as NearIdempotent
    from .report import Outcome as Outcome
    from .report import Report as Report
    from .report import Row as Row
    from .spectrum import BASIN as BASIN
    from .spectrum import eigenvalues as eigenvalues
    from .spectrum import eigenvalues_in_basin as eigenvalues_in_basin
    from .spectrum import spectra as spectra
    from .strategies import defective_maps as defective_maps
    from .strategies import idempotents as idempotents
    from .strategies import linear_maps as linear_maps
    from .strategies import maps_in_basin as maps_in_basin
    from .strategies import near_idempotents as near_idempotents
    from .strategies import normal_maps as normal_maps
    from .strategies import oblique_maps as oblique_maps
    from .strategies import symmetric_maps as symmetric_maps

_HOME = {
    "CheckFailed": "kit",
    "Outcome": "report",
    "Report": "report",
    "Row": "report",
    "check_dataset": "doors",
    "check_enforcer": "doors",
    "check_metric": "doors",
    "check_model": "doors",
    "check_optimizer": "doors",
    "check_schedule": "doors",
    "check_source": "doors",
    "check_thing": "doors",
    "check_tracker": "doors",
    "conformance_checks": "doors",
    "enforcer_checks": "doors",
    "reproduce": "doors",
    "Basis": "linear_map",
    "Block": "linear_map",
    "LinearMap": "linear_map",
    "NearIdempotent": "linear_map",
    "BASIN": "spectrum",
    "Bases": "bases",
    "defective_maps": "strategies",
    "eigenvalues": "spectrum",
    "eigenvalues_in_basin": "spectrum",
    "exact_bases": "bases",
    "exact_orthogonal_bases": "bases",
    "idempotents": "strategies",
    "linear_maps": "strategies",
    "loss_spec": "callables",
    "maps_in_basin": "strategies",
    "near_idempotents": "strategies",
    "normal_maps": "strategies",
    "oblique_bases": "bases",
    "oblique_maps": "strategies",
    "orthogonal_bases": "bases",
    "spectra": "spectrum",
    "symmetric_maps": "strategies",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'idemlab.testing' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise BadInput(
            f"idemlab.testing.{name} draws linear maps with the package 'hypothesis', which is not installed",
            next_step="pip install 'idemlab[testing]'",
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
