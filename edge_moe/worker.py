"""What runs in a process of a pool, see pool.py: it begins, does what it is sent, and answers."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection

from edge_moe.orphans import end_with_parent
from edge_moe.progress import Progress, Silent

__all__ = ["reports", "work"]


class _Reports:
    """A Progress that sends on what it is told."""

    def __init__(self, channel: Connection) -> None:
        self._channel = channel

    def start(self, name: str, total: int, done: int = 0) -> None:
        self._channel.send_bytes(pickle.dumps(("report", "start", name, total, done)))

    def advance(self, name: str, note: str = "") -> None:
        self._channel.send_bytes(pickle.dumps(("report", "advance", name, note)))


_reports: Progress = Silent()


def reports() -> Progress:
    """Return what to report to in a process of a pool: the pool's progress, in the process that asked."""
    return _reports


def work(descriptor: int, parent: int) -> None:
    """Do what comes through the connection `descriptor`, one after the other, until the process `parent` is gone."""
    global _reports
    end_with_parent(parent)
    os.set_inheritable(descriptor, False)
    channel = Connection(descriptor)
    _reports = _Reports(channel)
    with suppress(EOFError, OSError):  # nobody is there any more who would want to know
        sys.argv = pickle.loads(channel.recv_bytes())
        begin: bytes | None = channel.recv_bytes()
        while True:
            given = channel.recv_bytes()
            try:
                if begin is not None:
                    start, arguments = pickle.loads(begin)
                    if start is not None:
                        start(*arguments)
                    begin = None
                do, arguments = pickle.loads(given)
                answer = pickle.dumps(("done", do(*arguments)))
            except BaseException as error:
                answer = _packed(error)
            channel.send_bytes(answer)
    os._exit(1)


def _packed(error: BaseException) -> bytes:
    """Pickle an error to answer with; of one that would not arrive as it is, or would end who reads it, the words."""
    text = "".join(traceback.format_exception(error))
    try:
        packed = pickle.dumps(("error", error, text))
        arrives = isinstance(pickle.loads(packed)[1], Exception)
    except Exception:
        arrives = False
    return packed if arrives else pickle.dumps(("error", RuntimeError(f"{type(error).__name__}: {error}"), text))
