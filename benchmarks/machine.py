"""What machine this is, and which of its CPUs to measure on."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import psutil

from edge_moe.benchmarks import clocks
from edge_moe.benchmarks.wire import Machine
from edge_moe.processor import this_processor

__all__ = ["load_average", "pinned", "this_machine"]

_CPUS = Path("/sys/devices/system/cpu")
_BIG = 0.9  # of the largest: cores of one kind are not all allowed the very same clock
_LOOK_S = 0.2  # for how long to look at which CPUs are idle


def load_average() -> float | None:
    """Return the mean number of runnable processes over the last minute; None where the system does not tell."""
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return None


def this_machine() -> Machine:
    """Describe this host."""
    processor = this_processor()
    return Machine(
        name=processor.name,
        system=f"{platform.system()} {platform.machine()}",
        processor=processor.title,
        logical_cpus=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
    )


@contextlib.contextmanager
def pinned(threads: int) -> Iterator[tuple[int, ...] | None]:
    """Keep the calling thread, and what it starts, on as many CPUs as it has `threads`: the idlest, one a core.

    Where cores differ, as a phone's do, the big ones are taken.

    Gives the CPUs; None where the system has no such thing, as macOS, or allows fewer CPUs than `threads`.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    allowed = os.sched_getaffinity(0)
    busy = psutil.cpu_percent(interval=_LOOK_S, percpu=True)
    sizes = {cpu: clocks.capacity(cpu) for cpu in allowed}
    big = max(sizes.values()) * _BIG
    idlest = sorted(allowed, key=lambda cpu: (sizes[cpu] < big, busy[cpu] if cpu < len(busy) else 0.0, -cpu))
    cores: dict[str, int] = {}
    for cpu in idlest:
        cores.setdefault(_core(cpu), cpu)
    chosen = list(cores.values()) + [cpu for cpu in idlest if cpu not in cores.values()]
    if len(chosen) < threads:
        yield None
        return
    cpus = tuple(sorted(chosen[:threads]))
    try:
        os.sched_setaffinity(0, cpus)
    except OSError:  # a sandbox that forbids it
        yield None
        return
    try:
        yield cpus
    finally:
        os.sched_setaffinity(0, allowed)


def _core(cpu: int) -> str:
    """Return a name of the core that `cpu` is a thread of."""
    with contextlib.suppress(OSError):
        return (_CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    return str(cpu)
