"""What Ethos-U needs: TOSA's tools, with the reference model, and Vela, each in a folder of its own.

They are wheels, unpacked and not installed: the versions that they ask for would change the environment.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from edge_moe.backends.reference_model import TOSA
from edge_moe.benchmarks.fetch import unzip
from edge_moe.benchmarks.runner.native import item
from edge_moe.benchmarks.set_up import Item, SetUp
from edge_moe.benchmarks.targets.ethos_u import pins
from edge_moe.benchmarks.targets.ethos_u.vela import VELA

__all__ = ["EthosUSetUp", "unsupported"]

_SELF = "ethos_u_vela-5.1.0.dist-info"  # from which Vela reads its own version
# Name here -> folder in the wheel.
_MEMBERS = {
    TOSA: {name: f"{name}/" for name in ("tosa", "tosa_serializer", "tosa_reference_model")},
    VELA: {"ethosu": "ethosu/", _SELF: f"{_SELF}/"},
}
_WHEELS = {TOSA: pins.TOSA_TOOLS, VELA: pins.VELA}


class EthosUSetUp(SetUp):
    """The two folders."""

    def __init__(self, folder: Path) -> None:
        """See `SetUp`; empty where there are no wheels, see `unsupported`."""
        super().__init__(folder)
        self._wheels = {name: wheel for name, wheels in _WHEELS.items() if (wheel := pins.here(wheels)) is not None}
        self.items = tuple(
            item(name, f"{one.name} {one.version}", one.size_bytes, (one, _MEMBERS[name]))
            for name, one in self._wheels.items()
        )

    def bring(self, item: Item, folder: Path) -> None:
        """Fetch and unpack."""
        unzip(self._wheels[item.name].fetch(), _MEMBERS[item.name], folder)


def unsupported() -> str:
    """Return why the tools cannot be had here, in words; nothing where they can."""
    if all(map(pins.here, _WHEELS.values())):
        return ""
    version = ".".join(map(str, sys.version_info[:2]))
    known = dict.fromkeys(f"{system} {machine}" for _, system, machine in pins.VELA)
    return (
        f"Arm's tools are for CPython 3.11 to 3.13 on {', '.join(known)}, and this is {version} on {platform.system()} "
        f"{platform.machine()}"
    )
