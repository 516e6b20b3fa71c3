"""Tolerances: by the table, and of a part that moves when the last bits of its input do."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe.backends import names, native
from edge_moe.converters import recipes
from edge_moe.converters.tolerances import LARGEST, part_tolerance, tolerance

BACKENDS = names()
ONE_STEP = 1 / 255  # of 64 numbers of 8 standard deviations' range, one moves by a 255th of it


def test_every_backend_has_a_row_with_the_processors_that_it_was_seen_on():
    rows = [recipes.book(backend).seen for backend in native()]
    assert all(len(row.processors) > 1 and 0 < row.fp32 < row.int8 for row in rows)
    # Of an NPU's, integers are integers on any of them.
    assert {recipes.book(one).seen.int8 for one in set(BACKENDS) - set(native())} == {0.0}


@pytest.mark.parametrize("backend", BACKENDS)
def test_ten_times_what_was_seen_and_never_less_than_one_step(backend):
    assert tolerance(backend, recipes.FLOAT) == pytest.approx(10 * recipes.book(backend).seen.fp32)
    for name in recipes.book(backend).recipes.keys() - {recipes.FLOAT}:
        assert tolerance(backend, name) == pytest.approx(max(10 * recipes.book(backend).seen.int8, ONE_STEP))
        assert tolerance(backend, name) < 1e-2  # where products saturate, parts are off by 1e-2 or more


def test_one_step_by_hand():
    values = np.random.default_rng(0).standard_normal(64)
    values /= values.std()
    moved = values.copy()
    moved[7] += 8 / 255
    assert np.linalg.norm(moved - values) / np.linalg.norm(values) == pytest.approx(ONE_STEP, rel=0.05)


class Part:
    """Gives what it is fed, rounded to whole numbers where `steps`."""

    def __init__(self, steps):
        self.steps = steps

    def invoke(self, tensor):
        self.result = np.round(tensor) if self.steps else tensor

    def output(self, name):
        return self.result


def test_a_steady_part_has_what_the_table_says():
    x = np.linspace(1.1, 1.4, 64, dtype=np.float32)
    for steps in (False, True):
        assert part_tolerance("onnx", "int8", Part(steps), x, ["y"]) == tolerance("onnx", "int8")


def test_a_part_that_is_on_a_border_has_twice_as_far_as_it_moves():
    x = np.full(64, 3.5, np.float32)  # half of the numbers go to 3, half to 4
    found = part_tolerance("onnx", "int8", Part(True), x, ["y"])
    moved = np.sqrt(32) / np.linalg.norm(np.full(64, 4.0))  # of 64 that were 4, about 32 become 3
    assert found == pytest.approx(2 * moved, rel=0.3)


def test_no_part_may_be_so_far_off_that_zeros_would_pass():
    x = np.full(64, 0.5, np.float32)  # half of the numbers go to 0, half to 1, from 0
    assert part_tolerance("onnx", "int8", Part(True), x, ["y"]) == LARGEST == 0.5
