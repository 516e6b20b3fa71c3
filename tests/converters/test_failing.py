"""What is said of backends that fail: another recipe is advised only where one can help."""

from __future__ import annotations

import pytest

from edge_moe.converters import recipes
from edge_moe.converters.failing import Findings, dropped, problem, problems
from edge_moe.converters.report import Missed
from edge_moe.sets import SetKey

FLOAT, INT8, ALL = (SetKey("litert", name) for name in ("fp32", "int8", "int8-all"))
ONNX = SetKey("onnx", "int8")
SPLIT = Missed("base", "base runs in 2 partitions with 1 node outside: PADV2 of maxpool", False, split=True)
ELSEWHERE = Missed("gate", "gate differs from torch by 3.0e-04", False)
WRONG = Missed("base", "base differs from torch by 3.0e-04", False)
OFF = Missed("base", "base agrees with fp32 on 90.00% of 100 images", True, 6.7)


@pytest.mark.parametrize(
    ("missed", "advice"),
    [
        ({FLOAT: [], INT8: [SPLIT], ALL: []}, "try --recipe litert/int8-all, or add --keep-going"),
        ({FLOAT: [], INT8: [SPLIT], ALL: [SPLIT]}, "try another --recipe, or add --keep-going"),
        ({FLOAT: [], INT8: [SPLIT], ONNX: []}, "try another --recipe, or add --keep-going"),
        ({FLOAT: [ELSEWHERE], INT8: [SPLIT], ALL: []}, "try --recipe litert/int8-all, or add --keep-going"),
        ({FLOAT: [WRONG], INT8: [SPLIT], ALL: []}, "try --recipe litert/int8-all, or add --keep-going"),
        ({FLOAT: [SPLIT], INT8: [SPLIT], ALL: []}, "no recipe changes that, fp32 has it too: replace the module"),
    ],
)
def test_another_recipe_is_advised_where_it_helps(missed, advice):
    text = problem([INT8], Findings(missed, {}))
    assert text.startswith(f"{SPLIT.problem}; {advice}")
    assert text == problems([INT8], Findings(missed, {}))["litert"]


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        ({INT8: [SPLIT], ALL: [], FLOAT: []}, [INT8]),
        ({INT8: [], ALL: [ELSEWHERE], FLOAT: []}, [ALL]),
        ({INT8: [SPLIT], ALL: [SPLIT], FLOAT: []}, []),  # the backend fails
        ({INT8: [SPLIT], ALL: [], FLOAT: [ELSEWHERE]}, []),  # so does it without its reference
        ({INT8: [SPLIT], FLOAT: [], ONNX: []}, []),  # another backend's
        ({INT8: [], ALL: [], FLOAT: []}, []),
    ],
)
def test_a_set_is_dropped_beside_one_without_fault(missed, expected):
    chosen = list(missed)
    found = dropped(chosen, Findings(missed, {}))
    assert list(found) == expected
    assert all(text.startswith(missed[key][0].problem) for key, text in found.items())
    assert all(text.endswith(" misses no bar") for text in found.values())
    left = [key for key in chosen if key not in found]
    assert list(problems(left, Findings(missed, {}))) == ["litert"] * (not expected and any(missed.values()))


def test_no_recipe_helps_fp32():
    text = problem([FLOAT], Findings({FLOAT: [SPLIT, ELSEWHERE], INT8: []}, {}))
    assert text.startswith(f"{SPLIT.problem} (and 1 more); no recipe changes that")


def test_a_recipe_that_was_tried_is_not_advised():
    safest = SetKey("litert", recipes.book("litert").safest)
    for missed, is_advised in (({INT8: [OFF]}, True), ({INT8: [OFF], safest: [OFF]}, False)):
        assert (f"try --recipe {safest}" in problem([INT8], Findings(missed, {}))) is is_advised
