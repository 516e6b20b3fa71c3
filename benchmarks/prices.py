"""What each image costs by the parts that it ran, whatever a part's price is: MACs, milliseconds, cycles.

Axis letters: N images, K experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_moe.benchmarks.results import SetResults
from edge_moe.bundle import Manifest, expert_name
from edge_moe.evaluate import Decisions

__all__ = ["Overhead", "costs", "macs", "overhead", "per_image"]

Doubles: TypeAlias = npt.NDArray[np.float64]


def per_image(decisions: Decisions, price: Mapping[str, float] | Mapping[str, Doubles]) -> Doubles:
    """[N] base + gate where it ran + the experts that ran (DESIGN.md, section 3).

    Args:
        decisions: of N images.
        price: part -> its price, one number or one an image [N].
    """
    ran = {"base": np.ones_like(decisions.gate_ran)}
    if decisions.active.shape[1]:  # a plain network has neither gate nor experts
        ran["gate"] = decisions.gate_ran
    ran |= {expert_name(k): active for k, active in enumerate(decisions.active.T)}
    total = np.zeros(len(decisions.gate_ran))
    for part, where in ran.items():
        total += where * price[part]
    return total


class Overhead(NamedTuple):
    """What the runtime itself takes for an image beside its parts: the exit rule, and the ensemble where one wakes."""

    exited: float
    awake: float

    def per_image(self, decisions: Decisions) -> Doubles:
        """[N] by whether the image exited."""
        return np.where(decisions.exited, self.exited, self.awake)


def overhead(measured: SetResults, max_experts: int) -> Overhead:
    """Return what predictions cost beyond the sum of their parts, by the ends of the measured points.

    At tau = 1 every image exits, at tau = 0 none does. 0 where the results have no measured prediction there. Of
    points with several max_experts those that are nearest to `max_experts` are taken.
    """
    found = {0.0: 0.0, 1.0: 0.0}
    for end in found:
        there = [one for one in measured.points if one.point.tau == end and one.raw is not None and any(one.raw)]
        if there:
            nearest = min(there, key=lambda one: abs(one.point.max_experts - max_experts))
            found[end] = max(0.0, nearest.mean - nearest.predicted)
    return Overhead(exited=found[1.0], awake=found[0.0])


def macs(manifest: Manifest) -> dict[str, float]:
    """Return part -> multiply-accumulates."""
    return {name: float(part.macs) for name, part in manifest.parts.items()}


def costs(measured: SetResults) -> dict[str, float]:
    """Return part -> what it is said to cost, in the results' unit."""
    return {part.part: part.cost for part in measured.parts}
