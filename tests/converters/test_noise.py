"""Decibels by hand."""

from __future__ import annotations

import pytest

from edge_moe.converters.noise import NO_NOISE_DB, db, decibels, ratio


def test_ratios_in_decibels():
    assert ratio(1, 100) == 0.01
    assert decibels(0.01) == pytest.approx(20)
    assert decibels(ratio(0, 3)) == NO_NOISE_DB
    assert decibels(ratio(3, 0)) == -NO_NOISE_DB


def test_what_stands_for_infinity_is_no_number_to_a_person():
    assert [db(one) for one in (30.94, -3.0, NO_NOISE_DB, -NO_NOISE_DB)] == ["30.9", "-3.0", "no noise", "no signal"]
    assert [db(one, " dB") for one in (30.94, NO_NOISE_DB)] == ["30.9 dB", "no noise"]
