"""Packaging: what the manifest says of the parts, the golden sample, and the files with their hashes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe import backends
from edge_moe.bundle import (
    GOLDEN_FEED,
    MANIFEST,
    SCHEMA_VERSION,
    Artifact,
    ArtifactSet,
    Bundle,
    Golden,
    Manifest,
    PartSpec,
    Recipe,
    TensorSpec,
    expert_name,
    sha256,
)
from edge_moe.converters import toolchain
from edge_moe.converters.interface import OUTPUTS, channels_last, kind_of, tensor_shapes
from edge_moe.converters.judge import Judge, Verdict
from edge_moe.converters.make import Maker
from edge_moe.converters.options import Options
from edge_moe.converters.tolerances import part_tolerance, tolerance
from edge_moe.evaluate import Outputs, route
from edge_moe.nn import part_costs
from edge_moe.npz import pack
from edge_moe.output import write_file
from edge_moe.sets import SetKey
from edge_moe.training.checkpoint import Checkpoint, tool_versions

__all__ = ["network", "part_specs", "to_json", "tools", "write"]


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


def write(folder: Path, maker: Maker, judge: Judge, shipped: Sequence[SetKey], options: Options) -> None:
    """Make the folder a bundle of the sets `shipped`, the default first: their artifacts, golden samples, manifest."""
    loaded, image = maker.loaded, judge.tensors[0]
    config = loaded.config
    sets = tuple(_artifact_set(folder, key, maker, judge.verdicts[key], image, options) for key in shipped)
    for file in folder.glob("*_samples.npy"):
        file.unlink()
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        architecture=config.architecture.base,
        trained=config.origin != "untrained",
        labels=config.labels,
        preprocessing=config.preprocessing,
        experts=config.experts,
        ensemble=config.ensemble,
        space=config.space,
        parts=judge.specs,
        sets=sets,
        tools=tools(key.backend for key in shipped),
        network=network(folder, maker.keys.outputs),
    )
    write_file(folder / MANIFEST, to_json(manifest))
    Bundle(folder)  # what gets the bundle's name can be opened


def tools(used: Iterable[str]) -> dict[str, str]:
    """Return the versions of all that the backends `used` make artifacts with: package -> version."""
    return tool_versions(*dict.fromkeys(name for one in used for name in toolchain.get(one).packages))


def _artifact_set(
    folder: Path, key: SetKey, maker: Maker, verdict: Verdict, image: npt.NDArray[np.float32], options: Options
) -> ArtifactSet:
    """Put the artifacts of one set into the bundle `folder` and describe them, with a golden sample of `image`."""
    files, artifacts = maker.files(key), {}
    for part, file in files.items():
        target = folder / key.backend / key.recipe / f"{part}{file.suffix}"
        write_file(target, file.read_bytes())
        artifacts[part] = _artifact(folder, target)
    return ArtifactSet(
        backend=key.backend,
        recipe=Recipe(name=key.recipe, settings=maker.recipes[key].settings(options.calibration_images)),
        parts=artifacts,
        made_from=maker.keys.made_from[key],
        golden=_golden(folder, key, files, maker.loaded, image, min(2, maker.loaded.config.experts)),
        operating_points=verdict.points,
        default_tau=verdict.default_tau,
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
