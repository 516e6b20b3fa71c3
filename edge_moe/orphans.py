"""A process that was started for another one ends with it, however that one ends."""

from __future__ import annotations

import _thread
import os
import sys
import time

__all__ = ["end_with_parent", "is_orphan"]

_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_LOOK_S = 0.5
_parent: int | None = None


def end_with_parent(parent: int) -> None:
    """End this process as soon as the process `parent`, which started it, is gone; at once if it is gone already.

    On Linux the kernel does it, whatever this process is busy with (prctl, PR_SET_PDEATHSIG): when the thread ends that
    started it, so that thread has to wait for it. Elsewhere a thread looks twice a second.

    `parent` is told by that process itself: who asks for its own parent may be an orphan before it does.
    """
    global _parent
    _parent = parent
    if not _kernel_does_it():
        _thread.start_new_thread(_look, (parent,))
    if os.getppid() != parent:  # after the kernel was asked: a parent that went before is not told of
        os._exit(1)


def is_orphan() -> bool:
    """Return whether the process is gone that this one was to end with; False for one that ends by itself."""
    return _parent is not None and os.getppid() != _parent


def _kernel_does_it() -> bool:
    if sys.platform != "linux":
        return False
    try:
        import ctypes

        refused: int = ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
        return refused == 0
    except (ImportError, OSError, AttributeError):  # a Python without ctypes, a C library without prctl
        return False


def _look(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)
