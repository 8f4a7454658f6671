"""The C library's allocator: memory that was freed is kept for the next step."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

__all__ = ["keep_freed_memory"]

_CHOSEN = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")
"""Environment variables by which the user may have chosen what the allocator keeps."""
_TRIM, _MMAP = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h."""
_LARGEST, _KEPT = 32 * 2**20, 512 * 2**20


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> None:
    """Let this process keep up to 512 MB that it has freed, unless the user has chosen otherwise.

    Each training step frees its tensors and asks for the same sizes again. By default, glibc gives the memory back to the
    system in between, and the system fills each page with zeros when it is touched again. On two AVX-512 cores, that cost
    some 3000 page faults and 1 to 9 % of the time of a step of the main job. Tensors above 32 MB are still given back at
    once. Other C libraries have no such setting.
    """
    if any(name in environment for name in _CHOSEN) or "glibc.malloc." in environment.get("GLIBC_TUNABLES", ""):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, Windows, musl
        return
    # Setting either value stops glibc from adapting both, so both are set.
    mallopt(_MMAP, _LARGEST)
    mallopt(_TRIM, _KEPT)
