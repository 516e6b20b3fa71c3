"""checkpoint -> bundle: calibrate, convert every part for every backend, measure the artifacts, package."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge_moe import backends
from edge_moe.anytime import check_max_experts, check_tau
from edge_moe.bundle import MANIFEST, SCHEMA_VERSION, Bundle, Manifest, OperatingPoint, expert_name, sha256
from edge_moe.checks import check_at_least_one
from edge_moe.converters import bars, layers_picture, measure, package, parity, recipes, toolchain
from edge_moe.converters.interface import Floats, Kind, kind_of
from edge_moe.converters.layers import LayerNoise
from edge_moe.converters.options import Options
from edge_moe.converters.package import SetKey, Targets
from edge_moe.converters.parity_page import to_markdown
from edge_moe.converters.store import Store, artifact_key
from edge_moe.converters.workers import Job, convert_parts, rank_layers, structure_file
from edge_moe.data import LabelledImages, open_data
from edge_moe.errors import ConversionError, UsageError
from edge_moe.evaluate import Outputs
from edge_moe.nn.custom import code_digest
from edge_moe.output import check_target, partial_path, publish, write_file, writing
from edge_moe.progress import Progress, Silent
from edge_moe.tensors import Tensors
from edge_moe.training.checkpoint import Checkpoint, load_checkpoint, tool_versions

__all__ = ["Options", "convert"]

_TORCH_IMAGES = 32
_COMPARED_TAU = 0.25
_STORE = "parts"  # in the partial folder; all that is worth keeping of a conversion that was stopped


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

    Calibrates on training images and measures on validation images of `data`. The fp32 artifacts of each backend are
    its reference, whether or not they are shipped. Parts that were converted before the conversion was stopped, or
    that `out` or an earlier bundle has of the same weights, are not converted again.

    Raises:
        CheckpointError, DataError, BundleError, UsageError, OutputError: an argument cannot be used; nothing is
            written.
        ConversionError: a part cannot be converted, is not wholly delegated, or differs too much from fp32.
    """
    check_target(out, force=force)
    loaded = load_checkpoint(checkpoint)
    _check(options, loaded, jobs)
    validation = open_data(data, "val").with_classes(loaded.config.labels)
    if options.validation_images is not None:
        validation = validation.sample(options.validation_images)
    progress = progress or Silent()
    partial = partial_path(out)
    conversion = _Conversion(
        checkpoint=checkpoint,
        loaded=loaded,
        calibration=open_data(data, "train").sample(options.calibration_images),
        validation=validation,
        tensors=Tensors(validation, loaded.config.preprocessing, progress),
        options=options,
        partial=partial,
        store=Store(partial / _STORE, (*options.reuse, *([out] if out.exists() else []))),
        jobs=jobs,
        progress=progress,
    )
    _clear(partial)
    try:
        with writing(partial):
            partial.mkdir(parents=True, exist_ok=True)
        report = conversion.run()
        shutil.rmtree(partial / _STORE)
        publish(partial, out)
    except ConversionError:
        _clear(partial, "parity.json", "parity.md", "layers.png", "convert.log")  # to see why
        raise
    except BaseException:
        _clear(partial)
        raise
    return report


def _clear(partial: Path, *keep: str) -> None:
    """Leave in the folder `partial` only converted parts, and the files `keep`; remove it if it has neither."""
    if not partial.is_dir():
        return
    with writing(partial):
        for path in partial.iterdir():
            if path.is_dir() and path.name != _STORE:
                shutil.rmtree(path)
            elif path.is_file() and path.name not in keep:
                path.unlink()
        store = partial / _STORE
        if store.is_dir() and not any(store.iterdir()):
            store.rmdir()
        if not any(partial.iterdir()):
            partial.rmdir()


def _check(options: Options, loaded: Checkpoint, jobs: int) -> None:
    for backend in options.backends:
        backends.get(backend)
    if not options.backends or len(set(options.backends)) != len(options.backends):
        raise UsageError(f"backends are {', '.join(options.backends) or 'none'}; expected each at most once")
    wanted = recipes.choose(options.recipes, options.backends)
    if not options.ship_float and any(set(names) == {recipes.FLOAT} for names in wanted.values()):
        raise UsageError("nothing is left to put into the bundle; choose a --recipe other than fp32, or drop --no-fp32")
    there = [name for part in (loaded.mixture.base, loaded.mixture.experts[0]) for name, _ in part.named_modules()]
    for name in options.keep_float:
        if name not in there:
            near = [one for one in dict.fromkeys(there) if one and "." not in one]
            raise UsageError(f"keep_float is {name!r}, which is no module of the network; it has {', '.join(near)} ...")
    for path in options.reuse:
        Bundle(path)  # raises where there is none
    if options.tau is not None:
        check_tau(options.tau)
    check_max_experts(options.max_experts, loaded.config.experts)
    for share in ("min_agreement", "min_routing"):
        if not 0 <= getattr(options, share) <= 1:
            raise UsageError(f"{share} is {getattr(options, share)}; expected a share from 0 to 1")
    check_at_least_one(
        jobs=jobs, calibration_images=options.calibration_images, validation_images=options.validation_images
    )


@dataclass(kw_only=True)
class _Conversion:
    """One run of `convert`."""

    checkpoint: Path
    loaded: Checkpoint
    calibration: LabelledImages
    validation: LabelledImages
    tensors: Tensors
    options: Options
    partial: Path
    store: Store
    jobs: int
    progress: Progress

    def run(self) -> dict[str, Any]:
        """Write a whole bundle into the partial folder; return its parity report."""
        config, most = self.loaded.config, self.options.max_experts
        seconds: dict[str, float] = {}
        outputs: dict[SetKey, Outputs] = {}
        structures: dict[SetKey, dict[str, toolchain.Structure | None]] = {}
        missed: dict[SetKey, list[bars.Missed]] = {}
        while keys := bars.next_to_try(missed, self._wanted, self.options):
            for name, took in self._convert(keys).items():
                seconds[name] = seconds.get(name, 0.0) + took
            targets = {key: self.targets[key] for key in keys}
            found, split = measure.run_artifacts(targets, config.experts, self.tensors, self.progress)
            structures |= split
            outputs = {key: (outputs | found)[key] for key in self._recipes if key in outputs or key in found}
            report = self._report(outputs, structures)
            missed = {
                key: bars.missed_bars(
                    key, report["sets"][key.label], report["routed"].get(key.label, []), self._trained, self.options
                )
                for key in outputs
            }
        specs = package.part_specs(self.loaded)
        points = {
            key: measure.operating_points(found, self.validation, specs, self.loaded, most)
            for key, found in outputs.items()
        }
        shipped = bars.choose(missed, self._wanted, self.options)
        defaults = [next(key for key in shipped if key.backend == backend) for backend in self.options.backends]
        ranked = self._rank(missed, shipped)
        report |= {
            "missed_bars": {key.label: found for key, found in missed.items()},
            "shipped": [key.label for key in shipped],
            "operating_points": parity.spread({key: points[key] for key in defaults}),
            "layers": {f"{key.label}/{part}": found for (key, part), found in ranked.items()},
            "seconds": seconds,
        }
        self._write_report(report)
        self._judge(missed, shipped, ranked)
        self._package(shipped, points, specs)
        return report

    @cached_property
    def _trained(self) -> bool:
        return self.loaded.config.origin != "untrained"

    @cached_property
    def _parts(self) -> list[str]:
        return ["base", "gate", *(expert_name(k) for k in range(self.loaded.config.experts))]

    @cached_property
    def _wanted(self) -> dict[str, tuple[str, ...]]:
        return recipes.choose(self.options.recipes, self.options.backends)

    @cached_property
    def _recipes(self) -> dict[SetKey, recipes.Recipe]:
        """Every recipe that may be tried, fp32 first in each backend, with the layers to keep in float."""
        found = {}
        for backend in self.options.backends:
            names = (recipes.FLOAT, *(self._wanted.get(backend) or recipes.CANDIDATES[backend]))
            for name in dict.fromkeys(names):
                recipe = recipes.get(backend, name)
                kept = () if recipe.is_float else self.options.keep_float
                found[SetKey(backend, name)] = msgspec.structs.replace(recipe, keep_float=kept)
        return found

    @cached_property
    def _images(self) -> list[Floats]:
        """The images to calibrate on, each [1, H, W, 3]."""
        return list(self.calibration.tensors(self.loaded.config.preprocessing))

    @cached_property
    def _samples(self) -> dict[Kind, Path]:
        return measure.calibration_samples(self.loaded, self._images, self.partial, self.progress)

    @cached_property
    def _made_from(self) -> dict[SetKey, dict[str, str]]:
        """Set -> part -> the key of its artifact."""
        code = code_digest(self.loaded.config.architecture.base)
        weights = {
            part: sha256(code.encode() + (self.checkpoint / f"{part}.safetensors").read_bytes()) for part in self._parts
        }
        # Gate and experts are calibrated on what the base makes of the images.
        inputs = sha256(weights["base"].encode() + np.concatenate(self._images).tobytes())
        return {
            key: {
                part: artifact_key(
                    toolchain.get(key.backend), recipe, kind_of(part), weights[part], inputs, len(self._images)
                )
                for part in self._parts
            }
            for key, recipe in self._recipes.items()
        }

    @cached_property
    def targets(self) -> Targets:
        """Set -> part -> the file of its artifact."""
        return {
            key: {
                part: self.store.file(made_from, backends.get(key.backend).suffix) for part, made_from in parts.items()
            }
            for key, parts in self._made_from.items()
        }

    def _job(self, backend: str, part: str, keys: list[SetKey]) -> Job:
        kind = kind_of(part)
        # Of the same code and tools, for it is only ever found in this conversion's own folder.
        graph = self._made_from[SetKey(backend, recipes.FLOAT)]["base"]
        return Job(
            backend=backend,
            checkpoint=self.checkpoint,
            part=part,
            samples=self._samples[kind],
            graph=self.store.file(f"{graph}-{kind}", ".graph"),
            targets=tuple((self._recipes[key], self.targets[key][part]) for key in keys),
        )

    def _convert(self, keys: list[SetKey]) -> dict[str, float]:
        """Make the artifacts of the sets `keys` that are not there yet; return the seconds that it took by part."""
        todo = []
        for backend in self.options.backends:
            suffix = backends.get(backend).suffix
            for part in self._parts:
                missing = [
                    key
                    for key in keys
                    if key.backend == backend
                    and not (
                        self.store.has(self._made_from[key][part], suffix)
                        and structure_file(self.targets[key][part]).is_file()
                    )
                ]
                if missing:
                    todo.append(self._job(backend, part, missing))
        return convert_parts(todo, self.jobs, self.partial, self.progress)

    def _rank(
        self, missed: dict[SetKey, list[bars.Missed]], shipped: list[SetKey]
    ) -> dict[tuple[SetKey, str], list[LayerNoise]]:
        """Rank the layers of every part if that was asked for, else of those to blame for a bar that was missed."""
        todo: dict[SetKey, list[str]] = {}
        for key in shipped:
            to_blame = {one.part or "base" for one in missed[key] if one.agreement and not self.options.keep_going}
            # A gate is one layer: there is nothing to rank.
            parts = [part for part in self._parts if part != "gate" and (self.options.debug_parity or part in to_blame)]
            if parts and not key.is_float:
                todo[key] = parts
        found: dict[tuple[SetKey, str], list[LayerNoise]] = {}
        for key, parts in todo.items():
            jobs = [self._job(key.backend, part, [key]) for part in parts]
            ranked = rank_layers(jobs, self.jobs, self.partial, self.progress)
            found |= {(key, job.part): ranked[job.label] for job in jobs}
        return found

    def _report(
        self, outputs: dict[SetKey, Outputs], structures: dict[SetKey, dict[str, toolchain.Structure | None]]
    ) -> dict[str, Any]:
        config = self.loaded.config
        sets: dict[str, list[parity.PartParity]] = {}
        routed: dict[str, list[dict[str, float]]] = {}
        images = list(islice(self.tensors, _TORCH_IMAGES))
        for key, found in outputs.items():
            reference = outputs[key.reference]
            errors = measure.torch_errors(self.loaded, found, images) if key.is_float else {}
            sets[key.label] = [
                parity.PartParity(
                    part=part,
                    bytes=self.targets[key][part].stat().st_size,
                    structure=structures[key][part],
                    images=over,
                    against_fp32=compared,
                    torch_error=errors.get(part),
                )
                for part, (compared, over) in parity.part_parity(found, reference).items()
            ]
            if not key.is_float:
                routed[key.label] = [
                    measure.routed(found, reference, tau, self.options.max_experts, self.loaded)
                    for tau in sorted({0.0, _COMPARED_TAU if self.options.tau is None else self.options.tau})
                ]
        accuracy = None
        if self.validation.labelled and self._trained:
            accuracy = parity.accuracies(
                outputs, self.validation.labels, config.ensemble, config.space, self.validation.groups
            )
        return {
            "checkpoint": self.checkpoint.resolve().name,
            "trained": self._trained,
            "data": self.validation.title,
            "images": len(self.validation),
            "sets": sets,
            "routed": routed,
            "accuracy": accuracy,
        }

    def _write_report(self, report: dict[str, Any]) -> None:
        write_file(self.partial / "parity.json", package.to_json(report))
        write_file(self.partial / "parity.md", to_markdown(msgspec.to_builtins(report)).encode())
        if report["layers"]:
            write_file(self.partial / "layers.png", layers_picture.draw(report["layers"]))

    def _judge(
        self,
        missed: dict[SetKey, list[bars.Missed]],
        shipped: list[SetKey],
        ranked: dict[tuple[SetKey, str], list[LayerNoise]],
    ) -> None:
        """Raise ConversionError where what would be shipped misses a bar, unless told to go on."""
        problems = [(key, one) for key in shipped for one in missed[key]]
        if not problems or self.options.keep_going:
            return
        key, first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        what = "try another --recipe, or add --keep-going"
        if first.agreement:
            part = first.part or "base"
            what = bars.advice(key, {part: ranked[key, part]} if (key, part) in ranked else {})
        raise ConversionError(f"{first.problem}{more}; {what}; the report is {self.partial / 'parity.md'}")

    def _package(
        self,
        shipped: list[SetKey],
        points: dict[SetKey, tuple[OperatingPoint, ...]],
        specs: dict[str, Any],
    ) -> None:
        config, options = self.loaded.config, self.options
        tau = options.tau if options.tau is not None else measure.default_tau(points[shipped[0]], options.max_experts)
        sets = tuple(
            package.artifact_set(
                self.partial,
                key,
                self.targets[key],
                self._made_from[key],
                self._recipes[key],
                self.loaded,
                self.tensors[0],
                points[key],
                tau,
                options,
            )
            for key in shipped
        )
        tools = dict.fromkeys(name for one in options.backends for name in toolchain.get(one).packages)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            architecture=config.architecture.base,
            trained=self._trained,
            labels=config.labels,
            preprocessing=config.preprocessing,
            experts=config.experts,
            ensemble=config.ensemble,
            space=config.space,
            parts=specs,
            sets=sets,
            tools=tool_versions(*tools),
        )
        for file in self.partial.glob("*_samples.npy"):
            file.unlink()
        write_file(self.partial / MANIFEST, package.to_json(manifest))
        Bundle(self.partial)  # what gets the bundle's name can be opened
