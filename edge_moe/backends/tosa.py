"""A part for an NPU: its integer graph in TOSA, and what a graph does not say of its own inputs and outputs.

TOSA (Arm's Tensor Operator Set Architecture, a flatbuffer) has numbers without a scale. So the file is the graph as
Arm's tools write and read it, and behind it a footer: JSON, its length, and a mark. A flatbuffer is read from its
start, so that Vela and TOSA's own tools take the file as it is.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import msgspec

from edge_moe.backends.base import PartTensor, PartTensors
from edge_moe.errors import BackendError
from edge_moe.records import Digest, Strict, sha256, to_json

__all__ = ["Part", "pack", "unpack"]

_IDENTIFIER, _AT = b"TOSA", slice(4, 8)  # of the flatbuffer
_MARK = b"EMOE"
_END = struct.Struct("<I4s")  # bytes of the JSON, the mark


class _Footer(Strict, frozen=True):
    """What follows the graph."""

    inputs: tuple[PartTensor, ...]
    outputs: tuple[PartTensor, ...]  # in the graph's order
    graph: Digest  # of the graph's bytes: the tools that read it crash on what is not one
    made_from: str  # see converters/origin.py; empty: not known


class Part(NamedTuple):
    """One part."""

    graph: bytes  # a TOSA flatbuffer
    tensors: PartTensors
    made_from: str = ""


def pack(part: Part) -> bytes:
    """Return the bytes of the artifact."""
    inputs, outputs = part.tensors
    footer = to_json(_Footer(inputs=inputs, outputs=outputs, graph=sha256(part.graph), made_from=part.made_from))
    return part.graph + footer + _END.pack(len(footer), _MARK)


def unpack(data: bytes) -> Part:
    """Return what the artifact `data` holds.

    Raises:
        BackendError: it is none, or was altered.
    """
    if data[_AT] != _IDENTIFIER or len(data) < _END.size:
        raise BackendError("the .tosa artifact is no TOSA graph; make it with 'edge-moe convert --for ethos-u'")
    size, mark = _END.unpack(data[-_END.size :])
    start = len(data) - _END.size - size
    if mark != _MARK or start < 0:
        raise BackendError(
            "the .tosa artifact does not say what its inputs and outputs mean: edge-moe's footer is not there, or was "
            "cut off; make it with 'edge-moe convert --for ethos-u'"
        )
    try:
        footer = msgspec.json.decode(data[start : -_END.size], type=_Footer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BackendError(f"the footer of the .tosa artifact is damaged ({error}); convert it again") from None
    graph = data[:start]
    if sha256(graph) != footer.graph:
        raise BackendError("the graph of the .tosa artifact was altered; convert it again")
    return Part(graph, PartTensors(footer.inputs, footer.outputs), footer.made_from)
