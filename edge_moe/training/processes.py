"""Experts in processes of their own, which report their progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edge_moe.errors import UsageError
from edge_moe.pool import Pool, WorkerLost
from edge_moe.progress import Progress
from edge_moe.worker import reports

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
        UsageError: a process was ended from outside, or crashed. What a job raises is raised here, once all processes
            are stopped; what they lose is less than an epoch.
    """
    try:
        with Pool(jobs, _begin, (start, arguments), progress=progress) as pool:
            for index in indices:
                pool.submit(job, index)
            while finished := pool.wait():
                for future in finished:
                    future.result()
    except WorkerLost as lost:
        fewer = " with fewer --jobs" if lost.memory else ""
        words = f" (last words: {lost.words})" if lost.words else ""
        raise UsageError(
            f"a process that trained an expert {lost}; repeat the command{fewer} to go on{words}"
        ) from None


def _begin(start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    start(*arguments, reports())
