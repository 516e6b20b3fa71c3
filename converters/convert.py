"""checkpoint -> bundle: calibrate, convert every part by every recipe, measure the artifacts, package."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from edge_moe.converters import parity, recipes
from edge_moe.converters.litert import tensor_shapes
from edge_moe.converters.workers import Job, convert_parts

from edge_moe import backends
from edge_moe.anytime import check_max_experts, check_tau
from edge_moe.backends.litert import LiteRTPart
from edge_moe.bundle import (
    MANIFEST,
    SCHEMA_VERSION,
    Artifact,
    ArtifactSet,
    Bundle,
    Golden,
    Manifest,
    OperatingPoint,
    PartSpec,
    Recipe,
    TensorSpec,
    expert_name,
    sha256,
)
from edge_moe.data import LabelledImages, open_data
from edge_moe.errors import ConversionError, UsageError
from edge_moe.evaluate import Outputs, collect, operating_point, route
from edge_moe.nn import part_costs
from edge_moe.output import check_target, partial_path, publish, write_file, writing
from edge_moe.progress import Progress, Silent, track
from edge_moe.training.checkpoint import Checkpoint, load_checkpoint, tool_versions

__all__ = ["MIN_AGREEMENT", "TAUS", "Options", "convert"]

TAUS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
MIN_AGREEMENT = 0.95
_BACKEND = "litert"
_TOLERANCE = {recipes.FLOAT: 1e-3}
# Rounding to int8 turns last-bit differences between processors into whole steps now and then.
_INT8_TOLERANCE = 5e-2
_TORCH_IMAGES = 32
_UNTRAINED_TAU = 0.25


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may choose."""

    recipes: tuple[str, ...] = (recipes.DEFAULT,)
    ship_float: bool = True
    calibration_images: int = 128
    validation_images: int | None = None  # None: all
    min_agreement: float = MIN_AGREEMENT
    keep_going: bool = False
    tau: float | None = None  # the bundle's default; None: chosen, see _default_point
    max_experts: int = 1


def convert(
    checkpoint: Path,
    data: str,
    out: Path,
    options: Options,
    *,
    force: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the bundle `out` and return its parity report (also there as parity.json and parity.md).

    Calibrates on training images and measures on validation images of `data`. The fp32 artifacts are the
    reference, whether or not they are shipped.

    Raises:
        CheckpointError, DataError, UsageError, OutputError: an argument cannot be used; nothing is written.
        ConversionError: a part is not wholly delegated, or its agreement with fp32 is under the bar.
    """
    check_target(out, force=force)
    progress = progress or Silent()
    loaded = load_checkpoint(checkpoint)
    _check(options, loaded, jobs)
    calibration = open_data(data, "train").sample(options.calibration_images)
    validation = open_data(data, "val").with_classes(loaded.config.labels)
    if options.validation_images is not None:
        validation = validation.sample(options.validation_images)
    partial = partial_path(out)
    with writing(partial):
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
    wanted = [recipes.FLOAT, *(name for name in options.recipes if name != recipes.FLOAT)]
    names = ["base", "gate", *(expert_name(k) for k in range(loaded.config.experts))]

    samples = _calibration_samples(loaded, calibration, partial, progress)
    targets = {part: {name: partial / _file(name, part) for name in wanted} for part in names}
    convert_parts(
        [
            Job(checkpoint=checkpoint, part=part, samples=samples[part.split("_")[0]], targets=targets[part])
            for part in names
        ],
        jobs,
        partial,
        progress,
    )
    for file in set(samples.values()):
        file.unlink()

    tensors = np.concatenate(
        list(track(validation.tensors(loaded.config.preprocessing), "reading images", len(validation), progress))
    )
    outputs, partitions = _run_artifacts(targets, wanted, loaded.config.experts, tensors, progress)
    specs = _part_specs(loaded)
    report = _report(loaded, checkpoint, validation, outputs, partitions, targets, tensors)
    shipped = [name for name in (*options.recipes, recipes.FLOAT) if name != recipes.FLOAT or options.ship_float]
    points = {name: _operating_points(outputs[name], validation, specs, loaded, options) for name in wanted}
    tau = options.tau
    if tau is None:
        tau = _default_tau(points[shipped[0]])
    report["routed"] = {
        name: [
            _routed(outputs[name], outputs[recipes.FLOAT], t, options.max_experts, loaded) for t in sorted({0.0, tau})
        ]
        for name in wanted
        if name != recipes.FLOAT
    }
    _judge(report, options)

    sets = tuple(
        _artifact_set(partial, name, targets, loaded, tensors[:1], points[name], tau, options)
        for name in dict.fromkeys(shipped)
    )
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        architecture=loaded.config.architecture.base,
        trained=loaded.config.origin != "untrained",
        labels=loaded.config.labels,
        preprocessing=loaded.config.preprocessing,
        experts=loaded.config.experts,
        ensemble=loaded.config.ensemble,
        space=loaded.config.space,
        parts=specs,
        sets=sets,
        tools=tool_versions("litert-torch", "ai-edge-quantizer", "ai-edge-litert"),
    )
    write_file(partial / "parity.json", _json(report))
    write_file(partial / "parity.md", parity.to_markdown(msgspec.to_builtins(report)).encode())
    if not options.ship_float:
        shutil.rmtree(partial / _BACKEND / recipes.FLOAT)
    write_file(partial / MANIFEST, _json(manifest))
    Bundle(partial)  # what gets the bundle's name can be opened
    publish(partial, out)
    return report


def _check(options: Options, loaded: Checkpoint, jobs: int) -> None:
    for name in options.recipes:
        recipes.get(name)
    if options.tau is not None:
        check_tau(options.tau)
    check_max_experts(options.max_experts, loaded.config.experts)
    if not 0 <= options.min_agreement <= 1:
        raise UsageError(f"min_agreement is {options.min_agreement}; expected a share from 0 to 1")
    for name, value in (
        ("jobs", jobs),
        ("calibration_images", options.calibration_images),
        ("validation_images", options.validation_images),
    ):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}; expected at least 1")


def _file(recipe: str, part: str) -> str:
    return f"{_BACKEND}/{recipe}/{part}{backends.get(_BACKEND).suffix}"


@torch.no_grad()
def _calibration_samples(
    loaded: Checkpoint, calibration: LabelledImages, folder: Path, progress: Progress
) -> dict[str, Path]:
    """Write what each kind of part is calibrated on: images, and the base's embeddings and features of them."""
    images = list(calibration.tensors(loaded.config.preprocessing))
    embeddings, features = [], []
    for image in track(images, "calibration", len(images), progress):
        out = loaded.mixture.base(torch.from_numpy(image.transpose(0, 3, 1, 2)))
        embeddings.append(out.embedding.numpy())
        features.append(np.ascontiguousarray(out.features.numpy().transpose(0, 2, 3, 1)))
    written = {}
    for kind, rows in (("base", images), ("gate", embeddings), ("expert", features)):
        written[kind] = folder / f"{kind}_samples.npy"
        buffer = io.BytesIO()
        np.save(buffer, np.stack(rows))
        write_file(written[kind], buffer.getvalue())
    return written


def _run_artifacts(
    targets: dict[str, dict[str, Path]],
    wanted: Sequence[str],
    experts: int,
    tensors: npt.NDArray[np.float32],
    progress: Progress,
) -> tuple[dict[str, Outputs], dict[str, dict[str, tuple[int, int]]]]:
    """Run the artifacts of every recipe over all images; count the XNNPACK partitions on the way."""
    outputs: dict[str, Outputs] = {}
    partitions: dict[str, dict[str, tuple[int, int]]] = {}
    backend = backends.get(_BACKEND)
    for name in wanted:
        with ExitStack() as stack:
            parts = {}
            for part, files in targets.items():
                parts[part] = backend.open(files[name].read_bytes())
                stack.callback(parts[part].close)
            partitions[name] = {
                part: tuple(opened.partitions()) for part, opened in parts.items() if isinstance(opened, LiteRTPart)
            }
            measured = track(tensors, f"measuring {name}", len(tensors), progress)
            outputs[name] = collect(parts.__getitem__, experts, measured)
    return outputs, partitions


def _part_specs(loaded: Checkpoint) -> dict[str, PartSpec]:
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


def _report(
    loaded: Checkpoint,
    checkpoint: Path,
    validation: LabelledImages,
    outputs: dict[str, Outputs],
    partitions: dict[str, dict[str, tuple[int, int]]],
    targets: dict[str, dict[str, Path]],
    tensors: npt.NDArray[np.float32],
) -> dict[str, Any]:
    config = loaded.config
    reference = outputs[recipes.FLOAT]
    torch_errors = _torch_errors(loaded, reference, tensors[:_TORCH_IMAGES])
    rows = {}
    for name, found in outputs.items():
        compared = parity.part_parity(found, reference)
        rows[name] = [
            parity.PartParity(
                part=part,
                bytes=targets[part][name].stat().st_size,
                delegates=partitions[name][part][0],
                outside=partitions[name][part][1],
                against_fp32=compared[part],
                torch_error=torch_errors[part] if name == recipes.FLOAT else None,
            )
            for part in targets
        ]
    labelled = validation.labelled and config.origin != "untrained"
    return {
        "checkpoint": checkpoint.resolve().name,
        "trained": config.origin != "untrained",
        "data": Path(validation.name).name,
        "images": len(validation),
        "reference": recipes.FLOAT,
        "recipes": rows,
        "routed": {},
        "accuracy": parity.accuracies(outputs, validation.labels, config.ensemble, config.space) if labelled else None,
    }


@torch.no_grad()
def _torch_errors(loaded: Checkpoint, reference: Outputs, tensors: npt.NDArray[np.float32]) -> dict[str, float]:
    """Return the relative L2 error of each fp32 artifact's logits against torch, over a few images."""
    base, gate, experts = loaded.mixture(torch.from_numpy(np.ascontiguousarray(tensors.transpose(0, 3, 1, 2))))
    n = len(tensors)
    pairs = {"base": (reference.base_logits[:n], base), "gate": (reference.gate_logits[:n], gate)}
    for k in range(experts.shape[1]):
        pairs[expert_name(k)] = (reference.expert_logits[:n, k], experts[:, k])
    return {
        part: float(np.linalg.norm(found - expected.numpy()) / max(np.linalg.norm(expected.numpy()), 1e-30))
        for part, (found, expected) in pairs.items()
    }


def _routed(found: Outputs, reference: Outputs, tau: float, max_experts: int, loaded: Checkpoint) -> dict[str, float]:
    config = loaded.config
    return parity.routed_agreement(found, reference, tau, max_experts, config.ensemble, config.space)


def _judge(report: dict[str, Any], options: Options) -> None:
    """Raise ConversionError where a chosen recipe misses a bar, unless told to go on.

    The recipe that is there for comparison is judged too if it was asked for: nothing is shipped by oversight.
    """
    problems = []
    for name, rows in report["recipes"].items():
        for row in rows:
            if (row.delegates, row.outside) != (1, 0):
                problems.append(
                    f"{name}/{row.part} runs in {row.delegates} XNNPACK partitions with {row.outside} nodes outside, "
                    "expected 1 and 0"
                )
            if report["trained"] and row.against_fp32.top1 < options.min_agreement:
                problems.append(
                    f"{name}/{row.part} agrees with fp32 on {row.against_fp32.top1:.2%} of the images, "
                    f"expected {options.min_agreement:.2%}"
                )
        for setting in report["routed"].get(name, []):
            if report["trained"] and setting["same_answer"] < options.min_agreement:
                problems.append(
                    f"{name} as routed at tau {setting['tau']:g} agrees with fp32 on {setting['same_answer']:.2%} "
                    f"of the images, expected {options.min_agreement:.2%}"
                )
    if problems and not options.keep_going:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConversionError(
            f"{problems[0]}{more}; try another --recipe or more --calibration-images, lower --min-agreement, "
            "or add --keep-going"
        )
    report["missed_bars"] = problems


def _operating_points(
    outputs: Outputs, validation: LabelledImages, specs: dict[str, PartSpec], loaded: Checkpoint, options: Options
) -> tuple[OperatingPoint, ...]:
    """Measure every tau for one expert, and for `max_experts` if that is another; none for an untrained network."""
    if loaded.config.origin == "untrained":
        return ()
    labels = validation.labels if validation.labelled else None
    points = []
    for max_experts in sorted({1, options.max_experts}):
        for tau in TAUS:
            routed = route(outputs, tau, max_experts, loaded.config.ensemble, loaded.config.space)
            points.append(operating_point(routed, labels, specs, tau, max_experts))
    return tuple(points)


def _default_tau(points: Sequence[OperatingPoint]) -> float:
    """Return the largest tau, the cheapest, that loses nothing against always running the best expert (tau = 0)."""
    scored = [p for p in points if p.max_experts == points[0].max_experts and p.accuracy is not None]
    if not scored:
        return _UNTRAINED_TAU
    always = scored[0].accuracy or 0.0
    return max(p.tau for p in scored if (p.accuracy or 0.0) >= always)


def _artifact_set(
    folder: Path,
    recipe: str,
    targets: dict[str, dict[str, Path]],
    loaded: Checkpoint,
    image: npt.NDArray[np.float32],
    points: tuple[OperatingPoint, ...],
    tau: float,
    options: Options,
) -> ArtifactSet:
    golden = _golden(folder, recipe, targets, loaded, image, min(2, loaded.config.experts))
    return ArtifactSet(
        backend=_BACKEND,
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
    targets: dict[str, dict[str, Path]],
    loaded: Checkpoint,
    image: npt.NDArray[np.float32],
    max_experts: int,
) -> Golden:
    """Run one image through every artifact and write what came out; tau = 0, so that the whole uses its experts."""
    config = loaded.config
    backend = backends.get(_BACKEND)
    tensors = {"input": image}
    for part, files in targets.items():
        kind = part.split("_")[0]
        opened = backend.open(files[recipe].read_bytes())
        opened.invoke(tensors[{"base": "input", "gate": "base.embedding", "expert": "base.features"}[kind]])
        for name in ("logits", "features", "embedding") if kind == "base" else ("logits",):
            tensors[f"{part}.{name}"] = opened.output(name)
        opened.close()
    experts = np.stack([tensors[f"{expert_name(k)}.logits"] for k in range(config.experts)], axis=1)
    outputs = Outputs(tensors["base.logits"], tensors["gate.logits"], experts)
    routed = route(outputs, 0.0, max_experts, config.ensemble, config.space)
    tensors["scores"] = routed.scores[0].astype(np.float32)
    buffer = io.BytesIO()
    np.savez(buffer, **tensors)  # type: ignore[arg-type]
    file = folder / _BACKEND / recipe / "golden.npz"
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


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
