"""The numbers of a report: one series for each set of each file, one point for each operating point. No drawing.

Axis letters: N validation images, K experts, T timed images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from edge_moe.benchmarks.measured import PointCosts, SetResults
from edge_moe.benchmarks.report.words import file_names, set_labels
from edge_moe.benchmarks.results import Results
from edge_moe.benchmarks.samples import summary
from edge_moe.benchmarks.units import Unit
from edge_moe.bundle import expert_name

__all__ = ["EXPERTS", "Part", "Series", "best_products", "build", "front", "native_dtype"]

EXPERTS = "experts together"  # as a part of its own


@dataclass(frozen=True)
class Part:
    """One part of one set; or all its experts together: MACs and cost are then the mean of one, the shares of all."""

    name: str
    macs: float
    cost: float
    median: float | None  # of its samples; None: of all experts together
    low: float  # p10; of all experts together the least
    high: float  # p90; likewise the largest
    time_share: float  # of a prediction at the middle operating point, as predicted from the parts
    gmacs: float | None  # achieved, 10^9 MACs a second; None: costs are not times
    of_best: dict[str, float]  # dtype -> achieved / the machine's best product
    gain: float | None  # of that prediction's time, what would go if it reached the best of its dtype
    most: bool = False  # whether nothing has more to gain


@dataclass(frozen=True, eq=False)
class Series:
    """One set of one file."""

    file: int  # which of the files
    place: int  # of the series in the report: its colour
    results: Results
    one: SetResults
    label: str

    @property
    def unit(self) -> Unit:
        """Of all costs."""
        return self.results.unit

    @property
    def plain(self) -> bool:
        """Whether it is a plain network: the base alone, one operating point, nothing that depends on tau."""
        return not self.results.bundle.experts

    @property
    def counted(self) -> str:
        """Its label, with where its figures are from, and whose its answers are, where that goes without saying not."""
        where = self.results.obtained()
        return f"{self.label}{'' if where == 'measured' else f', {where}'}{self.one.whose_answers}"

    @property
    def points(self) -> Sequence[PointCosts]:
        """Every operating point, as in the file."""
        return self.one.points

    @cached_property
    def lines(self) -> dict[int, list[PointCosts]]:
        """max_experts -> its points in the order of tau."""
        found: dict[int, list[PointCosts]] = {}
        for point in sorted(self.points, key=lambda point: (point.point.max_experts, point.tau)):
            found.setdefault(point.point.max_experts, []).append(point)
        return found

    @property
    def line(self) -> list[PointCosts]:
        """Those of the smallest max_experts."""
        return self.lines[min(self.lines)]

    @cached_property
    def middle(self) -> PointCosts:
        """Of these, the one between base only and always an expert: its exit rate is nearest one half."""
        return min(self.line, key=lambda point: abs(point.point.exit_rate - 0.5))

    @property
    def base(self) -> float:
        """What the base costs by itself."""
        return next(part.cost for part in self.one.parts if part.part == "base")

    @property
    def awake(self) -> float:
        """What an image costs that wakes one expert: base, gate and the mean expert."""
        experts = [part.cost for part in self.one.parts if part.part not in ("base", "gate")]
        others = sum(part.cost for part in self.one.parts if part.part in ("base", "gate"))
        return others + (float(np.mean(experts)) if experts else 0.0)

    @cached_property
    def parts(self) -> list[Part]:
        """Base, gate, every expert, and all experts together where there are several.

        What can be gained is said of base, gate and experts together: the experts are one graph with other weights.
        """
        routed = self.one.decisions.rows(np.array(self.results.timed)).at(
            self.middle.tau, self.middle.point.max_experts
        )
        runs = {"base": 1.0, "gate": float(routed.gate_ran.mean())}
        runs |= {expert_name(k): float(share) for k, share in enumerate(routed.active.mean(axis=0))}
        spent = {part.part: runs[part.part] * part.cost for part in self.one.parts}
        found, total = [], sum(spent.values()) or 1.0
        for part in sorted(self.one.parts, key=lambda part: (part.part != "base", part.part != "gate", part.part)):
            s, share = summary(part.raw), spent[part.part] / total
            found.append(self._part(part.part, part.macs, part.cost, s.median, s.p10, s.p90, share))
        if len(each := found[2:]) > 1:
            macs, cost = (float(np.mean([getattr(part, what) for part in each])) for what in ("macs", "cost"))
            low, high = min(part.low for part in each), max(part.high for part in each)
            share = sum(part.time_share for part in each)
            found.append(self._part(EXPERTS, round(macs), cost, None, low, high, share))
        gains = {part.name: part.gain for part in (*found[:2], found[-1]) if part.gain is not None}
        most = max(gains, key=lambda name: gains[name]) if len(gains) > 1 else None  # alone, none has the most
        return [replace(part, most=part.name == most) for part in found]

    def _part(self, name: str, macs: float, cost: float, median: float | None, *ends_and_share: float) -> Part:
        gmacs = _gmacs(macs, cost, self.unit)
        of_best = {} if gmacs is None else {kind: gmacs / best for kind, best in best_products(self.results).items()}
        low, high, share = ends_and_share
        own = of_best.get(native_dtype(self.one.recipe))
        gain = None if own is None else share * max(0.0, 1 - own)
        return Part(name, macs, cost, median, low, high, share, gmacs, of_best, gain)


def build(results: Sequence[Results], names: Sequence[str] | None = None) -> list[Series]:
    """Return every set of every file in their order.

    Raises:
        UsageError: not a name for each file.
    """
    found: list[Series] = []
    for number, (file, labels) in enumerate(zip(results, set_labels(results, file_names(results, names)), strict=True)):
        for one, label in zip(file.sets, labels, strict=True):
            found.append(Series(number, len(found), file, one, label))
    return found


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """(cost, accuracy) of each -> indices of those that no other beats, in the order of their cost.

    One beats another if it is no worse in both and better in one. Of equals, all stay.
    """
    kept: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not kept or points[i][1] > points[kept[-1]][1] or points[i] == points[kept[-1]]:
            kept.append(i)
    return kept


def best_products(results: Results) -> dict[str, float]:
    """Return dtype -> GMAC/s of the fastest large matrix product."""
    limits = results.limits if results.unit.is_time else ()
    return {limit.dtype: limit.gmacs for limit in sorted(limits, key=lambda limit: limit.gmacs)}


def native_dtype(recipe: str) -> str:
    """Return the dtype in which most of a recipe's arithmetic is done."""
    return "int8" if recipe.startswith("int8") else "fp32"


def _gmacs(macs: float, cost: float, unit: Unit) -> float | None:
    return macs / cost / (unit.seconds * 1e9) if cost and unit.seconds else None
