"""What the toolchains have in common whose files can be filled with other weights: LiteRT's and ONNX Runtime's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import msgspec
import torch
from torch import nn

from edge_moe.converters.interface import Floats, Kind, with_channels_last
from edge_moe.converters.sharing import Slots, fold_batch_norm, randomised, value
from edge_moe.converters.toolchain import Toolchain

__all__ = ["Graph", "SharedGraphToolchain"]


class Graph(msgspec.Struct, frozen=True):
    """A float model in the backend's format, and where its weights are."""

    model: bytes
    slots: Slots


class SharedGraphToolchain(Toolchain):
    """Exports a graph with random weights, and writes those of each part over them."""

    @abstractmethod
    def export(self, module: nn.Module, kind: Kind, example: Floats) -> bytes:
        """Convert `module`, wrapped by `with_channels_last`, to a float model; `example` is one input, channels last.

        Raises:
            ConversionError: the converter does not take the module.
        """

    @abstractmethod
    def constants(self, model: bytes) -> dict[str, Floats]:
        """Return the float constants of `model`, each under what finds it again."""

    @abstractmethod
    def replaced(self, model: bytes, constants: Mapping[str, Floats]) -> bytes:
        """Return `model` with other values for `constants`."""

    def trace(self, part: nn.Module, kind: Kind, example: Floats) -> bytes:
        """Export with random weights, and find each of them in the model."""
        module = randomised(fold_batch_norm(with_channels_last(part, kind)))
        return msgspec.msgpack.encode(self._graph(module, kind, example))

    def filled(self, traced: bytes, part: nn.Module, kind: Kind, example: Floats) -> Graph:
        """Return the traced graph with the weights of `part`; an export of its own where that is not safe."""
        graph = msgspec.msgpack.decode(traced, type=Graph)
        module = fold_batch_norm(with_channels_last(part, kind))
        if not graph.slots.complete:
            return self._graph(module, kind, example)
        state: dict[str, torch.Tensor] = module.state_dict()
        constants = {where: value(slot, state) for where, slot in graph.slots.found.items()}
        return Graph(self.replaced(graph.model, constants), graph.slots)

    def _graph(self, module: nn.Module, kind: Kind, example: Floats) -> Graph:
        model = self.export(module, kind, example)
        return Graph(model, Slots.find(self.constants(model), module.state_dict()))
