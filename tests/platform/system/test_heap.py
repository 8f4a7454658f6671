"""Memory that a step frees is kept for the next one, unless somebody chose otherwise."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import ctypes, resource
{before}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def step():
    blocks = [libc.malloc(2**22) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, 2**22)
    for block in blocks:
        libc.free(block)
for _ in range(3):
    step()
first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first)
"""
KEEP = "from idemlab.system.heap import keep_freed_memory; keep_freed_memory()"
LAZY = "import idemlab; idemlab.Sweep"
PAGES = 10 * 4 * 2**22 // os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
@pytest.mark.parametrize(
    ("before", "chosen", "kept"),
    [
        (KEEP, {}, True),
        (LAZY, {}, True),
        (KEEP, {"MALLOC_TRIM_THRESHOLD_": "131072"}, False),
        (KEEP, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}, False),
    ],
)
def test_pages_are_touched_for_the_first_time_once(before: str, chosen: dict[str, str], kept: bool) -> None:
    rest = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    code = STEPS.format(before=before)
    done = subprocess.run([sys.executable, "-c", code], env=rest | chosen, capture_output=True, text=True, check=True)
    assert (int(done.stdout) < PAGES / 10) is kept
