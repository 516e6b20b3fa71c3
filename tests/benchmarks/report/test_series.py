"""The numbers of a report, by hand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_moe.benchmarks.report import tables
from edge_moe.benchmarks.report.series import EXPERTS, best_products, build, front, native_dtype
from edge_moe.benchmarks.wire import Limit
from tests.benchmarks.fitted import stored, with_limits, with_recorded
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
    trace = stored(
        max_phi=(0.5, 0.5, 0.625, 1.0),
        gate=((0.75, 0.25), (0.75, 0.25), (0.125, 0.875), (0.25, 0.75)),
        answers=((0, 1, 1), (0, 0, 0), (2, 2, 2), (1, 1, 1)),
    )
    return msgspec.structs.replace(with_recorded(results, trace=trace), timed=(0, 3))


def test_shares_by_hand():
    (one,) = build([hand_made()])
    always, half, never = one.points
    assert (always.decided.gate_share, always.decided.expert_shares) == (1.0, [0.5, 0.5])
    # alpha of the first choices: 0.375, 0.375, 0.328, 0; the whole doubt of images 0 to 2 is at least 0.35.
    assert (half.decided.gate_share, half.decided.expert_shares) == (0.75, [0.5, 0.0])
    assert (never.decided.gate_share, never.decided.expert_shares) == (0.0, [0.0, 0.0])


def test_shares_of_time_add_up_to_one():
    (one,) = build([hand_made()])
    *parts, together = one.parts
    assert [part.name for part in parts] == ["base", "gate", "expert_00", "expert_01"]
    assert together.name == EXPERTS
    assert sum(part.time_share for part in parts) == pytest.approx(1)
    # Of the two timed images, one runs the gate and expert 0 at tau 0.35, the other neither.
    routed = {point.tau: point for point in one.points}
    assert one.middle in routed.values()
    if one.middle.tau == 0.35:
        base, gate, first, second = (part.cost for part in parts)
        assert parts[0].time_share == pytest.approx(base / (base + gate / 2 + first / 2))
        assert parts[3].time_share == 0
        assert second > 0


def test_the_middle():
    (one, *_) = build([make(max_experts=(1, 2))])
    assert one.middle.point.max_experts == 1
    nearest = min(abs(point.point.exit_rate - 0.5) for point in one.points if point.point.max_experts == 1)
    assert abs(one.middle.point.exit_rate - 0.5) == nearest
    (alone, *_) = build([make(taus=(0.3,))])
    assert alone.middle is alone.points[0]


def test_spreads_are_of_all_samples():
    for one in build([make()]):
        for point in one.points:
            flat = np.ravel(point.raw)
            assert point.spread.median == pytest.approx(np.median(flat))
            assert point.spread.p90 == pytest.approx(np.percentile(flat, 90))
    for one in build([make(raw=False)]):
        assert all(point.spread is None for point in one.points)


def limited(*limits, **options):
    return with_limits(make(**options), limits)


def product(dtype, ms, size=100):
    return Limit(dtype=dtype, library="x", shape=(size, size, size)), (ms, ms, 99.0)


def test_the_best_product_counts():
    # 10^6 MACs in half a millisecond: 2 x 10^9 a second.
    found = best_products(limited(product("int8", 0.5), product("int8", 1.0), product("fp32", 2.0)))
    assert found == {"int8": pytest.approx(2.0), "fp32": pytest.approx(0.5)}
    assert best_products(limited()) == {}
    assert best_products(limited(product("int8", 0.5), unit="cycles")) == {}


@pytest.mark.parametrize(
    ("recipe", "dtype"), [("int8", "int8"), ("int8-dynamic", "int8"), ("fp32", "fp32"), ("odd", "fp32")]
)
def test_native_dtype(recipe, dtype):
    assert native_dtype(recipe) == dtype


def test_speed_and_gain_by_hand():
    results = limited(product("int8", 0.01), product("fp32", 0.1), sets=(("litert", "int8"),))  # 100 and 10 GMAC/s
    (one,) = build([results])
    rows = {row.name: row for row in one.parts}
    base = rows["base"]
    assert base.gmacs == pytest.approx(18.85 / one.parts[0].cost)
    assert base.of_best == {"int8": pytest.approx(base.gmacs / 100), "fp32": pytest.approx(base.gmacs / 10)}
    assert base.gain == pytest.approx(base.time_share * (1 - base.gmacs / 100))
    together = rows[EXPERTS]
    experts = [row for name, row in rows.items() if name.startswith("expert_")]
    assert together.time_share == pytest.approx(sum(row.time_share for row in experts))
    assert together.cost == pytest.approx(sum(row.cost for row in experts) / 4)
    assert [name for name, row in rows.items() if row.most] == ["base"]


def test_a_part_faster_than_the_product_has_nothing_to_gain():
    (one,) = build([limited(product("int8", 1000.0), sets=(("litert", "int8"),))])
    assert {row.gain for row in one.parts} == {0.0}


def test_counts_are_no_speed():
    (one,) = build([make(unit="instructions", sets=(("litert", "int8"),))])
    assert all((row.gmacs, row.of_best, row.gain, row.most) == (None, {}, None, False) for row in one.parts)


def test_one_expert_stands_for_itself():
    (one,) = build([make(experts=1, sets=(("litert", "int8"),))])
    assert [row.name for row in one.parts] == ["base", "gate", "expert_00"]
    assert sum(row.most for row in one.parts) == 1


def test_a_product_without_a_kernel_is_not_shown():
    found = limited(product("int8", 1.0), product("int8", 9.9), product("int8", 200.0), product("fp32", 500.0))
    table = tables.limits([found], ["one"])
    assert [row[table.columns.index("median, ms")] for row in table.rows] == ["1.000", "9.900", "500.000"]
