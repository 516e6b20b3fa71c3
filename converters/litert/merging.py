"""Two 1x1 convolutions with nothing in between become one, such as where the first block of MobileNetV3-Small ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edge_moe.converters.interface import Floats

__all__ = ["with_convolutions_merged"]

_CONV_2D, _NO_ACTIVATION = 3, 0  # numbers of the .tflite schema


def with_convolutions_merged(model: bytes, may_merge: Callable[[int], bool]) -> bytes:
    """Multiply the weights of such pairs in the float .tflite `model`, where that saves multiply-accumulates.

    The product stands where the second one's weights were. `may_merge` is asked for the buffer of each one's weights.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    graph = content.subgraphs[0]
    merged = 0
    for first in list(graph.operators):
        (between,) = first.outputs if len(first.outputs) == 1 else (None,)
        readers = [node for node in graph.operators if between in node.inputs]
        if between in graph.outputs or len(readers) != 1:
            continue
        (second,) = readers
        if not all(_is_pointwise(content, node) for node in (first, second)):
            continue
        if first.builtinOptions.fusedActivationFunction != _NO_ACTIVATION:
            continue
        (w1, b1), (w2, b2) = (_constants(content, node) for node in (first, second))
        if w2.shape[0] * w1.shape[1] > w1.size + w2.size:
            continue
        if not all(may_merge(int(graph.tensors[node.inputs[1]].buffer)) for node in (first, second)):
            continue
        weights, bias = (graph.tensors[tensor] for tensor in second.inputs[1:])
        product = (w2 @ w1).astype(np.float32)
        content.buffers[weights.buffer].data = np.frombuffer(product.tobytes(), np.uint8)
        content.buffers[bias.buffer].data = np.frombuffer((w2 @ b1 + b2).astype(np.float32).tobytes(), np.uint8)
        weights.shape = np.array([len(product), 1, 1, product.shape[1]], np.int32)
        second.inputs[0] = first.inputs[0]
        graph.operators.remove(first)
        merged += 1
    if not merged:
        return model
    _drop_unused(content)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


def _is_pointwise(content: Any, node: Any) -> bool:
    graph, options = content.subgraphs[0], node.builtinOptions
    if content.operatorCodes[node.opcodeIndex].builtinCode != _CONV_2D or len(node.inputs) != 3:
        return False
    weights, bias = (graph.tensors[tensor] for tensor in node.inputs[1:])
    if any(content.buffers[tensor.buffer].data is None for tensor in (weights, bias)):
        return False
    if sum(tensor.buffer in (weights.buffer, bias.buffer) for tensor in graph.tensors) != 2:  # others read it too
        return False
    return list(weights.shape[1:3]) == [1, 1] and (options.strideH, options.strideW) == (1, 1)


def _constants(content: Any, node: Any) -> tuple[Floats, Floats]:
    """Return weights [outputs, inputs] and bias, in the precision that their product needs."""
    weights, bias = (
        np.frombuffer(bytes(bytearray(content.buffers[content.subgraphs[0].tensors[tensor].buffer].data)), np.float32)
        for tensor in node.inputs[1:]
    )
    return weights.reshape(len(bias), -1).astype(np.float64), bias.astype(np.float64)


def _drop_unused(content: Any) -> None:
    """Drop the tensors that no operator has any more, for the quantizer reads every tensor, and what they hold."""
    graph, signature = content.subgraphs[0], content.signatureDefs[0]
    lists = [graph, *graph.operators]
    used = sorted({int(tensor) for one in lists for tensor in (*one.inputs, *one.outputs)} - {-1})
    number = {old: new for new, old in enumerate(used)} | {-1: -1}
    shared = {graph.tensors[tensor].buffer for tensor in used}
    for tensor in graph.tensors:
        if tensor.buffer not in shared:
            content.buffers[tensor.buffer].data = None
    graph.tensors = [graph.tensors[tensor] for tensor in used]
    for one in lists:
        one.inputs, one.outputs = (np.array([number[int(t)] for t in ts], np.int32) for ts in (one.inputs, one.outputs))
    for named in (*signature.inputs, *signature.outputs):
        named.tensorIndex = number[named.tensorIndex]
