"""The processor that this process runs on: its name, and the instruction sets that it says it has."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path
from typing import NamedTuple

__all__ = ["Processor", "described", "this_processor"]

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
    text = ""
    with contextlib.suppress(OSError):
        text = _CPUINFO.read_text()
    return described(text, platform.processor() or platform.machine())


def described(cpuinfo: str, otherwise: str = "") -> Processor:
    """Return the processor that a /proc/cpuinfo tells of; `otherwise`: its name where that tells none."""
    lines = (line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line)
    fields = [(name.strip(), value.strip()) for name, value in lines]
    named = dict(fields)
    name = named.get("model name") or named.get("Model") or otherwise
    cores = [frozenset(value.split()) for field, value in fields if field in ("flags", "Features")]
    return Processor(name, frozenset.intersection(*cores) if cores else frozenset())
