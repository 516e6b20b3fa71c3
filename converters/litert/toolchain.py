"""One part as .tflite: exported from torch once for its architecture, filled with weights, then quantized by a recipe.

The artifact takes and gives channels last. Its outputs are named as the part's outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from edge_moe.converters import blame
from edge_moe.converters.interface import INPUTS, Floats, Kind
from edge_moe.converters.litert.pooling import with_zeros_padded
from edge_moe.converters.litert.quantizer import (
    SIGNATURE,
    WITH_WEIGHTS,
    calibrate_and_quantize,
    float_tensors,
    prepared,
)
from edge_moe.converters.litert.recipes import LiteRTRecipe
from edge_moe.converters.origin import METADATA, Origin
from edge_moe.converters.recipe import Recipe
from edge_moe.converters.shared_graph import SharedGraphToolchain
from edge_moe.converters.sharing import layer_of
from edge_moe.converters.toolchain import COMPARED, LayerTensors, Structure

__all__ = ["LiteRTToolchain"]


class LiteRTToolchain(SharedGraphToolchain):
    """litert-torch and ai-edge-quantizer."""

    backend = "litert"
    packages = ("torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert")

    def export(self, module: nn.Module, kind: Kind, example: Floats) -> bytes:
        """Convert `module` to fp32 .tflite."""
        import litert_torch

        try:
            made = litert_torch.convert(with_zeros_padded(module), (torch.from_numpy(example),))
            return _with_input_called(INPUTS[kind], bytes(made.model_content()))
        except Exception as error:  # the converter raises whatever its passes raise
            raise blame.failure("litert-torch", error, module, example) from error

    def constants(self, model: bytes) -> dict[str, Floats]:
        """Return the float constants by the number of their buffer."""
        return {buffer: values for buffer, _, values in float_tensors(model)}

    def replaced(self, model: bytes, constants: Mapping[str, Floats]) -> bytes:
        """Write `constants` into their buffers."""
        from ai_edge_litert.tools import flatbuffer_utils

        content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
        for buffer, values in constants.items():
            content.buffers[int(buffer)].data = np.frombuffer(values.tobytes(), np.uint8)
        return bytes(flatbuffer_utils.convert_object_to_bytearray(content))

    def build(
        self,
        traced: bytes,
        part: nn.Module,
        kind: Kind,
        samples: Floats,
        recipes: Sequence[Recipe],
        origins: Sequence[Origin] = (),
    ) -> Iterator[bytes]:
        """Fill in the weights, then quantize."""
        graph = self.filled(traced, part, kind, samples[0])
        for recipe, origin in zip(recipes, origins or (None,) * len(recipes), strict=True):
            assert isinstance(recipe, LiteRTRecipe)
            yield _labelled(calibrate_and_quantize(graph.model, samples, recipe, graph.slots), origin)

    def structure(self, artifact: bytes, part: nn.Module | None = None) -> Structure:
        """Count XNNPACK's partitions and the nodes outside of them."""
        from edge_moe.backends.litert import LiteRT

        names = set() if part is None else {name for name, _ in part.named_modules()}
        opened = LiteRT().open(artifact)
        try:
            left = tuple(f"{operator} of {_module(output, names)}" for operator, output in opened.outside())
            return Structure(*opened.partitions(), left)
        finally:
            opened.close()

    def compare(
        self, traced: bytes, part: nn.Module, kind: Kind, samples: Floats, recipe: Recipe
    ) -> Iterator[LayerTensors]:
        """Run both with LiteRT's own kernels, which keep every tensor; a layer is known by its weights."""
        graph = self.filled(traced, part, kind, samples[0])
        assert isinstance(recipe, LiteRTRecipe)
        model = prepared(graph.model, recipe, graph.slots)
        floats = _Open(model)
        quantized = _Open(calibrate_and_quantize(model, samples, recipe, graph.slots))
        layers = {}
        for weights, (given, result) in floats.layers().items():
            slot = graph.slots.found.get(floats.buffers[weights])
            if slot is not None:
                layers[slot.layer] = (given, result, *quantized.layers()[weights])
        for sample in samples[:COMPARED]:
            floats.invoke(sample)
            quantized.invoke(sample)
            for layer, (given, result, given_8, result_8) in layers.items():
                yield LayerTensors(
                    layer,
                    (floats.tensor(given), quantized.tensor(given_8)),
                    (floats.tensor(result), quantized.tensor(result_8)),
                )

    def emulate(
        self, artifact: bytes, traced: bytes, part: nn.Module, samples: Floats, recipe: Recipe
    ) -> Iterator[Floats]:
        """Run the artifact with LiteRT's own kernels, without XNNPACK."""
        opened = _Open(artifact)
        yield from (opened.logits(sample) for sample in samples[:COMPARED])

    def stock_call(self, artifact: bytes, threads: int, x: Floats) -> Callable[[], Any]:
        """Call an artifact whose input and outputs are int8, which the backend does not take."""
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=artifact, num_threads=threads)
        interpreter.allocate_tensors()
        given = interpreter.get_input_details()[0]
        scale, zero = given["quantization"]
        quantized = np.clip(np.round(x / scale) + zero, -128, 127).astype(given["dtype"])
        # By name, as edge_moe.backends.litert finds it: the outputs are in no particular order.
        logits = interpreter._get_full_signature_list()[SIGNATURE]["outputs"]["logits"]

        def call() -> Any:
            interpreter.set_tensor(given["index"], quantized)
            interpreter.invoke()
            return interpreter.get_tensor(logits)

        return call


def _module(tensor: str, known: Collection[str]) -> str:
    """Return which module of the part gives `tensor`, of the name that litert-torch made of the classes it is in.

    That is a/torch.nn.modules.container.Sequential_part/torch.nn.modules.pooling.MaxPool2d_maxpool;1, several with ;
    between them where operators were fused, the last to run first. Where a name has several underscores, the one ends
    the class that leaves a module's name, of those that are `known`; else the first. A module that is not called, such
    as the features of which a base calls the elements, is missing from the name.
    """

    def matching(path: str) -> list[str]:
        layer = layer_of(path)
        return [name for name in known if name == layer or name.endswith(f".{layer}")]

    path = ""
    for step in tensor.partition(";")[0].split("/"):
        words = step.rpartition(".")[2].lstrip("_").split("_")
        paths = [f"{path}.{'_'.join(words[number:])}".lstrip(".") for number in range(1, len(words))]
        path = next((one for one in paths if matching(one)), paths[0] if paths else path)
    found = matching(path)
    return found[0] if len(found) == 1 else layer_of(path)


def _with_input_called(name: str, model: bytes) -> bytes:
    """Call the one input of `model`, in its signature and in its graph, what the part calls it.

    The converter calls a positional input args_0. It takes keywords too, but a network of one's own may have other
    names for its arguments.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    (given,) = content.signatureDefs[0].inputs
    given.name = name.encode()
    content.subgraphs[content.signatureDefs[0].subgraphIndex].tensors[given.tensorIndex].name = name.encode()
    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


def _labelled(model: bytes, origin: Origin | None) -> bytes:
    """Write into `model` what it is."""
    if origin is None:
        return model
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    written, entry = schema.BufferT(), schema.MetadataT()
    written.data = np.frombuffer(origin.text().encode(), np.uint8)
    entry.name, entry.buffer = METADATA, len(content.buffers)
    content.buffers.append(written)
    content.metadata = [*(content.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


class _Open:
    """A .tflite, interpreted without delegates, whose tensors can all be read."""

    def __init__(self, model: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._interpreter = Interpreter(
            model_content=model,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        self._interpreter.allocate_tensors()
        self._tensors = {tensor["index"]: tensor for tensor in self._interpreter.get_tensor_details()}
        self.buffers = {name: buffer for buffer, name, _ in float_tensors(model)}

    def invoke(self, x: Floats) -> None:
        self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], x)
        self._interpreter.invoke()

    def logits(self, x: Floats) -> Floats:
        """Run a sample and return its logits."""
        run = self._interpreter.get_signature_runner()  # of the only signature
        (name,) = run.get_input_details()
        return np.asarray(run(**{name: x})["logits"])

    def layers(self) -> dict[str, tuple[int, int]]:
        """Name of the weights -> index of the input and of the output, of every operator that has weights."""
        nodes = self._interpreter._get_ops_details()
        # Rounding its input is the layer's own doing.
        exact = {node["outputs"][0]: node["inputs"][0] for node in nodes if node["op_name"] == "QUANTIZE"}
        return {
            str(self._tensors[node["inputs"][1]]["name"]): (
                exact.get(node["inputs"][0], node["inputs"][0]),
                node["outputs"][0],
            )
            for node in nodes
            if node["op_name"] in WITH_WEIGHTS
        }

    def tensor(self, index: int) -> Floats:
        """Return a tensor, as real numbers."""
        raw = self._interpreter.get_tensor(index)
        if raw.dtype == np.float32:
            return np.asarray(raw)
        scale, zero = self._tensors[index]["quantization"]
        return np.asarray((raw.astype(np.float32) - zero) * np.float32(scale))
