"""Experts in processes of their own: a pool whose processes report their progress, and end with the one that asked."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from edge_moe.errors import UsageError
from edge_moe.progress import Progress

__all__ = ["in_processes"]


def in_processes(
    start: Callable[..., None],
    arguments: tuple[Any, ...],
    job: Callable[[int], None],
    indices: Sequence[int],
    jobs: int,
    progress: Progress,
) -> None:
    """Call `job(index)` for all `indices` in `jobs` processes, each begun by `start(*arguments, its progress)`.

    Raises:
        UsageError: a process was ended from outside. What a job raises is raised here, once all processes are stopped.
    """
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    others = multiprocessing.active_children()
    with (
        _forwarding(reports, progress),
        ProcessPoolExecutor(jobs, context, _begin, (start, arguments, reports)) as pool,
    ):
        try:
            for finished in [pool.submit(job, index) for index in indices]:
                finished.result()
        except BaseException as error:
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()  # what they lose is less than an epoch
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise UsageError(
                    "a process that trained an expert was ended from outside, perhaps for want of memory; "
                    "repeat the command with fewer --jobs to go on"
                ) from None
            raise


class _QueueProgress:
    """Sends reports to the process that started this one, and ends with it."""

    def __init__(self, reports: Any) -> None:
        self._reports, self._parent = reports, os.getppid()

    def start(self, name: str, total: int, done: int = 0) -> None:
        self._reports.put(("start", name, total, done))

    def advance(self, name: str, note: str = "") -> None:
        if os.getppid() != self._parent:
            os._exit(1)  # the run was killed; an orphan must not write beside the run that takes over
        self._reports.put(("advance", name, note))


def _begin(start: Callable[..., None], arguments: tuple[Any, ...], reports: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    start(*arguments, _QueueProgress(reports))


@contextmanager
def _forwarding(reports: Any, progress: Progress) -> Iterator[None]:
    """Pass what arrives in the queue `reports` on to `progress` while the block runs."""
    done = threading.Event()

    def forward() -> None:
        while not done.is_set() or not reports.empty():
            try:
                kind, *arguments = reports.get(timeout=0.1)
            except queue.Empty:
                continue
            getattr(progress, kind)(*arguments)

    thread = threading.Thread(target=forward)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
