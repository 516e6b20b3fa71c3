"""What an artifact says of itself, for a person who finds the file alone: written where its format has a place."""

from __future__ import annotations

import msgspec

__all__ = ["METADATA", "Origin"]

METADATA = "edge_moe.made_from"  # under which .onnx and .tflite have it; .pte has a method, see backends/executorch.py


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Of which network, which part of it, and of what exactly.

    Nothing in it is more than the key of the artifact decides: equal parts of two bundles are one file, so that an
    expert's number is not in it.
    """

    name: str  # of the network
    part: str  # base, gate or expert
    set: str  # backend/recipe
    digest: str  # of all that the artifact was made from: the manifest's made_from

    def text(self) -> str:
        """Return it as JSON: always the same text for the same values."""
        return msgspec.json.encode(self).decode()
