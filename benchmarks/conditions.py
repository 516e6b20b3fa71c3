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

import msgspec
import psutil

from edge_moe.benchmarks.machine import load_average
from edge_moe.benchmarks.results import Conditions

__all__ = ["Seen", "Watch", "judge"]

_OTHERS = 0.05  # of the measured CPUs' time; above it, somebody else's work is in the figures
_PROBE_SPREAD = 1.10  # slowest over fastest round of the probe; above it, the processor did not keep its speed
_PROBE_REPEATS, _PROBE_STEPS = 9, 60_000
_SYS = Path("/sys")


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen in one round."""

    elapsed_s: float  # of all measured CPUs together
    others_s: float | None  # None: the system does not tell
    probe_ms: float
    throttled: int | None


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
        return Seen(elapsed_s=elapsed, others_s=others, probe_ms=_probe_ms(), throttled=more)


def judge(seen: Sequence[Seen], cpus: tuple[int, ...] | None, load_before: float | None) -> Conditions:
    """Sum up all rounds, and say in words what makes the figures doubtful."""
    elapsed = sum(one.elapsed_s for one in seen)
    others = [one.others_s for one in seen if one.others_s is not None]
    share = min(1.0, sum(others) / elapsed) if elapsed and len(others) == len(seen) else None
    probe = tuple(round(one.probe_ms, 4) for one in seen)
    counted = [one.throttled for one in seen if one.throttled is not None]
    throttled = sum(counted) if counted else None
    remarks = []
    if share is not None and share > _OTHERS:
        remarks.append(
            f"busy: other work took {share:.0%} of the CPUs that were measured on; stop it and measure again"
        )
    spread = max(probe) / min(probe) if probe and min(probe) > 0 else 1.0
    if spread > _PROBE_SPREAD:
        remarks.append(
            f"unsteady: the same computation took {spread - 1:.0%} longer in one round than in another; the processor "
            "was throttled, or shared with somebody that this system cannot see"
        )
    if throttled:
        remarks.append(f"throttled: the processor, or a quota of this system, slowed the work down {throttled} times")
    governor = _governor()
    if governor == "powersave":
        remarks.append("the CPU governor is 'powersave'; set 'performance' where you may")
    return Conditions(
        cpus=cpus,
        load_before=load_before,
        load_after=load_average(),
        others_share=share,
        probe=probe,
        throttled=throttled,
        remarks=tuple(remarks),
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


def _governor() -> str | None:
    with contextlib.suppress(OSError):
        return (_SYS / "devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    return None
