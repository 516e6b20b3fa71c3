"""Which sets are tried and which are shipped, by verdicts made by hand."""

from __future__ import annotations

import pytest

from edge_moe.converters.rank import choose, hopeless, next_to_try, orders, tried
from edge_moe.converters.recipes import book
from edge_moe.converters.report import Missed
from edge_moe.sets import SetKey

OFF, FINE = [Missed("base", "off", True)], []
LITERT, ONNX = (("int8", "int8-all", "int8-dynamic"), ("int8", "int8-heavy"))
REFERENCES = {"litert/fp32": FINE, "onnx/fp32": FINE}


def key(name):
    return SetKey.parse(name)


def keyed(by_name):
    return {key(name): one for name, one in by_name.items()}


def labels(keys):
    return [str(one) for one in keys]


def candidates(wanted):
    there = {"litert": LITERT, "onnx": ONNX}
    return {b: [] if names else [SetKey(b, name) for name in there[b]] for b, names in wanted.items()}


ANY = {"litert": ()}
BOTH = {"onnx": (), "litert": ()}


@pytest.mark.parametrize(
    ("missed", "unmade", "wanted", "ship_float", "shipped"),
    [
        ({"litert/int8": FINE}, (), ANY, True, ["litert/int8", "litert/fp32"]),
        ({"litert/int8": OFF, "litert/int8-all": FINE}, (), ANY, True, ["litert/int8-all", "litert/fp32"]),
        ({"litert/int8-all": FINE}, ["litert/int8"], ANY, True, ["litert/int8-all", "litert/fp32"]),
        ({"litert/int8": OFF, "litert/int8-dynamic": OFF}, (), ANY, True, ["litert/int8-dynamic", "litert/fp32"]),
        ({"litert/int8": OFF}, (), {"litert": ("int8",)}, True, ["litert/int8", "litert/fp32"]),
        ({"litert/int8": FINE}, (), ANY, False, ["litert/int8"]),
        ({"litert/int8": FINE}, (), {"litert": ("fp32", "int8")}, True, ["litert/fp32", "litert/int8"]),
        ({"litert/int8": FINE}, (), {"litert": ("fp32", "int8")}, False, ["litert/int8"]),
        ({"litert/int8": FINE}, ["litert/int8-all"], {"litert": ("int8-all", "int8")}, False, ["litert/int8"]),
        (
            {"onnx/int8": OFF, "onnx/int8-heavy": FINE, "litert/int8-all": FINE},
            (),
            {"onnx": (), "litert": ("int8-all",)},  # the other backend still chooses
            False,
            ["onnx/int8-heavy", "litert/int8-all"],
        ),
    ],
)
def test_the_first_candidate_without_fault_is_shipped(missed, unmade, wanted, ship_float, shipped):
    gone = [key(name) for name in unmade]
    found = choose(keyed(REFERENCES | missed), gone, wanted, candidates(wanted), ship_float=ship_float)
    assert labels(found) == shipped


@pytest.mark.parametrize(
    ("made", "unmade", "wanted", "following"),
    [
        # First the reference and one candidate of each backend, or what was asked for.
        ({}, (), ANY, ["litert/fp32", "litert/int8"]),
        ({}, (), BOTH, ["onnx/fp32", "onnx/int8", "litert/fp32", "litert/int8"]),
        ({}, (), {"litert": ("int8-all", "int8")}, ["litert/fp32", "litert/int8-all", "litert/int8"]),
        ({}, (), {"litert": ("fp32",)}, ["litert/fp32"]),
        # Then, of the backend that missed a bar, the next.
        (REFERENCES | {"litert/int8": FINE}, (), ANY, []),
        (REFERENCES | {"litert/int8": OFF}, (), ANY, ["litert/int8-all"]),
        (REFERENCES | {"litert/int8": OFF, "onnx/int8": OFF}, (), BOTH, ["onnx/int8-heavy", "litert/int8-all"]),
        # What cannot be made is as good as one that missed a bar.
        (REFERENCES, ["litert/int8"], ANY, ["litert/int8-all"]),
        (REFERENCES | {"litert/int8": OFF}, ["litert/int8-all"], ANY, ["litert/int8-dynamic"]),
        # There is no fourth, and none for who asked for one.
        (REFERENCES | dict.fromkeys((f"litert/{name}" for name in LITERT), OFF), (), ANY, []),
        (REFERENCES | {"litert/int8": OFF}, (), {"litert": ("int8",)}, []),
    ],
)
def test_what_is_tried_next(made, unmade, wanted, following):
    gone = [key(name) for name in unmade]
    assert labels(next_to_try(keyed(made), gone, wanted, candidates(wanted), every=False)) == following


def test_to_be_ranked_all_are_made_at_once():
    wanted = {"litert": (), "onnx": ("int8",)}
    found = next_to_try({}, (), wanted, candidates(wanted), every=True)
    assert labels(found) == ["litert/fp32", *(f"litert/{name}" for name in LITERT), "onnx/fp32", "onnx/int8"]
    made = keyed(REFERENCES | {"litert/int8": OFF, "litert/int8-all": FINE, "onnx/int8": OFF})
    assert next_to_try(made, [key("litert/int8-dynamic")], wanted, candidates(wanted), every=True) == []


def test_a_backend_of_which_nothing_can_be_made_fails():
    every = {SetKey("litert", name): "no" for name in book("litert").candidates}
    wanted = {"litert": (), "onnx": ("int8", "int8-heavy")}
    assert hopeless(every | keyed({"onnx/int8": "never"}), wanted) == {"litert": "no"}
    del every[key("litert/int8-dynamic")]
    assert hopeless(every, wanted) == {}
    both = keyed({"onnx/int8": "never", "onnx/int8-heavy": "ever"})
    assert hopeless(both, wanted) == {"onnx": "never; ever"}


def test_all_that_may_be_tried_with_its_reference_first():
    wanted = {"onnx": (), "litert": ("int8-all",)}
    found = tried(wanted, candidates(wanted), ("features.0",))
    assert labels(found) == ["onnx/fp32", "onnx/int8", "onnx/int8-heavy", "litert/fp32", "litert/int8-all"]
    assert {one.recipe: recipe.keep_float for one, recipe in found.items() if one.backend == "litert"} == {
        "fp32": (),
        "int8-all": ("features.0",),
    }


def test_the_order_is_that_of_the_row():
    wanted = {"litert": (), "onnx": ("int8",)}
    for row, order in book("litert").orders.items():
        assert orders(wanted, row) == {"litert": [SetKey("litert", name) for name in order], "onnx": []}
