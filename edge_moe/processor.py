"""The processor that this process runs on: its name, and the instruction sets that it says it has."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path
from typing import NamedTuple

__all__ = ["Processor", "this_processor"]

_CPUINFO = Path("/proc/cpuinfo")
_MATTER_TO_INT8 = ("avx2", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm")


class Processor(NamedTuple):
    """What the system tells of a processor."""

    name: str
    flags: frozenset[str]  # of every core, as /proc/cpuinfo names them; empty where the system does not tell

    @property
    def title(self) -> str:
        """The name, with the instruction sets that matter to int8."""
        shown = [flag for flag in _MATTER_TO_INT8 if flag in self.flags]
        return f"{self.name} ({', '.join(shown)})" if shown else self.name


def this_processor() -> Processor:
    """Return the processor as the system tells it."""
    fields: list[tuple[str, str]] = []
    with contextlib.suppress(OSError):
        lines = _CPUINFO.read_text().splitlines()
        fields = [
            (name.strip(), value.strip()) for name, value in (line.split(":", 1) for line in lines if ":" in line)
        ]
    named = dict(fields)
    name = named.get("model name") or named.get("Model") or platform.processor() or platform.machine()
    cores = [frozenset(value.split()) for field, value in fields if field in ("flags", "Features")]
    return Processor(name, frozenset.intersection(*cores) if cores else frozenset())
