"""What goes to a phone: the native runner for Arm, the backends' libraries, and the C library that they need."""

from __future__ import annotations

from pathlib import Path

from edge_moe.benchmarks.runner.native import NativeSetUp, bring_libraries, item
from edge_moe.benchmarks.runner.pins import CROSS
from edge_moe.benchmarks.set_up import Item

__all__ = ["LIBRARIES", "AdbSetUp"]

LIBRARIES = "libraries"


class AdbSetUp(NativeSetUp):
    """The folders: C libraries, one a backend, and the runner."""

    def __init__(self, folder: Path) -> None:
        """See `SetUp`."""
        super().__init__(folder)
        libraries = item(LIBRARIES, "glibc 2.36", sum(deb.size_bytes for deb in CROSS), CROSS)
        self.items = (libraries, *self.native_items())

    def bring(self, item: Item, folder: Path) -> None:
        """Fetch and unpack, or compile."""
        if item.name == LIBRARIES:
            bring_libraries(folder)
        else:
            super().bring(item, folder)
