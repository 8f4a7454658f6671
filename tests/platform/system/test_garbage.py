"""No garbage is collected while modules load, and a process that collects none keeps to that."""

from __future__ import annotations

import gc

import pytest

from idemlab.system.garbage import uncollected


@uncollected()
def fail() -> None:
    assert not gc.isenabled()
    raise ValueError("here")


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_collected_in_the_block_and_as_before_after_it(enabled: bool) -> None:
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ValueError, match="here"):
            fail()
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
