"""Artifacts by what they were made from, so that nothing is converted twice.

The key of an artifact is the digest of everything that decides its bytes: the part's weights, the recipe, the images
it was calibrated on, the versions of the tools. A conversion writes its artifacts under their keys; one that was
stopped, or was refused for its accuracy, finds them there when it is run again. A bundle's manifest has the keys of
its artifacts, so that the next bundle can take over what did not change.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from edge_moe.bundle import Artifact, Bundle, sha256
from edge_moe.converters.recipes import Recipe
from edge_moe.converters.toolchain import Toolchain
from edge_moe.errors import BundleError
from edge_moe.output import write_file

__all__ = ["Store", "artifact_key"]


def artifact_key(
    toolchain: Toolchain, recipe: Recipe, part: str, weights: str, inputs: str, calibration_images: int
) -> str:
    """Return the key of an artifact.

    Args:
        toolchain: makes it.
        recipe: by which it is made.
        part: "base", "gate" or "expert"; which expert it is does not matter.
        weights: digest of the part's weights and of the code that runs them.
        inputs: digest of what the part is calibrated on.
        calibration_images: how many those are.
    """
    made_from: dict[str, Any] = {
        "backend": toolchain.backend,
        "recipe": {"name": recipe.name, **recipe.settings(calibration_images)},
        "part": part,
        "weights": weights,
        "inputs": inputs if recipe.ranges == "calibrated" else None,
        "converters": _own_code(),
        "tools": {name: importlib.metadata.version(name) for name in ("edge-moe", *toolchain.packages)},
    }
    return sha256(msgspec.json.encode(made_from, order="sorted"))


@cache
def _own_code() -> str:
    """Return a digest of the code that converts: another release, or a change in a checkout, makes other artifacts."""
    return sha256(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))))


class Store:
    """The folder of a conversion in which artifacts lie under their keys."""

    def __init__(self, folder: Path, earlier: Iterable[Path] = ()) -> None:
        """Artifacts that `folder` lacks are looked for in the bundles `earlier`; one that cannot be read has none."""
        self._folder = folder
        self._earlier: dict[str, tuple[Bundle, Artifact]] = {}
        for path in earlier:
            try:
                bundle = Bundle(path)
            except BundleError:
                continue
            for artifacts in bundle.manifest.sets:
                for part, key in artifacts.made_from.items():
                    self._earlier.setdefault(key, (bundle, artifacts.parts[part]))

    def file(self, key: str, suffix: str) -> Path:
        """Return where the artifact of `key` lies, or has to be written."""
        return self._folder / f"{key}{suffix}"

    def has(self, key: str, suffix: str) -> bool:
        """Return whether the artifact of `key` is there; takes it from an earlier bundle if that has it."""
        file = self.file(key, suffix)
        if not file.is_file() and key in self._earlier:
            bundle, artifact = self._earlier[key]
            try:
                write_file(file, bundle.read(artifact))
            except BundleError:  # altered since: made anew
                return False
        return file.is_file()
