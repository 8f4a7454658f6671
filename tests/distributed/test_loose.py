"""An enforcer in a plain loop under DistributedDataParallel: two processes have the gradient of one."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_two_processes_have_the_gradient_of_one(port: int) -> None:
    script = Path(__file__).with_name("loose.py")
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    pair = [
        subprocess.Popen([sys.executable, str(script), str(rank)], env=environment, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    told = [process.communicate(timeout=200)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    alone = runpy.run_path(str(script))["gradient"](0, 1)
    for gradient in map(json.loads, told):
        assert gradient == pytest.approx(alone, rel=1e-10, abs=1e-13)
    assert max(map(abs, alone)) > 0.1
