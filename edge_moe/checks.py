"""Checks of arguments that several modules share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edge_moe.errors import UsageError

__all__ = ["check_at_least_one", "check_several", "check_threads"]

_MOST_THREADS = 1024  # of a number that no machine has, native code makes as many as it can, and ends the process


def check_at_least_one(**counts: int | None) -> None:
    """Raise UsageError, naming the argument, unless each of `counts` is at least 1; None was not given and passes."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"{name} is {count}; expected at least 1")


def check_several(images: Any) -> None:
    """Raise UsageError unless `images` are several."""
    if isinstance(images, str | bytes | Path | np.ndarray) or not isinstance(images, Iterable):
        raise UsageError(f"{type(images).__name__} is not several images; expected a list of files, or of arrays")


def check_threads(threads: int) -> None:
    """Raise UsageError unless `threads` is a number of threads that a backend can be asked for."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= _MOST_THREADS:
        raise UsageError(f"threads is {threads}; expected an integer from 1 to {_MOST_THREADS}")
