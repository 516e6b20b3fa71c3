"""What an expert costs beside the base in every unit, and what a tool tells of parts: by hand."""

from __future__ import annotations

import msgspec

from edge_moe.benchmarks.report import npu
from edge_moe.benchmarks.report.series import build
from edge_moe.benchmarks.report.story import highlight
from edge_moe.benchmarks.units import UNITS, Unit
from edge_moe.benchmarks.wire import Detail
from tests.benchmarks.made import make

INSIDE = Unit(name="inside", words="cycles, inside", symbol="M cycles, inside", per=1e6, deterministic=True)
AT_A_CLOCK = Unit(name="clock", words="milliseconds", deterministic=True, seconds=1e-3)
PRICES = {"base": (4e6, 1e6), "gate": (0.0, 0.0), **{f"expert_{k:02}": (3e6, 0.25e6) for k in range(4)}}


def estimated():
    """The made results, as if an NPU's compiler had told of two memory modes."""
    found = make(images=20, timed=3)
    units = (UNITS["cycles"], INSIDE, AT_A_CLOCK)
    costs = {
        part: {unit.name: (price,) for unit, price in zip(units, (*two, 1.0), strict=True)}
        for part, two in PRICES.items()
    }
    details = {
        "litert/int8": {
            part: (Detail(way="a mode", facts={"flash bytes": 2048, "DRAM bytes": 0, "a note": "text"}),)
            for part in PRICES
        }
    }
    opening = msgspec.structs.replace(
        found.opening, target="npu:one", units=units, provenance={}, limits=(), peers=(), details=details
    )
    sets = tuple(
        msgspec.structs.replace(one, parts=costs, points=(), waking={}, bounds={}) for one in found.lines[0].sets
    )
    line = msgspec.structs.replace(found.lines[0], sets=sets, steps={}, peers=(), limits_ms=())
    return msgspec.structs.replace(found, opening=opening, lines=(line,), rounds_asked=1)


def rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_an_expert_is_another_share_of_the_base_in_every_memory_mode():
    series = build([estimated()], None)[:1]
    table, words = npu.relative(series, ["one"])
    found = rows(table)
    assert [row["in"] for row in found] == ["M multiply-accumulates", "M cycles", "M cycles, inside"]
    _, outside, inside = found
    # 3 / 4 of the base, and of the 7 that an image costs which wakes an expert an exit saves 3; 0.25 of 1.25.
    assert (outside["on"], outside["base"], outside["expert / base"], outside["an exit saves"]) == (
        *("npu:one", "4.000"),
        *("0.75", "42.9%"),
    )
    assert (inside["expert / base"], inside["an exit saves"]) == ("0.25", "20.0%")
    # At tau = 0 every image wakes an expert; of those that exit later, each saves as much.
    point, start = highlight(series[0])
    assert (start.point.exit_rate, point.point.max_experts) == (0, 1)
    expected = 3 * point.point.exit_rate / 7
    assert outside["early exit saves"] == f"{expected:.1%} at tau {point.tau:.3g}"
    assert len(words) == 1, "nothing here is estimated, so that only the first unit is told"
    assert "an expert costs 0.75 of the base" in words[0]
    assert f"early exit saves {expected:.1%} beside tau = 0" in words[0]


def test_what_is_estimated_is_told_in_words_in_every_memory_mode():
    made = estimated()
    opening = msgspec.structs.replace(made.opening, provenance=dict.fromkeys(("cycles", "inside"), "estimated"))
    _, words = npu.relative(build([msgspec.structs.replace(made, opening=opening)], None)[:1], ["one"])
    assert [line.partition(":one, in ")[2].partition(": ")[0] for line in words] == ["cycles", "cycles, inside"]


def test_what_the_tool_told_is_in_kib_and_without_what_is_nothing():
    found = rows(npu.details(build([estimated()], None)[:1], ["one"]))
    assert {row["part"] for row in found} == set(PRICES)
    assert found[0] == {"part": "base", "way": "a mode", "flash bytes": "2.0", "a note": "text"}


def test_files_and_sets_are_named_where_there_are_several():
    two = build([estimated(), estimated()], None)
    for table in (npu.relative(two, ["one", "two"])[0], npu.details(two, ["one", "two"])):
        assert table.columns[:2] == ("file", "set")
        assert {row[0] for row in table.rows} == {"one", "two"}


def test_one_row_says_nothing():
    table, words = npu.relative([], [])
    assert (table.rows, words) == ((), [])
    assert npu.details(build([make(images=20, timed=3)], None), ["one"]).rows == ()
