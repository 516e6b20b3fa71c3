"""The memory that this process alone holds and the system cannot take back, where the system tells (Linux)."""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Callable
from pathlib import Path

__all__ = ["give_back", "private_bytes"]

_SMAPS = Path("/proc/self/smaps_rollup")
_DIRTY = re.compile(rb"^(?:Private_Dirty|SwapPss):\s+(\d+) kB", re.MULTILINE)


def private_bytes() -> int | None:
    """Return the bytes that no other process has and no file could give again; None where the system does not tell."""
    try:
        found = _DIRTY.findall(_SMAPS.read_bytes())
    except OSError:
        return None
    return sum(map(int, found)) * 1024 if found else None


def give_back() -> None:
    """Return to the system what was freed and is kept for the next request, where the C library can (glibc)."""
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return trim
