"""int8 for ExecuTorch: PT2E on the traced graph, written in operators that XNNPACK has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from edge_moe.converters.blame import module_of
from edge_moe.converters.executorch.recipes import ExecuTorchRecipe
from edge_moe.converters.interface import Floats, channels_first
from edge_moe.converters.sharing import is_within, with_feeders
from edge_moe.errors import ConversionError

__all__ = ["anonymous", "calibrate", "check_no_batch_norm", "quantized"]

_BATCH = 16  # images that are calibrated on at once
_aten = torch.ops.aten
_OPERATORS: dict[str, Any] = {
    "conv2d": _aten.conv2d.default,
    "linear": _aten.linear.default,
    "add": _aten.add.Tensor,
    "mul": _aten.mul.Tensor,
}


def quantized(graph: Any, samples: Floats, recipe: ExecuTorchRecipe, example: tuple[torch.Tensor, ...]) -> Any:
    """Return the torch.fx module `graph` quantized by `recipe`, with ranges from `samples` [N, 1, ...], channels last.

    Raises:
        ConversionError: a BatchNorm cannot be folded.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    _spell_out(graph, recipe)
    graph = prepare_pt2e(graph, _quantizer(graph, recipe))  # folds BatchNorm too
    check_no_batch_norm(graph)
    if not recipe.is_float:
        calibrate(graph, samples if recipe.ranges == "calibrated" else samples[:1], example)
    graph = convert_pt2e(graph)
    _give_outputs_their_own(graph)
    _give_readers_their_own(graph)
    return graph


def _spell_out(module: Any, recipe: ExecuTorchRecipe) -> None:
    """Write what XNNPACK has no operator for in operators that it has.

    Left alone, hard-sigmoid is decomposed with integers, each cast to float outside of the delegate; and pooling to
    one pixel, in channels-last format, gets a copy that only restates the strides. Both break a part into pieces.
    XNNPACK pools to [B, C, 1, 1] only. And the quantizer leaves a dynamic operator in float where a ReLU follows it.
    """
    graph = module.graph
    for node in list(graph.nodes):

        def call(operator: Any, *arguments: Any, like: Any = node) -> Any:
            made = graph.call_function(operator, arguments)
            made.meta = anonymous(like.meta)
            return made

        with graph.inserting_before(node):
            if node.target in (_aten.hardsigmoid.default, _aten.hardsigmoid_.default):
                clamped = call(_aten.hardtanh.default, call(_aten.add.Tensor, node.args[0], 3.0), 0.0, 6.0)
                result = call(_aten.mul.Tensor, clamped, 1 / 6)
            elif node.target is _aten.adaptive_avg_pool2d.default and set(node.args[1]) == {1}:
                result = call(_aten.mean.dim, node.args[0], [2, 3], True)
            elif node.target in (_aten.relu.default, _aten.relu_.default) and _is_dynamic(node.args[0], recipe):
                result = call(_aten.clamp.default, node.args[0], 0.0)
            elif _is_pooling(node):
                result = call(_aten.flatten.using_ints, call(_aten.mean.dim, node.args[0], [2, 3], True), 1)
            else:
                continue
        node.replace_all_uses_with(result)
        graph.erase_node(node)
    module.recompile()


def anonymous(meta: dict[str, Any]) -> dict[str, Any]:
    """Return `meta` of a node without what the quantizer would take the operator in its place for the old one by."""
    kept = {key: value for key, value in meta.items() if key not in ("source_fn_stack", "torch_fn")}
    stack = dict(meta.get("nn_module_stack") or {})
    if stack:
        last = list(stack)[-1]
        stack[last] = (stack[last][0], "torch.nn.Module")  # the name stays, for errors
    return kept | {"nn_module_stack": stack}


def _dynamic(recipe: ExecuTorchRecipe) -> tuple[str, ...]:
    return recipe.dynamic_operators + (recipe.quantize if recipe.ranges == "dynamic" else ())


def _is_dynamic(node: Any, recipe: ExecuTorchRecipe) -> bool:
    if node.target is _aten.batch_norm.default:  # will be folded into the convolution before it
        node = node.args[0]
    return node.target in {_OPERATORS[operator] for operator in _dynamic(recipe)}


def _is_pooling(node: Any) -> bool:
    """Return whether `node` is x.mean((2, 3)) of a map x."""
    if node.target is not _aten.mean.dim or len(node.args) > 2 or node.kwargs:
        return False
    rank = node.args[0].meta["val"].dim()
    return rank == 4 and {axis % rank for axis in node.args[1]} == {2, 3}


def _quantizer(graph: Any, recipe: ExecuTorchRecipe) -> Any:
    """Translate `recipe` into the quantizer's rules."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e import MinMaxObserver

    dynamic = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    static = get_symmetric_quantization_config(is_per_channel=True)  # its own statistic is the histogram
    if recipe.statistic == "min-max":
        observer = MinMaxObserver.with_args(eps=2**-12)
        activations = dataclasses.replace(static.input_activation, observer_or_fake_quant_ctr=observer)
        static = dataclasses.replace(static, input_activation=activations, output_activation=activations)
    quantizer = XNNPACKQuantizer()
    if recipe.quantize == ("*",):
        return quantizer.set_global(static).set_filter_function(_wanted(graph, recipe))
    for operators, config in ((recipe.quantize, static), (_dynamic(recipe), dynamic)):
        for operator in operators:
            quantizer.set_operator_type(_OPERATORS[operator], config)
    return quantizer.set_filter_function(_wanted(graph, recipe))


def _wanted(graph: Any, recipe: ExecuTorchRecipe) -> Callable[[Any], bool]:
    """Return which nodes of an operator that `recipe` quantizes are worth it, and may be quantized."""
    layers = (_aten.conv2d.default, _aten.linear.default)
    kept = {n for n in graph.graph.nodes if n.op == "call_function" and is_within(module_of(n), recipe.keep_float)}
    if recipe.ranges == "calibrated":
        kept = with_feeders(kept, lambda node: node.all_input_nodes, lambda node: node.target in layers)
    names = {node.name for node in kept}  # the quantizer sees the nodes of a copy

    def wanted(node: Any) -> bool:
        if node.name in names:
            return False
        if node.target is not _aten.conv2d.default:
            return True
        output_channels, input_channels, *_ = weights = node.args[1].meta["val"].shape
        groups = node.args[6] if len(node.args) > 6 else 1
        output_channels //= groups
        height, width = node.meta["val"].shape[2:]
        if height * width == 1:
            return bool(weights.numel() >= recipe.min_point_weights)
        saved = input_channels * output_channels / (input_channels + output_channels)
        return bool(saved >= recipe.min_macs_per_conversion)

    return wanted


@torch.no_grad()
def calibrate(graph: Any, samples: Floats, example: tuple[torch.Tensor, ...]) -> None:
    """Show the observers what flows through `graph`; those of weights need one pass, with dynamic ranges too."""
    if not len(samples):
        graph(*example)
    for start in range(0, len(samples), _BATCH):
        graph(channels_first(samples[start : start + _BATCH, 0]))


def _give_outputs_their_own(module: Any) -> None:
    """Give an output that is dequantized, and that operators in float also read, a dequantization of its own.

    XNNPACK fuses the shared one with the operator that reads it, and leaves the output as it was: zeros.
    """
    graph = module.graph
    output = graph.output_node()
    for node in output.all_input_nodes:
        if "dequantize" in str(node.target) and len(node.users) > 1:
            with graph.inserting_before(output):
                own = graph.call_function(node.target, node.args, node.kwargs)
                own.meta = dict(node.meta)
            output.replace_input_with(node, own)
    module.recompile()


def _give_readers_their_own(module: Any) -> None:
    """Give every layer that finds its range itself its own rounding, where several read one activation.

    XNNPACK's partitioner keeps the readers of a shared one together. Where a path leads from one to another, as
    beside a shortcut with a convolution, that cuts the part in two.
    """
    graph = module.graph
    for node in list(graph.nodes):
        if "dequantize" not in str(node.target) or "choose_qparams" not in str(_ranges(node)):
            continue
        for reader in list(node.users)[1:]:
            copied: dict[Any, Any] = {}
            with graph.inserting_before(reader):
                for old in (_ranges(node), *node.args[1:3], node.args[0], node):
                    copied[old] = graph.node_copy(old, lambda one, copied=copied: copied.get(one, one))
            reader.replace_input_with(node, copied[node])
    module.recompile()


def _ranges(node: Any) -> Any:
    """Return the node that found the scale of the dequantization `node` on the spot, None where it is a constant."""
    scale = node.args[1]
    return scale.args[0] if getattr(scale, "args", ()) else None


def check_no_batch_norm(module: Any) -> None:
    """Raise ConversionError where a BatchNorm was not folded."""
    for node in module.graph.nodes:
        if "batch_norm" in str(node.target):
            raise ConversionError(f"BatchNorm of {module_of(node)!r} follows no convolution, so it cannot be folded")
