"""The numbers of a report: one series for each set of each file, one point for each operating point. No drawing.

Axis letters: N validation images, K experts, R rounds, T timed images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edge_moe.benchmarks.report.labels import file_names, set_labels
from edge_moe.benchmarks.results import PartCosts, PointCosts, Results, SetResults, Summary, Unit, summary
from edge_moe.bundle import expert_name
from edge_moe.trace import Trace

__all__ = ["Part", "Point", "Series", "build", "front"]


@dataclass(frozen=True)
class Point:
    """One operating point of one set."""

    costs: PointCosts
    spread: Summary | None  # of all raw samples; None: only parts were run
    gate_share: float  # of the validation images, how many ran the gate
    expert_shares: tuple[float, ...]  # [K] of the validation images, how many woke expert k

    @property
    def tau(self) -> float:
        """The threshold."""
        return self.costs.point.tau

    @property
    def max_experts(self) -> int:
        """How many experts an image may wake."""
        return self.costs.point.max_experts

    @property
    def accuracy(self) -> float | None:
        """Over the validation images."""
        return self.costs.point.accuracy


@dataclass(frozen=True)
class Part:
    """One part of one set."""

    name: str
    macs: int
    cost: float
    spread: Summary
    time_share: float  # of a prediction at the middle operating point, as predicted from the parts


@dataclass(frozen=True)
class Series:
    """One set of one file."""

    file: int  # which of the files
    place: int  # of the series in the report: its colour
    results: Results
    one: SetResults
    label: str
    points: tuple[Point, ...]
    parts: tuple[Part, ...]

    @property
    def unit(self) -> Unit:
        """Of all costs."""
        return self.results.unit

    @property
    def plain(self) -> bool:
        """Whether it is a plain network: the base alone, one operating point, nothing that depends on tau."""
        return not self.results.bundle.experts

    @cached_property
    def trace(self) -> Trace:
        """What decides about the N validation images."""
        return self.one.trace.restored()

    @cached_property
    def middle(self) -> Point:
        """The operating point between base only and always an expert: the exit rate nearest one half."""
        return middle(self.points)


def middle(points: Sequence[Point]) -> Point:
    """Return the point whose exit rate is nearest one half, of those with the smallest max_experts."""
    fewest = min(point.max_experts for point in points)
    return min(
        (point for point in points if point.max_experts == fewest),
        key=lambda point: (abs(point.costs.point.exit_rate - 0.5), point.tau),
    )


def build(results: Sequence[Results], names: Sequence[str] | None = None) -> list[Series]:
    """Return every set of every file in their order.

    Raises:
        UsageError: not a name for each file.
    """
    labels = set_labels(results, file_names(results, names))
    found: list[Series] = []
    for number, file in enumerate(results):
        for one, label in zip(file.sets, labels[number], strict=True):
            trace = one.trace.restored()
            points = tuple(_point(costs, trace) for costs in one.points)
            timed = trace.rows(np.array(file.timed, dtype=np.int64)) if file.timed else trace
            parts = _parts(one, timed, middle(points))
            found.append(Series(number, len(found), file, one, label, points, parts))
    return found


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """(cost, accuracy) of each -> indices of those that no other beats, in the order of their cost.

    One beats another if it is no worse in both and better in one. Of equals, all stay.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    kept: list[int] = []
    best = -np.inf
    for i in order:
        cost, accuracy = points[i]
        if accuracy > best or (kept and (cost, accuracy) == points[kept[-1]]):
            kept.append(i)
            best = accuracy
    return kept


def _point(costs: PointCosts, trace: Trace) -> Point:
    routed = trace.at(costs.point.tau, costs.point.max_experts)
    return Point(
        costs=costs,
        spread=summary(costs.raw) if costs.raw is not None and any(costs.raw) else None,
        gate_share=float(routed.gate_ran.mean()),
        expert_shares=tuple(routed.active.mean(axis=0).tolist()),
    )


def _parts(one: SetResults, timed: Trace, at: Point) -> tuple[Part, ...]:
    """[T] trace of the timed images -> the parts, base and gate first."""
    routed = timed.at(at.tau, at.max_experts)
    runs = {"base": 1.0, "gate": float(routed.gate_ran.mean())}
    runs |= {expert_name(k): share for k, share in enumerate(routed.active.mean(axis=0).tolist())}
    spent = {part.part: runs.get(part.part, 0.0) * part.cost for part in one.parts}
    total = sum(spent.values())
    return tuple(
        Part(part.part, part.macs, part.cost, summary(part.raw), spent[part.part] / total if total else 0.0)
        for part in sorted(one.parts, key=_order)
    )


def _order(part: PartCosts) -> tuple[int, str]:
    first = ("base", "gate")
    return (first.index(part.part) if part.part in first else len(first), part.part)
