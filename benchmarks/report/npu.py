"""What a target's own tool says beside costs, and what an expert costs beside the base in every unit there is.

On another processor an expert is another share of the base, and in another memory mode of the same one: that share,
not the exit rate alone, is what early exit saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_moe.benchmarks.measured import SetResults
from edge_moe.benchmarks.prices import per_image
from edge_moe.benchmarks.report.series import Series
from edge_moe.benchmarks.report.story import highlight
from edge_moe.benchmarks.report.tables import Cells, Table, table_of
from edge_moe.benchmarks.report.words import percent, tau
from edge_moe.benchmarks.samples import typical
from edge_moe.benchmarks.units import Unit

__all__ = ["details", "relative"]

_MACS = Unit(name="macs", words="multiply-accumulates", symbol="M MACs", per=1e6, deterministic=True)


@dataclass(frozen=True)
class _Relative:
    """What one set's parts cost in one unit of its target, or in MACs."""

    series: Series
    unit: Unit
    where: str
    prices: dict[str, float]  # part -> in the unit

    @property
    def base(self) -> float:
        return self.prices["base"]

    @property
    def expert(self) -> float:
        """The mean one."""
        return float(np.mean([price for name, price in self.prices.items() if name not in ("base", "gate")]))

    @property
    def exit_saves(self) -> float:
        """Of what an image costs that wakes one expert, the share that one saves that exits."""
        woken = self.prices["gate"] + self.expert
        return woken / (self.base + woken)

    @property
    def early_exit_saves(self) -> float:
        """Of what all images cost at the smallest tau, the share that is saved at the one that is told first."""
        point, start = (per_image(one.decided, self.prices).mean() for one in highlight(self.series))
        return float(1 - point / start)

    def cells(self, names: Sequence[str]) -> Cells:
        """Return a row of the table."""
        return {
            "file": _file(self.series, names),
            "set": str(self.series.one.key),
            "on": self.where,
            "in": f"{'M ' if self.unit.per == 1e6 else ''}{self.unit.words}",
            "expert / base": f"{self.expert / self.base:.2f}",
            "an exit saves": percent(self.exit_saves),
            "early exit saves": f"{percent(self.early_exit_saves)} at tau {tau(highlight(self.series)[0].tau)}",
            "base": self.unit.digits(self.base),
            "expert": self.unit.digits(self.expert),
        }

    def words(self) -> str:
        """Return the row in words."""
        point, start = highlight(self.series)
        return (
            f"{self.series.label} on {self.where}, in {self.unit.words}: an expert costs {self.expert / self.base:.2f} "
            f"of the base. At tau = {tau(point.tau)}, {percent(point.point.exit_rate)} of the images exit, "
            f"and early exit saves {percent(self.early_exit_saves)} beside tau = {tau(start.tau)}."
        )


def relative(series: Sequence[Series], names: Sequence[str]) -> tuple[Table, list[str]]:
    """Return what parts cost in each unit of their targets, and the same in words; nothing where there is but one row.

    In words, of MACs nothing is told, and of units only each target's first and what is estimated.
    """
    mixtures = [one for one in series if not one.plain]
    found = [row for one in mixtures for unit in _units(one) if (row := _in_unit(one, unit))]
    if len(found) < 2:
        return table_of([]), []
    told = [row for row in found if row.unit == row.series.unit or _is_estimated(row)]
    return table_of(row.cells(names) for row in (_macs(mixtures[0]), *found)), [row.words() for row in told]


def _units(one: Series) -> list[Unit]:
    """Return the target's units, but for what is held, of which an exit saves nothing.

    Nor times that are its cycles at a clock: their ratios are the same.
    """
    return [unit for unit in one.results.opening.units if not (unit.held or (unit.deterministic and unit.is_time))]


def _is_estimated(row: _Relative) -> bool:
    return row.series.results.provenance(row.unit.name) == "estimated"


def _macs(one: Series) -> _Relative:
    return _Relative(one, _MACS, "any processor", dict(one.one.recorded.macs))


def _in_unit(one: Series, unit: Unit) -> _Relative | None:
    found = {part.part: _price(one.one, part.part, unit) for part in one.one.parts}
    prices = {name: price for name, price in found.items() if price is not None} | {"gate": found["gate"] or 0.0}
    if not prices.get("base") or prices.keys() != found.keys():
        return None
    return _Relative(one, unit, one.results.opening.target, prices)


def _price(one: SetResults, name: str, unit: Unit) -> float | None:
    part = next(part for part in one.parts if part.part == name)
    if unit == one.unit:
        return part.cost
    raw = part.others.get(unit.name)
    return typical(raw) if raw else None


def details(series: Sequence[Series], names: Sequence[str]) -> Table:
    """Return what the target's tool told of every part, in each way to run it; what is 0 everywhere is left away."""
    rows = []
    for one in series:
        for part, ways in one.results.opening.details.get(str(one.one.key), {}).items():
            for way in ways:
                facts = {name: "" if value is None else _fact(name, value) for name, value in way.facts.items()}
                which = str(one.one.key) if len(series) > 1 else ""
                rows.append({"file": _file(one, names), "set": which, "part": part, "way": way.way, **facts})
    told = {name for row in rows for name, cell in row.items() if cell not in ("", "0", "0.0")}
    return table_of([{name: cell for name, cell in row.items() if name in told} for row in rows])


def _file(one: Series, names: Sequence[str]) -> str:
    """Return the file's name, where there are several."""
    return names[one.file] if len(set(names)) > 1 else ""


def _fact(name: str, value: str | float | bool) -> str:
    """Return a fact in a unit that a person reads: KiB for bytes."""
    if isinstance(value, str | bool):
        return str(value)
    if name.endswith("bytes"):
        return f"{value / 1024:,.1f}" if value else "0"
    return f"{value:,.0f}"
