"""Names are distinct, and plain where they become files."""

from __future__ import annotations

import pytest

from edge_moe.benchmarks.report.words import file_names, look, set_labels
from edge_moe.errors import UsageError
from tests.benchmarks.made import make

TWO = (("litert", "int8"), ("onnx", "int8"))


def test_file_names():
    one, three = [make(images=5, timed=2)], [make(images=5, timed=2)] * 3
    assert file_names(one, None) == file_names(one, ["anything"]) == ["results"]
    assert file_names(three, None) == ["results-1", "results-2", "results-3"]
    assert file_names(three, ["a b/../c", "鳥", "A-B-..-C"]) == ["a-b-..-c", "results-2", "A-B-..-C-2"]
    assert file_names(three, ["x", "x", "x"]) == ["x", "x-2", "x-3"]
    with pytest.raises(UsageError, match="2 names for 3 results; expected one for each"):
        file_names(three, ["a", "b"])


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ([{}], [""]),
        ([{"name": "a"}, {"name": "b"}], [" (a)", " (b)"]),
        ([{"machine": "x"}, {"machine": "y"}], [" (x)", " (y)"]),
        (
            [{"name": "a"}, {"name": "b"}, {"name": "b", "machine": "y"}],
            [" (a, a laptop)", " (b, a laptop)", " (b, y)"],
        ),
        ([{}, {}], [" (f0)", " (f1)"]),
    ],
)
def test_sets_are_told_apart_by_bundle_then_machine_then_file(options, ends):
    files = [make(images=5, timed=2, sets=TWO, **one) for one in options]
    labels = set_labels(files, [f"f{i}" for i in range(len(files))])
    assert labels == [[f"litert/int8{end}", f"onnx/int8{end}"] for end in ends]


def test_other_sets_need_no_more():
    files = [make(images=5, timed=2, sets=(pair,), name=pair[0]) for pair in TWO]
    assert set_labels(files, ["a", "b"]) == [["litert/int8"], ["onnx/int8"]]


def test_all_sets_look_different():
    assert len({look(place) for place in range(24)}) == 24
