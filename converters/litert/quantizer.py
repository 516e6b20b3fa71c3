"""int8 for LiteRT: ai-edge-quantizer on the float .tflite, told by a recipe what to leave alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_moe.converters.interface import Floats
from edge_moe.converters.litert.merging import with_convolutions_merged
from edge_moe.converters.litert.recipes import LiteRTRecipe
from edge_moe.converters.sharing import Slots, is_within, with_feeders
from edge_moe.errors import ConversionError

__all__ = ["SIGNATURE", "WITH_WEIGHTS", "calibrate_and_quantize", "float_tensors", "prepared"]

SIGNATURE = "serving_default"
WITH_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")  # operators
_FLOAT32, _DEQUANTIZE, _QUANTIZE = 0, 6, 114  # numbers of the .tflite schema
_UNKNOWN = Slots({}, complete=False)
_HARD_SWISH_IS_0 = -3.0  # up to here


def float_tensors(model: bytes) -> Iterator[tuple[str, str, Floats]]:
    """Yield (number of the buffer, name of the tensor, values) of every float constant."""
    from ai_edge_litert.tools import flatbuffer_utils

    content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    for tensor in content.subgraphs[0].tensors:
        data = content.buffers[tensor.buffer].data
        if tensor.type == _FLOAT32 and data is not None and len(data):
            shape = [] if tensor.shape is None else tensor.shape
            yield (
                str(tensor.buffer),
                tensor.name.decode(),
                np.frombuffer(bytes(bytearray(data)), np.float32).reshape(shape),
            )


def prepared(model: bytes, recipe: LiteRTRecipe, slots: Slots = _UNKNOWN) -> bytes:
    """Return the fp32 .tflite whose operators `recipe` quantizes: the same function as `model`."""
    if not recipe.merge_convolutions:
        return model

    def may_merge(buffer: int) -> bool:
        slot = slots.found.get(str(buffer))
        return slot is None or not is_within(slot.layer, recipe.keep_float)

    return with_convolutions_merged(model, may_merge)


def calibrate_and_quantize(model: bytes, samples: Floats, recipe: LiteRTRecipe, slots: Slots = _UNKNOWN) -> bytes:
    """Quantize the fp32 .tflite `model` by `recipe`; where it calibrates, with ranges from `samples` [N, 1, ...].

    `slots` says which layer's weights each constant holds, for `recipe.keep_float`.

    Raises:
        ConversionError: the quantizer does not take the model.
    """
    if recipe.is_float:
        return model
    from ai_edge_quantizer import calibrator, quantizer
    from ai_edge_quantizer.utils import qsv_utils

    model = prepared(model, recipe, slots)
    try:
        quantize = quantizer.Quantizer(model)
        _configure(quantize, model, recipe, slots)
        ranges = None
        if recipe.ranges == "calibrated":
            # The quantizer's own calibrate() cannot choose the statistic.
            update = {"min-max": qsv_utils.min_max_update, "moving-average": qsv_utils.moving_average_update}
            calibration = calibrator.Calibrator(model, num_threads=1, qsv_update_func=update[recipe.statistic])
            given = _input_name(model)
            data = {SIGNATURE: [{given: sample} for sample in samples]}
            calibration.calibrate(data, quantize._recipe_manager)
            ranges = calibration.get_model_qsvs()
            if recipe.clip_hard_swish:
                for name in _only_into_hard_swish(model) & ranges.keys():
                    ranges[name]["min"] = np.maximum(ranges[name]["min"], _HARD_SWISH_IS_0)
        result = quantize.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        return _mended(bytes(result.quantized_model))
    except (ValueError, RuntimeError, KeyError) as error:
        reason = str(error).strip().split("\n")[0][:300]
        raise ConversionError(f"ai-edge-quantizer cannot apply recipe {recipe.name!r}: {reason}") from error


def _input_name(model: bytes) -> str:
    """Return what `model` calls its only input."""
    from ai_edge_litert.interpreter import Interpreter

    (name,) = Interpreter(model_content=model).get_signature_list()[SIGNATURE]["inputs"]
    return str(name)


def _only_into_hard_swish(model: bytes) -> set[str]:
    """Return the names of the tensors that nothing reads but a hard-swish."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    names = {tensor["index"]: str(tensor["name"]) for tensor in interpreter.get_tensor_details()}
    given = {output["index"] for output in interpreter.get_output_details()}
    readers: dict[int, set[str]] = {}
    for node in interpreter._get_ops_details():
        for tensor in node["inputs"]:
            readers.setdefault(int(tensor), set()).add(node["op_name"])
    return {names[tensor] for tensor, found in readers.items() if found == {"HARD_SWISH"} and tensor not in given}


def _mended(model: bytes) -> bytes:
    """Repair what the quantizer does to a tensor that is an output of the part in float and is computed in int8."""
    from ai_edge_litert.tools import flatbuffer_utils

    content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    graph = content.subgraphs[content.signatureDefs[0].subgraphIndex]
    exact = {
        int(node.outputs[0]): int(node.inputs[0])
        for node in graph.operators
        if content.operatorCodes[node.opcodeIndex].builtinCode == _DEQUANTIZE
    }
    _feed_integers(content, graph, exact)
    _outputs_as_signed(content, graph, {integer: number for number, integer in exact.items()})
    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


def _feed_integers(content: Any, graph: Any, exact: Mapping[int, int]) -> None:
    """Let operators in int8 read int8; `exact` has the int8 tensor of each that was dequantized.

    Where the embedding is computed in int8 and given in float, as directly behind a pooling, the quantizer lets the
    classifier read the dequantized twin, and so mixes a float input with an output in int8, which no kernel takes.
    """
    for node in graph.operators:
        integral = all(graph.tensors[index].type != _FLOAT32 for index in node.outputs)
        if integral and content.operatorCodes[node.opcodeIndex].builtinCode != _QUANTIZE:
            node.inputs = [exact.get(int(index), int(index)) for index in node.inputs]


def _outputs_as_signed(content: Any, graph: Any, dequantized: Mapping[int, int]) -> None:
    """Make graph and signature give the same tensors, those in float; `dequantized` has the twin of each in int8.

    Where an output in float also feeds an operator in int8, the quantizer replaces it in the graph's list of outputs
    by its quantized twin, and the tensor that the signature still names is optimised away. Where an operator in int8
    gives an output, the graph gives its dequantized twin, and the signature still names the one in int8.
    """
    signature = content.signatureDefs[0]
    for output in signature.outputs:
        if graph.tensors[output.tensorIndex].type != _FLOAT32:
            output.tensorIndex = dequantized.get(output.tensorIndex, output.tensorIndex)
    graph.outputs = [output.tensorIndex for output in signature.outputs]


def _configure(quantize: Any, model: bytes, recipe: LiteRTRecipe, slots: Slots) -> None:
    """Translate `recipe` into the quantizer's rules; a later rule wins."""
    from ai_edge_quantizer import algorithm_manager, qtyping

    def keep_float(regex: str, operation: Any) -> None:
        quantize.update_quantization_recipe(regex, operation, algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE)

    names = qtyping.TFLOperationName
    for operator in recipe.quantize:
        operation = names.ALL_SUPPORTED if operator == "*" else names[operator]
        if recipe.ranges == "dynamic":
            quantize.add_dynamic_config(".*", operation, num_bits=8)
        else:
            quantize.add_static_config(".*", operation, activation_num_bits=8, weight_num_bits=8)
    for operator in recipe.dynamic_operators:
        quantize.add_dynamic_config(".*", names[operator], num_bits=8)
    for operator in recipe.except_operators:
        keep_float(".*", names[operator])
    for operator, output in _kept_float(model, recipe, slots):
        # The scope that the quantizer matches is the name of the output, with a semicolon.
        if operator in names.__members__:  # else the quantizer does not know it, and leaves it alone
            keep_float(f"^{re.escape(output)};?$", names[operator])


def _kept_float(model: bytes, recipe: LiteRTRecipe, slots: Slots) -> list[tuple[str, str]]:
    """Return operator and output of everything that stays in float: not worth a conversion, or so wished."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    buffers = {name: buffer for buffer, name, _ in float_tensors(model)} if recipe.keep_float else {}
    nodes = interpreter._get_ops_details()
    producer = {int(tensor): number for number, node in enumerate(nodes) for tensor in node["outputs"]}
    wished, unprofitable = set(), set()
    for number, node in enumerate(nodes):
        if node["op_name"] not in WITH_WEIGHTS:
            continue
        weights, output = tensors[node["inputs"][1]], tensors[node["outputs"][0]]
        slot = slots.found.get(buffers.get(weights["name"], ""))
        if slot is not None and is_within(slot.layer, recipe.keep_float):
            wished.add(number)
        if node["op_name"] == "CONV_2D" and _is_unprofitable(weights["shape"], output["shape"], recipe):
            unprofitable.add(number)
    if recipe.ranges == "calibrated":
        wished = with_feeders(
            wished,
            lambda number: [producer[int(tensor)] for tensor in nodes[number]["inputs"] if int(tensor) in producer],
            lambda number: nodes[number]["op_name"] in WITH_WEIGHTS,
        )
    kept = [nodes[number] for number in sorted(wished | unprofitable)]
    return [(node["op_name"], str(tensors[node["outputs"][0]]["name"])) for node in kept]


def _is_unprofitable(weights: npt.NDArray[np.int32], output: npt.NDArray[np.int32], recipe: LiteRTRecipe) -> bool:
    """Return whether a convolution saves too little for what converting its input and output costs."""
    output_channels, _, _, input_channels = weights
    _, height, width, _ = output
    if height * width == 1:
        return bool(weights.prod() < recipe.min_point_weights)
    saved = input_channels * output_channels / (input_channels + output_channels)
    return bool(saved < recipe.min_macs_per_conversion)
