"""What an image costs by each set, asked of a target: what `edge-moe convert` ranks recipes by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_moe.benchmarks.target import Target
from edge_moe.benchmarks.units import Unit
from edge_moe.converters.ranking import Candidates, Cost, Costs, row_of
from edge_moe.errors import UsageError
from edge_moe.progress import Progress

__all__ = ["ROUNDS", "TargetRanker", "of_an_image", "target_row"]

ROUNDS = 21  # at most


def target_row(target: Target) -> str:
    """Return the row of the committed table that is `target`'s: of this processor, or its own."""
    return row_of() if target.is_here else target.row


class TargetRanker:
    """Ranks by what a target measures; an `edge_moe.converters.ranking.Ranker`."""

    measures = True

    def __init__(self, target: Target) -> None:
        """Ask `target`, which is not used before costs are asked for.

        Raises:
            UsageError: it cannot rank, or cannot be used here.
        """
        target = target.ranked_by()
        whole = target.available()[0]
        if not target.ranks or not whole.usable:
            unusable = f"{whole.detail}; choose another device with --for, such as host"
            raise UsageError(
                f"{target.name} cannot rank recipes: {unusable if target.ranks else target.no_ranking}, or take the "
                "committed order with --no-measure"
            )
        self._target = target
        self.row = target_row(target)
        self.where = f"on {'this host' if target.is_here else target.name}"

    def costs(self, candidates: Candidates, progress: Progress) -> Costs:
        """Measure. Raises as `Target.price`."""
        unit, samples = self._target.price(candidates.files, candidates.specs, candidates.inputs, ROUNDS, progress)
        return Costs(unit.shown, {key: of_an_image(parts, candidates.shares, unit) for key, parts in samples.items()})


def of_an_image(parts: Mapping[str, Sequence[Sequence[float]]], shares: Mapping[str, float], unit: Unit) -> Cost:
    """Return what an image costs, over the rounds: of each, the sum over parts of the median price times the share.

    Args:
        parts: part -> round -> price on each input, in `unit`.
        shares: part -> how often it runs for an image.
        unit: the cost is in what it shows.
    """
    rounds = sum(share * np.median(np.asarray(parts[part]), axis=1) for part, share in shares.items())
    p10, median, p90 = (unit.scaled(float(value)) for value in np.percentile(rounds, (10, 50, 90)))
    return Cost(p10, median, p90)
