"""Watching the machine while it is measured: what else runs, and whether the processor keeps its speed.

A figure from a busy or throttled machine is not thrown away; the result says what was seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import psutil

from edge_moe.benchmarks import clocks
from edge_moe.benchmarks.machine import load_average
from edge_moe.benchmarks.wire import Seen

__all__ = ["Watch"]

_PROBE_REPEATS, _PROBE_STEPS = 9, 60_000


class _Times(NamedTuple):
    wall: float
    busy: float | None  # of the watched CPUs, stolen time included; None: the system does not tell
    ours: float


class Watch:
    """Looks once a round. `cpus` are those that the process is pinned to; None: it may run on all."""

    def __init__(self, cpus: Sequence[int] | None) -> None:
        """Begin the first round."""
        self._cpus = list(cpus) if cpus is not None else list(range(os.cpu_count() or 1))
        self._start, self._slow, self._firmware = _times(self._cpus), clocks.slowed_down(), clocks.firmware()

    def round(self) -> Seen:
        """Return what was seen since the last call, and begin the next round."""
        now, facts = _times(self._cpus), clocks.now(self._cpus)  # at once: an idle processor's clock falls
        slow, firmware = clocks.slowed_down(), clocks.firmware()
        before, self._start = self._start, now
        elapsed = (now.wall - before.wall) * len(self._cpus)
        others = None
        if now.busy is not None and before.busy is not None:
            others = max(0.0, now.busy - before.busy - (now.ours - before.ours))
        more = None if slow is None or self._slow is None else slow - self._slow
        problems = clocks.firmware_problems(self._firmware, firmware)
        self._slow, self._firmware = slow, firmware
        return Seen(
            elapsed_s=elapsed,
            others_s=others,
            probe_ms=round(_probe_ms(), 4),
            throttled=more,
            load=load_average(),
            remarks=tuple(problems),
            facts=facts,
        )


def _times(cpus: Sequence[int]) -> _Times:
    children = os.times()
    ours = time.process_time() + children.children_user + children.children_system
    try:
        every = psutil.cpu_times(percpu=True)
        busy = sum(_busy(every[cpu]) for cpu in cpus)
    except (OSError, IndexError, AttributeError):
        return _Times(time.perf_counter(), None, ours)
    return _Times(time.perf_counter(), busy, ours)


def _busy(times: Any) -> float:
    """Return the seconds in which a CPU did anything, for whomever. A guest's are the user's too."""
    idle = ("idle", "iowait", "guest", "guest_nice")
    return float(sum(times) - sum(getattr(times, name, 0.0) for name in idle))


def _probe_ms() -> float:
    """Return how long a fixed computation takes at its fastest of a few times: the speed of the clock, not the load."""
    fastest = float("inf")
    for _ in range(_PROBE_REPEATS):
        start = time.perf_counter()
        total = 0
        for step in range(_PROBE_STEPS):
            total += step
        fastest = min(fastest, time.perf_counter() - start)
    return fastest * 1000
