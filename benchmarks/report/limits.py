"""How far each part is from what the machine can do, and where the most is to be gained. Numbers only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_moe.benchmarks.report.series import Part, Series
from edge_moe.benchmarks.results import Results

__all__ = ["EXPERTS", "Speed", "best_products", "native_dtype", "speeds"]

EXPERTS = "experts"  # the name of all experts together


@dataclass(frozen=True)
class Speed:
    """How fast a part, or all experts together, work."""

    name: str
    macs: int  # of one run; of all experts together: the mean
    cost: float  # likewise
    gmacs: float | None  # achieved, 10^9 MACs a second; None: costs are not times
    of_best: dict[str, float]  # dtype -> achieved / the machine's best product
    time_share: float  # of a prediction at the middle operating point
    gain: float | None  # of that prediction's time, what would go if the part reached the best of its dtype
    most: bool  # whether nothing has more to gain


def best_products(results: Results) -> dict[str, float]:
    """Return dtype -> GMAC/s of the fastest large matrix product; empty where costs are not times."""
    found: dict[str, float] = {}
    if results.unit != "ms":
        return found
    for limit in results.limits:
        median = float(np.median(limit.raw)) if limit.raw else 0.0
        if median > 0:
            found[limit.dtype] = max(found.get(limit.dtype, 0.0), _gmacs(limit.macs, median))
    return found


def native_dtype(recipe: str) -> str:
    """Return the dtype in which most of a recipe's arithmetic is done."""
    return "int8" if recipe.startswith("int8") else "fp32"


def speeds(one: Series) -> list[Speed]:
    """Return base, gate, every expert, and all experts together where there are several.

    What can be gained is said of base, gate and experts together: the experts are one graph with other weights.
    """
    best = best_products(one.results)
    experts = [part for part in one.parts if part.name not in ("base", "gate")]
    rows = [(part.name, part.macs, part.cost, part.time_share) for part in one.parts]
    if len(experts) > 1:
        rows.append((EXPERTS, round(_mean(experts, "macs")), _mean(experts, "cost"), _total(experts)))
        judged = {"base", "gate", EXPERTS}
    else:
        judged = {part.name for part in one.parts}
    dtype = native_dtype(one.one.recipe)
    found = []
    for name, macs, cost, share in rows:
        timed = one.results.unit == "ms" and cost > 0
        achieved = _gmacs(macs, cost) if timed else None
        of_best = {} if achieved is None else {kind: achieved / value for kind, value in best.items()}
        gain = share * max(0.0, 1 - of_best[dtype]) if dtype in of_best else None
        found.append(Speed(name, macs, cost, achieved, of_best, share, gain, most=False))
    gains = {row.name: row.gain for row in found if row.name in judged and row.gain is not None}
    winner = max(gains, key=lambda name: gains[name]) if len(gains) > 1 else None  # alone, none has the most
    return [row if row.name != winner else Speed(**{**vars(row), "most": True}) for row in found]


def _gmacs(macs: float, ms: float) -> float:
    return macs / ms / 1e6


def _mean(parts: list[Part], what: str) -> float:
    return float(np.mean([getattr(part, what) for part in parts]))


def _total(parts: list[Part]) -> float:
    return sum(part.time_share for part in parts)
