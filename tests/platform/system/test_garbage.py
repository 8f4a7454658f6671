"""No garbage is collected while modules load, nor at the end of a command; a process that collects none keeps to that."""

from __future__ import annotations

import gc
import subprocess
import sys

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


def test_the_end_of_a_command_collects_nothing() -> None:
    script = (
        "import atexit, gc, sys; atexit.register(lambda: print(len(gc.get_objects()) < 1000))\n"
        "from idemlab.cli import main; sys.argv = ['idemlab', '--version']; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "True"
