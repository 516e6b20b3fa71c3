"""Which sets are tried and which are shipped, by verdicts made by hand."""

from __future__ import annotations

import pytest

from edge_moe.converters.rank import choose, next_to_try, tried
from edge_moe.converters.report import Missed
from edge_moe.sets import SetKey

OFF, FINE = [Missed("base", "off", True)], []


def keyed(by_name):
    return {SetKey(*name.split("/")): one for name, one in by_name.items()}


def labels(keys):
    return [str(key) for key in keys]


def every(wanted, options):
    """All backends, with the recipes that were asked for."""
    return {backend: wanted.get(backend, ()) for backend in options.get("backends", ("litert",))}


REFERENCES = {"litert/fp32": FINE, "onnx/fp32": FINE}
BOTH = {"backends": ("onnx", "litert")}


@pytest.mark.parametrize(
    ("missed", "wanted", "options", "shipped"),
    [
        ({"litert/int8": FINE}, {}, {}, ["litert/int8", "litert/fp32"]),
        ({"litert/int8": OFF, "litert/int8-dynamic": FINE}, {}, {}, ["litert/int8-dynamic", "litert/fp32"]),
        ({"litert/int8": OFF, "litert/int8-dynamic": OFF}, {}, {}, ["litert/int8-dynamic", "litert/fp32"]),
        ({"litert/int8": OFF}, {"litert": ("int8",)}, {}, ["litert/int8", "litert/fp32"]),
        ({"litert/int8": FINE}, {}, {"ship_float": False}, ["litert/int8"]),
        ({"litert/int8": FINE}, {"litert": ("fp32", "int8")}, {}, ["litert/fp32", "litert/int8"]),
        ({"litert/int8": FINE}, {"litert": ("fp32", "int8")}, {"ship_float": False}, ["litert/int8"]),
        ({}, {"litert": ("int8-all", "int8")}, {}, ["litert/int8-all", "litert/int8", "litert/fp32"]),
        (
            {"onnx/int8": OFF, "onnx/int8-heavy": FINE, "litert/int8": FINE},
            {},
            BOTH,
            ["onnx/int8-heavy", "onnx/fp32", "litert/int8", "litert/fp32"],
        ),
        (
            {"onnx/int8": OFF, "onnx/int8-heavy": FINE, "litert/int8-all": FINE},
            {"litert": ("int8-all",)},  # the other backend still chooses
            BOTH | {"ship_float": False},
            ["onnx/int8-heavy", "litert/int8-all"],
        ),
        (
            {"executorch/int8-dynamic": FINE},
            {},
            {"backends": ("executorch",)},
            ["executorch/int8-dynamic", "executorch/fp32"],
        ),
    ],
)
def test_the_first_candidate_without_fault_is_shipped(missed, wanted, options, shipped):
    found = choose(keyed(REFERENCES | missed), every(wanted, options), ship_float=options.get("ship_float", True))
    assert labels(found) == shipped


@pytest.mark.parametrize(
    ("made", "wanted", "options", "following"),
    [
        # First the reference and one candidate of each backend, or what was asked for.
        ({}, {}, {}, ["litert/fp32", "litert/int8"]),
        ({}, {}, BOTH, ["onnx/fp32", "onnx/int8", "litert/fp32", "litert/int8"]),
        ({}, {"litert": ("int8-all", "int8")}, {}, ["litert/fp32", "litert/int8-all", "litert/int8"]),
        ({}, {"litert": ("fp32",)}, {}, ["litert/fp32"]),
        # Then, of the backend that missed a bar, the next.
        (REFERENCES | {"litert/int8": FINE}, {}, {}, []),
        (REFERENCES | {"litert/int8": OFF}, {}, {}, ["litert/int8-dynamic"]),
        (REFERENCES | {"litert/int8": OFF, "onnx/int8": FINE}, {}, BOTH, ["litert/int8-dynamic"]),
        (REFERENCES | {"litert/int8": OFF, "onnx/int8": OFF}, {}, BOTH, ["onnx/int8-heavy", "litert/int8-dynamic"]),
        (REFERENCES | {"litert/int8": OFF, "litert/int8-dynamic": FINE}, {}, {}, []),
        # There is no third, and none for who asked for one.
        (REFERENCES | {"litert/int8": OFF, "litert/int8-dynamic": OFF}, {}, {}, []),
        (REFERENCES | {"litert/int8": OFF}, {"litert": ("int8",)}, {}, []),
        (
            REFERENCES | {"litert/int8": OFF, "onnx/int8": OFF},
            {"litert": ("int8",)},
            BOTH,
            ["onnx/int8-heavy"],
        ),
    ],
)
def test_what_is_tried_next(made, wanted, options, following):
    assert labels(next_to_try(keyed(made), every(wanted, options))) == following


def test_all_that_may_be_tried_with_its_reference_first():
    found = tried({"onnx": (), "litert": ("int8-all",)}, ("features.0",))
    assert labels(found) == ["onnx/fp32", "onnx/int8", "onnx/int8-heavy", "litert/fp32", "litert/int8-all"]
    assert {key.recipe: one.keep_float for key, one in found.items() if key.backend == "litert"} == {
        "fp32": (),
        "int8-all": ("features.0",),
    }
