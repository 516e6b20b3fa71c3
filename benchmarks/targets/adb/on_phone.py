"""What every target on a phone has in common: finding it, by its serial number, and what it is."""

from __future__ import annotations

import importlib.util
from functools import cached_property
from typing import TYPE_CHECKING

from edge_moe.benchmarks.target import Target
from edge_moe.errors import MissingExtraError
from edge_moe.records import sha256

if TYPE_CHECKING:
    from edge_moe.benchmarks.targets.adb.phone import Phone
    from edge_moe.benchmarks.targets.adb.state import Identity

__all__ = ["PIP", "OnPhone", "has_adb"]

PIP = "run: pip install 'edge-moe[adb]'"


def has_adb() -> bool:
    """Return whether the package that reaches phones is installed."""
    return importlib.util.find_spec("adbutils") is not None


class OnPhone(Target):
    """`KIND:SERIAL`; `KIND` where one phone is connected."""

    def require_adb(self) -> None:
        """Return if phones can be reached from here.

        Raises:
            MissingExtraError: adbutils is not installed.
        """
        if not has_adb():
            raise MissingExtraError("adbutils", "adb", f"the device {self.name}")

    def answers_as(self) -> str:
        """Return which phone it is, without its serial number."""
        return sha256(f"{self.serial} {self.identity.get('ro.build.fingerprint')}".encode())

    @cached_property
    def identity(self) -> Identity:
        """What the phone is.

        Raises:
            UsageError: several are connected, and none was named.
            BackendError: it is not there, or does not answer.
        """
        from edge_moe.benchmarks.targets.adb.state import identity

        return identity(self.phone)

    @cached_property
    def serial(self) -> str:
        """Its serial number; raises as `identity`."""
        from edge_moe.benchmarks.targets.adb.phone import find

        return find(self.name, self.parameter)

    @cached_property
    def phone(self) -> Phone:
        """The phone; raises as `identity`."""
        from edge_moe.benchmarks.targets.adb.phone import Phone

        return Phone(self.name, self.serial)

    @property
    def was_looked_for(self) -> bool:
        """Whether it was found already."""
        return "serial" in self.__dict__
