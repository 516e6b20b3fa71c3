"""Units: every figure reads by its own unit's record, whatever the unit is."""

from __future__ import annotations

import msgspec
import pytest

from edge_moe.benchmarks.units import MS, UNITS, Unit


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (MS, 0.0612, "0.0612 ms"),
        (MS, 1.5, "1.500 ms"),
        (MS, 120.04, "120.0 ms"),
        (UNITS["cycles"], 1_234_567, "1.235 M cycles"),
        (UNITS["sram_bytes"], 2048, "2.0 KiB SRAM"),
        (UNITS["sram_bytes"], 4722 * 1024, "4,722 KiB SRAM"),
        (Unit(name="sparks", words="sparks"), 12_345, "12,345 sparks"),
    ],
)
def test_a_cost_in_its_own_words(unit, value, text):
    assert unit.text(value) == text


def test_times_are_times_and_counts_are_not():
    assert {name for name, one in UNITS.items() if one.is_time} == {"ms", "us"}
    assert UNITS["us"].milliseconds(1500) == pytest.approx(1.5)
    assert UNITS["cycles"].milliseconds(1500) is None


def test_what_is_counted_repeats_and_what_is_clocked_does_not():
    assert not MS.deterministic
    assert UNITS["instructions"].deterministic


def test_a_unit_travels_as_its_record():
    there = msgspec.json.decode(msgspec.json.encode(UNITS["cycles"]), type=Unit)
    assert there == UNITS["cycles"]
    strange = Unit(name="glows", words="glows of a lamp", less_is_better=False)
    assert msgspec.json.decode(msgspec.json.encode(strange), type=Unit) == strange


@pytest.mark.parametrize("field", ["per", "seconds"])
def test_what_a_unit_cannot_be(field):
    with pytest.raises(msgspec.ValidationError, match="> 0"):
        msgspec.json.decode(f'{{"name":"x","words":"x","{field}":0}}'.encode(), type=Unit)
