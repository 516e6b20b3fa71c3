"""Backends: what executes an artifact. One file a backend behind one small interface.

A backend is a class with a `name`, a file `suffix` and `open`; a part has `invoke`, `output` and `close`.
Native libraries are imported by `open`, not by importing this package.
"""

from __future__ import annotations

from edge_moe.backends.base import Backend, OpenPart, Tensor
from edge_moe.errors import UsageError

__all__ = ["BACKENDS", "Backend", "OpenPart", "Tensor", "get"]

BACKENDS = ("litert", "onnx", "executorch")


def get(name: str) -> Backend:
    """Return the backend called `name`; raise UsageError for an unknown one."""
    if name == "litert":
        from edge_moe.backends.litert import LiteRT

        return LiteRT()
    if name == "onnx":
        from edge_moe.backends.onnx import Onnx

        return Onnx()
    if name == "executorch":
        from edge_moe.backends.executorch import ExecuTorch

        return ExecuTorch()
    raise UsageError(f"unknown backend {name!r}; expected one of {', '.join(BACKENDS)}")
