"""Artifacts by what they were made from, so that nothing is converted twice.

The key of an artifact is the digest of everything that decides its bytes: the part's weights, the recipe, the images
it was calibrated on, the code that converts, the versions of the tools. A conversion writes its artifacts under their
keys; one that was stopped, or was refused for its accuracy, finds them there when it is run again: those that are what
was written (see edge_moe.ledger), which is seen to before. A bundle's manifest has the keys of its artifacts, so that
the next bundle can take over what did not change.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edge_moe.backends import table
from edge_moe.backends.imported import installed
from edge_moe.bundle import Bundle, sha256
from edge_moe.converters.interface import Floats
from edge_moe.converters.recipe import Recipe
from edge_moe.converters.same_network import is_same
from edge_moe.converters.toolchain import Toolchain
from edge_moe.errors import BundleError
from edge_moe.ledger import forget, keep
from edge_moe.npz import pack, unpack

__all__ = ["Store", "StoredPart", "artifact_key"]


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
        "converters": _own_code(_modules(toolchain)),
        "tools": {name: installed(name) for name in ("edge-moe", *toolchain.packages)},
    }
    return sha256(msgspec.json.encode(made_from, order="sorted"))


def _modules(toolchain: Toolchain) -> tuple[str, ...]:
    """Return the modules with what a backend has of its own: its toolchain and its recipes."""
    record = table.record(toolchain.backend)
    return (type(toolchain).__module__, *([] if record is None else [record.recipes]))


@cache
def _own_code(modules: tuple[str, ...]) -> str:
    """Return a digest of the code that converts: another release, or a change in a checkout, makes other artifacts.

    It is that of this package, and of the folders of those `modules` that live elsewhere, as a registered backend's do.
    """
    here = Path(__file__).parent
    files = dict.fromkeys(sorted(here.rglob("*.py")))
    for name in modules:
        module = importlib.import_module(name)
        file = Path(module.__file__ or name)
        if file.is_file() and not file.is_relative_to(here):
            # One without a package lies among what is none of its own.
            files |= dict.fromkeys(sorted(file.parent.rglob("*.py")) if module.__package__ else [file])
    return sha256(b"".join(file.read_bytes() for file in files))


class StoredPart(NamedTuple):
    """A part of the checkpoint that is converted."""

    name: str
    weights: str  # digest of its weights and of the code of its builder
    keys: tuple[str, ...]  # of its artifacts, one a set
    graphs: tuple[str, ...]  # keys of the traced graphs of its kind
    outputs: dict[str, Floats]  # of the network as it is now, see same_network


class Store:
    """The folder of a conversion in which artifacts lie under their keys, and what torch made of the fixed input.

    What is there, or in an earlier bundle, is taken over only where torch still makes the same of it: the keys hold the
    code of the builder's own file, not of what that imports.
    """

    def __init__(self, folder: Path, earlier: Iterable[Path] = ()) -> None:
        """Artifacts that `folder` lacks are looked for in the bundles `earlier`; one that cannot be read has none."""
        self._folder = folder
        self._earlier: dict[str, list[tuple[Bundle, str]]] = {}  # key -> bundles, and which part of it that is
        self._networks: dict[Path, dict[str, Floats]] = {}  # of the bundles that were asked; each is read once
        self._parts: dict[str, StoredPart] = {}  # by key
        self._anew: dict[str, dict[str, None]] = {}  # why -> parts
        for path in earlier:
            try:
                bundle = Bundle(path)
            except BundleError:
                continue
            for artifacts in bundle.manifest.sets:
                for part, key in artifacts.made_from.items():
                    self._earlier.setdefault(key, []).append((bundle, part))

    @property
    def remarks(self) -> list[str]:
        """What was there and is not taken over, and why, in words."""
        return [f"{', '.join(parts)}: made anew, because {why}" for why, parts in self._anew.items()]

    def sift(self, parts: Iterable[StoredPart]) -> None:
        """Get to know the parts, and drop what the folder has of another network than theirs.

        A graph has no weights: it is kept if every part of its kind is known to be the same.
        """
        for part in parts:
            self._parts |= dict.fromkeys(part.keys, part)
            file = self._folder / f"{part.weights}.npz"
            stored = _read(file)
            if stored is not None and is_same(stored, part.outputs):
                continue
            stale = [one for one in self._folder.glob("*") if one.name.startswith((*part.keys, *part.graphs))]
            if any(one.suffix != ".graph" for one in stale):
                self._remark(part.name, stored)
            for one in stale:
                forget(one)
            keep(file, pack(part.outputs))

    def file(self, key: str, suffix: str) -> Path:
        """Return where the artifact of `key` lies, or has to be written."""
        return self._folder / f"{key}{suffix}"

    def has(self, key: str, suffix: str) -> bool:
        """Return whether the artifact of `key` is there; takes it from an earlier bundle if that has it.

        The key is of a part that `sift` knows.
        """
        file = self.file(key, suffix)
        if file.is_file():
            return True
        part = self._parts[key]
        different = None
        for bundle, name in self._earlier.get(key, []):
            try:
                stored = self._of_part(bundle, name)
                if stored is None or not is_same(stored, part.outputs):
                    different = (stored,)
                    continue
                artifact = next(one.parts[name] for one in bundle.manifest.sets if one.made_from.get(name) == key)
                keep(file, bundle.read(artifact))
            except BundleError:  # altered since: made anew
                continue
            return True
        if different:
            self._remark(part.name, different[0])
        return False

    def _of_part(self, bundle: Bundle, part: str) -> dict[str, Floats] | None:
        """Return what torch made of the fixed input for one part of a bundle; None where that was not kept."""
        if bundle.path not in self._networks:
            self._networks[bundle.path] = bundle.network() or {}
        start = f"{part}."
        kept = self._networks[bundle.path].items()
        return {name.removeprefix(start): value for name, value in kept if name.startswith(start)} or None

    def _remark(self, part: str, stored: Any) -> None:
        why = "torch gives other outputs than when they were kept (was code edited that the network's builder imports?)"
        if stored is None:
            why = "it was not kept with them what torch made of a fixed input"
        self._anew.setdefault(why, {})[part] = None


def _read(file: Path) -> dict[str, Floats] | None:
    try:
        return unpack(file.read_bytes(), str(file))
    except (OSError, BundleError):  # not there, or damaged: nothing is known
        return None
