"""The free memory of this machine."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["free_memory"]

_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where a container says how much its processes may take, in either version of control groups."""


def free_memory() -> int | None:
    """Bytes that this process can still take, or None if the system does not say."""
    found = [_available(), *map(_limit, _GROUPS)]
    return min((size for size in found if size is not None), default=None)


def _available() -> int | None:
    """Free memory of the machine, without swap."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        pass
    try:  # there is no /proc on macOS: all of its memory, of which the system takes a part
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _limit(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):  # no control groups, or the limit is "max"
        return None
