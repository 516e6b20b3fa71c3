"""What a target's own tool says beside costs, and what an expert costs beside the base in every unit there is.

On another processor an expert is another share of the base, and in another memory mode of the same one: that share,
not the exit rate alone, is what early exit saves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_moe.benchmarks.measured import SetResults
from edge_moe.benchmarks.report.series import Series
from edge_moe.benchmarks.report.tables import Cells, Table, table_of
from edge_moe.benchmarks.report.words import percent
from edge_moe.benchmarks.samples import typical
from edge_moe.benchmarks.units import Unit
from edge_moe.bundle import expert_name

__all__ = ["details", "relative"]


def relative(series: Sequence[Series], names: Sequence[str]) -> Table:
    """Return base and mean expert of every set in each of its target's units; nothing where there is but one row."""
    mixtures = [one for one in series if not one.plain]
    rows = [row for one in mixtures for unit in _units(one) if (row := _row(one, unit, names))]
    return table_of([_macs(mixtures[0], names), *rows] if len(rows) > 1 else [])


def _units(one: Series) -> list[Unit]:
    """Return the target's units, but for times that are its cycles at a clock: their ratios are the same."""
    return [unit for unit in one.results.opening.units if not (unit.deterministic and unit.is_time)]


def _macs(one: Series, names: Sequence[str]) -> Cells:
    macs = one.one.recorded.macs
    expert = float(np.mean([count for name, count in macs.items() if name not in ("base", "gate")]))
    return _cells(one, names, "MACs", "M MACs", {"base": macs["base"] / 1e6, "gate": macs["gate"] / 1e6}, expert / 1e6)


def _row(one: Series, unit: Unit, names: Sequence[str]) -> Cells | None:
    base = _price(one.one, "base", unit)
    experts = [_price(one.one, expert_name(k), unit) for k in range(one.results.bundle.experts)]
    if not base or None in experts:
        return None
    expert = float(np.mean([price for price in experts if price is not None]))
    gate = _price(one.one, "gate", unit) or 0.0
    prices = {"base": unit.scaled(base), "gate": unit.scaled(gate)}
    return _cells(one, names, one.results.opening.target, f"{unit.shown}: {unit.words}", prices, unit.scaled(expert))


def _cells(one: Series, names: Sequence[str], where: str, unit: str, price: dict[str, float], expert: float) -> Cells:
    base, gate = price["base"], price["gate"]
    return {
        "file": names[one.file],
        "set": str(one.one.key),
        "on": where,
        "in": unit,
        "base": f"{base:.4g}",
        "expert": f"{expert:.4g}",
        "expert / base": f"{expert / base:.2f}",
        "an exit saves": percent((gate + expert) / (base + gate + expert)),
    }


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
                rows.append({"file": names[one.file], "part": part, "way": way.way, **facts})
    told = {name for row in rows for name, cell in row.items() if cell not in ("", "0", "0.0")}
    return table_of([{name: cell for name, cell in row.items() if name in told} for row in rows])


def _fact(name: str, value: str | float | bool) -> str:
    """Return a fact in a unit that a person reads: KiB for bytes."""
    if isinstance(value, str | bool):
        return str(value)
    if name.endswith("bytes"):
        return f"{value / 1024:,.1f}" if value else "0"
    return f"{value:,.0f}"
