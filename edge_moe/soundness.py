"""What the types of a manifest alone cannot rule out, in the parts that need some explaining."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_moe.bundle import Artifact, Manifest

__all__ = ["leaving", "wrong_width"]


def wrong_width(manifest: Manifest) -> str | None:
    """Return in words which part's logits are not [1, Y], those of the gate [1, K]; None where all are.

    A label too many or too few would put every answer under another name.
    """
    for name, spec in manifest.parts.items():
        what, width = ("experts", manifest.experts) if name == "gate" else ("labels", len(manifest.labels))
        found = next((one.shape for one in spec.outputs if one.name == "logits"), None)
        if found != (1, width):
            given = "no logits" if found is None else f"logits {list(found)}"
            return f"{name} gives {given}, but there are {width} {what}"
    return None


def leaving(files: Iterable[Artifact]) -> str | None:
    """Return in words which path is not one inside of the bundle, on any system; None where all are."""
    for artifact in files:
        inside = PurePosixPath(artifact.file)
        if inside.is_absolute() or ".." in inside.parts or "\\" in artifact.file or ":" in artifact.file:
            return f"the path {artifact.file!r} leaves the bundle"
    return None
