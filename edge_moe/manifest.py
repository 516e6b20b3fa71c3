"""The records of manifest.json: what a bundle holds, and what a port has to know of it. docs/bundle.md explains them.

The manifest is hashed, in parts, and never rewritten; what may be chosen later stands in operating.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from edge_moe.anytime import Ensemble, Space
from edge_moe.backends.base import PartTensor
from edge_moe.records import Count, Digest, Fraction, Positive, Strict
from edge_moe.sets import Pattern, SetKey, named, select
from edge_moe.sizes import StoredSize, height_width

__all__ = [
    "GOLDEN_FEED",
    "MANIFEST",
    "SCHEMA_VERSION",
    "Artifact",
    "ArtifactSet",
    "Golden",
    "GoldenInputs",
    "GoldenSample",
    "Manifest",
    "PartArtifact",
    "PartSpec",
    "Preprocessing",
    "RecipeRecord",
    "RunsOn",
    "TensorSpec",
    "expert_name",
    "files",
    "part_count",
    "part_names",
]

SCHEMA_VERSION = 3
MANIFEST = "manifest.json"

# What a part of each kind reads: the name under which a golden sample has it.
GOLDEN_FEED = {"base": "input", "gate": "base.embedding", "expert": "base.features"}


class Preprocessing(Strict, frozen=True):
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


class TensorSpec(Strict, frozen=True):
    """An input or an output of a part, whatever the backend, with its batch axis of 1; maps have channels last."""

    name: str
    shape: tuple[Positive, ...]
    dtype: Literal["float32"] = "float32"


class PartSpec(Strict, frozen=True):
    """A part, whatever the backend."""

    kind: Literal["base", "gate", "expert"]
    macs: Count
    parameters: Count
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Artifact(Strict, frozen=True):
    """One file of the bundle."""

    file: str  # relative to the bundle, with forward slashes
    sha256: Digest
    bytes: Count


class PartArtifact(Artifact, frozen=True):
    """The file of a part, and what that file itself says of its tensors, in its own order."""

    inputs: tuple[PartTensor, ...]
    outputs: tuple[PartTensor, ...]

    @property
    def plain(self) -> Artifact:
        """The file alone."""
        return Artifact(file=self.file, sha256=self.sha256, bytes=self.bytes)


class RecipeRecord(Strict, frozen=True):
    """How the parts of a set were quantized."""

    name: str
    settings: dict[str, Any]  # everything that is needed to do it again


class RunsOn(Strict, frozen=True):
    """What a set cannot do without; all empty: any processor that the backend runs on."""

    processor: tuple[str, ...] = ()  # features, by their names in /proc/cpuinfo: "avx512_vnni", "asimddp"
    npu: str | None = None  # its name


class GoldenInputs(Strict, frozen=True):
    """What the golden samples of all sets share."""

    tensors: Artifact  # an .npz: name of the input -> float32 [1, H, W, 3]
    # Name of the input -> a PNG that preprocessing makes that tensor of. A bundle that was upgraded has none.
    images: dict[str, Artifact]
    vectors: Artifact  # JSON: the exit rule and the ensemble on numbers alone, see edge_moe.vectors


class GoldenSample(Strict, frozen=True):
    """What the whole answers for one input at one setting."""

    role: str  # why it is here: "exit", "expert_00", "top 2"; unlike the others of the set
    input: str
    tau: Fraction
    max_experts: Count
    label: Count  # index of the answer
    exited: bool
    experts: tuple[Count, ...]
    # What gives away that the base answered where experts should have: another label, or other probabilities, by more
    # than right kernels differ. None: an exit; or no image that does was found.
    unlike_base: Literal["label", "probabilities"] | None


class Golden(Strict, frozen=True):
    """The golden samples of a set: an .npz with `<input>/<part>.<output>` and `<input>/scores.<role>`."""

    file: Artifact
    tolerance: float  # largest relative L2 error at which an output counts as the same
    # The same for parts that move further when the last bits of their input do. The answer has the largest.
    part_tolerances: dict[str, float]
    samples: tuple[GoldenSample, ...]
    missing: tuple[str, ...]  # roles for which no image was found, with the margin that right kernels need

    def allowed(self, part: str) -> float:
        """Return the largest error at which an output of this part counts as the same."""
        return self.part_tolerances.get(part, self.tolerance)


class ArtifactSet(Strict, frozen=True):
    """All parts of one model for one backend, made by one recipe."""

    backend: str
    recipe: RecipeRecord
    runs_on: RunsOn
    parts: dict[str, PartArtifact]
    # Part -> digest of all that its artifact was made from: weights, recipe, calibration images, tools. Where it is
    # the same, a new bundle takes the artifact over.
    made_from: dict[str, Digest]
    golden: Golden

    @property
    def key(self) -> SetKey:
        """Which set it is."""
        return SetKey(self.backend, self.recipe.name)


class Manifest(Strict, frozen=True):
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
    sets: tuple[ArtifactSet, ...]  # the first is the default, unless operating.json names another
    golden: GoldenInputs
    tools: dict[str, str]  # package -> version that made the bundle
    # An .npz of what torch made of a fixed input, by which a later conversion knows the network again; None: not kept.
    network: Artifact | None = None

    @property
    def macs(self) -> dict[str, int]:
        """Part -> its multiply-accumulates."""
        return {name: part.macs for name, part in self.parts.items()}

    def find(self, backend: str | None = None, recipe: str | None = None) -> ArtifactSet:
        """Return the first set of `backend` and `recipe` (None: any); raise UsageError if there is none.

        A recipe may be named with its backend, as in "onnx/int8".
        """
        return self.matching(backend, recipe)[0]

    def matching(self, backend: str | None = None, recipe: str | None = None) -> list[ArtifactSet]:
        """Return every set of `backend` and `recipe`, at least one; otherwise as `find`."""
        return self.select(named(backend, recipe))

    def select(self, wanted: Sequence[Pattern]) -> list[ArtifactSet]:
        """Return the sets that are `wanted`, in the bundle's order; of nothing wanted, all.

        Raises:
            UsageError: there is none of one that is.
        """
        there = {one.key: one for one in self.sets}
        return [there[key] for key in select(there, wanted)]


def expert_name(index: int) -> str:
    """Return the name of the part that is expert `index`: expert_00, expert_01, ..."""
    return f"expert_{index:02d}"


def part_names(experts: int) -> list[str]:
    """Return the names of the parts of a mixture of `experts` experts, in their order; a plain network is its base."""
    return ["base", *(["gate"] if experts else []), *map(expert_name, range(experts))]


def part_count(experts: int) -> int:
    """Return how many names `part_names` has."""
    return experts + 2 if experts else 1


def files(manifest: Manifest) -> list[Artifact]:
    """Return every file that the manifest names."""
    golden = manifest.golden
    shared = [golden.tensors, *golden.images.values(), golden.vectors]
    network = [] if manifest.network is None else [manifest.network]
    return [*(a for s in manifest.sets for a in (*s.parts.values(), s.golden.file)), *shared, *network]
