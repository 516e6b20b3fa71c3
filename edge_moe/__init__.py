"""Single-gated Mixtures of Experts on devices: one base, small experts, and an exit when the base is sure.

    from edge_moe import Runtime
    with Runtime("bundle/", tau=0.25) as model:
        prediction = model.predict("cat.jpg")

Importing this package imports numpy and msgspec: neither torch, nor a backend, nor Pillow.
"""

from __future__ import annotations

import os

from edge_moe.bundle import Bundle, Manifest
from edge_moe.errors import (
    BackendError,
    BundleError,
    CheckpointError,
    ConversionError,
    DataError,
    EdgeMoeError,
    IntegrityError,
    MissingExtraError,
    OutputError,
    UsageError,
)
from edge_moe.runtime import Prediction, Runtime

__all__ = [
    "BackendError",
    "Bundle",
    "BundleError",
    "CheckpointError",
    "ConversionError",
    "DataError",
    "EdgeMoeError",
    "IntegrityError",
    "Manifest",
    "MissingExtraError",
    "OutputError",
    "Prediction",
    "Runtime",
    "UsageError",
    "__version__",
]

__version__ = "0.1.0"

# ONNX Runtime tells its maker about the machine unless this is set before it is imported, which nothing above does.
# Processes that are started from here inherit it. Who wants otherwise sets it themselves. See docs/privacy.md.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
