"""Watching the machine while it is measured: what else runs, and whether the processor keeps its speed.

A figure from a busy or throttled machine is not thrown away; the result says what was seen.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from edge_moe.benchmarks.machine import load_average
from edge_moe.benchmarks.wire import Seen

__all__ = ["Watch", "governor"]

_PROBE_REPEATS, _PROBE_STEPS = 9, 60_000
_SYS = Path("/sys")


class _Times(NamedTuple):
    wall: float
    busy: float | None  # of the watched CPUs, stolen time included; None: the system does not tell
    ours: float


class Watch:
    """Looks once a round. `cpus` are those that the process is pinned to; None: it may run on all."""

    def __init__(self, cpus: Sequence[int] | None) -> None:
        """Begin the first round."""
        self._cpus = list(cpus) if cpus is not None else list(range(os.cpu_count() or 1))
        self._start, self._slow = _times(self._cpus), _throttled()

    def round(self) -> Seen:
        """Return what was seen since the last call, and begin the next round."""
        now, slow = _times(self._cpus), _throttled()
        before, self._start = self._start, now
        elapsed = (now.wall - before.wall) * len(self._cpus)
        others = None
        if now.busy is not None and before.busy is not None:
            others = max(0.0, now.busy - before.busy - (now.ours - before.ours))
        more = None if slow is None or self._slow is None else slow - self._slow
        self._slow = slow
        return Seen(
            elapsed_s=elapsed, others_s=others, probe_ms=round(_probe_ms(), 4), throttled=more, load=load_average()
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


def _throttled() -> int | None:
    """Return how often the processor or the control group was slowed down since the system started."""
    counts: list[int] = []
    for file in _SYS.glob("devices/system/cpu/cpu*/thermal_throttle/core_throttle_count"):
        with contextlib.suppress(OSError, ValueError):
            counts.append(int(file.read_text()))
    for file in (_SYS / "fs/cgroup/cpu.stat", _SYS / "fs/cgroup/cpu/cpu.stat"):
        with contextlib.suppress(OSError):
            counts += [int(found) for found in re.findall(r"^nr_throttled (\d+)$", file.read_text(), re.MULTILINE)]
    return sum(counts) if counts else None


def governor() -> str | None:
    """Return how the system sets the clock of its first CPU; None where it does not tell."""
    with contextlib.suppress(OSError):
        return (_SYS / "devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    return None
