"""A piece of an ONNX graph, which can be cut out, renamed, and put behind another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

__all__ = ["Piece"]


@dataclass(slots=True)
class Piece:
    """Nodes in the order in which they run, and constants for them."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, operator: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> None:
        """Append a node."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, outputs, f"{outputs[0]}/{operator}", **attributes))

    def constant(self, name: str, value: Any) -> str:
        """Add a constant, and return its name."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def extend(self, other: Piece) -> None:
        """Append another piece."""
        self.nodes += other.nodes
        self.constants += other.constants

    def needed(self, *wanted: str) -> Piece:
        """Return what of this computes the tensors `wanted`."""
        reads, nodes = set(wanted), []
        for node in reversed(self.nodes):
            if reads.intersection(node.output):
                reads.update(node.input)
                nodes.append(node)
        return Piece(nodes[::-1], [one for one in self.constants if one.name in reads])

    def renamed(self, prefix: str, given: Mapping[str, str]) -> Piece:
        """Return a copy with `prefix` before all that this makes; what it is given goes by the names in `given`."""
        own = {name for node in self.nodes for name in node.output} | {one.name for one in self.constants}
        copy = Piece(
            [type(node).FromString(node.SerializeToString()) for node in self.nodes],
            [type(one).FromString(one.SerializeToString()) for one in self.constants],
        )
        for node in copy.nodes:
            for names in (node.input, node.output):  # an input that is left out has the name ""
                names[:] = [prefix + name if name and name in own else given.get(name, name) for name in names]
            node.name = prefix + node.name
        for one in copy.constants:
            one.name = prefix + one.name
        return copy

    def direct(self, *wanted: str) -> Piece:
        """Return what computes `wanted` without detours: turning axes and back, from integers to the same integers.

        They are where one artifact reads what another gives. Changes the nodes; the answers stay.
        """
        makers: dict[str, onnx.NodeProto] = {}
        same: dict[str, str] = {}
        for node in self.nodes:
            node.input[:] = [same.get(name, name) for name in node.input]
            maker = makers.get(node.input[0]) if node.input else None
            if maker is not None and self._undoes(node, maker):
                same[node.output[0]] = maker.input[0]
            makers.update((name, node) for name in node.output)
        return self.needed(*wanted)

    def _undoes(self, node: onnx.NodeProto, maker: onnx.NodeProto) -> bool:
        from onnx import helper, numpy_helper

        match maker.op_type, node.op_type:
            case "Transpose", "Transpose":
                first, second = (helper.get_node_attr_value(one, "perm") for one in (maker, node))
                return [first[axis] for axis in second] == list(range(len(first)))
            case "DequantizeLinear", "QuantizeLinear":
                values = {one.name: one for one in self.constants}
                names = [*maker.input[1:], *node.input[1:]]
                if len(names) != 4 or not values.keys() >= set(names):
                    return False
                scale, zero, scale_again, zero_again = (numpy_helper.to_array(values[name]) for name in names)
                # The scales were found part by part and differ by their rounding: far from half of 1 of 256 steps.
                return (
                    scale.size == scale_again.size == 1
                    and zero.dtype == zero_again.dtype
                    and bool(zero == zero_again)
                    and bool(np.isclose(scale, scale_again, rtol=1e-5, atol=0))
                )
        return False
