"""What costs are counted in. Units are data: everything that tells one unit from another asks its record.

A target names its units in its answer, whole records, so that a result of a target that this edge-moe has never heard
of can be read, tabulated and drawn.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from edge_moe.records import Strict

__all__ = ["MS", "UNITS", "Unit"]

Above0 = Annotated[float, msgspec.Meta(gt=0.0)]


class Unit(Strict, frozen=True, omit_defaults=True):
    """One unit of cost."""

    name: str  # as it stands in files
    words: str  # what it counts, for a glossary and for legends: "milliseconds"
    symbol: str = ""  # of a figure divided by `per`: "ms", "M cycles"; empty: the name
    per: Above0 = 1.0  # figures are shown divided by this
    deterministic: bool = False  # two runs count alike to the last digit: no interval, no slow moments
    less_is_better: bool = True
    seconds: Above0 | None = None  # how long one is; None: not a time, so that nothing a second follows from it
    held: bool = False  # what is kept ready for an answer, such as bytes; else what an answer takes

    @property
    def shown(self) -> str:
        """What a column of figures is in."""
        return self.symbol or self.name

    @property
    def is_time(self) -> bool:
        """Whether it is a clock's, so that speeds and waiting follow from it."""
        return self.seconds is not None

    def scaled(self, value: float) -> float:
        """Return a cost in what `shown` says."""
        return value / self.per

    def digits(self, value: float) -> str:
        """Return a cost, in what `shown` says, with as many digits as mean something."""
        shown = self.scaled(value)
        if self.held:
            return f"{shown:,.{1 if shown < _LARGE else 0}f}"
        if not self.is_time:
            return f"{shown:.3f}" if self.per != 1 else f"{shown:,.0f}"
        return f"{shown:.{4 if shown < _SMALL else 3 if shown < _LARGE else 1}f}"

    def text(self, value: float) -> str:
        """Return a cost with its unit."""
        return f"{self.digits(value)} {self.shown}"

    def whole(self, value: float) -> str:
        """Return a cost not divided by `per`, to be typed in again: "0.0613", "1,234,567"."""
        return f"{value:.4g}" if self.is_time else f"{value:,.0f}"

    def cell(self, value: float) -> str:
        """Return a cost for a column under the unit's name: not divided by `per`, nor with digits that mean nothing."""
        return self.digits(value) if self.is_time else self.whole(value)

    def milliseconds(self, value: float) -> float | None:
        """Return a cost in milliseconds; None where it is not a time."""
        return None if self.seconds is None else value * self.seconds * 1000


_SMALL, _LARGE = 0.1, 100.0  # milliseconds and their like: below and above them other digits mean something


def _counted(name: str, words: str, symbol: str) -> Unit:
    """Return what a processor counts: the same in every run, told in millions."""
    return Unit(name=name, words=words, symbol=f"M {symbol}", per=1e6, deterministic=True)


UNITS = {
    one.name: one
    for one in (
        Unit(name="ms", words="milliseconds", seconds=1e-3),
        Unit(name="us", words="microseconds", seconds=1e-6),
        _counted("instructions", "instructions", "instructions"),
        _counted("cycles", "cycles", "cycles"),
        _counted("simd", "SIMD instructions", "SIMD"),
        _counted("dot_products", "dot product instructions", "dot products"),
        _counted("loads", "loads", "loads"),
        _counted("stores", "stores", "stores"),
        Unit(name="sram_bytes", words="bytes of SRAM", symbol="KiB SRAM", per=1024, deterministic=True, held=True),
        Unit(name="millijoules", words="millijoules", symbol="mJ"),
    )
}
MS = UNITS["ms"]
