"""What images cost, by hand."""

from __future__ import annotations

import numpy as np

from edge_moe.benchmarks.prices import per_image
from edge_moe.evaluate import Decisions

# The gate did not run; it ran and the image exits; expert 1; both.
DECISIONS = Decisions(
    np.zeros(4, dtype=np.int64),
    np.array([[0, 0], [0, 0], [0, 1], [1, 1]], dtype=bool),
    np.array([False, True, True, True]),
)


def test_base_gate_and_active_experts():
    price = {"base": 100.0, "gate": 1.0, "expert_00": 10.0, "expert_01": 20.0}
    assert per_image(DECISIONS, price).tolist() == [100, 101, 121, 131]


def test_a_price_for_each_image():
    price = {part: np.arange(4.0) * scale for part, scale in zip(("base", "gate"), (1, 10), strict=True)}
    price |= {"expert_00": np.full(4, 100.0), "expert_01": np.full(4, 1000.0)}
    assert per_image(DECISIONS, price).tolist() == [0, 11, 1022, 1133]
