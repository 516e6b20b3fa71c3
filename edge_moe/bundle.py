"""The bundle: a folder with a strict manifest, the artifacts, golden samples, and what may be chosen later.

    bundle/
      manifest.json
      operating.json
      golden/inputs.npz  00.png 01.png ...  vectors.json  litert-int8.npz ...
      litert/int8/base.tflite  gate.tflite  expert_00.tflite ...
      litert/fp32/...

Opening a bundle reads the two .json files and checks that every file is there with its size. The bytes of a file are
hashed by `Bundle.read`, the only way to an artifact, so that a native library never sees an altered byte.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_moe.errors import BundleError, IntegrityError, UsageError
from edge_moe.files import no_file
from edge_moe.manifest import (
    GOLDEN_FEED,
    MANIFEST,
    SCHEMA_VERSION,
    Artifact,
    ArtifactSet,
    Golden,
    GoldenInputs,
    GoldenSample,
    Manifest,
    PartArtifact,
    PartSpec,
    Preprocessing,
    RecipeRecord,
    RunsOn,
    TensorSpec,
    expert_name,
    files,
    part_names,
)
from edge_moe.npz import unpack
from edge_moe.operating import OPERATING, OperatingPoint, SetOperating, default_first, read_operating
from edge_moe.records import sha256
from edge_moe.sets import SetKey
from edge_moe.soundness import inconsistency
from edge_moe.untrusted import Malformed, OtherVersion, as_record, read, versioned

__all__ = [
    "GOLDEN_FEED",
    "MANIFEST",
    "OPERATING",
    "SCHEMA_VERSION",
    "Artifact",
    "ArtifactSet",
    "Bundle",
    "Golden",
    "GoldenInputs",
    "GoldenSample",
    "Manifest",
    "OperatingPoint",
    "PartArtifact",
    "PartSpec",
    "Preprocessing",
    "RecipeRecord",
    "RunsOn",
    "SetOperating",
    "TensorSpec",
    "expert_name",
    "parse_manifest",
    "part_names",
    "read_artifact",
    "sha256",
]


class Bundle:
    """A bundle on disk, opened for reading; the first set of its `manifest` is the default."""

    def __init__(self, path: str | Path) -> None:
        """Read and check manifest and operating.json, and that every file that is named is there with its size.

        Raises:
            UsageError: `path` is no path.
            BundleError: no bundle there, a manifest that is not one, another schema version; or an operating.json
                that is missing, damaged, or of another manifest.
            IntegrityError: a file is missing or has another size.
        """
        if not isinstance(path, str | os.PathLike) or not str(path):
            raise UsageError(f"the bundle is {path!r}; expected the path of its folder")
        self.path = Path(path)
        manifest = _read_manifest(self.path)
        operating = read_operating(self.path, manifest)
        self.manifest = default_first(manifest, operating)
        self._operating = {str(one.key): operating.sets[str(one.key)] for one in self.manifest.sets}
        for artifact in files(self.manifest):
            _check_size(self.path, artifact)

    def operating(self, of: ArtifactSet | SetKey) -> SetOperating:
        """Return the defaults and the operating points of one set."""
        return self._operating[str(of if isinstance(of, SetKey) else of.key)]

    @property
    def operating_sets(self) -> dict[str, SetOperating]:
        """backend/recipe -> the defaults and the operating points of the set, the default set first."""
        return dict(self._operating)

    def read(self, artifact: Artifact) -> bytes:
        """Return the bytes of `artifact`, after comparing their number and SHA-256 with the manifest.

        Raises:
            IntegrityError: the file is missing, truncated or altered.
        """
        return read_artifact(self.path, artifact)

    def golden_inputs(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the input tensors of the golden samples: name of the input -> [1, H, W, 3]. Raises as `golden`."""
        return self._tensors(self.manifest.golden.tensors, "file of golden inputs")

    def golden(self, artifacts: ArtifactSet) -> dict[str, dict[str, npt.NDArray[np.float32]]]:
        """Return the golden samples of `artifacts`: name of the input -> `input`, `<part>.<output>`, `scores.<role>`.

        Raises:
            IntegrityError: a file is missing, truncated or altered.
            BundleError: a file is not a plain .npz.
        """
        inputs = self.golden_inputs()
        found: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
        for name, values in self._tensors(artifacts.golden.file, "golden sample").items():
            which, _, tensor = name.partition("/")
            found.setdefault(which, {"input": inputs[which]} if which in inputs else {})[tensor] = values
        return found

    def network(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """Return what torch made of a fixed input: `<part>.<output>` -> values; None: not kept. Raises as `golden`."""
        return None if self.manifest.network is None else self._tensors(self.manifest.network, "file of tensors")

    def _tensors(self, artifact: Artifact, what: str) -> dict[str, npt.NDArray[np.float32]]:
        return unpack(self.read(artifact), f"{self.path / artifact.file} is no {what}")


def read_artifact(folder: Path, artifact: Artifact) -> bytes:
    """Return the bytes of `artifact` of the bundle `folder`, after comparing number and SHA-256 with what it says.

    Raises:
        IntegrityError: the file is missing, truncated or altered.
    """
    _check_size(folder, artifact)
    file = folder / artifact.file
    try:
        data = file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from None
    found = sha256(data)
    if found != artifact.sha256:
        raise IntegrityError(
            f"{file} was altered: expected sha256 {artifact.sha256[:12]}..., "
            f"found {found[:12]}...; copy or convert the bundle again"
        )
    return data


def _check_size(folder: Path, artifact: Artifact) -> None:
    file = folder / artifact.file
    try:
        size = file.stat().st_size if file.is_file() else None
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise _unreadable(file, error) from None
    if size != artifact.bytes:
        found = f"it {no_file(file)}" if size is None else f"it has {size}"
        raise IntegrityError(
            f"{file} should have {artifact.bytes} bytes, but {found}; copy or convert the bundle again"
        )


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST
    if path.name == MANIFEST and path.is_file():
        raise BundleError(f"{path} is a file of a bundle; expected its folder, {path.parent}")
    if not path.is_dir():
        raise BundleError(f"{path} is not a folder; expected a bundle, made by 'edge-moe convert CHECKPOINT -o {path}'")
    if not file.is_file():
        raise BundleError(f"{path} has no {MANIFEST}; expected a bundle, made by 'edge-moe convert'")
    try:
        data = read(file)
    except Malformed as error:
        raise BundleError(f"{file} is not a manifest: {error}; convert the checkpoint again") from None
    except OSError as error:
        raise _unreadable(file, error) from None
    return parse_manifest(data, str(file), path)


def parse_manifest(data: bytes, name: str, folder: Path | None = None) -> Manifest:
    """Return the manifest that the bytes of a file called `name` hold; `folder` is its bundle's, for what to do.

    Raises:
        BundleError: they are no manifest, or one of another schema version, or one that cannot be true.
    """
    try:
        manifest = as_record(versioned(data, SCHEMA_VERSION), Manifest)
    except OtherVersion as error:
        todo = _todo(error.found, folder)
        raise BundleError(f"{name} has schema version {error}; this edge-moe reads {SCHEMA_VERSION}: {todo}") from None
    except Malformed as error:
        raise BundleError(f"{name} is not a manifest: {error}; convert the checkpoint again") from None
    problem = inconsistency(manifest)
    if problem:
        raise BundleError(f"{name} is not a manifest: {problem}; convert the checkpoint again")
    return manifest


def _unreadable(file: Path, error: OSError) -> BundleError:
    return BundleError(f"{file} cannot be read: {error.strerror}; check its permissions")


def _todo(version: Any, folder: Path | None) -> str:
    if version == SCHEMA_VERSION - 1 and folder is not None:
        return f"run 'edge-moe upgrade {folder}', or convert the checkpoint again"
    newer = isinstance(version, int) and version > SCHEMA_VERSION
    return "update edge-moe, or convert the checkpoint again" if newer else "convert the checkpoint again"
