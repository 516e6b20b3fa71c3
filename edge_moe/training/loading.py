"""How a process of torch's that decodes images begins: it leaves signals to its parent, and ends with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import partial

from edge_moe.orphans import end_with_parent

__all__ = ["begin"]


def begin() -> Callable[[int], None]:
    """Return what a DataLoader of this process takes as `worker_init_fn`."""
    return partial(_begin, os.getpid())


def _begin(parent: int, _number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if multiprocessing.get_start_method() != "forkserver":  # which is the one that starts a process then
        end_with_parent(parent)
