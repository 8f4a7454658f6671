"""The conformance kit of idemlab, with and without the spectral term."""

from __future__ import annotations

from collections.abc import Callable

from idemlab.testing import enforcer_checks
from idemlab_rank_control.plugin import provide_enforcers

(SPEC,) = provide_enforcers()


@enforcer_checks([(SPEC, {"rank": 2}), (SPEC, {"rank": 2, "spectrum": 0.0})])
def test_conformance(check: Callable[[], None]) -> None:
    check()
