"""One call at a time, and only in the process that opened: what native libraries need, and do not look after.

Two calls at once would answer for each other's images. In a child that was made by a fork, the threads of a library
are gone while its memory says that they are there: to use it is to wait for ever, to release it is to crash. So a fork
takes everything that is open away from the child: neither closing it there nor the end of the child touches it.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from edge_moe.backends.base import OpenPart, PartTensors, Tensor
from edge_moe.errors import UsageError

__all__ = ["FOREIGN", "SharedPart", "Turn", "bare", "let_go_in_children"]

_BUSY = (
    "the runtime is busy with another call; open one Runtime for each thread, "
    "or let a thread call when the other's call has returned"
)
FOREIGN = (
    "the runtime was opened in another process, of which this one is a fork; "
    "open one Runtime in each process that uses it, after the fork"
)


class Turn:
    """Whose turn it is: `lock` is free between calls, and a call takes it without waiting or raises `refusal()`."""

    __slots__ = ("foreign", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.foreign = False  # this process is a fork of the one that opened

    def __enter__(self) -> None:
        """Take the turn, where it need not be written out for speed.

        Raises:
            UsageError: another call is under way, or this is a fork of the process that opened.
        """
        if self.foreign or not self.lock.acquire(False):
            raise self.refusal()

    def __exit__(self, *_: object) -> None:
        """Give the turn back."""
        self.lock.release()

    def refusal(self) -> UsageError:
        """Return what a call gets that cannot be made now: in a fork, where the lock may be stuck, or beside one."""
        return UsageError(FOREIGN if self.foreign else _BUSY)


class SharedPart(OpenPart):
    """A part that a runtime lent: it takes the runtime's turn for each call."""

    def __init__(self, part: OpenPart, turn: Turn) -> None:
        self.part, self._turn = part, turn
        let_go_in_children(self)  # it may outlive the runtime

    def invoke(self, tensor: Tensor) -> None:
        """Run the part.

        Raises:
            UsageError: the runtime is busy, or this is a fork of its process; or the part is closed.
        """
        with self._turn:
            self.part.invoke(tensor)

    def output(self, name: str) -> Tensor:
        """Return an output of the last `invoke`; raises as that does."""
        with self._turn:
            return self.part.output(name)

    def each(self, names: Sequence[str], inputs: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Run the part on several inputs in one turn; raises as `invoke` does."""
        with self._turn:
            return self.part.each(names, inputs)

    def tensors(self) -> PartTensors:
        """Return the tensors of the artifact; raises as `invoke` does."""
        with self._turn:
            return self.part.tensors()

    def native_call(self) -> Callable[[Tensor], Any]:
        """Return the part's own, which takes no turn."""
        return self.part.native_call()

    def close(self) -> None:
        """Release the part, but not in a fork of the process that opened it."""
        if not self._turn.foreign:
            with self._turn:
                self.part.close()

    def _let_go(self) -> Iterable[object]:
        self._turn.foreign = True
        return (self.part,)


def bare(part: OpenPart) -> OpenPart:
    """Return a part that a runtime lent as the runtime itself calls it, which takes its turn once for all parts."""
    return part.part if isinstance(part, SharedPart) else part


class _Owner(Protocol):
    def _let_go(self) -> Iterable[object]:
        """Forget every native object, and return them."""


_owners: weakref.WeakSet[_Owner] = weakref.WeakSet()


def let_go_in_children(owner: _Owner) -> None:
    """While `owner` lives, call its `_let_go` in every fork of this process, and never destroy what it returns."""
    _owners.add(owner)


def _in_child() -> None:
    for owner in list(_owners):
        for one in owner._let_go():
            # A list would not do: Python empties its modules when it ends.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
