"""Where a node stands, in words for the network's author; and what onnxruntime-qnn would get wrong without a word."""

from __future__ import annotations

import pytest

from edge_moe import BackendError
from edge_moe.benchmarks.targets.qnn.graph import Graph
from tests.benchmarks.targets.qnn import graphs


def test_a_node_is_told_by_its_layer(tmp_path):
    graph = Graph(graphs.whole(tmp_path / "part.onnx"))
    assert graph.place("Conv_1") == "Conv in layer head.0"
    assert graph.place("Conv_1_token_3") == "Conv in layer head.0"  # what ONNX Runtime calls its copy
    assert graph.place("Relu_2") == "Relu behind layer head.0"
    assert graph.place("in_q") == "QuantizeLinear (in_q)"
    assert graph.place("Gone_7") == "Gone_7"


def test_integers_that_are_read_by_another_scale(tmp_path):
    assert Graph(graphs.by_two_scales(tmp_path / "part.onnx")).misread() == "Add behind layer head.0"
    assert Graph(graphs.by_two_scales(tmp_path / "same.onnx", other=0.1)).misread() is None
    assert Graph(graphs.whole(tmp_path / "whole.onnx")).misread() is None


def test_a_file_that_was_cut_off(tmp_path):
    file = graphs.whole(tmp_path / "part.onnx")
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(BackendError, match=r"part\.onnx is no ONNX graph; convert again"):
        Graph(file)
