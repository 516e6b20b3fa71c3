"""Do five runs agree? MLPerf Mobile's own check: five at least, and the slowest at most 5% above the fastest.

Here a run is a round, and what it gives is the mean over images at the bundle's default operating point; of a set that
was not measured there the point that is nearest, and of a target that runs parts only the base.

Axis letters: R rounds, T timed images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge_moe.benchmarks.measured import SetResults
from edge_moe.benchmarks.options import FIVE_RUNS
from edge_moe.benchmarks.samples import Rows

__all__ = ["Apart", "apart", "remarks", "told"]

_MOST = 0.05


class Apart(NamedTuple):
    """How far the rounds of a set lie apart."""

    what: str  # the set, and where it was looked at
    share: float  # slowest / fastest - 1

    @property
    def too_far(self) -> bool:
        """Whether it is more than the check allows."""
        return self.share > _MOST


def apart(sets: Sequence[SetResults]) -> list[Apart]:
    """Return how far the rounds of each set lie apart; nothing where there are fewer than five."""
    found = []
    for one in sets:
        what, raw = _looked_at(one)
        if len(raw) >= FIVE_RUNS:
            means = [float(np.mean(row)) for row in raw]
            found.append(Apart(what, max(means) / min(means) - 1 if min(means) > 0 else 0.0))
    return found


def remarks(found: Sequence[Apart]) -> tuple[str, ...]:
    """Return what there is to say against sets whose rounds lie too far apart."""
    return tuple(
        f"five runs: {one.what} was up to {one.share:.1%} apart from round to round, more than {_MOST:.0%}; measure "
        "again on a quieter, cooler device"
        for one in found
        if one.too_far
    )


def told(found: Sequence[Apart]) -> str:
    """Return how far the rounds of all sets lie apart, in a few words; nothing where it is not known."""
    if not found:
        return ""
    share = max(one.share for one in found)
    return f"up to {share:.1%} apart, more than {_MOST:.0%}" if share > _MOST else f"at most {share:.1%} apart"


def _looked_at(one: SetResults) -> tuple[str, Rows]:
    """Return what is compared, in words, and its samples: [R][T]."""
    points = [point for point in one.points if point.raw is not None]
    if not points:
        return f"the base of {one.label}", next(part.raw for part in one.parts if part.part == "base")
    nearest = min(
        points,
        key=lambda p: (abs(p.point.max_experts - one.default_max_experts), abs(p.tau - one.default_tau)),
    )
    plain = not nearest.point.max_experts
    return one.label + ("" if plain else f" at tau {nearest.tau:.3g}"), nearest.raw or ()
