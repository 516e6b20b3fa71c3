"""Which extra brings which package, so that what is missing is said before the work starts."""

from __future__ import annotations

import importlib.util

from edge_moe.errors import MissingExtraError

__all__ = ["EXTRAS", "TOOLS", "require"]

# What a conversion imports whatever the backend; matplotlib draws the layers when a part is measured, at the end.
_ANY = ("torch", "torchvision", "safetensors", "matplotlib")
# What a backend's conversion imports.
TOOLS = {
    "litert": (*_ANY, "litert_torch", "ai_edge_quantizer", "ai_edge_litert"),
    "onnx": (*_ANY, "onnx", "onnxscript", "onnxruntime"),
    "executorch": (*_ANY, "executorch", "torchao"),
}
# The extra that brings a package which a command imports when it is already at work.
EXTRAS = {
    "torch": "train",
    "torchvision": "train",
    "safetensors": "train",
    "sklearn": "train",
    "litert_torch": "convert",
    "ai_edge_quantizer": "convert",
    "onnx": "convert",
    "onnxscript": "convert",
    "torchao": "convert",
    "ai_edge_litert": "litert",
    "onnxruntime": "onnx",
    "executorch": "executorch",
    "matplotlib": "bench",
    "psutil": "bench",
    "threadpoolctl": "bench",
    "plotly": "bench",
    "jinja2": "bench",
}


def require(extra: str, purpose: str, *packages: str) -> None:
    """Raise MissingExtraError unless every one of `packages`, which `extra` installs, can be found."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, extra, purpose)
