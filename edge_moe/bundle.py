"""The bundle: a folder with a strict manifest, the artifacts, and a golden sample for each set of artifacts.

    bundle/
      manifest.json
      litert/int8/base.tflite  gate.tflite  expert_00.tflite ...  golden.npz
      litert/fp32/...

Opening a bundle reads the manifest and checks that every file is there with its size. The bytes of a file are
hashed by `Bundle.read`, the only way to an artifact, so that a native library never sees an altered byte.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe.anytime import Ensemble, Space
from edge_moe.errors import BundleError, IntegrityError, UsageError
from edge_moe.npz import unpack
from edge_moe.sizes import StoredSize, height_width, resize_problem
from edge_moe.soundness import leaving, wrong_width

__all__ = [
    "GOLDEN_FEED",
    "MANIFEST",
    "SCHEMA_VERSION",
    "Artifact",
    "ArtifactSet",
    "Bundle",
    "Golden",
    "Manifest",
    "OperatingPoint",
    "PartSpec",
    "Preprocessing",
    "Recipe",
    "TensorSpec",
    "expert_name",
    "part_names",
    "sha256",
]

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every record of the manifest: immutable, and no key may be unknown or missing."""


class Preprocessing(_Strict, frozen=True):
    """How an image becomes the input tensor [1, H, W, 3]."""

    # Pixels after the centre crop: H = W, or (H, W).
    image_size: StoredSize
    # Pixels before it: of the shorter side, the other in proportion; or (H, W), whatever the proportions were.
    resize: StoredSize
    mean: tuple[float, float, float]  # of R, G, B in [0, 1]
    std: tuple[float, float, float]
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    layout: Literal["NHWC"] = "NHWC"

    @property
    def size(self) -> tuple[int, int]:
        """H and W of the input tensor, in pixels."""
        return height_width(self.image_size)


class TensorSpec(_Strict, frozen=True):
    """An input or an output of a part, with its batch axis of 1."""

    name: str
    shape: tuple[Positive, ...]
    dtype: Literal["float32"] = "float32"


class PartSpec(_Strict, frozen=True):
    """A part, whatever the backend."""

    kind: Literal["base", "gate", "expert"]
    macs: Count
    parameters: Count
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Artifact(_Strict, frozen=True):
    """One file of the bundle."""

    file: str  # relative to the bundle, with forward slashes
    sha256: Digest
    bytes: Count


class Recipe(_Strict, frozen=True):
    """How the parts of a set were quantized."""

    name: str
    settings: dict[str, Any]  # everything that is needed to do it again


class Golden(_Strict, frozen=True):
    """The golden sample: an .npz with `input`, `<part>.<output>` of every part, and `scores` of the whole."""

    file: Artifact
    tolerance: float  # largest relative L2 error at which an output counts as the same
    tau: Fraction
    max_experts: Count
    label: Count  # index of the answer of the whole
    exited: bool
    experts: tuple[Count, ...]
    # The same for parts that move further when the last bits of their input do. The answer has the largest.
    part_tolerances: dict[str, float] = {}


class OperatingPoint(_Strict, frozen=True):
    """What one setting does to a set of validation images, measured on the artifacts."""

    tau: Fraction
    max_experts: Count  # 0: of a plain network, which has one setting
    samples: Positive
    exit_rate: Fraction
    mean_macs: float
    accuracy: Fraction | None  # None: the images had no labels
    accuracy_low: Fraction | None  # 95% Wilson interval
    accuracy_high: Fraction | None


class ArtifactSet(_Strict, frozen=True):
    """All parts of one model for one backend, made by one recipe."""

    backend: str
    recipe: Recipe
    parts: dict[str, Artifact]
    # Part -> digest of all that its artifact was made from: weights, recipe, calibration images, tools. Where it is
    # the same, a new bundle takes the artifact over.
    made_from: dict[str, Digest]
    golden: Golden
    operating_points: tuple[OperatingPoint, ...]
    default_tau: Fraction
    default_max_experts: Count


class Manifest(_Strict, frozen=True):
    """manifest.json."""

    schema_version: int
    architecture: str
    trained: bool  # False: random weights, for latency only
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    experts: Count  # 0: a plain network, whose one part is the base, which gives logits alone
    ensemble: Ensemble
    space: Space
    parts: dict[str, PartSpec]
    sets: tuple[ArtifactSet, ...]  # the first is the default
    tools: dict[str, str]  # package -> version that made the bundle
    # An .npz of what torch made of a fixed input, by which a later conversion knows the network again; None: not kept.
    network: Artifact | None = None

    def find(self, backend: str | None = None, recipe: str | None = None) -> ArtifactSet:
        """Return the first set of `backend` and `recipe` (None: any); raise UsageError if there is none.

        A recipe may be named with its backend, as in "onnx/int8".
        """
        if recipe is not None and backend is None and "/" in recipe:
            backend, recipe = recipe.split("/", 1)
        for candidate in self.sets:
            if backend in (None, candidate.backend) and recipe in (None, candidate.recipe.name):
                return candidate
        have = ", ".join(f"{s.backend}/{s.recipe.name}" for s in self.sets)
        wanted = f"{backend or 'any backend'}/{recipe or 'any recipe'}"
        raise UsageError(f"the bundle has no artifacts for {wanted}; it has {have}")


# What a part of each kind reads: the name under which the golden sample has it.
GOLDEN_FEED = {"base": "input", "gate": "base.embedding", "expert": "base.features"}


def expert_name(index: int) -> str:
    """Return the name of the part that is expert `index`: expert_00, expert_01, ..."""
    return f"expert_{index:02d}"


def part_names(experts: int) -> list[str]:
    """Return the names of the parts of a mixture of `experts` experts, in their order; a plain network is its base."""
    return ["base", *(["gate"] if experts else []), *map(expert_name, range(experts))]


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` in lowercase hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class Bundle:
    """A bundle on disk, opened for reading."""

    def __init__(self, path: str | Path) -> None:
        """Read and check the manifest, and that every file that it names is there with its size.

        Raises:
            BundleError: no bundle there, a manifest that is not one, or another schema version.
            IntegrityError: a file is missing or has another size.
        """
        self.path = Path(path)
        self.manifest = _read_manifest(self.path)
        for artifact in _files(self.manifest):
            self._check_size(artifact)

    def read(self, artifact: Artifact) -> bytes:
        """Return the bytes of `artifact`, after comparing their number and SHA-256 with the manifest.

        Raises:
            IntegrityError: the file is missing, truncated or altered.
        """
        self._check_size(artifact)
        data = _read_bytes(self.path / artifact.file)
        found = sha256(data)
        if found != artifact.sha256:
            raise IntegrityError(
                f"{self.path / artifact.file} was altered: expected sha256 {artifact.sha256[:12]}..., "
                f"found {found[:12]}...; copy or convert the bundle again"
            )
        return data

    def golden(self, artifacts: ArtifactSet) -> dict[str, npt.NDArray[np.float32]]:
        """Return the golden sample of `artifacts`: name -> tensor, see Golden.

        Raises:
            IntegrityError: the file is missing, truncated or altered.
            BundleError: the file is not a plain .npz.
        """
        return self._tensors(artifacts.golden.file, "golden sample")

    def network(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """Return what torch made of a fixed input: `<part>.<output>` -> values; None: not kept. Raises as `golden`."""
        return None if self.manifest.network is None else self._tensors(self.manifest.network, "file of tensors")

    def _tensors(self, artifact: Artifact, what: str) -> dict[str, npt.NDArray[np.float32]]:
        return unpack(self.read(artifact), f"{self.path / artifact.file} is no {what}")

    def _check_size(self, artifact: Artifact) -> None:
        file = self.path / artifact.file
        size = file.stat().st_size if file.is_file() else None
        if size != artifact.bytes:
            found = "it is missing" if size is None else f"it has {size}"
            raise IntegrityError(
                f"{file} should have {artifact.bytes} bytes, but {found}; copy or convert the bundle again"
            )


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST
    if not path.is_dir():
        raise BundleError(f"{path} is not a folder; expected a bundle, made by 'edge-moe convert CHECKPOINT -o {path}'")
    if not file.is_file():
        raise BundleError(f"{path} has no {MANIFEST}; expected a bundle, made by 'edge-moe convert'")
    try:
        raw = msgspec.json.decode(_read_bytes(file))
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if version != SCHEMA_VERSION:
            raise BundleError(
                f"{file} has schema version {version}; this edge-moe reads {SCHEMA_VERSION}: "
                "convert the checkpoint again"
            )
        manifest = msgspec.convert(raw, Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError(f"{file} is not a manifest: {error}; convert the checkpoint again") from None
    problem = _inconsistency(manifest)
    if problem:
        raise BundleError(f"{file} is not a manifest: {problem}; convert the checkpoint again")
    return manifest


def _read_bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror}; check its permissions") from None


def _files(manifest: Manifest) -> list[Artifact]:
    network = () if manifest.network is None else (manifest.network,)
    return [*(a for s in manifest.sets for a in (*s.parts.values(), s.golden.file)), *network]


def _inconsistency(manifest: Manifest) -> str | None:
    """Return what the types alone cannot rule out, in words; None where the manifest is sound."""
    expected = part_names(manifest.experts)
    if list(manifest.parts) != expected:
        return f"its parts should be {', '.join(expected)}"
    if not manifest.sets:
        return "it has no artifacts"
    if not manifest.labels:
        return "it has no labels"
    if problem := wrong_width(manifest):
        return problem
    if too_small := resize_problem(manifest.preprocessing.resize, manifest.preprocessing.image_size):
        return f"its images would be resized to less than the crop: {too_small}"
    if not all(s > 0 for s in manifest.preprocessing.std):
        return "its preprocessing divides by a std that is not above 0"
    for artifacts in manifest.sets:
        name = f"{artifacts.backend}/{artifacts.recipe.name}"
        if sorted(artifacts.parts) != sorted(expected):
            return f"{name} should have an artifact for each of {', '.join(expected)}"
        if not artifacts.made_from.keys() <= artifacts.parts.keys():
            return f"{name} says what parts were made from that it does not have"
        if max(artifacts.default_max_experts, artifacts.golden.max_experts) > manifest.experts:
            return f"{name} has a max_experts above the number of experts"
        if manifest.experts and not min(artifacts.default_max_experts, artifacts.golden.max_experts):
            return f"{name} has a max_experts of 0, which only a plain network has"
        if artifacts.golden.label >= len(manifest.labels):
            return f"{name} has a golden label that does not exist"
    return leaving(_files(manifest))
