"""int8 weights and nothing else: the file is a quarter, and every activation stays what it is in float.

ONNX Runtime folds Cast and Mul of constants when it opens a model, so that it runs as fast as in float and takes its
memory. A DequantizeLinear would say the same, but it is left for integer kernels to take, and where none does it runs
for every image.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge_moe.converters.onnx.recipes import OnnxRecipe
from edge_moe.converters.sharing import Slots, is_within

__all__ = ["with_integer_weights"]

_LARGEST = 127  # symmetric: -128 is not used


def with_integer_weights(model: bytes, recipe: OnnxRecipe, slots: Slots) -> bytes:
    """Return `model` whose weights are int8, symmetric with a scale for each output channel, but what is kept in float.

    w = q * s with s = max |w| / 127 over an output channel, as in onnxruntime.quantization; biases stay in float.
    """
    content = onnx.load_from_string(model)
    constants = {tensor.name: tensor for tensor in content.graph.initializer}
    unfolded: list[onnx.NodeProto] = []
    for name, axis in dict(_weights(content, constants)).items():
        slot = slots.found.get(name)
        if slot is not None and is_within(slot.layer, recipe.keep_float):
            continue
        exact = numpy_helper.to_array(constants[name])
        others = tuple(number for number in range(exact.ndim) if number != axis)
        largest = np.abs(exact).max(axis=others, keepdims=True)
        steps = (largest / _LARGEST).astype(np.float32)
        scale = np.where(steps > 0, steps, np.float32(1))  # also where a step is too small for a float
        integers = np.clip(np.round(exact / scale), -_LARGEST, _LARGEST).astype(np.int8)
        content.graph.initializer.remove(constants[name])
        content.graph.initializer.append(numpy_helper.from_array(integers, f"{name}_int8"))
        content.graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        unfolded += [
            helper.make_node("Cast", [f"{name}_int8"], [f"{name}_float"], f"{name}_cast", to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}_float", f"{name}_scale"], [name], f"{name}_scaled"),
        ]
    nodes = [*unfolded, *content.graph.node]
    del content.graph.node[:]
    content.graph.node.extend(nodes)
    content.ir_version = recipe.ir_version
    return bytes(content.SerializeToString())


def _weights(model: onnx.ModelProto, constants: dict[str, onnx.TensorProto]) -> Iterator[tuple[str, int]]:
    """Yield the weights of convolutions, linear layers and products, each with the axis of its output channels."""
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in constants:
            continue
        tensor = constants[node.input[1]]
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        transposed = any(one.name == "transB" and one.i for one in node.attribute)
        yield tensor.name, 0 if node.op_type == "Conv" or transposed else len(tensor.dims) - 1
