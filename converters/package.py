"""Packaging: what the manifest says of the parts, and the files with their hashes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe import backends
from edge_moe.binding import bind
from edge_moe.bundle import (
    Artifact,
    ArtifactSet,
    Golden,
    Manifest,
    OperatingPoint,
    PartArtifact,
    PartSpec,
    Recipe,
    RunsOn,
    SetOperating,
    TensorSpec,
    expert_name,
    sha256,
)
from edge_moe.converters import recipes
from edge_moe.converters.interface import kind_of, tensor_shapes
from edge_moe.converters.options import Options
from edge_moe.digest import answers_digest
from edge_moe.nn import part_costs
from edge_moe.npz import pack
from edge_moe.operating import encode
from edge_moe.output import write_file
from edge_moe.sets import SetKey
from edge_moe.training.checkpoint import Checkpoint

__all__ = ["Targets", "artifact_set", "network", "operating", "part_artifact", "part_specs", "to_json"]


Targets: TypeAlias = dict[SetKey, dict[str, Path]]  # set -> part -> the artifact's file


def part_specs(loaded: Checkpoint) -> dict[str, PartSpec]:
    """Return the MACs, parameters and tensors of every part."""
    size = loaded.config.architecture.image_size
    mixture = loaded.mixture
    costs = part_costs(mixture.base, mixture.gate, size)
    shapes = mixture.base.shapes(size)
    map_shape = tuple(shapes.features.permute(0, 2, 3, 1).shape)
    base = tensor_shapes(mixture.base, "base", np.zeros((1, *loaded.config.architecture.size, 3), np.float32))
    gate = tensor_shapes(mixture.gate, "gate", np.zeros(tuple(shapes.embedding.shape), np.float32))
    expert = tensor_shapes(mixture.experts[0], "expert", np.zeros(map_shape, np.float32))
    kinds = {"base": (costs.base, base), "gate": (costs.gate, gate)}
    kinds |= {expert_name(k): (costs.expert, expert) for k in range(loaded.config.experts)}
    return {
        name: PartSpec(
            kind=kind_of(name),
            macs=cost.macs,
            parameters=cost.parameters,
            inputs=tuple(TensorSpec(name=n, shape=s) for n, s in inputs.items()),
            outputs=tuple(TensorSpec(name=n, shape=s) for n, s in outs.items()),
        )
        for name, (cost, (inputs, outs)) in kinds.items()
    }


def artifact_set(
    folder: Path,
    key: SetKey,
    files: dict[str, Path],
    made_from: dict[str, str],
    recipe: recipes.Recipe,
    specs: dict[str, PartSpec],
    golden: Golden,
    options: Options,
) -> ArtifactSet:
    """Put the artifacts of one set, part -> file, into the bundle `folder` and describe them."""
    artifacts = {}
    for part, file in files.items():
        target = folder / key.backend / key.recipe / f"{part}{file.suffix}"
        write_file(target, file.read_bytes())
        artifacts[part] = part_artifact(folder, target, key.backend, specs[part])
    return ArtifactSet(
        backend=key.backend,
        recipe=Recipe(name=key.recipe, settings=recipe.settings(options.calibration_images)),
        runs_on=RunsOn(),
        parts=artifacts,
        made_from=made_from,
        golden=golden,
    )


def part_artifact(folder: Path, file: Path, backend: str, spec: PartSpec) -> PartArtifact:
    """Return what the manifest says of the artifact `file` of the bundle `folder`: read from the file itself."""
    plain = _artifact(folder, file)
    opened = backends.get(backend).open(file.read_bytes())
    try:
        inputs, outputs = bind(opened, spec)
    finally:
        opened.close()
    return PartArtifact(file=plain.file, sha256=plain.sha256, bytes=plain.bytes, inputs=inputs, outputs=outputs)


def operating(
    manifest: Manifest,
    points: dict[SetKey, tuple[OperatingPoint, ...]],
    taus: dict[SetKey, float],
    max_experts: int,
) -> bytes:
    """Return operating.json: of each set its default, and what it was seen to do."""
    return encode(
        {
            str(one.key): SetOperating(
                digest=answers_digest(manifest, one),
                default_tau=taus[one.key],
                default_max_experts=max_experts,
                operating_points=points[one.key],
            )
            for one in manifest.sets
        }
    )


def network(folder: Path, outputs: dict[str, dict[str, npt.NDArray[np.float32]]]) -> Artifact:
    """Write into the bundle `folder` what torch makes of the fixed input: part -> output -> values."""
    file = folder / "network.npz"
    write_file(file, pack({f"{part}.{name}": x for part, named in outputs.items() for name, x in named.items()}))
    return _artifact(folder, file)


def _artifact(folder: Path, file: Path) -> Artifact:
    data = file.read_bytes()
    return Artifact(file=file.relative_to(folder).as_posix(), sha256=sha256(data), bytes=len(data))


def to_json(value: Any) -> bytes:
    """Encode for a person to read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
