"""What keeps threads from busy-waiting, and what a caller is told who comes too late."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from idemlab.system.threads import rest_while_waiting, spinning


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        ({}, False),
        ({"PATH": "/bin"}, False),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, True),
        ({"GOMP_SPINCOUNT": "INFINITE"}, True),
        ({"KMP_BLOCKTIME": "200"}, True),
    ],
)
def test_what_somebody_chose_is_kept(chosen: dict[str, str], kept: bool) -> None:
    environment = dict(chosen)
    assert spinning(environment) is not kept
    rest_while_waiting(environment)
    assert (environment == chosen) is kept
    assert not spinning(environment)


SCRIPTS = {
    "import idemlab; idemlab.certify; import os; print(os.environ.get('GOMP_SPINCOUNT'))": "1000",
    "import torch, idemlab; idemlab.certify; import os; print(os.environ.get('GOMP_SPINCOUNT'))": "None",
    "import sys; from idemlab.cli import main; sys.argv = ['idemlab', '--version']\n"
    "try: main()\nexcept SystemExit: pass\nimport os; print(os.environ['GOMP_SPINCOUNT'])": "1000",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_it_is_said_before_torch_is_loaded_or_not_at_all(script: str) -> None:
    bare = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=bare, check=True)
    assert done.stdout.split()[-1] == SCRIPTS[script]
