"""Picking tau and max_experts from measured operating points: chosen on one half of the images, promised on the other.

A point that was picked because it looked good on some images looks better on these than it is. So the promise is
measured on images that had no say in the choice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_moe.benchmarks.decide.matching import Match
from edge_moe.benchmarks.decide.operating_points import Candidate, Quantity, Statistic, candidates
from edge_moe.benchmarks.units import Unit
from edge_moe.errors import DataError, UsageError

__all__ = ["Bound", "Choice", "Wish", "choose", "choose_set"]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What an operating point should keep to. None: does not matter."""

    max_cost: float | None = None  # in the unit of the results
    max_latency_ms: float | None = None  # the same, where that unit is a time
    max_macs: float | None = None  # multiply-accumulates of the mean image
    max_accuracy_drop: float | None = None  # percentage points against tau = 0
    exit_rate: float | None = None  # at least; a share of the images


@dataclass(frozen=True)
class Bound:
    """One wish."""

    quantity: Quantity
    value: float
    at_least: bool = False

    def miss(self, found: float) -> float:
        """Return how far `found` is on the wrong side, in the quantity's unit; 0 where the wish holds."""
        return max(0.0, self.value - found if self.at_least else found - self.value)

    def relative_miss(self, found: float) -> float:
        """Return the same as a share of the wish; a drop's of one point at least, as wishes near 0 are usual."""
        return self.miss(found) / (max(self.value, 1.0) if self.quantity == "drop" else self.value or 1.0)


@dataclass(frozen=True)
class Choice:
    """What was chosen, and from what."""

    unit: Unit
    statistic: Statistic
    bounds: tuple[Bound, ...]
    candidates: tuple[Candidate, ...]
    chosen: Candidate | None  # None: no candidate satisfies every wish
    reason: str  # why this one; or what comes closest, and by how much it misses
    notes: tuple[str, ...]  # what half B has to say about the wishes

    def name(self, quantity: Quantity) -> str:
        """Return what people call a quantity."""
        cost = f"{self.statistic} {'latency' if self.unit.is_time else 'cost'}"
        names: dict[Quantity, str] = {"drop": "accuracy drop", "exit_rate": "exit rate", "macs": "mean MACs"}
        return cost if quantity == "cost" else names.get(quantity, quantity)

    def text(self, quantity: Quantity, value: float) -> str:
        """Return a value with its unit."""
        if quantity == "cost":
            return f"{self.unit.whole(value)} {self.unit.name}"
        if quantity == "macs":
            return f"{np.format_float_positional(value / 1e6, precision=4, fractional=False, trim='-')} M"
        return f"{value:.3g} points" if quantity == "drop" else f"{100 * value:.4g}%"


def choose(
    match: Match, wish: Wish, *, statistic: Statistic = "mean", seed: int = 0, against: Match | None = None
) -> Choice:
    """Pick the operating point that satisfies every wish on half A and is best there; see how it does on half B.

    Best is the cheapest where an accuracy drop is given, else the most accurate. Where accuracy is not known, it is the
    one with the most expert use: the nearest to what the wishes allow. Cheap is by cost; by MACs where one half's is
    not known.

    Args:
        match: results of the bundle's set.
        wish: what to keep to, at least one thing.
        statistic: of the cost, see `candidates`.
        seed: of the split into halves and of the intervals.
        against: a set of the same results whose accuracy at tau = 0 a drop is counted from; None: the set itself.

    Raises:
        UsageError: no wish, a wish that is out of range, or a latency where the results are in another unit; or the
            bundle is a plain network.
        DataError: an accuracy drop where accuracy is not known, or fewer than two images.
    """
    if not match.bundle.manifest.experts:
        raise UsageError(
            f"{match.bundle.path} is a plain network: there is nothing to choose, for without experts every image gets "
            "the base's answer at any tau; convert a mixture to choose for"
        )
    bounds = _bounds(wish, match)
    found = candidates(match, statistic, seed, against)
    labelled = "accuracy" in found[0].a
    if wish.max_accuracy_drop is not None and not labelled:
        why = "has no labels" if match.bundle.manifest.trained else "is of an UNTRAINED network"
        raise DataError(
            f"{match.file} {why}, so that its accuracy is not known; measure a trained bundle with labelled images "
            "('edge-moe bench --data'), or leave --max-accuracy-drop away"
        )

    by = _by(bounds, found)
    ranked = sorted(found, key=lambda one: _rank(one, by, costed=all("cost" in c.a for c in found)))
    choice = Choice(match.results.unit, statistic, bounds, found, None, "", ())
    satisfying = [one for one in ranked if not any(bound.miss(one.a[bound.quantity].value) for bound in bounds)]
    if not satisfying:
        return dataclasses.replace(choice, reason=_closest(choice, ranked))
    chosen = _plainest(satisfying)
    best = {
        "drop": "the cheapest on half A that satisfies the wish",
        "accuracy": "the most accurate on half A that satisfies the wish",
        "use": "accuracy is not known, so the one on half A that uses experts most within the wish",
    }[by]
    return dataclasses.replace(choice, chosen=chosen, reason=best, notes=_notes(choice, chosen))


def choose_set(
    matches: Sequence[Match], wish: Wish, *, statistic: Statistic = "mean", seed: int = 0
) -> tuple[int | None, list[Choice]]:
    """Pick set, tau and max_experts together: of what `choose` picks in each set, the best on half A.

    An accuracy drop is counted from the same answers for all: those of the first set in fp32 at tau = 0, or of the
    first set where none is. Else a set that is less accurate at every tau would seem to lose nothing.

    Args:
        matches: sets of a bundle in the same results, at least one.
        wish: as of `choose`.
        statistic: as of `choose`.
        seed: as of `choose`.

    Returns:
        Which of `matches` it is, None where no set satisfies every wish; and the choice in each.

    Raises:
        UsageError, DataError: as `choose`.
    """
    against = next((one for one in matches if one.artifacts.key.is_float), matches[0])
    choices = [choose(one, wish, statistic=statistic, seed=seed, against=against) for one in matches]
    costed = all("cost" in one.a for choice in choices for one in choice.candidates)

    def rank(index: int) -> tuple[float, ...]:
        chosen = choices[index].chosen
        assert chosen is not None
        cost = (chosen.a["cost"].value,) if costed else ()  # where accuracy is not known, sets differ in nothing else
        return (*_rank(chosen, _by(choices[index].bounds, choices[index].candidates), costed=costed), *cost)

    able = [index for index, choice in enumerate(choices) if choice.chosen is not None]
    return min(able, key=rank, default=None), choices


def _by(bounds: Sequence[Bound], found: Sequence[Candidate]) -> str:
    """Return what candidates are ranked by."""
    if any(bound.quantity == "drop" for bound in bounds):
        return "drop"
    return "accuracy" if "accuracy" in found[0].a else "use"


def _bounds(wish: Wish, match: Match) -> tuple[Bound, ...]:
    """Return the wishes in the units of the results, checked."""
    unit = match.results.unit
    if wish.max_cost is not None and wish.max_latency_ms is not None:
        raise UsageError("--max-latency-ms and --max-cost are both given; expected one of them")
    if wish.max_latency_ms is not None and not unit.is_time:
        raise UsageError(f"{match.file} is in {unit.name}, not in ms; use --max-cost with a number of {unit.name}")
    for option, value, low, high in (
        ("--max-cost", wish.max_cost, math.ulp(0.0), math.inf),
        ("--max-latency-ms", wish.max_latency_ms, math.ulp(0.0), math.inf),
        ("--max-macs", wish.max_macs, math.ulp(0.0), math.inf),
        ("--max-accuracy-drop", wish.max_accuracy_drop, 0.0, 100.0),
        ("--exit-rate", wish.exit_rate, 0.0, 1.0),
    ):
        if value is not None and not (low <= value <= high and math.isfinite(value)):
            expected = "above 0" if high == math.inf else f"from {low:g} to {high:g}"
            raise UsageError(f"{option} is {value}; expected a number {expected}")
    if not unit.less_is_better:
        raise UsageError(f"{match.file} is in {unit.name}, of which more is better: there is no cheapest to choose")
    cost, one_ms = wish.max_cost, unit.milliseconds(1)
    if wish.max_latency_ms is not None and one_ms:
        cost = wish.max_latency_ms / one_ms
    upper: dict[Quantity, float | None] = {"cost": cost, "macs": wish.max_macs, "drop": wish.max_accuracy_drop}
    bounds = [Bound(quantity, value) for quantity, value in upper.items() if value is not None]
    if wish.exit_rate is not None:
        bounds.append(Bound("exit_rate", wish.exit_rate, at_least=True))
    if not bounds:
        raise UsageError(
            "nothing to choose by; give at least one of --max-latency-ms, --max-cost, --max-macs, "
            "--max-accuracy-drop and --exit-rate, or --promise"
        )
    return tuple(bounds)


def _rank(one: Candidate, by: str, *, costed: bool) -> tuple[float, ...]:
    """Return what is smaller for a better candidate; tau and max_experts last, so that nothing hangs on an order."""
    a = {quantity: figure.value for quantity, figure in one.a.items()}
    if by == "use":
        return (-a["macs"], one.tau, -one.max_experts)
    price = (*((a["cost"],) if costed else ()), a["macs"])
    first = price if by == "drop" else (-a["accuracy"], *price)
    return (*first, a["drop"], -one.tau, one.max_experts)


def _plainest(ranked: Sequence[Candidate]) -> Candidate:
    """Return the best candidate or, of those that decide as it does, that with the fewest max_experts and smallest tau.

    They differ by the noise of timing alone; the smallest tau still asks an expert where other images need one.
    """
    best = ranked[0]
    alike = [one for one in ranked if all(one.a[q] == best.a[q] for q in best.a if q != "cost")]
    return min(alike, key=lambda one: (one.max_experts, one.tau))


def _closest(choice: Choice, ranked: Sequence[Candidate]) -> str:
    def miss(one: Candidate) -> float:
        return sum(bound.relative_miss(one.a[bound.quantity].value) for bound in choice.bounds)

    nearest = min(ranked, key=miss)  # the first, hence the best, of equals
    missed = [one for one in choice.bounds if one.miss(nearest.a[one.quantity].value)]
    told = [
        f"its {choice.name(one.quantity)} {'are' if one.quantity == 'macs' else 'is'} "
        f"{choice.text(one.quantity, nearest.a[one.quantity].value)}, your limit was "
        f"{choice.text(one.quantity, one.value)}{' or more' if one.at_least else ''}"
        for one in missed
    ]
    todo = [f"{'ask for less of' if one.at_least else 'allow more'} {choice.name(one.quantity)}" for one in missed]
    return (
        f"no measured point satisfies the wish; tau {nearest.tau:g}, max_experts {nearest.max_experts} comes closest: "
        f"{', '.join(told)}; {' or '.join(todo)}, or measure more points with 'edge-moe bench --tau'"
    )


def _notes(choice: Choice, chosen: Candidate) -> tuple[str, ...]:
    """Return the wishes that half B denies or cannot confirm."""
    notes = []
    for bound in choice.bounds:
        name, wished = choice.name(bound.quantity), choice.text(bound.quantity, bound.value)
        figure = chosen.b.get(bound.quantity)
        if figure is None:
            notes.append(f"{name}: half B has no timed image, so that the wish for {wished} was not checked")
            continue
        value, low, high = (choice.text(bound.quantity, x) for x in (figure.value, figure.low, figure.high))
        between = f"95% interval {low} to {high}"
        includes = figure.low <= bound.value <= figure.high
        if bound.miss(figure.value):
            but = ", which includes the wish" if includes else ""
            notes.append(f"{name}: the wish for {wished} does NOT hold on half B: {value} ({between}{but})")
        elif includes and bound.miss(figure.high if not bound.at_least else figure.low):
            notes.append(f"{name}: the wish for {wished} holds on half B, {value}, but not surely ({between})")
    return tuple(notes)
