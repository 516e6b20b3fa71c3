"""The numbers of a report, by hand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_moe.benchmarks.report.series import build, front, middle
from edge_moe.benchmarks.results import StoredTrace
from tests.benchmarks.made import make


@pytest.mark.parametrize(
    ("points", "kept"),
    [
        ([], []),
        ([(1.0, 0.5)], [0]),
        ([(2.0, 0.9), (1.0, 0.5), (3.0, 0.8)], [1, 0]),  # the last costs more and is right less often
        ([(1.0, 0.5), (1.0, 0.6)], [1]),  # at one cost, the better
        ([(1.0, 0.5), (2.0, 0.5)], [0]),  # at one accuracy, the cheaper
        ([(1.0, 0.5), (2.0, 0.7), (1.0, 0.5)], [0, 2, 1]),  # of equals, all
    ],
)
def test_pareto_front_by_hand(points, kept):
    assert front(points) == kept


grid = st.integers(0, 4).map(float)


@given(st.lists(st.tuples(grid, grid), max_size=12))
def test_the_front_is_what_no_other_beats(points):
    def beats(a, b):
        return a[0] <= b[0] and a[1] >= b[1] and a != b

    best = {i for i, one in enumerate(points) if not any(beats(other, one) for other in points)}
    assert set(front(points)) == best
    assert len(front(points)) == len(best)


def hand_made():
    """Four images, two experts: the gate prefers expert 0 for the first two, and doubt falls from image to image."""
    results = make(images=4, timed=2, rounds=2, experts=2, classes=3, sets=(("litert", "int8"),), taus=(0.0, 0.35, 1.0))
    stored = StoredTrace(
        max_phi=(0.5, 0.5, 0.625, 1.0),
        gate=((0.75, 0.25), (0.75, 0.25), (0.125, 0.875), (0.25, 0.75)),
        answers=((0, 1, 1), (0, 0, 0), (2, 2, 2), (1, 1, 1)),
    )
    (one,) = results.sets
    one = msgspec.structs.replace(one, trace=stored)
    return msgspec.structs.replace(results, sets=(one,), timed=(0, 3))


def test_shares_by_hand():
    (one,) = build([hand_made()])
    always, half, never = one.points
    assert (always.gate_share, always.expert_shares) == (1.0, (0.5, 0.5))
    # alpha of the first choices: 0.375, 0.375, 0.328, 0; the whole doubt of images 0 to 2 is at least 0.35.
    assert (half.gate_share, half.expert_shares) == (0.75, (0.5, 0.0))
    assert (never.gate_share, never.expert_shares) == (0.0, (0.0, 0.0))


def test_shares_of_time_add_up_to_one():
    (one,) = build([hand_made()])
    assert [part.name for part in one.parts] == ["base", "gate", "expert_00", "expert_01"]
    assert sum(part.time_share for part in one.parts) == pytest.approx(1)
    # Of the two timed images, one runs the gate and expert 0 at tau 0.35, the other neither.
    routed = {point.tau: point for point in one.points}
    assert one.middle in routed.values()
    if one.middle.tau == 0.35:
        base, gate, first, second = (part.cost for part in one.parts)
        assert one.parts[0].time_share == pytest.approx(base / (base + gate / 2 + first / 2))
        assert one.parts[3].time_share == 0
        assert second > 0


def test_the_middle():
    points = build([make(max_experts=(1, 2))])[0].points
    found = middle(points)
    assert found.max_experts == 1
    nearest = min(abs(point.costs.point.exit_rate - 0.5) for point in points if point.max_experts == 1)
    assert abs(found.costs.point.exit_rate - 0.5) == nearest
    assert middle([points[0]]) is points[0]


def test_spreads_are_of_all_samples():
    for one in build([make()]):
        for point in one.points:
            flat = np.ravel(point.costs.raw)
            assert point.spread.median == pytest.approx(np.median(flat))
            assert point.spread.p90 == pytest.approx(np.percentile(flat, 90))
    for one in build([make(raw=False)]):
        assert all(point.spread is None for point in one.points)
