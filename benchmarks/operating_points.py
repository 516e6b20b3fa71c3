"""Every measured operating point on two halves of the validation images: to choose on one and to report on the other.

Axis letters: N images, T timed images, R rounds, C candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_moe.benchmarks import prices
from edge_moe.benchmarks.bootstrap import halves, interval_of_quantile, intervals_of_means
from edge_moe.benchmarks.matching import Match
from edge_moe.benchmarks.results import PointCosts
from edge_moe.errors import DataError
from edge_moe.evaluate import Decisions

__all__ = ["Candidate", "Figure", "Figures", "Quantity", "Statistic", "candidates"]

Quantity: TypeAlias = Literal["accuracy", "drop", "exit_rate", "macs", "cost"]
Statistic: TypeAlias = Literal["mean", "median", "p90"]
Doubles: TypeAlias = npt.NDArray[np.float64]
Groups: TypeAlias = npt.NDArray[np.integer]

_QUANTILES: dict[Statistic, float] = {"median": 0.5, "p90": 0.9}


@dataclass(frozen=True)
class Figure:
    """A value over the images of one half, and its 95% interval."""

    value: float
    low: float
    high: float


# A quantity that is not known is absent: no labels, no part's cost, no timed image in the half.
Figures: TypeAlias = Mapping[Quantity, Figure]


@dataclass(frozen=True)
class Candidate:
    """One operating point.

    `accuracy` and `exit_rate` are shares, `drop` is in percentage points against tau = 0 at the smallest max_experts
    that was measured, `macs` are of the mean image, `cost` is in the results' unit.
    """

    tau: float
    max_experts: int
    measured: bool  # whether `cost` is of whole predictions; False: of the parts that the images ran
    a: Figures  # of the half that is chosen on
    b: Figures  # of the half that is reported


@dataclass(frozen=True)
class _Columns:
    """One candidate, image by image."""

    known: dict[Quantity, Doubles]  # [N] each, all but the cost
    cost: Doubles  # [N], or [T] of timed images
    image: npt.NDArray[np.intp]  # index of the image of each cost


def candidates(match: Match, statistic: Statistic, seed: int) -> tuple[Candidate, ...]:
    """Return the measured operating points by tau, then by max_experts, with their figures on both halves.

    Args:
        match: results of the bundle's set.
        statistic: of the cost over images; of an image it is the median over rounds.
        seed: of the split into halves and of the resampling.

    Raises:
        DataError: there are fewer than two images.
    """
    results, manifest = match.results, match.bundle.manifest
    if results.images < 2:
        raise DataError(f"{match.file} has {results.images} image; expected two at least: to choose on, and to report")
    # The answers of a network that learned nothing say nothing about tau.
    labels = np.array(results.labels) if results.labels is not None and manifest.trained else None
    groups = results.grouping
    if groups is not None and len(np.unique(groups)) < 2:
        raise DataError(f"{match.file} has images of 1 original; expected two at least: to choose on, and to report")
    in_a = halves(results.images, results.timed, labels, seed, groups)
    trace, parts, macs = match.measured.trace.restored(), prices.costs(match.measured), prices.macs(manifest)
    # By what was measured: the bundle's default may have been changed since by a choice.
    always = trace.at(0.0, min(point.point.max_experts for point in match.measured.points))
    right = None if labels is None else always.predictions == labels

    points = sorted(match.measured.points, key=lambda one: (one.point.tau, one.point.max_experts, one.mean))
    columns = []
    for point in points:
        decisions = trace.at(point.point.tau, point.point.max_experts)
        known: dict[Quantity, Doubles] = {
            "exit_rate": decisions.exited.astype(np.float64),
            "macs": prices.per_image(decisions, macs),
        }
        if labels is not None and right is not None:
            correct = (decisions.predictions == labels).astype(np.float64)
            known |= {"accuracy": correct, "drop": 100 * (right - correct)}
        columns.append(_Columns(known, *_costs(point, decisions, parts, results.timed)))

    a, b = (_figures(columns, half, statistic, seed, groups) for half in (in_a, ~in_a))
    return tuple(
        Candidate(point.point.tau, point.point.max_experts, _is_measured(point), *both)
        for point, *both in zip(points, a, b, strict=True)
    )


def _is_measured(point: PointCosts) -> bool:
    return point.raw is not None and bool(point.raw[0])


def _costs(
    point: PointCosts, decisions: Decisions, parts: dict[str, float], timed: tuple[int, ...]
) -> tuple[Doubles, npt.NDArray[np.intp]]:
    if point.raw is not None and _is_measured(point):
        return np.median(np.array(point.raw), axis=0), np.array(timed, dtype=np.intp)
    return prices.per_image(decisions, parts), np.arange(len(decisions.predictions))


def _figures(
    columns: list[_Columns], half: npt.NDArray[np.bool_], statistic: Statistic, seed: int, groups: Groups | None
) -> list[Figures]:
    """Return what each candidate does on the images of `half` [N]; all means over the same images go together."""
    names = tuple(columns[0].known)  # of every candidate the same
    of_half = None if groups is None else groups[half]
    means = iter(_means([one.known[name][half] for one in columns for name in names], seed, of_half))
    figures: list[dict[Quantity, Figure]] = [{name: next(means) for name in names} for _ in columns]

    costs = [one.cost[half[one.image]] for one in columns]
    for size in {len(values) for values in costs} - {0}:  # 0: no image of this half was timed
        found = {place: values for place, values in enumerate(costs) if len(values) == size}
        summed = _means if statistic == "mean" else partial(_quantiles, q=_QUANTILES[statistic])
        # Costs of one length are of the same images.
        image = columns[next(iter(found))].image
        of_costs = None if groups is None else groups[image[half[image]]]
        for place, figure in zip(found, summed(list(found.values()), seed, of_costs), strict=True):
            figures[place]["cost"] = figure
    return list(figures)


def _means(values: list[Doubles], seed: int, groups: Groups | None) -> list[Figure]:
    table = np.stack(values, axis=1)
    low, high = intervals_of_means(table, seed, groups=groups)
    return [Figure(*map(float, one)) for one in zip(table.mean(axis=0), low, high, strict=True)]


def _quantiles(values: list[Doubles], seed: int, groups: Groups | None, q: float) -> list[Figure]:
    return [Figure(float(np.quantile(one, q)), *interval_of_quantile(one, q, seed, groups=groups)) for one in values]
