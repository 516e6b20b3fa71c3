"""Packaging: what the manifest says of the parts, and the files with their hashes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_moe import backends
from edge_moe.binding import described
from edge_moe.bundle import (
    MANIFEST,
    OPERATING,
    SCHEMA_VERSION,
    Artifact,
    ArtifactSet,
    Bundle,
    Golden,
    Manifest,
    PartSpec,
    RecipeRecord,
    RunsOn,
    SetOperating,
    TensorSpec,
    expert_name,
    sha256,
)
from edge_moe.converters import toolchain
from edge_moe.converters.golden import write_golden
from edge_moe.converters.interface import channels_last, kind_of, role_of, tensor_shapes
from edge_moe.converters.judge import Judge
from edge_moe.converters.make import Maker
from edge_moe.converters.options import ConversionOptions
from edge_moe.digest import answers_digest
from edge_moe.nn import part_costs
from edge_moe.npz import pack
from edge_moe.operating import encode
from edge_moe.output import write_file
from edge_moe.records import to_json
from edge_moe.sets import SetKey
from edge_moe.training.checkpoint import Checkpoint, tool_versions

__all__ = ["network", "part_specs", "tools", "write"]


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
            kind=role_of(name),
            macs=cost.macs,
            parameters=cost.parameters,
            inputs=tuple(TensorSpec(name=n, shape=s) for n, s in inputs.items()),
            outputs=tuple(TensorSpec(name=n, shape=s) for n, s in outs.items()),
        )
        for name, (cost, (inputs, outs)) in kinds.items()
    }


def write(folder: Path, maker: Maker, judge: Judge, shipped: Sequence[SetKey], options: ConversionOptions) -> None:
    """Make the folder a bundle of the sets `shipped`, the default first: artifacts, golden samples, manifest."""
    config = maker.loaded.config
    files = {key: maker.files(key) for key in shipped}
    measured = {key: judge.verdicts[key].outputs for key in shipped}
    inputs, golden = write_golden(folder, files, measured, judge.validation, judge.specs, config)
    sets = tuple(_artifact_set(folder, key, maker, judge.specs, golden[key], options) for key in shipped)
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
        golden=inputs,
        tools=tools(key.backend for key in shipped),
        network=network(folder, maker.keys.outputs),
    )
    write_file(folder / OPERATING, encode({str(one.key): _operating(manifest, one, judge, options) for one in sets}))
    write_file(folder / MANIFEST, to_json(manifest))
    Bundle(folder)  # what gets the bundle's name can be opened


def tools(used: Iterable[str]) -> dict[str, str]:
    """Return the versions of all that the backends `used` make artifacts with: package -> version."""
    return tool_versions(*dict.fromkeys(name for one in used for name in toolchain.get(one).packages))


def _operating(manifest: Manifest, artifacts: ArtifactSet, judge: Judge, options: ConversionOptions) -> SetOperating:
    """Return the defaults of a set, and what it was seen to do."""
    verdict = judge.verdicts[artifacts.key]
    return SetOperating(
        digest=answers_digest(manifest, artifacts),
        default_tau=verdict.default_tau,
        default_max_experts=options.max_experts,
        operating_points=verdict.points,
    )


def _artifact_set(
    folder: Path, key: SetKey, maker: Maker, specs: dict[str, PartSpec], golden: Golden, options: ConversionOptions
) -> ArtifactSet:
    """Put the artifacts of one set into the bundle `folder` and describe them."""
    artifacts = {}
    for part, file in maker.files(key).items():
        target = folder / key.backend / key.recipe / f"{part}{file.suffix}"
        data = file.read_bytes()
        write_file(target, data)
        artifacts[part] = described(_artifact(folder, target, data), data, key.backend, specs[part])
    return ArtifactSet(
        backend=key.backend,
        recipe=RecipeRecord(name=key.recipe, settings=maker.recipes[key].settings(options.calibration_images)),
        runs_on=RunsOn(npu=None if key.is_float else backends.record(key.backend).npu),
        parts=artifacts,
        made_from=maker.keys.made_from[key],
        golden=golden,
    )


def network(folder: Path, outputs: dict[str, dict[str, npt.NDArray[np.float32]]]) -> Artifact:
    """Write into the bundle `folder` what torch makes of the fixed input: part -> output -> values."""
    file = folder / "network.npz"
    data = pack({f"{part}.{name}": x for part, named in outputs.items() for name, x in named.items()})
    write_file(file, data)
    return _artifact(folder, file, data)


def _artifact(folder: Path, file: Path, data: bytes) -> Artifact:
    return Artifact(file=file.relative_to(folder).as_posix(), sha256=sha256(data), bytes=len(data))
