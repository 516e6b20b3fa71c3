"""One part as .onnx: exported from torch once for its architecture, filled with weights, then quantized by a recipe.

The artifact takes and gives channels last. Its outputs are named as the part's outputs.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from edge_moe.backends.onnx_session import open_session
from edge_moe.converters import blame
from edge_moe.converters.interface import INPUTS, OUTPUTS, Floats, Kind
from edge_moe.converters.onnx.quantizer import Ranges, calibrate, quantize
from edge_moe.converters.onnx.recipes import RECIPES, OnnxRecipe
from edge_moe.converters.onnx.weights import with_integer_weights
from edge_moe.converters.origin import METADATA, Origin
from edge_moe.converters.recipe import FLOAT, Recipe
from edge_moe.converters.shared_graph import Graph, SharedGraphToolchain
from edge_moe.converters.toolchain import COMPARED, LayerTensors, Structure
from edge_moe.errors import ConversionError

__all__ = ["OnnxToolchain"]

_FLOAT = next(one for one in RECIPES if one.name == FLOAT)
_WITH_WEIGHTS = ("Conv", "Gemm")
_OPSET, _IR_VERSION = _FLOAT.opset, _FLOAT.ir_version


class OnnxToolchain(SharedGraphToolchain):
    """torch.onnx and onnxruntime.quantization."""

    backend = "onnx"
    packages = ("torch", "onnx", "onnxscript", "onnxruntime")

    def export(self, module: nn.Module, kind: Kind, example: Floats) -> bytes:
        """Convert `module` to fp32 .onnx, and prepare it for the quantizer."""
        try:
            with _quiet():
                program = torch.onnx.export(
                    module,
                    (torch.from_numpy(example),),
                    dynamo=True,
                    verbose=False,
                    opset_version=_OPSET,
                    input_names=[INPUTS[kind]],
                    output_names=list(OUTPUTS[kind]),
                    custom_translation_table={torch.ops.aten.adaptive_avg_pool2d.default: _adaptive_average_pool},
                )
                assert program is not None
                return _prepared(program.model_proto)
        except Exception as error:  # the exporter raises whatever its passes raise
            raise blame.failure("torch.onnx", error, module, example) from error

    def constants(self, model: bytes) -> dict[str, Floats]:
        """Return the float initializers by their names."""
        return {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in onnx.load_from_string(model).graph.initializer
            if tensor.data_type == onnx.TensorProto.FLOAT
        }

    def replaced(self, model: bytes, constants: Mapping[str, Floats]) -> bytes:
        """Write `constants` into the initializers of those names."""
        content = onnx.load_from_string(model)
        for tensor in content.graph.initializer:
            if tensor.name in constants:
                tensor.CopyFrom(numpy_helper.from_array(constants[tensor.name], tensor.name))
        return bytes(content.SerializeToString())

    def build(
        self,
        traced: bytes,
        part: nn.Module,
        kind: Kind,
        samples: Floats,
        recipes: Sequence[Recipe],
        origins: Sequence[Origin] = (),
    ) -> Iterator[bytes]:
        """Fill in the weights, calibrate once, then quantize by every recipe."""
        graph = self.filled(traced, part, kind, samples[0])
        ranges = functools.cache(lambda: calibrate(graph.model, samples))
        for recipe, origin in zip(recipes, origins or (None,) * len(recipes), strict=True):
            assert isinstance(recipe, OnnxRecipe)
            yield _labelled(_quantized(graph, recipe, ranges), origin)

    def structure(self, artifact: bytes, part: nn.Module | None = None) -> Structure | None:
        """Return None: on the CPU, ONNX Runtime has a kernel of its own for every operator."""
        return None

    def compare(
        self, traced: bytes, part: nn.Module, kind: Kind, samples: Floats, recipe: Recipe
    ) -> Iterator[LayerTensors]:
        """Run both without fusing operators, so that every tensor can be read; a layer is known by its weights."""
        assert isinstance(recipe, OnnxRecipe)
        graph = self.filled(traced, part, kind, samples[0])
        quantized = _quantized(graph, recipe, lambda: calibrate(graph.model, samples))
        both = [onnx.load_from_string(one) for one in (graph.model, quantized)]
        slots = graph.slots
        layers = {
            node.name: slots.found[node.input[1]].layer
            for node in both[0].graph.node
            if len(node.input) > 1 and node.input[1] in slots.found
        }
        reads = [_ends(one, list(layers)) for one in both]
        runs = [
            _reader(one, sorted({name for pair in read.values() for name in pair}))
            for one, read in zip(both, reads, strict=True)
        ]
        for sample in samples[:COMPARED]:
            found = [run(sample) for run in runs]
            for node, layer in layers.items():
                (x, y), (x8, y8) = (read[node] for read in reads)
                yield LayerTensors(layer, (found[0][x], found[1][x8]), (found[0][y], found[1][y8]))

    def emulate(
        self, artifact: bytes, traced: bytes, part: nn.Module, samples: Floats, recipe: Recipe
    ) -> Iterator[Floats]:
        """Run the artifact without fusing operators: what is dequantized is multiplied in float."""
        run = _reader(onnx.load_from_string(artifact), ["logits"])
        yield from (run(sample)["logits"] for sample in samples[:COMPARED])


def _quantized(graph: Graph, recipe: OnnxRecipe, ranges: Callable[[], Ranges]) -> bytes:
    """Return the model of `graph` by `recipe`; `ranges` of its activations are asked for where they are needed."""
    if recipe.is_float:
        return graph.model
    if recipe.ranges == "weights":
        return with_integer_weights(graph.model, recipe, graph.slots)
    return quantize(graph.model, ranges(), recipe, graph.slots)


def _labelled(model: bytes, origin: Origin | None) -> bytes:
    """Write into `model` what it is."""
    if origin is None:
        return model
    content = onnx.load_from_string(model)
    content.metadata_props.add(key=METADATA, value=origin.text())
    return bytes(content.SerializeToString())


def _adaptive_average_pool(x: Any, output_size: Sequence[int]) -> Any:
    """Translate adaptive pooling: the exporter's own way through a mean leaves operators without a fast kernel."""
    from onnxscript import opset20

    height, width = (int(n) for n in x.shape[2:])
    rows, columns = (int(n) for n in output_size)
    if (rows, columns) == (1, 1):
        return opset20.GlobalAveragePool(x)
    if height % rows or width % columns:
        raise ConversionError(
            f"adaptive_avg_pool2d from {height} x {width} to {rows} x {columns}: expected a size that divides the map's"
        )
    kernel = [height // rows, width // columns]
    return opset20.AveragePool(x, kernel_shape=kernel, strides=kernel)


def _prepared(model: onnx.ModelProto) -> bytes:
    """Fold constants, infer shapes, name every node; leave out traces, which hold the paths of this machine."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(model, before)
        quant_pre_process(str(before), str(after), skip_symbolic_shape=True)
        model = onnx.load(str(after))
    model.ir_version = _IR_VERSION
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
        node.doc_string = ""
    for described in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del described.metadata_props[:]
    for described in (*model.graph.input, *model.graph.output):
        del described.metadata_props[:]
    return bytes(model.SerializeToString())


def _ends(model: onnx.ModelProto, nodes: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the names of the tensors that go into and come out of `nodes`."""
    rounded = {}  # what DequantizeLinear gives -> what went into its QuantizeLinear: rounding is the layer's own doing
    quantized = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    clipping = {output for node in model.graph.node if node.op_type in _WITH_WEIGHTS for output in node.output}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in quantized:
            before = quantized[node.input[0]]
            # A ReLU behind a convolution is gone: it is where the range of what is rounded ends.
            if before not in clipping:
                rounded[node.output[0]] = before
    return {
        node.name: (rounded.get(node.input[0], node.input[0]), node.output[0])
        for node in model.graph.node
        if node.name in nodes
    }


def _reader(model: onnx.ModelProto, names: Sequence[str]) -> Any:
    """Return a function sample -> {name: tensor} for the tensors `names` of `model`."""
    given = model.graph.input[0].name
    there = {output.name for output in model.graph.output} | {given}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    session = open_session(model.SerializeToString(), optimise=False, what="graph")
    wanted = [name for name in names if name != given]

    def read(sample: Floats) -> dict[str, Floats]:
        return {given: sample, **dict(zip(wanted, session.run(wanted, {given: sample}), strict=True))}

    return read


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter and its optimiser say about themselves from the user."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "torch.onnx", "onnx_ir", "root")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
