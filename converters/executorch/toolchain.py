"""One part as .pte: traced once, then quantized by a recipe and lowered to XNNPACK, with any expert's weights.

The artifact takes and gives maps as NCHW tensors in torch's channels-last format: the bytes are those of NHWC, and
XNNPACK, which works in that order, has nothing to transpose. A part is one delegate and nothing else.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_moe.backends.executorch import MADE_FROM, OUTPUT_NAMES
from edge_moe.converters import blame
from edge_moe.converters.blame import module_of
from edge_moe.converters.executorch.quantizer import quantized
from edge_moe.converters.executorch.recipes import RECIPES, ExecuTorchRecipe
from edge_moe.converters.interface import Floats, Kind, channels_first
from edge_moe.converters.origin import Origin
from edge_moe.converters.recipe import FLOAT, Recipe
from edge_moe.converters.toolchain import COMPARED, LayerTensors, Structure, Toolchain
from edge_moe.errors import ConversionError

__all__ = ["ExecuTorchToolchain", "reason", "where", "without_warnings"]

_PREFIX = "part."  # of a part's tensors and modules in the traced module
_WITH_WEIGHTS = (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)


class ExecuTorchToolchain(Toolchain):
    """torch.export, torchao's PT2E and ExecuTorch's XNNPACK backend."""

    backend = "executorch"
    packages = ("torch", "torchao", "executorch")
    _float: Recipe = next(one for one in RECIPES if one.name == FLOAT)

    def trace(self, part: nn.Module, kind: Kind, example: Floats) -> bytes:
        """Export the graph of `part`; its weights are replaced by name."""
        module = _IO[kind](part).eval()
        # Not the example itself: an axis that numpy added has a stride of 0, which ExecuTorch refuses.
        zeros = channels_first(np.zeros(example.shape, np.float32))
        try:
            with without_warnings():
                program = torch.export.export(module, (zeros,))
                _check_maps(program)
                written = io.BytesIO()
                torch.export.save(program, written)
        except ConversionError:
            raise
        except Exception as error:  # the exporter raises whatever its passes raise
            raise blame.failure("torch.export", error, module, zeros) from error
        return written.getvalue()

    def build(
        self,
        traced: bytes,
        part: nn.Module,
        kind: Kind,
        samples: Floats,
        recipes: Sequence[Recipe],
        origins: Sequence[Origin] = (),
    ) -> Iterator[bytes]:
        """Put the weights into the graph, quantize, lower."""
        for recipe, origin in zip(recipes, origins or (None,) * len(recipes), strict=True):
            with without_warnings():
                graph, example, names = self._quantized(traced, part, samples, recipe)
                yield self._lower(graph, example, names, recipe, origin)

    def structure(self, artifact: bytes, part: nn.Module | None = None) -> Structure:
        """Count the delegates that an artifact calls, and the operators outside of them."""
        from executorch.exir._serialize._program import deserialize_pte_binary
        from executorch.exir.schema import DelegateCall, KernelCall

        plans = {plan.name: plan for plan in deserialize_pte_binary(artifact).program.execution_plan}
        calls = [one.instr_args for chain in plans["forward"].chains for one in chain.instructions]
        outside = [call for call in calls if not isinstance(call, DelegateCall)]
        operators = plans["forward"].operators
        left = [
            operators[call.op_index].name if isinstance(call, KernelCall) else type(call).__name__ for call in outside
        ]
        return Structure(len(calls) - len(outside), len(outside), tuple(left))

    def compare(
        self, traced: bytes, part: nn.Module, kind: Kind, samples: Floats, recipe: Recipe
    ) -> Iterator[LayerTensors]:
        """Run both in torch, before they are lowered: within a delegate no tensor can be read."""
        with without_warnings():
            runs = [_Watched(self._quantized(traced, part, samples, one)[0]) for one in (self._float, recipe)]
        for sample in samples[:COMPARED]:
            found = [run.layers(channels_first(sample)) for run in runs]
            for (layer, x, y), (_, x8, y8) in zip(*found, strict=True):
                yield LayerTensors(layer, (x, x8), (y, y8))

    def emulate(
        self, artifact: bytes, traced: bytes, part: nn.Module, samples: Floats, recipe: Recipe
    ) -> Iterator[Floats]:
        """Run the graph that was lowered in torch."""
        with without_warnings():
            graph, _, _ = self._quantized(traced, part, samples, recipe)
            with torch.no_grad():
                for sample in samples[:COMPARED]:
                    yield graph(channels_first(sample))["logits"].numpy()

    def _quantize(self, graph: Any, samples: Floats, recipe: Recipe, example: tuple[Tensor, ...]) -> Any:
        """Return the torch.fx module `graph` quantized by `recipe`, with ranges from `samples` [N, 1, ...].

        Raises:
            ConversionError: the quantizer does not take it.
        """
        assert isinstance(recipe, ExecuTorchRecipe)
        return quantized(graph, samples, recipe, example)

    def _lower(
        self, graph: Any, example: tuple[Tensor, ...], names: list[str], recipe: Recipe, origin: Origin | None
    ) -> bytes:
        """Return the artifact of what `_quantize` gave.

        Raises:
            ConversionError: an operator is not taken; names it, and the module.
        """
        return _to_pte(torch.export.export(graph, example), names, origin)

    def _quantized(
        self, traced: bytes, part: nn.Module, samples: Floats, recipe: Recipe
    ) -> tuple[Any, tuple[Tensor, ...], list[str]]:
        """Return the graph of `part`, quantized by `recipe`; an example of its input; the names of its outputs."""
        program = torch.export.load(io.BytesIO(traced))
        example: tuple[Tensor, ...] = program.example_inputs[0]
        # The graph's operators take any batch; what would not is the check of the input's shape.
        graph: Any = program.module(check_guards=False)
        try:
            graph.load_state_dict({_PREFIX + name: value for name, value in part.state_dict().items()})
            graph = self._quantize(graph, samples, recipe, example)
        except ConversionError:
            raise
        except Exception as error:  # as above
            raise ConversionError(f"torchao cannot apply recipe {recipe.name!r}: {reason(error)}") from error
        return graph, example, [str(name) for name in program.call_spec.out_spec.context]


class _BaseIO(nn.Module):
    """[1, 3, H, W] -> logits [1, Y], features [1, C, H, W] or [1, T, C] or [1, C], embedding [1, E]."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.part(image)._asdict()
        return outputs


class _PlainIO(nn.Module):
    """[1, 3, H, W] -> logits [1, Y]."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"logits": self.part(image).logits}


class _OtherIO(nn.Module):
    """An expert's features, or a gate's [1, E] -> logits [1, Y or K]."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.part(x)}


_IO: dict[Kind, type[nn.Module]] = {"base": _BaseIO, "plain": _PlainIO, "gate": _OtherIO, "expert": _OtherIO}


class _Watched(torch.fx.Interpreter):
    """Runs a graph and remembers what goes into and comes out of its layers."""

    def __init__(self, graph: Any) -> None:
        super().__init__(graph)
        nodes = [node for node in graph.graph.nodes if node.target in _WITH_WEIGHTS]
        self._layers = [(node, _exact(node.args[0])) for node in nodes]
        self._wanted = {node for pair in self._layers for node in pair}
        self._seen: dict[Any, Floats] = {}

    def run_node(self, n: Any) -> Any:
        """Run `n`; keep a copy of what is wanted, for an operator in place may overwrite it."""
        result = super().run_node(n)
        if n in self._wanted:
            self._seen[n] = result.numpy().copy()
        return result

    @torch.no_grad()
    def layers(self, x: Tensor) -> list[tuple[str, Floats, Floats]]:
        """Return (name, input, output) of every layer, in the order of execution."""
        self.run(x)
        return [(module_of(node), self._seen[given], self._seen[node]) for node, given in self._layers]


def _exact(node: Any) -> Any:
    """Return what is rounded to give `node`, or `node`: rounding its input is a layer's own doing."""
    for step in ("dequantize", "quantize"):
        if step not in str(node.target):
            return node
        node = node.args[0]
    return node


def _check_maps(program: Any) -> None:
    """Refuse maps of one pixel: they are in either order of axes, and the program and XNNPACK choose differently."""
    values = [*program.example_inputs[0], *(node.meta["val"] for node in program.graph.output_node().all_input_nodes)]
    for value in values:
        if value.ndim == 4 and value.shape[2] * value.shape[3] == 1:
            raise ConversionError(
                "ExecuTorch cannot hand over a map of one pixel; use larger images, or an earlier branch point"
            )


def _to_pte(program: Any, names: list[str], origin: Origin | None = None) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    constants = {OUTPUT_NAMES: " ".join(names)} | ({} if origin is None else {MADE_FROM: origin.text()})
    try:
        edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods=constants)
    except Exception as error:  # as above
        place = where(program, str(error))
        raise ConversionError(
            f"ExecuTorch cannot lower the part: {place}{reason(error)}; replace the operator, or leave the backend out"
        ) from error
    called = [node for node in edge.exported_program().graph.nodes if node.op == "call_function"]
    inside = [node for node in called if "executorch_call_delegate" in str(node.target)]
    outside = [node for node in called if node not in inside and "getitem" not in str(node.target)]
    if outside:
        operators = ", ".join(sorted({f"{node.target.name()} of {module_of(node)!r}" for node in outside}))
        raise ConversionError(f"XNNPACK does not take {operators}; replace the operator, or leave the backend out")
    if len(inside) != 1:
        raise ConversionError(f"the part became {len(inside)} delegates instead of one")
    return bytes(edge.to_executorch().buffer)


def where(program: Any, message: str) -> str:
    """Return "module (operator): " for the operator that `message` names, "" where it names none."""
    for node in program.graph.nodes:
        if node.op == "call_function" and str(node.target) in message:
            return f"{module_of(node)} ({node.target.name()}): "
    return ""


def reason(error: Exception, line: int = 0) -> str:
    """Return one line of what a tool said, the first by default."""
    lines = [line.strip() for line in str(error).strip().split("\n") if line.strip()] or [type(error).__name__]
    return lines[min(line, len(lines) - 1)][:300]


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep off what torch, torchao and ExecuTorch warn each other of; nobody here can act on it."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning, UserWarning):
            warnings.simplefilter("ignore", category)
        yield
