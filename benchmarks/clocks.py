"""How fast the processor is allowed to run, how warm it is, and whether it was slowed down, as Linux tells it.

Whatever a system does not tell, as a virtual machine tells nothing of it, is left away.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from edge_moe.benchmarks.wire import Facts

__all__ = ["capacity", "firmware", "firmware_problems", "governor", "now", "slowed_down", "told"]

_SYS = Path("/sys")
_CPUS = "devices/system/cpu"
_OF_THE_PROCESSOR = re.compile(r"cpu|soc|pkg|core|package", re.IGNORECASE)
# Bits of the Raspberry Pi's firmware (raspberrypi.com, documentation of vcgencmd, get_throttled): what goes on, and,
# 16 places higher, what has gone on since the board was started.
_FIRMWARE = {
    0: "under-voltage: the power supply of the board is too weak",
    1: "the firmware of the board limits its clock",
    2: "throttled: the firmware of the board slows the processor down",
    3: "the board is so warm that its firmware limits the clock; cool it",
}
_SINCE = 16
_TIMEOUT_S = 2.0


def governor(cpus: Iterable[int]) -> str | None:
    """Return how the system sets the clocks of these CPUs; None where it does not tell."""
    told = [_text(f"{_CPUS}/cpu{cpu}/cpufreq/scaling_governor") for cpu in cpus]
    return ", ".join(dict.fromkeys(filter(None, told))) or None


def told(cpus: Sequence[int]) -> Facts:
    """Return what is set, by names for people: the governor, and the highest clock of these CPUs."""
    top = [_number(f"{_CPUS}/cpu{cpu}/cpufreq/scaling_max_freq") for cpu in cpus]
    facts: Facts = {"CPU governor": governor(cpus), "highest clock allowed, MHz": _megahertz(top)}
    return {name: value for name, value in facts.items() if value is not None}


def now(cpus: Iterable[int]) -> Facts:
    """Return how things stand, by names for people: the clock of these CPUs, and how warm the processor is."""
    clocks = [_number(f"{_CPUS}/cpu{cpu}/cpufreq/scaling_cur_freq") for cpu in cpus]
    facts: Facts = {"clock, MHz": _megahertz(clocks), "temperature, degrees Celsius": _temperature()}
    return {name: value for name, value in facts.items() if value is not None}


def capacity(cpu: int) -> float:
    """Return how fast a CPU is beside others of this machine: Arm's own measure of it, or its highest clock."""
    arms = _number(f"{_CPUS}/cpu{cpu}/cpu_capacity")
    return arms or _number(f"{_CPUS}/cpu{cpu}/cpufreq/cpuinfo_max_freq") or 0.0


def slowed_down() -> int | None:
    """Return how often the processor or the control group was slowed down since the system started."""
    found = list[int]()
    for file in _files(f"{_CPUS}/cpu*/thermal_throttle/core_throttle_count"):
        found += map(int, re.findall(r"^\d+$", _read(file) or ""))
    for name in ("fs/cgroup/cpu.stat", "fs/cgroup/cpu/cpu.stat"):
        found += map(int, re.findall(r"^nr_throttled (\d+)$", _text(name) or "", re.MULTILINE))
    return sum(found) if found else None


def firmware_problems(before: int, after: int) -> list[str]:
    """Return in words what a Raspberry Pi's firmware says against a clock: now, or between two looks at `firmware`."""
    new = after | (after & ~before) >> _SINCE
    return [words for bit, words in _FIRMWARE.items() if new >> bit & 1]


def firmware() -> int:
    """Return the flags of a Raspberry Pi's firmware; 0 elsewhere."""
    said = next((text for file in _files("devices/platform/soc*/*firmware/get_throttled") if (text := _read(file))), "")
    if not said and shutil.which("vcgencmd"):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["vcgencmd", "get_throttled"]
            said = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S).stdout
    found = re.search(r"(?:0x)?([0-9a-f]+)\s*$", said)
    return int(found[1], 16) if found else 0


def _temperature() -> float | None:
    """Return the highest temperature of the processor's zones; of all zones where none is called after it."""
    zones = [(_read(file.with_name("type")) or "", _read(file)) for file in _files("class/thermal/thermal_zone*/temp")]
    degrees = [(name, int(text) / 1000) for name, text in zones if text and text.lstrip("-").isdigit()]
    of_processor = [value for name, value in degrees if _OF_THE_PROCESSOR.search(name)]
    return max(of_processor or [value for _, value in degrees], default=None)


def _megahertz(kilohertz: Sequence[float | None]) -> float | None:
    known = [one for one in kilohertz if one is not None]
    return round(max(known) / 1000) if known else None


def _files(pattern: str) -> list[Path]:
    return sorted(_SYS.glob(pattern))


def _text(name: str) -> str | None:
    return _read(_SYS / name)


def _number(name: str) -> float | None:
    text = _text(name)
    return float(text) if text and text.isdigit() else None


def _read(file: Path) -> str | None:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return file.read_text().strip()
    return None
