"""Integers for Ethos-U: PT2E on the traced graph, by Arm's own quantizer."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from edge_moe.converters.ethos_u.recipes import EthosURecipe
from edge_moe.converters.executorch.quantizer import anonymous, calibrate, check_no_batch_norm
from edge_moe.converters.interface import Floats
from edge_moe.errors import ConversionError

__all__ = ["FLOAT_PROFILE", "PROFILE", "quantized"]

# What Ethos-U55 and U65 take. U85 takes more, and this too: one artifact serves all.
PROFILE = "TOSA-1.0+INT+int16+int4+u55"
FLOAT_PROFILE = "TOSA-1.0+FP"
_aten = torch.ops.aten
_LAYERS = {_aten.conv2d.default, _aten.linear.default}
_INFINITY = float("inf")
# Between which numbers a function is not flat.
_FLAT: dict[Any, tuple[float, float]] = {
    _aten.hardswish.default: (-3.0, _INFINITY),
    _aten.hardswish_.default: (-3.0, _INFINITY),
    _aten.hardsigmoid.default: (-3.0, 3.0),
    _aten.hardsigmoid_.default: (-3.0, 3.0),
}
_SUMS = _LAYERS | {_aten.batch_norm.default}  # which is folded into the layer before it
_READ_SUMS = _SUMS | _FLAT.keys() | {_aten.relu.default, _aten.relu_.default}  # as they should
_LARGE = 1e30
_IMAGE_CHANNELS = 4  # at most
# Images that are answered go beyond the range of those that were calibrated on. Of 16 bits, two are left for them; but
# hardly any before a function, which the NPU has as a table of 513 numbers over the whole range, with straight lines
# between them: the wider, the coarser where the function bends. Of photographs (docs/npus.md) the base answered 97.8%
# as fp32 does with 1.25, and 97.2% with 2.
_HEADROOM = 4.0
_TABLE_HEADROOM = 1.25


def quantized(graph: Any, samples: Floats, recipe: EthosURecipe, example: tuple[torch.Tensor, ...]) -> Any:
    """Return the torch.fx module `graph` quantized by `recipe`, with ranges from `samples` [N, 1, ...], channels last.

    Raises:
        ConversionError: a BatchNorm cannot be folded, or a layer is to stay in float.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    if recipe.keep_float:
        raise ConversionError(
            f"an Ethos-U computes with integers alone, so {', '.join(recipe.keep_float)} cannot stay in float: leave "
            f"keep_float out, and where the answers are too far off take another recipe of the backend"
        )
    _spell_out(graph)
    _end_sums(graph, _wide(graph, recipe))
    graph = prepare_pt2e(graph, _quantizer(graph, recipe))
    check_no_batch_norm(graph)
    if not recipe.is_float:
        _round_outputs_once(graph)
        calibrate(graph, samples, example)
        if recipe.statistic == "min-max":
            _set_ranges(graph)
    return convert_pt2e(graph)


def _spell_out(module: Any) -> None:
    """Write the mean of a map over H and W as pooling, for which there is an operator.

    Arm's quantizer makes a sum, a product and a view of it, and these for a batch of one; it is calibrated on larger.
    """
    graph = module.graph
    for node in list(graph.nodes):
        if node.target is not _aten.mean.dim or node.kwargs or (value := node.args[0].meta["val"]).ndim != 4:
            continue
        if {axis % 4 for axis in node.args[1]} != {2, 3}:
            continue
        with graph.inserting_before(node):
            result = graph.call_function(_aten.adaptive_avg_pool2d.default, (node.args[0], [1, 1]))
            result.meta = anonymous(node.meta) | {"val": value.new_empty((*value.shape[:2], 1, 1))}
            if node.args[2:] != (True,):
                result = graph.call_function(_aten.flatten.using_ints, (result, 1))
                result.meta = anonymous(node.meta)
        node.replace_all_uses_with(result)
        graph.erase_node(node)
    module.recompile()


def _wide(module: Any, recipe: EthosURecipe) -> list[Any]:
    """Return the nodes that take and give 16 bits: all, or the first layers of what is fed an image."""
    nodes = [node for node in module.graph.nodes if node.op == "call_function"]
    if recipe.is_float or recipe.activation_bits == 16:
        return [] if recipe.is_float else nodes
    shapes = [node.meta["val"].shape for node in module.graph.nodes if node.op == "placeholder"]
    if any(len(shape) != 4 or shape[1] > _IMAGE_CHANNELS for shape in shapes):
        return []
    layers = [place for place, node in enumerate(nodes) if node.target in _LAYERS]
    return nodes[: layers[recipe.wide_layers]] if recipe.wide_layers < len(layers) else nodes


def _end_sums(module: Any, wide: list[Any]) -> None:
    """Put a clamp that clamps nothing behind every layer of `wide` whose sums are read by more than layers and tables.

    Where activations have 16 bits, executorch 1.4.1 hands the bare sums of a layer to an addition or a multiplication
    without their scale, so that these overflow, and refuses the part where a layer reads them, too. A clamp ends them,
    and becomes part of the layer: it costs nothing.
    """
    graph = module.graph
    for node in wide:
        if node.target in _SUMS and any(user.op != "output" and user.target not in _READ_SUMS for user in node.users):
            with graph.inserting_after(node):
                clamp = graph.call_function(_aten.hardtanh.default, (node, -_LARGE, _LARGE))
            clamp.meta = anonymous(node.meta)
            node.replace_all_uses_with(clamp, lambda user, clamp=clamp: user is not clamp)
    module.recompile()


def _quantizer(module: Any, recipe: EthosURecipe) -> Any:
    """Return Arm's quantizer, set up by `recipe` for the graph of `module`."""
    from executorch.backends.arm.quantizer.arm_quantizer import (
        TOSAQuantizer,
        get_symmetric_a16w8_quantization_config,
        get_symmetric_quantization_config,
    )
    from executorch.backends.arm.tosa.compile_spec import TosaCompileSpec
    from torchao.quantization.pt2e import MinMaxObserver

    quantizer = TOSAQuantizer(TosaCompileSpec(FLOAT_PROFILE if recipe.is_float else PROFILE))
    if recipe.is_float:
        return quantizer
    narrow = get_symmetric_quantization_config(is_per_channel=True)
    wide = get_symmetric_a16w8_quantization_config(is_per_channel=True)
    if recipe.statistic == "min-max":
        observer = MinMaxObserver.with_args(eps=2**-16)
        narrow, wide = (_observed_by(observer, config) for config in (narrow, wide))
    if recipe.activation_bits == 16:
        return quantizer.set_global(wide)
    for node in _wide(module, recipe):
        quantizer.set_node_name(node.name, wide)
    gives_wide = dataclasses.replace(narrow, output_activation=wide.output_activation)
    for node in module.graph.output_node().all_input_nodes if recipe.wide_logits else ():
        if node.target is _aten.linear.default and len(node.users) == 1:  # nothing else reads it
            quantizer.set_node_name(node.name, gives_wide)
    return quantizer.set_global(narrow)


def _observed_by(observer: Any, config: Any) -> Any:
    """Return `config` with ranges of activations by `observer`."""
    activations = dataclasses.replace(config.input_activation, observer_or_fake_quant_ctr=observer)
    return dataclasses.replace(config, input_activation=activations, output_activation=activations)


def _round_outputs_once(module: Any) -> None:
    """Leave outputs that nothing else reads as their layer rounds them; to the quantizer all outputs have 8 bits."""
    graph = module.graph
    for node in graph.output_node().all_input_nodes:
        given = node.args[0]
        if node.op == given.op == "call_module" and len(node.users) == len(given.users) == 1:
            node.replace_all_uses_with(given)
            graph.erase_node(node)
    module.recompile()


def _set_ranges(module: Any) -> None:
    """Give ranges of 16 bits headroom, and cut all to what the function that follows tells apart.

    All below -3 is nothing to hard-swish, and rounding to integers ends at the first and the last of them. Where these
    stand for the numbers from which a function is flat, nothing is lost, and every step between them is finer.
    """
    limits: dict[Any, set[Any]] = {}  # of an observer, which may stand in several places: by every reader's function
    for node in module.graph.nodes:
        observer = module.get_submodule(node.target) if node.op == "call_module" else None
        if hasattr(observer, "min_val"):
            limits.setdefault(observer, set()).update(_FLAT.get(user.target) for user in node.users)
    for observer, found in limits.items():
        is_cut = len(found) == 1 and None not in found
        if observer.dtype == torch.int16:
            headroom = _TABLE_HEADROOM if is_cut else _HEADROOM
            observer.min_val.mul_(headroom)
            observer.max_val.mul_(headroom)
        if is_cut:
            low, high = found.pop()
            observer.min_val.clamp_(min=low)
            observer.max_val.clamp_(max=high)
