"""Import torchvision, also beside a torch that its compiled operators do not fit.

torchvision has no build for every CPU-only torch. Its models, transforms and data sets are plain Python, but
importing it registers fake kernels for two compiled operators, which fails where those were never defined.
Defining their schemas first is enough; `io.decode_image` stays unusable, and edge-moe decodes with Pillow.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from edge_moe.errors import MissingExtraError

__all__ = ["torchvision"]

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _import() -> tuple[ModuleType, object]:
    """Return torchvision, and whatever must stay referenced for it to keep working."""
    try:
        return importlib.import_module("torchvision"), None
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "torchvision", "train", "building a network") from None
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    import torch

    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(f"{operator}{_SCHEMA}")  # type: ignore[no-untyped-call]
    return importlib.import_module("torchvision"), library


# The library must outlive every use: its schemas vanish with it.
torchvision, _library = _import()
