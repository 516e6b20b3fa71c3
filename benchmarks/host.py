"""What machine this is."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from pathlib import Path

import psutil

from edge_moe.benchmarks.results import Machine

__all__ = ["describe", "load_average"]


def load_average() -> float | None:
    """Return the mean number of runnable processes over the last minute; None where the system does not tell."""
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return None


def describe(load_before: float | None) -> Machine:
    """Describe this host, at the end of a measurement that began at `load_before`."""
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        logical_cpus=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        python=sys.version.split()[0],
        load_before=load_before,
        load_after=load_average(),
    )


def _processor() -> str:
    """Return the processor's name and, on x86, the instruction sets that matter to int8."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        pairs = [line.split(":", 1) for line in lines if ":" in line]
        fields = {name.strip(): value.strip() for name, value in pairs}
        flags = [f for f in ("avx2", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm") if f in _flags(fields)]
        name = fields.get("model name") or fields.get("Model") or platform.processor() or platform.machine()
        return f"{name} ({', '.join(flags)})" if flags else name
    return platform.processor() or platform.machine()


def _flags(fields: dict[str, str]) -> list[str]:
    return (fields.get("flags") or fields.get("Features") or "").split()
