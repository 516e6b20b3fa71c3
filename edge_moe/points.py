"""Operating points: what one setting makes of many samples. Forms intervals, and so needs scipy as `intervals` does.

Axis letters: N samples.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edge_moe.bundle import OperatingPoint, expert_name
from edge_moe.evaluate import Decisions
from edge_moe.intervals import accuracy_interval

__all__ = ["operating_point"]


def operating_point(
    routed: Decisions,
    labels: npt.NDArray[np.integer] | None,
    macs: Mapping[str, int],
    tau: float,
    max_experts: int,
    groups: npt.NDArray[np.integer] | None = None,
) -> OperatingPoint:
    """Summarise one setting.

    Args:
        routed: what `route` made of the samples at this setting.
        labels: [N] index of the right class; None where it is not known: no accuracy.
        macs: part -> its multiply-accumulates.
        tau: of this setting.
        max_experts: of this setting.
        groups: [N] which samples belong together, over which the accuracy's interval is; None: each for itself.
    """
    samples = len(routed.predictions)
    correct = None if labels is None else routed.predictions == labels
    low, high = (None, None) if correct is None else accuracy_interval(correct, groups)
    experts_macs = [macs[expert_name(k)] for k in range(routed.active.shape[1])]
    gate_macs = macs["gate"] if experts_macs else 0
    spent = macs["base"] + gate_macs * routed.gate_ran + routed.active @ np.array(experts_macs, dtype=np.int64)
    return OperatingPoint(
        tau=tau,
        max_experts=max_experts,
        samples=samples,
        exit_rate=float(routed.exited.mean()),
        mean_macs=float(spent.mean()),
        accuracy=None if correct is None else int(correct.sum()) / samples,
        accuracy_low=low,
        accuracy_high=high,
    )
