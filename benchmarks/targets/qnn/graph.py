"""What the vendor's tool does not say of an ONNX graph: where a node stands, and what it would get wrong.

A node's name is a number that means nothing to the network's author; the layer is known by its weights' names.
"""

from __future__ import annotations

import re
from collections import deque
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_moe.errors import BackendError

__all__ = ["Graph"]

_WEIGHTS = re.compile(r"(?:part\.)?(?P<layer>.*?)\.?(?:weight|bias)(?:_\w+)?$")
_ADDED = re.compile(r"_token_\d+$")  # what ONNX Runtime appends where it copies a node


class Graph:
    """An ONNX file."""

    def __init__(self, file: Path) -> None:
        """Read it.

        Raises:
            BackendError: it is no ONNX graph.
        """
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

        try:
            self._graph = onnx.load(file, load_external_data=False).graph
        except DecodeError:
            raise BackendError(f"{file.name} is no ONNX graph; convert again") from None

    def place(self, name: str) -> str:
        """Return a node in words: "Gemm in layer classifier.3"; its name where no weights are near."""
        node = self._nodes.get(name) or self._nodes.get(_ADDED.sub("", name))
        if node is None:
            return name
        seen, waiting = {node.name}, deque([(node, 0)])
        while waiting:
            one, distance = waiting.popleft()
            for read in one.input:
                before = self._makers.get(read)
                found = _WEIGHTS.fullmatch(read if before is None else "")
                if found:
                    layer = found["layer"]
                    return (
                        f"{node.op_type} {'in' if distance == 0 else 'behind'} layer {layer}"
                        if layer
                        else (f"{node.op_type} in its only layer")
                    )
                if before is not None and before.name not in seen:
                    seen.add(before.name)
                    # Weights stand behind a DequantizeLinear, which is no layer.
                    far = distance if self._is_constant(before) else distance + 1
                    waiting.append((before, far)) if far > distance else waiting.appendleft((before, far))
        return f"{node.op_type} ({node.name})"

    def misread(self) -> str | None:
        """Return the first node that reads integers by another scale than they were written by; None: none does.

        onnxruntime-qnn knows one scale for a tensor and takes that for all who read it, without a word.
        """
        written = {node.output[0]: self._scale(node) for node in self._graph.node if node.op_type == "QuantizeLinear"}
        for node in self._graph.node:
            by = written.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
            if by is not None and by != self._scale(node):
                reader = next((one for one in self._graph.node if node.output[0] in one.input), node)
                return self.place(reader.name)
        return None

    def _scale(self, node: Any) -> list[list[float]]:
        """Return scale and zero point of a QuantizeLinear or a DequantizeLinear."""
        from onnx import numpy_helper

        return [numpy_helper.to_array(self._tensors[name]).ravel().tolist() for name in node.input[1:]]

    def _is_constant(self, node: Any) -> bool:
        return all(read not in self._makers and read not in self._given for read in node.input)

    @cached_property
    def _given(self) -> set[str]:
        return {one.name for one in self._graph.input}

    @cached_property
    def _tensors(self) -> dict[str, Any]:
        return {one.name: one for one in self._graph.initializer}

    @cached_property
    def _nodes(self) -> dict[str, Any]:
        return {node.name: node for node in self._graph.node}

    @cached_property
    def _makers(self) -> dict[str, Any]:
        return {made: node for node in self._graph.node for made in node.output}
