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
from edge_moe.checks import check_at_least_one
from edge_moe.converters import measure, package, parity, recipes
from edge_moe.converters.options import Options
from edge_moe.converters.workers import Job, convert_parts
from edge_moe.data import LabelledImages, open_data
from edge_moe.errors import ConversionError, UsageError
from edge_moe.evaluate import Outputs
from edge_moe.output import check_target, fresh_partial, publish, write_file
from edge_moe.progress import Progress, Silent
from edge_moe.tensors import Tensors
from edge_moe.training.checkpoint import Checkpoint, load_checkpoint, tool_versions

__all__ = ["Options", "convert"]

_TORCH_IMAGES = 32
_COMPARED_TAU = 0.25


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
    tensors = Tensors(validation, loaded.config.preprocessing, progress)
    partial = fresh_partial(out)
    try:
        report = _make(partial, checkpoint, loaded, calibration, validation, tensors, options, jobs, progress)
        publish(partial, out)
    except ConversionError:
        shutil.rmtree(partial / package.BACKEND, ignore_errors=True)  # the report or the log stays, to see why
        raise
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return report


def _make(
    partial: Path,
    checkpoint: Path,
    loaded: Checkpoint,
    calibration: LabelledImages,
    validation: LabelledImages,
    tensors: Tensors,
    options: Options,
    jobs: int,
    progress: Progress,
) -> dict[str, Any]:
    """Write a whole bundle into the folder `partial`; return its parity report."""
    wanted = list(dict.fromkeys((recipes.FLOAT, *(options.recipes or recipes.CANDIDATES))))
    names = ["base", "gate", *(expert_name(k) for k in range(loaded.config.experts))]

    samples = measure.calibration_samples(loaded, calibration, partial / package.BACKEND, progress)
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
    for file in samples.values():
        file.unlink()

    outputs, partitions = measure.run_artifacts(targets, wanted, loaded.config.experts, tensors, progress)
    specs = package.part_specs(loaded)
    report = _report(loaded, checkpoint, validation, outputs, partitions, targets, tensors)
    most = options.max_experts
    points = {name: measure.operating_points(outputs[name], validation, specs, loaded, most) for name in wanted}
    for name in wanted[1:]:
        report["routed"][name] = [
            measure.routed(outputs[name], outputs[recipes.FLOAT], tau, most, loaded) for tau in _compared_taus(options)
        ]
    report["missed_bars"] = {name: _missed_bars(report, name, options) for name in wanted}
    report["shipped"] = shipped = _choose(report["missed_bars"], options)
    write_file(partial / "parity.json", package.to_json(report))
    write_file(partial / "parity.md", parity.to_markdown(msgspec.to_builtins(report)).encode())
    _judge(report["missed_bars"], shipped, options, partial / "parity.md")
    tau = options.tau if options.tau is not None else measure.default_tau(points[shipped[0]], most)

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
    for name in set(wanted) - set(shipped):
        shutil.rmtree(partial / package.BACKEND / name)
    write_file(partial / MANIFEST, package.to_json(manifest))
    Bundle(partial)  # what gets the bundle's name can be opened
    return report


def _check(options: Options, loaded: Checkpoint, jobs: int) -> None:
    for name in options.recipes or ():
        recipes.get(name)
    if options.recipes and not options.ship_float and set(options.recipes) == {recipes.FLOAT}:
        raise UsageError("nothing is left to put into the bundle; choose a --recipe other than fp32, or drop --no-fp32")
    if options.tau is not None:
        check_tau(options.tau)
    check_max_experts(options.max_experts, loaded.config.experts)
    if not 0 <= options.min_agreement <= 1:
        raise UsageError(f"min_agreement is {options.min_agreement}; expected a share from 0 to 1")
    check_at_least_one(
        jobs=jobs, calibration_images=options.calibration_images, validation_images=options.validation_images
    )


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
        "data": validation.title,
        "images": len(validation),
        "reference": recipes.FLOAT,
        "recipes": rows,
        "routed": {},
        "accuracy": parity.accuracies(outputs, validation.labels, config.ensemble, config.space) if labelled else None,
    }


def _compared_taus(options: Options) -> list[float]:
    """Return the taus at which routing is compared: always an expert, and in between."""
    return sorted({0.0, _COMPARED_TAU if options.tau is None else options.tau})


def _missed_bars(report: dict[str, Any], name: str, options: Options) -> list[str]:
    """Return where a part is not wholly delegated or disagrees with fp32, in words. Answers of noise have no bar."""
    problems = []
    for row in report["recipes"][name]:
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


def _choose(missed: dict[str, list[str]], options: Options) -> list[str]:
    """Return the recipes to ship, the default first: those asked for, or the first candidate without fault."""
    faultless = (name for name in recipes.CANDIDATES if not missed.get(name))
    chosen = options.recipes or (next(faultless, recipes.CANDIDATES[-1]),)
    names = dict.fromkeys((*chosen, recipes.FLOAT))
    return [name for name in names if name != recipes.FLOAT or options.ship_float]


def _judge(missed: dict[str, list[str]], shipped: list[str], options: Options, report: Path) -> None:
    """Raise ConversionError where what would be shipped misses a bar, unless told to go on."""
    problems = [problem for name in shipped for problem in missed[name]]
    if problems and not options.keep_going:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConversionError(
            f"{problems[0]}{more}; the report is {report}; try another --recipe or more --calibration-images, "
            "lower --min-agreement, or add --keep-going"
        )
