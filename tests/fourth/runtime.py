"""What executes its artifacts."""

from __future__ import annotations

import io
from importlib import metadata
from typing import Any

import numpy as np

from edge_moe.backends import Backend, OpenPart, PartTensor, PartTensors, Tensor
from edge_moe.errors import BackendError


class Fourth(Backend):
    name, suffix = "fourth", ".pt2"

    def open(self, data: bytes, *, threads: int = 1) -> FourthPart:
        import torch

        try:
            return FourthPart(torch.export.load(io.BytesIO(data)))
        except Exception as error:
            raise BackendError(f"torch refuses the artifact: {type(error).__name__}; convert it again") from None

    def version(self) -> str:
        return f"torch {metadata.version('torch')}"


class FourthPart(OpenPart):
    def __init__(self, program: Any) -> None:
        self._module: Any = program.module()
        (given,) = (node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)
        outputs = zip(program.call_spec.out_spec.context, program.graph.output_node().args[0], strict=True)
        self._tensors = PartTensors(
            (_described(given.name, given),), tuple(_described(name, node) for name, node in outputs)
        )
        nodes = list(program.graph.nodes)
        (given,) = [one for one in nodes if one.name in program.graph_signature.user_inputs]
        names, made = program.call_spec.out_spec.context, nodes[-1].args[0]
        outputs = tuple(_described(name, one) for name, one in zip(names, made, strict=True))
        self._tensors = PartTensors((_described(given.name, given),), outputs)
        self._results: dict[str, Tensor] = {}

    def invoke(self, tensor: Tensor) -> None:
        import torch

        try:
            with torch.no_grad():
                found = self._module(torch.from_numpy(np.ascontiguousarray(tensor)))
        except RuntimeError as error:
            raise BackendError(f"torch could not run the part: {str(error).splitlines()[0]}") from None
        self._results = {name: value.numpy() for name, value in found.items()}

    def output(self, name: str) -> Tensor:
        return self._results[name].copy()

    def tensors(self) -> PartTensors:
        return self._tensors

    def close(self) -> None:
        self._module = None


def _described(name: str, node: Any) -> PartTensor:
    shape = tuple(node.meta["val"].shape)
    layout = "NHWC" if len(shape) == 4 else None
    return PartTensor(
        name=name, tensor=node.name, shape=shape, layout=layout, dtype="float32", scale=None, zero_point=None
    )


def _described(name: str, node: Any) -> PartTensor:
    shape = tuple(node.meta["val"].shape)
    layout = "NHWC" if len(shape) == 4 else None
    return PartTensor(
        name=name, tensor=node.name, shape=shape, layout=layout, dtype="float32", scale=None, zero_point=None
    )
