"""For those who test: strategies for linear maps (hypothesis) by spectrum and basis.

Each name is loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .linear_map import Basis as Basis
    from .linear_map import Block as Block
    from .linear_map import LinearMap as LinearMap
    from .linear_map import NearIdempotent as NearIdempotent
    from .strategies import BASIN as BASIN
    from .strategies import Bases as Bases
    from .strategies import defective_maps as defective_maps
    from .strategies import eigenvalues as eigenvalues
    from .strategies import eigenvalues_in_basin as eigenvalues_in_basin
    from .strategies import exact_bases as exact_bases
    from .strategies import exact_orthogonal_bases as exact_orthogonal_bases
    from .strategies import idempotents as idempotents
    from .strategies import linear_maps as linear_maps
    from .strategies import maps_in_basin as maps_in_basin
    from .strategies import near_idempotents as near_idempotents
    from .strategies import normal_maps as normal_maps
    from .strategies import oblique_bases as oblique_bases
    from .strategies import oblique_maps as oblique_maps
    from .strategies import orthogonal_bases as orthogonal_bases
    from .strategies import spectra as spectra
    from .strategies import symmetric_maps as symmetric_maps

_HOME = {
    "Basis": "linear_map",
    "Block": "linear_map",
    "LinearMap": "linear_map",
    "NearIdempotent": "linear_map",
    "BASIN": "strategies",
    "Bases": "strategies",
    "defective_maps": "strategies",
    "eigenvalues": "strategies",
    "eigenvalues_in_basin": "strategies",
    "exact_bases": "strategies",
    "exact_orthogonal_bases": "strategies",
    "idempotents": "strategies",
    "linear_maps": "strategies",
    "maps_in_basin": "strategies",
    "near_idempotents": "strategies",
    "normal_maps": "strategies",
    "oblique_bases": "strategies",
    "oblique_maps": "strategies",
    "orthogonal_bases": "strategies",
    "spectra": "strategies",
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
        raise ModuleNotFoundError(
            f"idemlab.testing.{name} draws with hypothesis, which is missing: pip install 'idemlab[test]'",
            name=error.name,
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
