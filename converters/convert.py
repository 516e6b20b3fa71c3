"""checkpoint -> bundle: calibrate, convert every part by every recipe, measure the artifacts, package."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from edge_moe.anytime import check_max_experts, check_tau
from edge_moe.backends.litert import Partitions
from edge_moe.bundle import MANIFEST, SCHEMA_VERSION, Bundle, Manifest, expert_name
from edge_moe.converters import measure, package, parity, recipes
from edge_moe.converters.options import Options
from edge_moe.converters.workers import Job, convert_parts
from edge_moe.data import LabelledImages, open_data
from edge_moe.errors import ConversionError, UsageError
from edge_moe.evaluate import Outputs
from edge_moe.output import check_target, partial_path, publish, write_file, writing
from edge_moe.progress import Progress, Silent
from edge_moe.tensors import Tensors
from edge_moe.training.checkpoint import Checkpoint, load_checkpoint, tool_versions

__all__ = ["Options", "convert"]

_TORCH_IMAGES = 32


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

    samples = measure.calibration_samples(loaded, calibration, partial, progress)
    targets = {part: {name: partial / package.artifact_file(name, part) for name in wanted} for part in names}
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

    tensors = Tensors(validation, loaded.config.preprocessing, progress)
    outputs, partitions = measure.run_artifacts(targets, wanted, loaded.config.experts, tensors, progress)
    specs = package.part_specs(loaded)
    report = _report(loaded, checkpoint, validation, outputs, partitions, targets, tensors)
    most = options.max_experts
    points = {name: measure.operating_points(outputs[name], validation, specs, loaded, most) for name in wanted}
    shipped = [name for name in dict.fromkeys((*options.recipes, recipes.FLOAT)) if _ships(name, options)]
    tau = options.tau if options.tau is not None else measure.default_tau(points[shipped[0]])
    for name in wanted[1:]:
        report["routed"][name] = [
            measure.routed(outputs[name], outputs[recipes.FLOAT], t, most, loaded) for t in sorted({0.0, tau})
        ]
    report["missed_bars"] = _missed_bars(report, options)
    write_file(partial / "parity.json", package.to_json(report))
    write_file(partial / "parity.md", parity.to_markdown(msgspec.to_builtins(report)).encode())
    if report["missed_bars"] and not options.keep_going:
        first, *others = report["missed_bars"]
        more = f" (and {len(others)} more)" if others else ""
        raise ConversionError(
            f"{first}{more}; the report is {partial / 'parity.md'}; try another --recipe or more --calibration-images, "
            "lower --min-agreement, or add --keep-going"
        )

    sets = tuple(
        package.artifact_set(partial, targets, loaded, name, tensors[0], points[name], tau, options) for name in shipped
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
    if recipes.FLOAT not in shipped:
        shutil.rmtree(partial / package.BACKEND / recipes.FLOAT)
    write_file(partial / MANIFEST, package.to_json(manifest))
    Bundle(partial)  # what gets the bundle's name can be opened
    publish(partial, out)
    return report


def _ships(recipe: str, options: Options) -> bool:
    return recipe != recipes.FLOAT or options.ship_float


def _check(options: Options, loaded: Checkpoint, jobs: int) -> None:
    if not any(_ships(recipes.get(name).name, options) for name in options.recipes):
        raise UsageError("nothing is left to put into the bundle; choose a --recipe other than fp32, or drop --no-fp32")
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


def _report(
    loaded: Checkpoint,
    checkpoint: Path,
    validation: LabelledImages,
    outputs: dict[str, Outputs],
    partitions: dict[str, dict[str, Partitions]],
    targets: package.Targets,
    tensors: Tensors,
) -> dict[str, Any]:
    config = loaded.config
    reference = outputs[recipes.FLOAT]
    torch_errors = measure.torch_errors(loaded, reference, list(islice(tensors, _TORCH_IMAGES)))
    rows = {}
    for name, found in outputs.items():
        compared = parity.part_parity(found, reference)
        rows[name] = [
            parity.PartParity(
                part=part,
                bytes=targets[part][name].stat().st_size,
                delegates=partitions[name][part].delegates,
                outside=partitions[name][part].outside,
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


def _missed_bars(report: dict[str, Any], options: Options) -> list[str]:
    """Return where a part is not wholly delegated or disagrees with fp32, in words. Answers of noise have no bar."""
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
    return problems
