"""Every measured operating point on two halves of the validation images: to choose on one and to report on the other.

Axis letters: N images, T timed images, R rounds, C candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_moe.benchmarks import prices
from edge_moe.benchmarks.decide.halves import halves
from edge_moe.benchmarks.decide.matching import Match
from edge_moe.benchmarks.measured import PointCosts
from edge_moe.errors import DataError
from edge_moe.evaluate import Decisions
from edge_moe.intervals import intervals_of_means, intervals_of_quantiles

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
    measured: bool
    cost: Doubles  # what the statistic is of: [T] or [R T] of timed images, [N] where it is predicted
    image: npt.NDArray[np.intp]  # index of the image of each cost: alike in all measured candidates, and in all others


def candidates(match: Match, statistic: Statistic, seed: int, against: Match | None = None) -> tuple[Candidate, ...]:
    """Return the measured operating points by tau, then by max_experts, with their figures on both halves.

    Args:
        match: results of the bundle's set.
        statistic: of the cost. The mean is that over images of each one's median over rounds; median and p90 are of
            all predictions, of every round of every timed image. Where predictions were not measured they are sums of
            what the parts cost, for a quantile as `simulate` has it: of one raw sample of each part.
        seed: of the split into halves, of the resampling and of the samples that are drawn.
        against: a set of the same results whose accuracy at tau = 0 a drop is counted from; None: the set itself.

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
    trace, macs, mean = match.measured.decisions, manifest.macs, statistic == "mean"
    parts = match.measured.prices if mean else prices.draws(match.measured.samples, results.images, seed)
    # By what was measured: the bundle's default may have been changed since by a choice.
    reference = (against or match).measured
    always = reference.decisions.at(0.0, min(point.point.max_experts for point in reference.points))
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
        columns.append(_Columns(known, _is_measured(point), *_costs(point, decisions, parts, results.timed, mean)))

    a, b = (_figures(columns, half, statistic, seed, groups) for half in (in_a, ~in_a))
    return tuple(
        Candidate(point.point.tau, point.point.max_experts, _is_measured(point), *both)
        for point, *both in zip(points, a, b, strict=True)
    )


def _is_measured(point: PointCosts) -> bool:
    return point.raw is not None


def _costs(
    point: PointCosts,
    decisions: Decisions,
    parts: Mapping[str, float] | Mapping[str, Doubles],
    timed: tuple[int, ...],
    mean: bool,
) -> tuple[Doubles, npt.NDArray[np.intp]]:
    """Return what the statistic is of, and the image of each."""
    if point.raw is None:
        return prices.per_image(decisions, parts), np.arange(len(decisions.predictions))
    raw, images = np.array(point.raw), np.array(timed, dtype=np.intp)  # [R, T] and [T]
    return (np.median(raw, axis=0), images) if mean else (raw.ravel(), np.tile(images, len(raw)))


def _figures(
    columns: list[_Columns], half: npt.NDArray[np.bool_], statistic: Statistic, seed: int, groups: Groups | None
) -> list[Figures]:
    """Return what each candidate does on the images of `half` [N]; all figures over the same images go together."""
    names = tuple(columns[0].known)  # of every candidate the same
    table = np.stack([one.known[name][half] for one in columns for name in names], axis=1)
    means = iter(_summed(table, "mean", seed, None if groups is None else groups[half]))
    figures: list[dict[Quantity, Figure]] = [{name: next(means) for name in names} for _ in columns]

    for measured in (True, False):
        places = [place for place, one in enumerate(columns) if one.measured is measured]
        if not places:
            continue
        image = columns[places[0]].image
        here = half[image]
        if not here.any():  # no image of this half was timed
            continue
        # An image is resampled with all its rounds, an original with all its versions.
        units = image if groups is None else groups[image]
        table = np.stack([columns[place].cost[here] for place in places], axis=1)
        for place, figure in zip(places, _summed(table, statistic, seed, units[here]), strict=True):
            figures[place]["cost"] = figure
    return list(figures)


def _summed(table: Doubles, statistic: Statistic, seed: int, groups: Groups | None) -> list[Figure]:
    """Return the statistic of each column of [samples, quantities], with its interval over groups."""
    if statistic == "mean":
        values, (low, high) = table.mean(axis=0), intervals_of_means(table, seed, groups=groups)
    else:
        q = _QUANTILES[statistic]
        values, (low, high) = np.quantile(table, q, axis=0), intervals_of_quantiles(table, q, seed, groups=groups)
    return [Figure(*map(float, one)) for one in zip(values, low, high, strict=True)]
