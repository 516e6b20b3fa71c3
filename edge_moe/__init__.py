"""Single-gated Mixtures of Experts on devices: one base, small experts, and an exit when the base is sure.

    from edge_moe import Runtime
    with Runtime("bundle/", tau=0.25) as model:
        prediction = model.predict("cat.jpg")

Importing this package imports next to nothing, and what it offers numpy and msgspec, when it is asked for: neither
torch, nor a backend, nor Pillow.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in typing, which takes a while to import
if TYPE_CHECKING:
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

__version__ = "0.2.0"

# ONNX Runtime tells its maker about the machine unless this is set before it is imported, which nothing above does.
# Processes that are started from here inherit it. Who wants otherwise sets it themselves. See docs/privacy.md.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# What is in another module than `errors`. All are imported when they are asked for: the command line answers Ctrl-C
# from its first line on, and this comes before it.
_ELSEWHERE = {"Bundle": "bundle", "Manifest": "bundle", "Prediction": "runtime", "Runtime": "runtime"}

if not TYPE_CHECKING:  # it would take every name

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        found = getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'errors')}"), name)
        globals()[name] = found
        return found

    def __dir__():
        return sorted({*globals(), *__all__})
