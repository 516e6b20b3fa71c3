"""One part as .tosa: traced as for ExecuTorch, quantized for the NPU, lowered by ExecuTorch's Arm backend to TOSA.

The artifact is what every Ethos-U's program is compiled from: Vela does that for one size of the NPU and one way to
use memory, see benchmarks/targets/ethos_u. All of a part is one graph of integers, its inputs and outputs included.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edge_moe.backends.base import PartTensor, PartTensors
from edge_moe.backends.reference_model import KIND, TOSA, tools_folder
from edge_moe.backends.tosa import Part, pack, unpack
from edge_moe.brought import import_from
from edge_moe.converters.blame import module_of
from edge_moe.converters.ethos_u.quantizer import FLOAT_PROFILE, PROFILE, quantized
from edge_moe.converters.ethos_u.recipes import RECIPES, EthosURecipe
from edge_moe.converters.executorch.toolchain import ExecuTorchToolchain, reason, where
from edge_moe.converters.interface import Floats
from edge_moe.converters.origin import Origin
from edge_moe.converters.recipe import FLOAT, Recipe
from edge_moe.converters.toolchain import Structure
from edge_moe.errors import ConversionError

__all__ = ["EthosUToolchain"]

_EDGES = ("quantize_per_tensor", "dequantize_per_tensor")  # from and to float, which the host does


class EthosUToolchain(ExecuTorchToolchain):
    """torch.export, torchao's PT2E with Arm's quantizer, and ExecuTorch's Arm backend."""

    backend = KIND
    _float: Recipe = next(one for one in RECIPES if one.name == FLOAT)

    def structure(self, artifact: bytes, part: nn.Module | None = None) -> Structure:
        """Return that it is whole: what the NPU does not take is refused when the artifact is made."""
        unpack(artifact)
        return Structure(1, 0)

    def _quantize(self, graph: Any, samples: Floats, recipe: Recipe, example: tuple[Tensor, ...]) -> Any:
        assert isinstance(recipe, EthosURecipe)
        import_from(tools_folder(TOSA), "tosa_serializer")  # which Arm's code imports where it finds it
        return quantized(graph, samples, recipe, example)

    def _lower(
        self, graph: Any, example: tuple[Tensor, ...], names: list[str], recipe: Recipe, origin: Origin | None
    ) -> bytes:
        program = torch.export.export(graph, example)
        lowered = _lowered(program, FLOAT_PROFILE if recipe.is_float else PROFILE)
        delegate, tensors = _read(lowered, names)
        return pack(Part(delegate, tensors, "" if origin is None else origin.text()))


def _lowered(program: Any, profile: str) -> Any:
    """Return the edge program of `program`, whose one delegate is TOSA."""
    from executorch.backends.arm.tosa.compile_spec import TosaCompileSpec
    from executorch.backends.arm.tosa.partitioner import TOSAPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    try:
        partitioner = TOSAPartitioner(TosaCompileSpec(profile))
        config = EdgeCompileConfig(_check_ir_validity=False)  # as Arm's own examples have it
        edge = to_edge_transform_and_lower(program, partitioner=[partitioner], compile_config=config)
    except Exception as error:  # the lowering raises whatever its passes raise
        raise ConversionError(
            f"ExecuTorch's Arm backend cannot lower the part: {where(program, str(error))}{reason(error)}; replace the "
            "operator, or leave the backend out"
        ) from error
    return edge.exported_program()


def _read(lowered: Any, names: list[str]) -> tuple[bytes, PartTensors]:
    """Return the graph of the one delegate, and what goes into it and what comes out.

    Raises:
        ConversionError: an operator is outside of it; names it, and the module.
    """
    called = [node for node in lowered.graph.nodes if node.op == "call_function"]
    inside = [node for node in called if "executorch_call_delegate" in str(node.target)]
    given = [node for one in inside for node in one.args[1:]]
    gives = lowered.graph.output_node().args[0]
    taken = {node for node in called if "getitem" in str(node.target)}
    edges = {node for node in given if _rounds(node, "quantize") and node.args[0].op == "placeholder"}
    edges |= {node for node in gives if _rounds(node, "dequantize") and node.args[0] in taken}
    outside = [node for node in called if node not in taken | edges | set(inside)]
    if outside:
        named = [node for node in outside if "quantize" not in node.target.name()] or outside  # not what only rounds
        operators = ", ".join(sorted({f"{node.target.name()} of {module_of(node)!r}" for node in named}))
        raise ConversionError(
            f"Ethos-U does not take {operators}, and computes nothing in float: replace the operator; what can stay in "
            "float is the whole part, by another backend's set"
        )
    if len(inside) != 1:
        raise ConversionError(f"the part became {len(inside)} graphs for the NPU instead of one")
    graph: bytes = getattr(lowered.graph_module, inside[0].args[0].target).processed_bytes
    entered, left = _names(graph)
    inputs = tuple(_described("", node, tensor) for node, tensor in zip(given, entered, strict=True))
    outputs = {}
    for name, node in zip(names, gives, strict=True):
        item = node.args[0] if node in edges else node
        outputs[item.args[1]] = _described(name, node, left[item.args[1]])
    if sorted(outputs) != list(range(len(left))):
        raise ConversionError(
            f"the graph for the NPU gives {len(left)} outputs, where the part has {', '.join(names)}; leave the "
            "backend out"
        )
    return graph, PartTensors(inputs, tuple(outputs[place] for place in range(len(left))))


def _rounds(node: Any, how: str) -> bool:
    """Return whether `node` only changes between float and integers of one scale: "quantize" or "dequantize"."""
    return str(getattr(node.target, "_name", node.target)).startswith(f"quantized_decomposed::{how}_per_tensor")


def _described(name: str, edge: Any, tensor: tuple[str, tuple[int, ...]]) -> PartTensor:
    """Return what is known of an input or output of the graph.

    Args:
        name: what the part calls it.
        edge: what rounds it, or makes it float; another node where it is float in the graph, too.
        tensor: its name and its shape in the graph.
    """
    integer = _rounds(edge, "quantize") or _rounds(edge, "dequantize")
    described, shape = tensor
    return PartTensor(
        name=name,
        tensor=described,
        shape=shape,
        layout="NHWC" if len(shape) == 4 else None,
        dtype=str(edge.args[5]).removeprefix("torch.") if integer else "float32",  # type: ignore[arg-type]
        scale=float(edge.args[1]) if integer else None,
        zero_point=int(edge.args[2]) if integer else None,
    )


def _names(graph: bytes) -> tuple[list[tuple[str, tuple[int, ...]]], list[tuple[str, tuple[int, ...]]]]:
    """Return name and shape of each input, and of each output, of a TOSA graph, in its order."""
    block = import_from(tools_folder(TOSA), "tosa.TosaGraph").TosaGraph.GetRootAs(graph).Regions(0).Blocks(0)
    tensors = [block.Tensors(i) for i in range(block.TensorsLength())]
    shapes = {one.Name(): tuple(one.Shape(i) for i in range(one.ShapeLength())) for one in tensors}
    inputs = [block.Inputs(i) for i in range(block.InputsLength())]
    outputs = [block.Outputs(i) for i in range(block.OutputsLength())]
    return ([(one.decode(), shapes[one]) for one in inputs], [(one.decode(), shapes[one]) for one in outputs])
