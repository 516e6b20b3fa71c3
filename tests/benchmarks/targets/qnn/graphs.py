"""Small ONNX graphs, as our recipes make them and as an NPU has no use for them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHAPE = (1, 8, 4, 4)


def _saved(path, nodes, numbers):
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE)] for name in ("x", "y")]
    graph = helper.make_graph(nodes, "part", *ends, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def _numbers(**scales):
    weights = np.random.default_rng(0).integers(-127, 128, (8, 8, 1, 1)).astype(np.int8)
    numbers = {"part.head.0.weight_quantized": weights, "weight_scale": np.float32(0.01), "weight_zero": np.int8(0)}
    for name, scale in scales.items():
        numbers |= {name: np.float32(scale), f"{name}_zero": np.uint8(128)}
    return numbers


def _integers(given, taken, scale, name):
    """x in, the same rounded to 8 bits out."""
    written = helper.make_node("QuantizeLinear", [given, scale, f"{scale}_zero"], [f"{taken}_q"], f"{name}_q")
    return [
        written,
        helper.make_node("DequantizeLinear", [f"{taken}_q", scale, f"{scale}_zero"], [taken], f"{name}_dq"),
    ]


def whole(path, last="Relu"):
    """A convolution and what follows it, in int8."""
    nodes = [
        *_integers("x", "a", "s0", "in"),
        helper.make_node(
            "DequantizeLinear", ["part.head.0.weight_quantized", "weight_scale", "weight_zero"], ["w"], "weights"
        ),
        helper.make_node("Conv", ["a", "w"], ["b"], "Conv_1"),
        *_integers("b", "c", "s1", "conv"),
        helper.make_node(last, ["c"], ["d"], f"{last}_2"),
        *_integers("d", "y", "s2", "out"),
    ]
    return _saved(path, nodes, _numbers(s0=0.05, s1=0.1, s2=0.1))


def by_two_scales(path, other=0.02):
    """The integers of a convolution, read once more by another scale."""
    nodes = [
        *_integers("x", "a", "s0", "in"),
        helper.make_node(
            "DequantizeLinear", ["part.head.0.weight_quantized", "weight_scale", "weight_zero"], ["w"], "weights"
        ),
        helper.make_node("Conv", ["a", "w"], ["b"], "Conv_1"),
        *_integers("b", "c", "s1", "conv"),
        helper.make_node("DequantizeLinear", ["c_q", "s3", "s3_zero"], ["e"], "again"),
        helper.make_node("Add", ["c", "e"], ["d"], "Add_2"),
        *_integers("d", "y", "s2", "out"),
    ]
    return _saved(path, nodes, _numbers(s0=0.05, s1=0.1, s2=0.1, s3=other))


def misscaled(file, path, factor=2.0):
    """Write the graph with one scale altered: by which the weights of its first convolution are read."""
    model = onnx.load(file)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    (read,) = [node for node in model.graph.node if first.input[1] in node.output]
    (scale,) = [one for one in model.graph.initializer if one.name == read.input[1]]
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(factor), scale.name))
    onnx.save(model, path)
    return path
