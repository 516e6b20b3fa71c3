"""Names of sets: written and read in one way, and what a person means by some of them."""

from __future__ import annotations

import pytest

from edge_moe import UsageError
from edge_moe.sets import Pattern, SetKey, in_turn, named, patterns, select

KEYS = [SetKey(*name.split("/")) for name in ("litert/int8", "litert/fp32", "onnx/int8-heavy", "onnx/fp32")]


def test_written_and_read():
    key = SetKey.parse("onnx/int8-heavy")
    assert (key, str(key)) == (("onnx", "int8-heavy"), "onnx/int8-heavy")
    assert (key.is_float, key.reference) == (False, SetKey("onnx", "fp32"))
    assert key.reference.is_float


@pytest.mark.parametrize("text", ["", "onnx", "/int8", "onnx/", "a/b/c"])
def test_what_is_no_set(text):
    with pytest.raises(UsageError, match="is no set of artifacts; expected backend/recipe"):
        SetKey.parse(text)


@pytest.mark.parametrize(
    ("named", "selected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"sets": ["onnx"]}, [2, 3]),
        ({"sets": ["onnx/fp32", "litert/int8", "onnx/fp32"]}, [0, 3]),  # in the bundle's order
        ({"sets": ["litert/int8", "onnx"]}, [0, 2, 3]),
        ({"backends": ["litert", "onnx"]}, [0, 1, 2, 3]),
        ({"recipes": ["fp32"]}, [1, 3]),
        ({"recipes": ["onnx/fp32", "int8"]}, [0, 3]),
        ({"backends": ["onnx"], "recipes": ["fp32"]}, [3]),
        ({"backends": ["litert", "onnx"], "recipes": ["int8-heavy"]}, [2]),  # one of them has it
    ],
)
def test_selecting(named, selected):
    assert select(KEYS, patterns(**named)) == [KEYS[n] for n in selected]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"sets": ["tpu"]}, "the bundle has no artifacts for tpu/any recipe; it has litert/int8, litert/fp32, onnx"),
        ({"sets": ["litert/int8", "onnx/int8"]}, "no artifacts for onnx/int8; it has"),
        ({"recipes": ["int4"]}, "no artifacts for any backend/int4"),
        ({"backends": ["litert", "onnx"], "recipes": ["int4"]}, "no artifacts for litert or onnx/int4"),
        ({"sets": ["onnx"], "recipes": ["fp32"]}, "--set is given with --backend or --recipe"),
        ({"backends": ["litert"], "recipes": ["onnx/fp32"]}, "recipe 'onnx/fp32' is of backend 'onnx'; expected one"),
        ({"sets": ["onnx/"]}, "'onnx/' is no set"),
    ],
)
def test_what_is_not_there(named, message):
    with pytest.raises(UsageError, match=message):
        select(KEYS, patterns(**named))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"sets": ["onnx/fp32", "litert/int8", "onnx/fp32"]}, [3, 0]),
        ({"sets": ["onnx", "litert/fp32"]}, [2, 3, 1]),
        ({"backends": ["onnx", "litert"]}, [2, 3, 0, 1]),
        ({"backends": ["onnx", "litert"], "recipes": ["fp32"]}, [3, 1]),
        ({"recipes": ["fp32"]}, [1, 3]),
    ],
)
def test_in_the_order_in_which_they_were_named(given, expected):
    assert in_turn(KEYS, patterns(**given)) == [KEYS[n] for n in expected]


def test_the_short_forms_once():
    assert named() == ()
    assert named("onnx") == (Pattern(("onnx",)),)
    assert named(recipe="fp32") == (Pattern((), "fp32"),)
    assert named("onnx", "fp32") == named(recipe="onnx/fp32") == (Pattern(("onnx",), "fp32"),)


def test_a_pattern_for_a_person():
    assert [str(one) for one in (Pattern(), Pattern(("onnx",)), Pattern((), "int8"))] == [
        "any backend/any recipe",
        "onnx/any recipe",
        "any backend/int8",
    ]
