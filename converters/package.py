"""Packaging: what the manifest says of the parts, the golden sample, and the files with their hashes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe import backends
from edge_moe.bundle import (
    GOLDEN_FEED,
    Artifact,
    ArtifactSet,
    Golden,
    OperatingPoint,
    PartSpec,
    Recipe,
    TensorSpec,
    expert_name,
    sha256,
)
from edge_moe.converters import recipes
from edge_moe.converters.litert import tensor_shapes
from edge_moe.converters.options import Options
from edge_moe.evaluate import Outputs, route
from edge_moe.nn import part_costs
from edge_moe.output import write_file
from edge_moe.training.checkpoint import Checkpoint

__all__ = ["BACKEND", "Targets", "artifact_file", "artifact_set", "part_specs", "to_json"]

BACKEND = "litert"
Targets: TypeAlias = dict[str, dict[str, Path]]  # part -> recipe -> the artifact's file

_TOLERANCE = {recipes.FLOAT: 1e-3}
# Rounding to int8 turns last-bit differences between processors into whole steps now and then.
_INT8_TOLERANCE = 5e-2


def artifact_file(recipe: str, part: str) -> str:
    """Return the path of an artifact inside the bundle."""
    return f"{BACKEND}/{recipe}/{part}{backends.get(BACKEND).suffix}"


def part_specs(loaded: Checkpoint) -> dict[str, PartSpec]:
    """Return the MACs, parameters and tensors of every part."""
    size = loaded.config.architecture.image_size
    mixture = loaded.mixture
    costs = part_costs(mixture.base, mixture.gate, size)
    shapes = mixture.base.shapes(size)
    map_shape = tuple(shapes.features.permute(0, 2, 3, 1).shape)
    base = tensor_shapes(mixture.base, np.zeros((1, size, size, 3), np.float32))
    gate = tensor_shapes(mixture.gate, np.zeros(tuple(shapes.embedding.shape), np.float32))
    expert = tensor_shapes(mixture.experts[0], np.zeros(map_shape, np.float32))
    kinds = {"base": (costs.base, base), "gate": (costs.gate, gate)}
    kinds |= {expert_name(k): (costs.expert, expert) for k in range(loaded.config.experts)}
    return {
        name: PartSpec(
            kind=name.split("_")[0],  # type: ignore[arg-type]
            macs=cost.macs,
            parameters=cost.parameters,
            inputs=tuple(TensorSpec(name=n, shape=s) for n, s in inputs.items()),
            outputs=tuple(TensorSpec(name=n, shape=s) for n, s in outs.items()),
        )
        for name, (cost, (inputs, outs)) in kinds.items()
    }


def artifact_set(
    folder: Path,
    targets: Targets,
    loaded: Checkpoint,
    recipe: str,
    image: npt.NDArray[np.float32],
    points: tuple[OperatingPoint, ...],
    tau: float,
    options: Options,
) -> ArtifactSet:
    """Describe the artifacts of one recipe; writes their golden sample, made of `image` [1, H, W, 3]."""
    golden = _golden(folder, recipe, targets, loaded, image, min(2, loaded.config.experts))
    return ArtifactSet(
        backend=BACKEND,
        recipe=Recipe(name=recipe, settings=recipes.get(recipe).settings(options.calibration_images)),
        parts={part: _artifact(folder, files[recipe]) for part, files in targets.items()},
        golden=golden,
        operating_points=points,
        default_tau=tau,
        default_max_experts=options.max_experts,
    )


def _golden(
    folder: Path,
    recipe: str,
    targets: Targets,
    loaded: Checkpoint,
    image: npt.NDArray[np.float32],
    max_experts: int,
) -> Golden:
    """Run one image through every artifact and write what came out; tau = 0, so that the whole uses its experts."""
    config = loaded.config
    backend = backends.get(BACKEND)
    tensors = {"input": image}
    for part, files in targets.items():
        kind = part.split("_")[0]
        opened = backend.open(files[recipe].read_bytes())
        opened.invoke(tensors[GOLDEN_FEED[kind]])
        for name in ("logits", "features", "embedding") if kind == "base" else ("logits",):
            tensors[f"{part}.{name}"] = opened.output(name)
        opened.close()
    experts = np.stack([tensors[f"{expert_name(k)}.logits"] for k in range(config.experts)], axis=1)
    outputs = Outputs(tensors["base.logits"], tensors["gate.logits"], experts)
    routed = route(outputs, 0.0, max_experts, config.ensemble, config.space)
    tensors["scores"] = routed.scores[0].astype(np.float32)
    buffer = io.BytesIO()
    np.savez(buffer, **tensors)  # type: ignore[arg-type]
    file = folder / BACKEND / recipe / "golden.npz"
    write_file(file, buffer.getvalue())
    return Golden(
        file=_artifact(folder, file),
        tolerance=_TOLERANCE.get(recipe, _INT8_TOLERANCE),
        tau=0.0,
        max_experts=max_experts,
        label=int(routed.predictions[0]),
        exited=bool(routed.exited[0]),
        experts=tuple(int(k) for k in np.flatnonzero(routed.active[0])),
    )


def _artifact(folder: Path, file: Path) -> Artifact:
    data = file.read_bytes()
    return Artifact(file=file.relative_to(folder).as_posix(), sha256=sha256(data), bytes=len(data))


def to_json(value: Any) -> bytes:
    """Encode for a person to read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
