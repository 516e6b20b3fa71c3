"""What a phone tells of itself without root: what it is, and how warm, how fast and how full it is right now."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edge_moe.benchmarks.targets.adb.phone import Phone
from edge_moe.benchmarks.wire import Facts

__all__ = ["THERMAL", "Cpu", "Identity", "State", "identity", "state", "thermal_words", "watts"]

# PowerManager.THERMAL_STATUS_*, by developer.android.com.
THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
_BIG = 0.9  # of the largest, see benchmarks/machine.py
_CPU = "/sys/devices/system/cpu/cpu"
_MARK = "@@"
_CPU_FILES = ("cpu_capacity", *(f"cpufreq/{name}" for name in ("cpuinfo_max_freq", "scaling_max_freq")))
_CPU_NOW = ("cpufreq/scaling_cur_freq", "cpufreq/scaling_governor")
_BATTERY = "/sys/class/power_supply/battery"
_WATTS = (0.05, 30.0)  # between which a phone needs; some tell milliamperes
_PROPERTIES = (
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.soc.manufacturer",
    "ro.soc.model",
    "ro.hardware",
    "ro.product.cpu.abilist",
    "ro.build.version.release",
    "ro.build.fingerprint",
)


class Identity(NamedTuple):
    """What does not change while it is measured."""

    properties: Mapping[str, str]
    cpuinfo: str
    memory_bytes: int | None
    kernel: str

    def get(self, name: str) -> str:
        """Return a property; empty where it has none."""
        return self.properties.get(name, "")

    @property
    def model(self) -> str:
        """Manufacturer and model."""
        maker, model = self.get("ro.product.manufacturer"), self.get("ro.product.model")
        return model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()

    @property
    def soc(self) -> str:
        """The SoC: Android 12 and later tell it; before that its board's name."""
        told = f"{self.get('ro.soc.manufacturer')} {self.get('ro.soc.model')}".strip()
        return told or self.get("ro.hardware")


class Cpu(NamedTuple):
    """One core, in kHz; None: it is not told."""

    capacity: float
    allowed: int | None
    now: int | None
    governor: str


class State(NamedTuple):
    """How it is; None: it is not told."""

    thermal: int | None  # of THERMAL
    temperatures: Mapping[str, float]  # degrees Celsius
    level: int | None  # of the battery, percent
    powered: bool | None  # by whatever charges
    cpus: Mapping[int, Cpu]
    watts: float | None  # that the battery gives or takes; None: not told, or not to be believed
    wakefulness: str

    @property
    def biggest(self) -> tuple[int, ...]:
        """The biggest cores; the first where it is not told which."""
        largest = max((cpu.capacity for cpu in self.cpus.values()), default=0.0)
        return tuple(sorted(one for one, cpu in self.cpus.items() if cpu.capacity >= _BIG * largest)) or (0,)

    def holds_back(self, cpus: tuple[int, ...]) -> tuple[object, ...]:
        """Return what has to be alike before and after: thermal status, charging, the highest clocks of these cores."""
        return (self.thermal, self.powered, *(self.cpus[one].allowed for one in cpus if one in self.cpus))

    def facts(self, cpus: tuple[int, ...]) -> Facts:
        """Return it by names for people; `cpus`: that are measured on."""
        there = [self.cpus[one] for one in cpus if one in self.cpus]
        clocks = {
            "clock, MHz": [one.now for one in there],
            "highest clock allowed, MHz": [one.allowed for one in there],
        }
        facts: Facts = {
            "thermal status": None if self.thermal is None else thermal_words(self.thermal),
            "battery, percent": self.level,
            **{name: max(known) // 1000 for name, told in clocks.items() if (known := [x for x in told if x])},
            **{f"{name}, degrees Celsius": value for name, value in sorted(self.temperatures.items())},
        }
        return {name: value for name, value in facts.items() if value is not None}


def thermal_words(status: int) -> str:
    """Return a thermal status as Android calls it."""
    return f"{status} ({THERMAL[status]})" if 0 <= status < len(THERMAL) else str(status)


def identity(phone: Phone) -> Identity:
    """Ask what it is."""
    properties = "; ".join(f"echo {name}=$(getprop {name})" for name in _PROPERTIES)
    told, cpuinfo, memory, kernel = phone.shell(
        f"{properties}; echo {_MARK}; cat /proc/cpuinfo; echo {_MARK}; cat /proc/meminfo; echo {_MARK}; uname -r"
    ).split(f"{_MARK}\n")
    found = re.search(r"^MemTotal:\s+(\d+) kB", memory, re.MULTILINE)
    values = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    return Identity(values, cpuinfo, int(found[1]) * 1024 if found else None, kernel.strip())


def state(phone: Phone) -> State:
    """Ask how it is, in one command, whatever of it works."""
    files = " ".join(f"{_CPU}[0-9]*/{name}" for name in (*_CPU_FILES, *_CPU_NOW))
    commands = (
        *("dumpsys thermalservice", "dumpsys battery", "dumpsys power"),
        *(f"grep -sH . {files}", f"cat {_BATTERY}/current_now {_BATTERY}/voltage_now"),
    )
    told = phone.run(f"; echo {_MARK}; ".join(f"{one} 2> /dev/null" for one in commands))
    thermal, battery, power, cpus, current = re.split(rf"^{_MARK}\n", told.out, flags=re.MULTILINE)
    return State(
        thermal=_number(r"^Thermal Status: (\d+)", thermal),
        temperatures=_temperatures(thermal) | _of_battery(battery),
        level=_number(r"^\s*level: (\d+)", battery),
        powered="powered: true" in battery if "powered:" in battery else None,
        cpus=_cpus(cpus),
        watts=watts([line for line in (" ".join(current.split()),) if len(current.split()) == 2]),
        wakefulness=(re.search(r"mWakefulness=(\w+)", power) or ["", ""])[1],
    )


def watts(lines: Sequence[str]) -> float | None:
    """Return the mean of what readings "microamperes microvolts" say; None where they cannot be a phone's."""
    pairs = [re.fullmatch(r"(-?\d+) (\d+)", line.strip()) for line in lines]
    found = [abs(int(one[1])) * int(one[2]) * 1e-12 for one in pairs if one]
    mean = sum(found) / len(found) if found else 0.0
    return mean if _WATTS[0] <= mean <= _WATTS[1] else None


def _number(pattern: str, text: str) -> int | None:
    found = re.search(pattern, text, re.MULTILINE)
    return int(found[1]) if found else None


def _temperatures(thermal: str) -> dict[str, float]:
    """Return those that the hardware says now; what Android remembers where it does not."""
    now = thermal.partition("Current temperatures from HAL:")[2].partition("Current cooling devices")[0]
    found = re.findall(r"Temperature\{mValue=([-\d.]+), mType=\d+, mName=([^,}]+)", now or thermal)
    return {name: float(value) for value, name in found if float(value) > 0}  # 0: a sensor that does not work


def _of_battery(battery: str) -> dict[str, float]:
    tenths = _number(r"^\s*temperature: (\d+)", battery)
    return {} if tenths is None else {"battery": tenths / 10}


def _cpus(text: str) -> dict[int, Cpu]:
    told: dict[int, dict[str, str]] = {}
    for number, name, value in re.findall(rf"^{_CPU}(\d+)/(\S+?):(.*)$", text, re.MULTILINE):
        told.setdefault(int(number), {})[name.rpartition("/")[2]] = value.strip()
    found = {}
    for number, values in told.items():
        numbers = {name: int(value) for name, value in values.items() if value.isdigit()}
        found[number] = Cpu(
            capacity=float(numbers.get("cpu_capacity") or numbers.get("cpuinfo_max_freq") or 0),
            allowed=numbers.get("scaling_max_freq"),
            now=numbers.get("scaling_cur_freq"),
            governor=values.get("scaling_governor", ""),
        )
    return found
