"""int8 for ONNX Runtime, in the QDQ format: ranges from calibration, and which nodes are integer.

Stock static quantization makes MobileNetV3 slower than fp32 on x86: hard-swish has no integer kernel, so each one is
surrounded by conversions, and the large early maps gain nothing. What is done about it:

- hard-swish x * clip(x / 6 + 1/2, 0, 1) becomes QLinearAdd and QLinearMul: x / 6 is the same integers with a smaller
  scale, and the clip is where uint8 ends when its scale is 1/255;
- what goes into it is not resolved below -3, where it is 0 anyway;
- the layers before the first one that is worth it stay in float, in one piece.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge_moe.converters.interface import Floats
from edge_moe.converters.onnx.recipes import OnnxRecipe
from edge_moe.converters.sharing import Slots, is_within, with_feeders
from edge_moe.errors import ConversionError

__all__ = ["calibrate", "quantize"]

Ranges: TypeAlias = dict[str, tuple[float, float]]  # tensor -> its least and largest value over all samples

_CONVOLUTION, _LINEAR = "Conv", "Gemm"
_WITH_WEIGHTS = (_CONVOLUTION, _LINEAR)
_ZERO_BELOW = -3.0  # hard-sigmoid and hard-swish
_ONE_ABOVE = 3.0  # hard-sigmoid
_NARROWEST = 1e-3
_STEPS = 255


def calibrate(model: bytes, samples: Floats) -> Ranges:
    """Run `samples` [N, 1, ...] through `model` and return the range of every activation."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(model)
        calibrator = create_calibrator(
            file,
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_reader(onnx.load_from_string(model).graph.input[0].name, samples))
        found = calibrator.compute_data()
        del calibrator  # which holds the file open
    return {name: tuple(np.asarray(end).item() for end in found[name].range_value) for name in found.keys()}  # noqa: SIM118


def quantize(model: bytes, ranges: Ranges, recipe: OnnxRecipe, slots: Slots) -> bytes:
    """Return `model` as QDQ by `recipe`, with the `ranges` of its activations.

    Raises:
        ConversionError: the quantizer does not take the model.
    """
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    content = onnx.load_from_string(model)
    chosen = _clipped(content, ranges) if recipe.clip_ranges else ranges
    data = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in chosen.items()}
    wide = recipe.activation_bits > 8  # than ONNX has integers in its opset 20; ONNX Runtime's own operators have them
    options = {"OpTypesToExcludeOutputQuantization": [_LINEAR]} if recipe.float_logits else {}
    every = sorted({*QDQRegistry, *QLinearOpsRegistry})
    excluded = _kept_float(content, recipe, slots)
    try:
        quantizer = QDQQuantizer(
            content,
            True,  # per channel
            False,  # the full range of int8: where products saturate, sessions take unsigned weights (onnx_session.py)
            QuantType.QInt8,
            QuantType.QUInt16 if wide else QuantType.QUInt8,
            TensorsData(CalibrationMethod.MinMax, data),
            [],
            excluded,
            every if recipe.operators == ("*",) else list(recipe.operators),
            options | ({"UseQDQContribOps": True} if wide else {}),
        )
        quantizer.quantize_model()
    except (ValueError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConversionError(f"onnxruntime.quantization cannot apply recipe {recipe.name!r}: {reason}") from error
    quantizer.model.topological_sort()  # as ONNX demands; ONNX Runtime alone would not mind
    result: onnx.ModelProto = quantizer.model.model
    if recipe.integer_hard_swish:
        _make_hard_sigmoid_integer(result)
    result.ir_version = recipe.ir_version
    del result.metadata_props[:]
    return bytes(result.SerializeToString())


def _reader(name: str, samples: Floats) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._samples = iter(samples)

        def get_next(self) -> dict[str, Floats] | None:
            sample = next(self._samples, None)
            return None if sample is None else {name: sample}

    return Reader()


def _clipped(model: onnx.ModelProto, ranges: Ranges) -> Ranges:
    """Leave out of the ranges what hard-sigmoid and hard-swish make 0 of, and what hard-sigmoid makes 1 of."""
    consumers = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            consumers[name].append(node)
    clipped = dict(ranges)
    for name, (low, high) in ranges.items():
        readers = {node.op_type for node in consumers[name]}
        if "HardSigmoid" not in readers or not readers <= {"HardSigmoid", "Mul"}:
            continue
        # A Mul is part of a hard-swish only if it multiplies by the hard-sigmoid of the same tensor.
        gates = {out for node in consumers[name] if node.op_type == "HardSigmoid" for out in node.output}
        if any(node.op_type == "Mul" and not gates & set(node.input) for node in consumers[name]):
            continue
        low = max(low, _ZERO_BELOW)
        high = min(high, _ONE_ABOVE) if readers == {"HardSigmoid"} else high
        clipped[name] = (low, max(high, low + _NARROWEST))
    return clipped


def _kept_float(model: onnx.ModelProto, recipe: OnnxRecipe, slots: Slots) -> list[str]:
    """Return the names of the nodes that stay in float by `recipe`."""
    kept, wished = set(), set()
    prefix = recipe.integer_from_macs_per_activation > 0
    for node, weights, macs_per_activation in _with_costs(model):
        if weights is None:
            if prefix:
                kept.add(node.name)
            continue
        if node.op_type == _LINEAR or macs_per_activation >= recipe.integer_from_macs_per_activation:
            prefix = False
        slot = slots.found.get(node.input[1])
        small = node.op_type == _CONVOLUTION and weights < recipe.min_weights
        if prefix or small:
            kept.add(node.name)
        if slot is not None and is_within(slot.layer, recipe.keep_float):
            wished.add(node.name)
    nodes = {node.name: node for node in model.graph.node}
    producer = {output: node.name for node in model.graph.node for output in node.output}
    wished = with_feeders(
        wished,
        lambda name: [producer[given] for given in nodes[name].input if given in producer],
        lambda name: nodes[name].op_type in _WITH_WEIGHTS,
    )
    return sorted(kept | wished)


def _with_costs(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, int | None, float]]:
    """Yield every node; of convolutions and linear layers also the number of weights and MACs per activation."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    described = (*inferred.value_info, *inferred.input, *inferred.output)
    sizes = {one.name: int(np.prod([d.dim_value for d in one.type.tensor_type.shape.dim])) for one in described}
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in _WITH_WEIGHTS and node.input[1] in weights:
            shape = weights[node.input[1]]
            # A weight of [D, C / groups, h, w] makes C / groups * h * w MACs for every output.
            given, result = sizes[node.input[0]], sizes[node.output[0]]
            # Not of a 1 x 1 map, as in squeeze-excite: it is soon done, however it is done.
            point = node.op_type == _CONVOLUTION and result == shape[0]
            macs = 0 if point else result * int(np.prod(shape[1:]))
            yield node, int(np.prod(shape)), macs / (given + result)
        else:
            yield node, None, 0.0


def _make_hard_sigmoid_integer(model: onnx.ModelProto) -> None:
    """Replace HardSigmoid between DequantizeLinear and QuantizeLinear by an Add that has an integer kernel.

    alpha * x + beta, clipped to [0, 1]: x's integers q with the scale s * alpha are alpha * x, and what is under 0 or
    over 1 cannot be said in uint8 with a scale of 1/255 and a zero point of 0.
    """
    graph = model.graph
    producer = {name: node for node in graph.node for name in node.output}
    consumers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            consumers[name].append(node)
    tensors = {tensor.name: tensor for tensor in graph.initializer}

    def constant(name: str, number: float, dtype: type) -> str:
        graph.initializer.append(numpy_helper.from_array(np.array(number, dtype), name))
        return name

    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        before = producer.get(node.input[0]) if node.input else None
        after = consumers[node.output[0]]
        if (
            node.op_type != "HardSigmoid"
            or before is None
            or before.op_type != "DequantizeLinear"
            or [reader.op_type for reader in after] != ["QuantizeLinear"]
        ):
            nodes.append(node)
            continue
        given = {attribute.name: attribute.f for attribute in node.attribute}
        alpha, beta = given.get("alpha", 0.2), given.get("beta", 0.5)
        name = node.name
        quantized, scale_name, zero = before.input
        scale = numpy_helper.to_array(tensors[scale_name]).item()
        smaller = constant(f"{name}_scale", scale * alpha, np.float32)
        offset = [
            constant(f"{name}_offset", _STEPS, np.uint8),
            constant(f"{name}_offset_scale", beta / _STEPS, np.float32),
            constant(f"{name}_zero", 0, np.uint8),
        ]
        nodes += [
            helper.make_node("DequantizeLinear", [quantized, smaller, zero], [f"{name}_x"], f"{name}_dq"),
            helper.make_node("DequantizeLinear", offset, [f"{name}_c"], f"{name}_offset_dq"),
            helper.make_node("Add", [f"{name}_x", f"{name}_c"], [node.output[0]], f"{name}_add"),
        ]
        # Both the QuantizeLinear and the DequantizeLinear behind it read these two, and nothing else does.
        for place, number in ((1, np.float32(1 / _STEPS)), (2, np.uint8(0))):
            tensor = tensors[after[0].input[place]]
            tensor.CopyFrom(numpy_helper.from_array(np.array(number), tensor.name))
    read = {name for node in nodes for name in node.input} | {output.name for output in graph.output}
    del graph.node[:]
    # ONNX Runtime would go on computing what only the HardSigmoid read.
    graph.node.extend(node for node in nodes if node.op_type != "DequantizeLinear" or node.output[0] in read)
