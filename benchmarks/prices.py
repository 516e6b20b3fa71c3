"""What each image costs by the parts that it ran, whatever a part's price is: MACs, milliseconds, cycles.

Royer et al. (BMVC 2022), section 3: the cost of an image is the base's, the gate's if it ran, and its experts'.

Axis letters: N images, K experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_moe.benchmarks.samples import Rows
from edge_moe.bundle import expert_name
from edge_moe.evaluate import Decisions

__all__ = ["Doubles", "Overhead", "draws", "per_image"]

Doubles: TypeAlias = npt.NDArray[np.float64]


def per_image(decisions: Decisions, price: Mapping[str, float] | Mapping[str, int] | Mapping[str, Doubles]) -> Doubles:
    """[N] base + gate where it ran + the experts that ran.

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


def draws(samples: Mapping[str, Rows], images: int, seed: int) -> dict[str, Doubles]:
    """Return part -> [N] raw samples, drawn with replacement; a part's do not depend on what other parts there are.

    Every setting uses the same draws, so that settings differ by what runs, not by luck. Parts are drawn independently
    of each other: a slow moment of the device that lasts over several parts is not in the sum.

    Args:
        samples: part -> its raw samples [R][S].
        images: N.
        seed: of the draws.
    """
    return {
        part: np.random.default_rng([seed, *part.encode()]).choice(np.array(raw).ravel(), images)
        for part, raw in samples.items()
    }
