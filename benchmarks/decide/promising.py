"""A promise made on results: of each set and each max_experts the largest tau that keeps it, and of these the cheapest.

All images of the trace are used, for nothing is chosen by looking: the promise itself pays for the choice.

Axis letters: N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edge_moe.anytime import check_max_experts
from edge_moe.benchmarks import prices
from edge_moe.benchmarks.decide.matching import Match
from edge_moe.bundle import OperatingPoint
from edge_moe.certificates import certify
from edge_moe.digest import answers_digest
from edge_moe.errors import DataError, UsageError
from edge_moe.fingerprints import chose_recipe
from edge_moe.operating import Certificate
from edge_moe.points import operating_point
from edge_moe.promise import ClassBound, Kept, Ladder, Promise, class_bounds, keep
from edge_moe.recalibrate import too_few

__all__ = ["Offer", "offers", "refuse_others_answers"]

Labels: TypeAlias = npt.NDArray[np.integer] | None


@dataclass(frozen=True, eq=False)
class Offer:
    """One set at one max_experts, and the tau at which it keeps the promise."""

    match: Match
    max_experts: int
    families: int  # of how many such it is one
    kept: Kept
    point: OperatingPoint  # on all N images
    cost: float  # of the mean image, predicted from its parts, in the results' unit
    labels: Labels

    @cached_property
    def classes(self) -> list[ClassBound]:
        """The classes, the worst bound first; all hold together."""
        ladder = Ladder.of(self.match.measured.decisions, self.max_experts)
        groups = self.match.results.grouping
        return class_bounds(ladder, self.kept.promise, self.kept.tau, self.labels, groups, self.families)

    @cached_property
    def certificate(self) -> Certificate:
        """What may be written beside the setting."""
        match, names = self.match, self.match.results.fingerprints or ()
        return certify(
            self.kept,
            self.max_experts,
            answers_digest(match.bundle.manifest, match.artifacts),
            names,
            families=self.families,
            chose_recipe=chose_recipe(match.bundle.path, match.artifacts.key.backend, names),
        )


def offers(matches: Sequence[Match], promise: Promise, max_experts: Sequence[int] = ()) -> list[Offer]:
    """Return what keeps a promise, the cheapest first.

    Args:
        matches: sets of a bundle in the same results.
        promise: each set's early exit is held against its own answers at tau = 0 and the same max_experts.
        max_experts: which to compare, at delta / (their number times that of the sets); none: each set's default.

    Raises:
        UsageError: the bundle is a plain network, or a max_experts out of range.
        DataError: labels are needed and not known, answers are another set's, the results do not say which images they
            are of, or these are too few: says what they can promise at most, and how many it takes.
    """
    first = matches[0]
    manifest, results = first.bundle.manifest, first.results
    if not manifest.experts:
        raise UsageError(
            f"{first.bundle.path} is a plain network: without experts every image gets the base's answer at any tau, "
            "and there is nothing to promise; convert a mixture"
        )
    for match in matches:
        refuse_others_answers(match)
    labels = _labels(first, promise)
    if results.fingerprints is None:
        raise DataError(f"{first.file} does not say which images it is of; measure again with 'edge-moe bench'")
    wanted = [
        (match, most)
        for match in matches
        for most in dict.fromkeys(max_experts or (match.bundle.operating(match.artifacts).default_max_experts,))
    ]
    for _, most in wanted:
        check_max_experts(most, manifest.experts)
    found = [_offer(match, promise, most, labels, len(wanted)) for match, most in wanted]
    if not found[0].kept.enough:  # of all alike: they are asked of the same images at the same delta
        raise DataError(f"{first.file}: {too_few(found[0].kept, len(wanted))}")
    return sorted(found, key=lambda one: (one.cost, one.point.mean_macs))


def refuse_others_answers(match: Match) -> None:
    """Raise DataError where the results have another set's answers: nothing can be chosen for the set by them."""
    if match.measured.decided_by is not None:
        raise DataError(
            f"{match.file} has the answers of {match.measured.decided_by} in place of those of {match.label}: a "
            "default cannot be chosen by them; measure without --routing"
        )


def _labels(match: Match, promise: Promise) -> Labels:
    """Return the right classes, where they are known and mean something."""
    results, trained = match.results, match.bundle.manifest.trained
    labels = None if results.labels is None or not trained else np.array(results.labels)
    if labels is None and promise.needs_labels:
        why = "has no labels" if trained else "is of an UNTRAINED network"
        raise DataError(
            f"{match.file} {why}, and '{promise}' needs them; measure a trained bundle with labelled images ('edge-moe "
            "bench --data'), or promise 'changed<=...'"
        )
    return labels


def _offer(match: Match, promise: Promise, most: int, labels: Labels, families: int) -> Offer:
    results, measured = match.results, match.measured
    trace, groups = measured.decisions, results.grouping
    kept = keep(Ladder.of(trace, most), promise, labels, groups, families)
    decisions = trace.at(kept.tau, most)
    cost = prices.per_image(decisions, measured.prices) + measured.overhead(most).per_image(decisions)
    return Offer(
        match=match,
        max_experts=most,
        families=families,
        kept=kept,
        point=operating_point(decisions, labels, match.bundle.manifest.macs, kept.tau, most, groups),
        cost=float(cost.mean()),
        labels=labels,
    )
