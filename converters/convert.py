"""checkpoint -> bundle: calibrate, convert every part for every backend, measure the artifacts, package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from edge_moe import backends
from edge_moe.bundle import MANIFEST, OPERATING, SCHEMA_VERSION, Bundle, Manifest, OperatingPoint
from edge_moe.converters import bars, judging, layers_picture, measure, package, parity, recipes, toolchain
from edge_moe.converters.golden import write_golden
from edge_moe.converters.interface import Floats, Kind, kind_of
from edge_moe.converters.judging import listed
from edge_moe.converters.keys import Keys
from edge_moe.converters.layers import Ranking
from edge_moe.converters.options import Options, check
from edge_moe.converters.package import Targets
from edge_moe.converters.parity_page import to_markdown
from edge_moe.converters.publishing import STORE, backends_of, clear, publish_bundle, refuse_fewer
from edge_moe.converters.store import Store
from edge_moe.converters.workers import FailedBackends, Job, convert_parts, rank_layers, structure_file
from edge_moe.data import LabelledImages, open_data
from edge_moe.errors import ConversionError, LeftOutError
from edge_moe.evaluate import Outputs
from edge_moe.output import check_target, partial_path, write_file, writing
from edge_moe.progress import Progress, Silent
from edge_moe.sets import SetKey
from edge_moe.tensors import Tensors
from edge_moe.training.checkpoint import Checkpoint, load_checkpoint, tool_versions
from edge_moe.training.preflight import check_mixture

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
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Write the bundle `out` and return its parity report (also there as parity.json and parity.md).

    Calibrates on training images and measures on validation images of `data`. The fp32 artifacts of each backend are
    its reference, whether or not they are shipped. Parts that were converted before the conversion was stopped, or
    that `out` or an earlier bundle has of the same network, are not converted again. `say` is told the accuracy of
    the checkpoint, in fp32, before anything is converted.

    Raises:
        LeftOutError: some of several backends failed; the bundle of the others stands, and the error has its report.
        CheckpointError, DataError, BundleError, UsageError, OutputError: an argument cannot be used; nothing is
            written.
        ConversionError: a part cannot be converted, is not wholly delegated, or differs too much from fp32; in every
            backend, or in one that the bundle to be replaced has.
    """
    check_target(out, force=force, reads=(checkpoint, data))
    loaded = load_checkpoint(checkpoint)
    check(options, loaded, data, jobs)
    refuse_fewer(out, options.backends)
    validation = open_data(data, "val").with_classes(loaded.config.labels)
    if options.validation_images is not None:
        validation = validation.sample(options.validation_images)
    progress = progress or Silent()
    partial = partial_path(out)
    tensors = Tensors(validation, loaded.config.preprocessing, progress)
    if say or options.expect_accuracy is not None:
        expected = options.expect_accuracy
        check_mixture(loaded, validation, expected, tensors=tensors, say=say, progress=progress)
    conversion = _Conversion(
        checkpoint=checkpoint,
        loaded=loaded,
        calibration=open_data(data, "train").sample(options.calibration_images),
        validation=validation,
        tensors=tensors,
        options=options,
        partial=partial,
        store=Store(partial / STORE, (*options.reuse, *([out] if out.exists() else []))),
        jobs=jobs,
        progress=progress,
    )
    clear(partial)
    try:
        with writing(partial):
            partial.mkdir(parents=True, exist_ok=True)
        report = conversion.run()
        failed = conversion.failed
        if failed and (lost := [name for name in backends_of(out) if name not in conversion.alive]):
            raise ConversionError(
                f"{listed(failed)}; {out} stays as it was, for the new bundle would be without {', '.join(lost)}: mend "
                f"that and repeat the command, or choose another target; the report is {partial / 'parity.md'}"
            )
        publish_bundle(partial, out, keep=conversion.keys.besides(report["shipped"]) if failed else ())
    except ConversionError:
        clear(partial, "parity.json", "parity.md", "layers.png", "convert.log")  # to see why
        raise
    except BaseException:
        clear(partial)
        raise
    if failed:
        error = LeftOutError(
            f"{out} was written without {', '.join(failed)}: {listed(failed)}; the report is {out / 'parity.md'}"
        )
        error.report = report
        raise error
    return report


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

    def __post_init__(self) -> None:
        """Nothing has failed yet."""
        self.failed: dict[str, str] = {}  # backend -> why the bundle has to do without it

    def run(self) -> dict[str, Any]:
        """Write a whole bundle, of the backends that do not fail, into the partial folder; return its parity report."""
        config, most = self.loaded.config, self.options.max_experts
        seconds: dict[str, float] = {}
        outputs: dict[SetKey, Outputs] = {}
        structures: dict[SetKey, dict[str, toolchain.Structure | None]] = {}
        missed: dict[SetKey, list[bars.Missed]] = {}
        report: dict[str, Any] = {}
        self.store.sift(self.keys.known)
        while keys := bars.next_to_try(missed, self._wanted, self._alive_options):
            for name, took in self._convert(keys).items():
                seconds[name] = seconds.get(name, 0.0) + took
            for backend in self.alive:
                targets = {key: self.targets[key] for key in keys if key.backend == backend}
                try:
                    found, split = measure.run_artifacts(targets, config.experts, self.tensors, self.progress)
                except ConversionError as error:
                    self._fail(backend, error)
                    continue
                structures |= split
                outputs |= found
            outputs = {key: outputs[key] for key in self._recipes if key in outputs}
            report = self._report(outputs, structures)
            missed = {
                key: bars.missed_bars(
                    key, report["sets"][str(key)], report["routed"].get(str(key), []), self._trained, self.options
                )
                for key in outputs
            }
        specs = package.part_specs(self.loaded)
        points = {
            key: measure.operating_points(found, self.validation, specs, self.loaded, most)
            for key, found in outputs.items()
        }
        chosen = bars.choose(missed, self._wanted, self._alive_options)
        ranked = self._rank(missed, chosen)
        self.failed |= {} if self.options.keep_going else judging.problems(chosen, missed, ranked)
        shipped = [key for key in chosen if key.backend in self.alive]
        defaults = [next(key for key in shipped if key.backend == backend) for backend in self.alive]
        report |= {
            "missed_bars": {str(key): found for key, found in missed.items()},
            "shipped": [str(key) for key in shipped],
            "left_out": self.failed,
            "made_anew": self.store.remarks,
            "operating_points": parity.spread({key: points[key] for key in defaults}),
            "layers": {f"{key}/{part}": found.layers for (key, part), found in ranked.items()},
            "kernels": {f"{key}/{part}": found.kernels for (key, part), found in ranked.items()},
            "seconds": seconds,
        }
        self._write_report(report)
        if not shipped:
            whole = {key.backend for key in chosen} == set(self.options.backends)
            what = judging.problem(chosen, missed, ranked) if whole else listed(self.failed)
            raise ConversionError(f"{what}; the report is {self.partial / 'parity.md'}")
        self._package(shipped, points, specs, outputs)
        return report

    @property
    def alive(self) -> tuple[str, ...]:
        """The backends that did not fail."""
        return tuple(name for name in self.options.backends if name not in self.failed)

    @property
    def _alive_options(self) -> Options:
        return msgspec.structs.replace(self.options, backends=self.alive)

    def _fail(self, backend: str, error: ConversionError) -> None:
        """Go on without `backend`, unless it was the last one."""
        self.failed[backend] = str(error)
        if not self.alive:
            raise ConversionError(listed(self.failed)) from None

    @cached_property
    def _trained(self) -> bool:
        return self.loaded.config.origin != "untrained"

    @cached_property
    def _wanted(self) -> dict[str, tuple[str, ...]]:
        return recipes.choose(self.options.recipes, self.options.backends)

    @cached_property
    def _recipes(self) -> dict[SetKey, recipes.Recipe]:
        """Every recipe that may be tried, fp32 first in each backend, with the layers to keep in float."""
        found = {}
        for backend in self.options.backends:
            names = (recipes.FLOAT, *(self._wanted.get(backend) or recipes.book(backend).candidates))
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
    def keys(self) -> Keys:
        """Under which the artifacts lie."""
        return Keys(checkpoint=self.checkpoint, loaded=self.loaded, recipes=self._recipes, images=self._images)

    @cached_property
    def targets(self) -> Targets:
        """Set -> part -> the file of its artifact."""
        return {
            key: {
                part: self.store.file(made_from, backends.get(key.backend).suffix) for part, made_from in parts.items()
            }
            for key, parts in self.keys.made_from.items()
        }

    def _job(self, backend: str, part: str, keys: list[SetKey]) -> Job:
        kind = kind_of(part)
        return Job(
            backend=backend,
            checkpoint=self.checkpoint,
            part=part,
            samples=self._samples[kind],
            graph=self.store.file(self.keys.graph(backend, kind), ".graph"),
            targets=tuple((self._recipes[key], self.targets[key][part]) for key in keys),
        )

    def _convert(self, keys: list[SetKey]) -> dict[str, float]:
        """Make the artifacts of the sets `keys` that are not there yet; return the seconds that it took by part."""
        todo = []
        for backend in self.options.backends:
            suffix = backends.get(backend).suffix
            for part in self.keys.parts:
                missing = [
                    key
                    for key in keys
                    if key.backend == backend
                    and not (
                        self.store.has(self.keys.made_from[key][part], suffix)
                        and structure_file(self.targets[key][part]).is_file()
                    )
                ]
                if missing:
                    todo.append(self._job(backend, part, missing))
        try:
            return convert_parts(todo, self.jobs, self.partial, self.progress)
        except FailedBackends as error:
            for backend, why in error.errors.items():
                self._fail(backend, why)
            return error.seconds

    def _rank(
        self, missed: dict[SetKey, list[bars.Missed]], shipped: list[SetKey]
    ) -> dict[tuple[SetKey, str], Ranking]:
        """Rank the layers of every part if that was asked for, else of those to blame for a bar that was missed."""
        todo: dict[SetKey, list[str]] = {}
        for key in shipped:
            to_blame = {one.part or "base" for one in missed[key] if one.agreement and not self.options.keep_going}
            # A gate is one layer: there is nothing to rank.
            parts = [
                part for part in self.keys.parts if part != "gate" and (self.options.debug_parity or part in to_blame)
            ]
            if parts and not key.is_float:
                todo[key] = parts
        found: dict[tuple[SetKey, str], Ranking] = {}
        for key, parts in todo.items():
            jobs = [self._job(key.backend, part, [key]) for part in parts]
            try:
                ranked = rank_layers(jobs, self.jobs, self.partial, self.progress)
            except ConversionError:
                if self.options.debug_parity or len(self.options.backends) == 1:
                    raise
                continue  # what was missed is said all the same, and the other backends do not wait for it
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
            sets[str(key)] = [
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
                routed[str(key)] = [
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

    def _package(
        self,
        shipped: list[SetKey],
        points: dict[SetKey, tuple[OperatingPoint, ...]],
        specs: dict[str, Any],
        outputs: dict[SetKey, Outputs],
    ) -> None:
        config, options = self.loaded.config, self.options
        files = {key: self.targets[key] for key in shipped}
        inputs, golden = write_golden(self.partial, files, outputs, self.validation, specs, config)
        sets = tuple(
            package.artifact_set(
                self.partial,
                key,
                self.targets[key],
                self.keys.made_from[key],
                self._recipes[key],
                specs,
                golden[key],
                options,
            )
            for key in shipped
        )
        tools = dict.fromkeys(name for one in self.alive for name in toolchain.get(one).packages)
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
            golden=inputs,
            tools=tool_versions(*tools),
            network=package.network(self.partial, self.keys.outputs),
        )
        for file in self.partial.glob("*_samples.npy"):
            file.unlink()
        taus = {key: measure.default_tau(points[key], options.max_experts) for key in shipped}
        if options.tau is not None:
            taus = dict.fromkeys(shipped, options.tau)
        write_file(self.partial / OPERATING, package.operating(manifest, points, taus, options.max_experts))
        write_file(self.partial / MANIFEST, package.to_json(manifest))
        Bundle(self.partial)  # what gets the bundle's name can be opened
