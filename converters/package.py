"""Packaging: what the manifest says of the parts, the golden sample, and the files with their hashes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

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
from edge_moe.converters.interface import OUTPUTS, channels_last, kind_of, tensor_shapes
from edge_moe.converters.options import Options
from edge_moe.converters.tolerances import part_tolerance, tolerance
from edge_moe.evaluate import Outputs, route
from edge_moe.nn import part_costs
from edge_moe.npz import pack
from edge_moe.output import write_file
from edge_moe.sets import SetKey
from edge_moe.training.checkpoint import Checkpoint

__all__ = ["Targets", "artifact_set", "network", "part_specs", "to_json"]


Targets: TypeAlias = dict[SetKey, dict[str, Path]]  # set -> part -> the artifact's file


def part_specs(loaded: Checkpoint) -> dict[str, PartSpec]:
    """Return the MACs, parameters and tensors of every part."""
    size, experts = loaded.config.architecture.image_size, loaded.config.experts
    mixture = loaded.mixture
    costs = part_costs(mixture.base, mixture.gate, size)
    image = np.zeros((1, *loaded.config.architecture.size, 3), np.float32)
    kinds = {"base": (costs.base, tensor_shapes(mixture.base, kind_of("base", plain=not experts), image))}
    if mixture.gate is not None and costs.gate is not None and costs.expert is not None:
        shapes = mixture.base.shapes(size)
        features = np.zeros(tuple(channels_last(shapes.features).shape), np.float32)
        expert = tensor_shapes(mixture.experts[0], "expert", features)
        embedding = np.zeros(tuple(shapes.embedding.shape), np.float32)
        kinds["gate"] = (costs.gate, tensor_shapes(mixture.gate, "gate", embedding))
        kinds |= {expert_name(k): (costs.expert, expert) for k in range(experts)}
    return {
        name: PartSpec(
            kind=_role(name),
            macs=cost.macs,
            parameters=cost.parameters,
            inputs=tuple(TensorSpec(name=n, shape=s) for n, s in inputs.items()),
            outputs=tuple(TensorSpec(name=n, shape=s) for n, s in outs.items()),
        )
        for name, (cost, (inputs, outs)) in kinds.items()
    }


def _role(part: str) -> Literal["base", "gate", "expert"]:
    """Return which role the part called `part` has in the manifest: a plain network's one part is its base."""
    return "expert" if part.startswith("expert_") else part  # type: ignore[return-value]


def artifact_set(
    folder: Path,
    key: SetKey,
    files: dict[str, Path],
    made_from: dict[str, str],
    recipe: recipes.Recipe,
    loaded: Checkpoint,
    image: npt.NDArray[np.float32],
    points: tuple[OperatingPoint, ...],
    tau: float,
    options: Options,
) -> ArtifactSet:
    """Put the artifacts of one set, part -> file, into the bundle `folder` and describe them.

    Writes their golden sample, made of `image` [1, H, W, 3].
    """
    artifacts = {}
    for part, file in files.items():
        target = folder / key.backend / key.recipe / f"{part}{file.suffix}"
        write_file(target, file.read_bytes())
        artifacts[part] = _artifact(folder, target)
    return ArtifactSet(
        backend=key.backend,
        recipe=Recipe(name=key.recipe, settings=recipe.settings(options.calibration_images)),
        parts=artifacts,
        made_from=made_from,
        golden=_golden(folder, key, files, loaded, image, min(2, loaded.config.experts)),
        operating_points=points,
        default_tau=tau,
        default_max_experts=options.max_experts,
    )


def _golden(
    folder: Path,
    key: SetKey,
    files: dict[str, Path],
    loaded: Checkpoint,
    image: npt.NDArray[np.float32],
    max_experts: int,
) -> Golden:
    """Run one image through every artifact and write what came out; tau = 0, so that the whole uses its experts."""
    config = loaded.config
    backend = backends.get(key.backend)
    tensors, own_tolerances = {"input": image}, {}
    for part, path in files.items():
        feed, names = tensors[GOLDEN_FEED[_role(part)]], OUTPUTS[kind_of(part, plain=not config.experts)]
        opened = backend.open(path.read_bytes())
        opened.invoke(feed)
        for name in names:
            tensors[f"{part}.{name}"] = opened.output(name)
        own = part_tolerance(key.backend, key.recipe, opened, feed, names)
        if own > tolerance(key.backend, key.recipe):
            own_tolerances[part] = own
        opened.close()
    outputs = Outputs.of_base(tensors["base.logits"])
    if config.experts:
        experts = np.stack([tensors[f"{expert_name(k)}.logits"] for k in range(config.experts)], axis=1)
        outputs = Outputs(tensors["base.logits"], tensors["gate.logits"], experts)
    routed = route(outputs, 0.0, max_experts, config.ensemble, config.space)
    tensors["scores"] = routed.scores[0].astype(np.float32)
    file = folder / key.backend / key.recipe / "golden.npz"
    write_file(file, pack(tensors))
    return Golden(
        file=_artifact(folder, file),
        tolerance=tolerance(key.backend, key.recipe),
        part_tolerances=own_tolerances,
        tau=0.0,
        max_experts=max_experts,
        label=int(routed.predictions[0]),
        exited=bool(routed.exited[0]),
        experts=tuple(int(k) for k in np.flatnonzero(routed.active[0])),
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
