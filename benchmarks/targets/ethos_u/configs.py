"""Which NPUs there are, in which systems, and where the weights lie: the words of Vela's own configuration file.

An NPU's figures mean nothing without the memory around it. A system configuration says how fast that is, a memory mode
what lies where. Every NPU is told of in two modes: weights in memory outside of the chip, where a product has them, and
everything in SRAM, which shows what the NPU itself could do.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from edge_moe.errors import UsageError

__all__ = ["MODES", "NPUS", "SYSTEMS", "Config", "Mode", "System", "parse", "systems"]


class System(NamedTuple):
    """A system configuration of Vela's; how fast its clock and its memory are stands in Vela's file."""

    family: str  # of NPUs: u55
    memory: str  # outside of the chip, where the weights lie: "flash" or "DRAM"


class Mode(NamedTuple):
    """A memory mode of Vela's."""

    name: str
    weights: str  # where they lie: "flash", "DRAM" or "SRAM"


# The first of a family is the one that ExecuTorch takes by itself.
SYSTEMS = {
    "Ethos_U55_High_End_Embedded": System("u55", "flash"),
    "Ethos_U55_Deep_Embedded": System("u55", "flash"),
    "Ethos_U65_High_End": System("u65", "DRAM"),
    "Ethos_U65_Mid_End": System("u65", "DRAM"),
    "Ethos_U65_Client_Server": System("u65", "DRAM"),
    "Ethos_U65_Embedded": System("u65", "flash"),
    "Ethos_U85_SYS_DRAM_Mid": System("u85", "DRAM"),
    "Ethos_U85_SYS_DRAM_Low": System("u85", "DRAM"),
    "Ethos_U85_SYS_DRAM_High": System("u85", "DRAM"),
    "Ethos_U85_SYS_Flash_High": System("u85", "flash"),
    "Ethos_U85_SYS_Flash_Low": System("u85", "flash"),
}
# By which memory there is outside of the chip; the one that is usual in a product first.
MODES = {
    "flash": (Mode("Shared_Sram", "flash"), Mode("Sram_Only", "SRAM")),
    "DRAM": (Mode("Dedicated_Sram_384KB", "DRAM"), Mode("Sram_Only", "SRAM")),
}
# By family: how many multiply-accumulates a cycle.
_SIZES = {"u55": (256, 128, 64, 32), "u65": (512, 256), "u85": (256, 128, 512, 1024, 2048)}
NPUS = tuple(f"{family}-{macs}" for family, sizes in _SIZES.items() for macs in sizes)
_KEYS = ("system", "sram", "weights")
_LEAST_KIB, _MOST_KIB = 1, 1 << 22


class Config(NamedTuple):
    """An NPU in a system."""

    npu: str
    system: str
    sram_kib: int | None = None  # what the chip has; None: what is needed is told, and nothing refused
    sram_first: bool = False  # whether a cost, where one is meant, is that with the weights in SRAM

    @property
    def memory(self) -> str:
        """Outside of the chip: "flash" or "DRAM"."""
        return SYSTEMS[self.system].memory

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The memory modes that are told of; what a cost is where one is meant comes first."""
        outside, inside = MODES[self.memory]
        return (inside, outside) if self.sram_first else (outside, inside)


def systems(npu: str) -> tuple[str, ...]:
    """Return the system configurations that Vela has for an NPU, the usual one first."""
    return tuple(name for name, one in SYSTEMS.items() if one.family == npu.partition("-")[0])


def parse(parameter: str) -> Config:
    """Read "u55-256", "u55-256,system=Ethos_U55_Deep_Embedded", "u85-256,sram=2048" (KiB) or "u85-256,weights=sram".

    Raises:
        UsageError: there is no such NPU, or not in such a system.
    """
    npu, *others = parameter.split(",")
    if npu not in NPUS:
        raise UsageError(f"unknown device 'ethos-u:{parameter}'; expected one of {', '.join(map(_device, NPUS))}")
    given = dict[str, str]()
    for one in others:
        key, equals, value = one.partition("=")
        if key not in _KEYS or not equals or key in given:
            raise UsageError(
                f"'ethos-u:{parameter}' says {one!r}; expected system=NAME, sram=KIB or weights=sram after the NPU, "
                f"such as ethos-u:{npu},system={systems(npu)[0]},sram=2048"
            )
        given[key] = value
    fitting = systems(npu)
    system = given.get("system", fitting[0])
    if system not in fitting:
        raise UsageError(f"unknown system {system!r} for {_device(npu)}; expected one of {', '.join(fitting)}")
    places = [one.weights.lower() for one in MODES[SYSTEMS[system].memory]]
    if given.get("weights", places[0]) not in places:
        raise UsageError(f"weights is {given['weights']!r} for {_device(npu)}; expected {' or '.join(places)}")
    kib = _kib(given["sram"]) if "sram" in given else None
    return Config(npu, system, kib, sram_first=given.get("weights") == "sram")


def _kib(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not _LEAST_KIB <= int(text) <= _MOST_KIB:
        raise UsageError(f"sram is {text!r}; expected how many KiB the chip has, such as sram=2048")
    return int(text)


def _device(npu: str) -> str:
    return f"ethos-u:{npu}"
