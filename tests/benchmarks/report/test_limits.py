"""How far a part is from the machine's best, by hand."""

from __future__ import annotations

import msgspec
import pytest

from edge_moe.benchmarks.report.limits import best_products, native_dtype, speeds
from edge_moe.benchmarks.report.series import build
from edge_moe.benchmarks.results import Limit
from tests.benchmarks.made import make


def limited(*limits, **options):
    return msgspec.structs.replace(make(**options), limits=limits)


def product(dtype, ms, size=100):
    return Limit(dtype=dtype, library="x", shape=(size, size, size), raw=(ms, ms, 99.0))


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
    rows = {row.name: row for row in speeds(one)}
    base = rows["base"]
    assert base.gmacs == pytest.approx(18.85 / one.parts[0].cost)
    assert base.of_best == {"int8": pytest.approx(base.gmacs / 100), "fp32": pytest.approx(base.gmacs / 10)}
    assert base.gain == pytest.approx(base.time_share * (1 - base.gmacs / 100))
    together = rows["experts"]
    experts = [row for name, row in rows.items() if name.startswith("expert_")]
    assert together.time_share == pytest.approx(sum(row.time_share for row in experts))
    assert together.cost == pytest.approx(sum(row.cost for row in experts) / 4)
    assert [name for name, row in rows.items() if row.most] == ["base"]


def test_a_part_faster_than_the_product_has_nothing_to_gain():
    (one,) = build([limited(product("int8", 1000.0), sets=(("litert", "int8"),))])
    assert {row.gain for row in speeds(one)} == {0.0}


def test_counts_are_no_speed():
    (one,) = build([make(unit="instructions", sets=(("litert", "int8"),))])
    assert all((row.gmacs, row.of_best, row.gain, row.most) == (None, {}, None, False) for row in speeds(one))


def test_one_expert_stands_for_itself():
    (one,) = build([make(experts=1, sets=(("litert", "int8"),))])
    assert [row.name for row in speeds(one)] == ["base", "gate", "expert_00"]
    assert sum(row.most for row in speeds(one)) == 1
