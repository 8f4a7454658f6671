"""What keeps threads from busy-waiting, and what a caller is told who comes too late."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import idemlab
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


BEFORE = "import sys, types; sys.modules['torch'] = types.ModuleType('torch')\n"  # an empty torch
LOOK = (
    "import idemlab\ntry: idemlab.certify\nexcept Exception: pass\nimport os; print(os.environ.get('GOMP_SPINCOUNT'))"
)
SCRIPTS = {
    LOOK: "2000",
    BEFORE + LOOK: "None",
    "import sys; from idemlab.cli import main; sys.argv = ['idemlab', '--version']\n"
    "try: main()\nexcept SystemExit: pass\nimport os; print(os.environ['GOMP_SPINCOUNT'])": "2000",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_it_is_said_before_torch_is_loaded_or_not_at_all(script: str, tmp_path: Path) -> None:
    """A stand-in for torch prints the variable, since loading the real torch takes seconds."""
    (tmp_path / "torch.py").write_text("import os; print(os.environ.get('GOMP_SPINCOUNT')); raise ImportError")
    bare = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")}
    bare["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=bare, check=True)
    assert set(done.stdout.split()) - {"idemlab", idemlab.__version__} == {SCRIPTS[script]}
