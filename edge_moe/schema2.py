"""The records of manifest.json in schema version 2: read by `upgrade`, never written."""

from __future__ import annotations

import msgspec

from edge_moe.anytime import Ensemble, Space
from edge_moe.manifest import Artifact, PartSpec, Preprocessing, RecipeRecord
from edge_moe.operating import OperatingPoint
from edge_moe.records import Count, Digest, Fraction, Positive, Strict
from edge_moe.sets import SetKey

__all__ = ["ArtifactSet2", "Golden2", "Manifest2", "files"]


class Golden2(Strict, frozen=True):
    """One sample: an .npz with `input`, `<part>.<output>` of every part, and `scores` of the whole."""

    file: Artifact
    tolerance: float
    tau: Fraction
    max_experts: Positive
    label: Count
    exited: bool
    experts: tuple[Count, ...]
    part_tolerances: dict[str, float] = msgspec.field(default_factory=dict)


class ArtifactSet2(Strict, frozen=True):
    """A set, with what stands in operating.json today."""

    backend: str
    recipe: RecipeRecord
    parts: dict[str, Artifact]
    made_from: dict[str, Digest]
    golden: Golden2
    operating_points: tuple[OperatingPoint, ...]
    default_tau: Fraction
    default_max_experts: Positive

    @property
    def key(self) -> SetKey:
        """Which set it is."""
        return SetKey(self.backend, self.recipe.name)


class Manifest2(Strict, frozen=True):
    """manifest.json."""

    schema_version: int
    architecture: str
    trained: bool
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    experts: Positive
    ensemble: Ensemble
    space: Space
    parts: dict[str, PartSpec]
    sets: tuple[ArtifactSet2, ...]
    tools: dict[str, str]
    network: Artifact | None = None


def files(manifest: Manifest2) -> list[Artifact]:
    """Return every file that the manifest names."""
    network = [] if manifest.network is None else [manifest.network]
    return [*(a for s in manifest.sets for a in (*s.parts.values(), s.golden.file)), *network]
