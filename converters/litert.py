"""One part as .tflite: exported from torch, then quantized by a recipe.

The artifact takes and gives channels last. Its outputs are named as the part's outputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edge_moe.converters.recipes import LiteRTRecipe
from edge_moe.errors import ConversionError
from edge_moe.nn import Base, Expert, Gate

__all__ = ["calibrate_and_quantize", "export", "with_channels_last"]

_SIGNATURE = "serving_default"
_INPUT = "args_0"  # litert-torch's name for the first positional input
_Floats = npt.NDArray[np.float32]


class _BaseIO(nn.Module):
    """[1, H, W, 3] -> logits [1, Y], features [1, H, W, C], embedding [1, E]."""

    def __init__(self, base: Base) -> None:
        super().__init__()
        self.base = base

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        outputs = self.base(image.permute(0, 3, 1, 2))
        return {
            "logits": outputs.logits,
            "features": outputs.features.permute(0, 2, 3, 1),
            "embedding": outputs.embedding,
        }


class _ExpertIO(nn.Module):
    """[1, H, W, C] -> logits [1, Y]."""

    def __init__(self, expert: Expert) -> None:
        super().__init__()
        self.expert = expert

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {"logits": self.expert(features.permute(0, 3, 1, 2))}


class _GateIO(nn.Module):
    """[1, E] -> logits [1, K]."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, embedding: Tensor) -> dict[str, Tensor]:
        return {"logits": self.gate(embedding)}


def with_channels_last(part: nn.Module) -> nn.Module:
    """Wrap a part so that maps come in and go out with channels last, as a dict of named outputs."""
    if isinstance(part, Base):
        return _BaseIO(part).eval()
    return (_GateIO(part) if isinstance(part, Gate) else _ExpertIO(part)).eval()  # type: ignore[arg-type]


def export(part: nn.Module, example: _Floats) -> bytes:
    """Convert `part` to fp32 .tflite; `example` is one input, channels last.

    Raises:
        ConversionError: the converter does not take the part.
    """
    import litert_torch

    try:
        exported = litert_torch.convert(with_channels_last(part), (torch.from_numpy(example),))
        return bytes(exported.model_content())
    except Exception as error:  # the converter raises whatever its passes raise
        reason = str(error).strip().split("\n")[0][:300] or type(error).__name__
        raise ConversionError(f"litert-torch cannot convert this {type(part).__name__.lower()}: {reason}") from error


def calibrate_and_quantize(model: bytes, samples: _Floats, recipe: LiteRTRecipe) -> bytes:
    """Quantize the fp32 .tflite `model` by `recipe`; where it calibrates, with ranges from `samples` [N, 1, ...].

    Raises:
        ConversionError: the quantizer does not take the model.
    """
    if recipe.is_float:
        return model
    from ai_edge_quantizer import calibrator, quantizer
    from ai_edge_quantizer.utils import qsv_utils

    try:
        quantize = quantizer.Quantizer(model)
        _configure(quantize, model, recipe)
        ranges = None
        if recipe.ranges == "calibrated":
            # The quantizer's own calibrate() cannot choose the statistic.
            update = {"min-max": qsv_utils.min_max_update, "moving-average": qsv_utils.moving_average_update}
            calibration = calibrator.Calibrator(model, num_threads=1, qsv_update_func=update[recipe.statistic])
            data = {_SIGNATURE: [{_INPUT: sample} for sample in samples]}
            calibration.calibrate(data, quantize._recipe_manager)
            ranges = calibration.get_model_qsvs()
        result = quantize.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        return _outputs_as_signed(bytes(result.quantized_model))
    except (ValueError, RuntimeError, KeyError) as error:
        reason = str(error).strip().split("\n")[0][:300]
        raise ConversionError(f"ai-edge-quantizer cannot apply recipe {recipe.name!r}: {reason}") from error


def _outputs_as_signed(model: bytes) -> bytes:
    """Make the graph give the tensors that its signature names.

    Where an output in float also feeds an operator in int8, the quantizer replaces it in the graph's list of outputs
    by its quantized twin, and the tensor that the signature still names is optimised away.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    signature = content.signatureDefs[0]
    graph = content.subgraphs[signature.subgraphIndex]
    named = [output.tensorIndex for output in signature.outputs]
    if sorted(named) == sorted(graph.outputs):
        return model
    graph.outputs = named
    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


def _configure(quantize: Any, model: bytes, recipe: LiteRTRecipe) -> None:
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
    for operator in recipe.keep_float:
        keep_float(".*", names[operator])
    for output in _unprofitable_convolutions(model, recipe):
        # The scope that the quantizer matches is the name of the output, with a semicolon.
        keep_float(f"^{re.escape(output)};?$", names.CONV_2D)


def _unprofitable_convolutions(model: bytes, recipe: LiteRTRecipe) -> list[str]:
    """Return the names of the outputs of those convolutions that `recipe` leaves in float: not worth a conversion."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    found = []
    for node in interpreter._get_ops_details():
        if node["op_name"] == "CONV_2D":
            weights = tensors[node["inputs"][1]]["shape"]
            output_channels, _, _, input_channels = weights
            output = tensors[node["outputs"][0]]
            _, height, width, _ = output["shape"]
            saved = input_channels * output_channels / (input_channels + output_channels)
            point = height * width == 1
            if (weights.prod() < recipe.min_point_weights) if point else (saved < recipe.min_macs_per_conversion):
                found.append(str(output["name"]))
    return found


def tensor_shapes(part: nn.Module, example: _Floats) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Return the shapes of the inputs and of the outputs of the artifact of `part`, by name."""
    names: Mapping[type, str] = {Base: "image", Gate: "embedding", Expert: "features"}
    with torch.no_grad():
        outputs = with_channels_last(part)(torch.from_numpy(example))
    return {names[type(part)]: example.shape}, {name: tuple(value.shape) for name, value in outputs.items()}
