"""What the Qualcomm target needs: the libraries of onnxruntime-qnn, in a folder of their own, and their licence first.

They are Qualcomm's, under its licence, which is read and accepted before they are unpacked; nothing of them is in
edge-moe. The wheel is not installed: none of its Python is run, and no other program finds it.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from edge_moe.benchmarks.fetch import unzip
from edge_moe.benchmarks.runner.native import item
from edge_moe.benchmarks.set_up import Item, Licence, SetUp
from edge_moe.benchmarks.targets.qnn.pins import LIBRARIES, LICENCE, WHEEL

__all__ = ["QnnSetUp"]

_LICENCE, _LIBRARIES = "licence", "libraries"


class QnnSetUp(SetUp):
    """The folders: the licence, and the libraries."""

    licence = Licence(
        words=(
            f"{WHEEL.name} {WHEEL.version} brings Qualcomm's libraries under Qualcomm's AI Stack License: to develop "
            "applications and to measure, passed on only inside an application of your own, not to be taken apart; "
            "who downloads or uses them agrees to it"
        ),
        item=_LICENCE,
        file="Qualcomm_LICENSE.pdf",
    )

    def __init__(self, folder: Path) -> None:
        """See `SetUp`."""
        super().__init__(folder)
        version = f"of {WHEEL.name} {WHEEL.version}"
        # The wheel is fetched once for both.
        self.items = (
            item(_LICENCE, version, WHEEL.size_bytes, (WHEEL, LICENCE)),
            item(_LIBRARIES, version, 0, (WHEEL, LIBRARIES)),
        )

    @property
    def libraries(self) -> Path:
        """The folder with the libraries, at their places in the wheel."""
        return self.folder / _LIBRARIES

    def bring(self, item: Item, folder: Path) -> None:
        """Take the item's files out of the wheel."""
        unzip(self._wheel, LICENCE if item.name == _LICENCE else LIBRARIES, folder)

    @cached_property
    def _wheel(self) -> bytes:
        return WHEEL.fetch()
