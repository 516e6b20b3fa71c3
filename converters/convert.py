"""checkpoint -> bundle, in four steps: make artifacts, judge them, rank the sets for a target, package."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from edge_moe import backends
from edge_moe.converters import bars, failing, flips, layers_picture, package, parity, rank
from edge_moe.converters.failing import listed
from edge_moe.converters.judge import Judge, Verdict
from edge_moe.converters.layers import Ranking
from edge_moe.converters.make import Maker
from edge_moe.converters.options import ConversionOptions, Wanted, check
from edge_moe.converters.parity_page import to_markdown
from edge_moe.converters.pricing import Pricing
from edge_moe.converters.publishing import OWN, PARTS, REPORT, STORE, backends_of, clear, publish_bundle, refuse_fewer
from edge_moe.converters.ranking import Committed, Ranker, row_of
from edge_moe.converters.report import FILE, Accuracies, Bars, Machine, Ranked, Report
from edge_moe.converters.store import Store
from edge_moe.converters.workers import FailedBackends
from edge_moe.data import open_data
from edge_moe.errors import ConversionError, LeftOutError
from edge_moe.gains import at_default
from edge_moe.output import write_file
from edge_moe.processor import this_processor
from edge_moe.progress import Progress, Silent
from edge_moe.records import to_json
from edge_moe.sets import SetKey
from edge_moe.tensors import Tensors
from edge_moe.training.checkpoint import Checkpoint, load_checkpoint
from edge_moe.training.preflight import check_mixture
from edge_moe.work import Work, making

__all__ = ["ConversionOptions", "convert"]


def convert(
    checkpoint: Path,
    data: str,
    out: Path,
    options: ConversionOptions,
    *,
    force: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    ranker: Ranker | None = None,
) -> Report:
    """Write the bundle `out` and return its parity report (also there as parity.json and parity.md).

    Calibrates on training images and measures on validation images of `data`. The fp32 artifacts of each backend are
    its reference, whether or not they are shipped. Parts that were converted before the conversion was stopped, or
    that `out` or an earlier bundle has of the same network, are not converted again. `say` is told the accuracy of
    the checkpoint, in fp32, before anything is converted. Where no recipe is asked for, `ranker` says which set of a
    backend is best; None: the committed order for this host.

    Raises:
        LeftOutError: some of several backends failed, or a set that was asked for cannot be made, or misses a bar
            beside one that does not; the bundle of the others stands, and the error has its report.
        CheckpointError, DataError, BundleError, UsageError: an argument cannot be used; nothing is written.
        OutputError: the same of `out`, or another process makes it, or other work is in the folder for that.
        ConversionError: a part cannot be converted, is not wholly delegated, or differs too much from fp32; in every
            backend, or in one that the bundle to be replaced has.
    """
    progress = progress or Silent()
    with making(out, "convert", force=force, reads=(checkpoint, data), own=OWN) as work:
        partial = work.folder
        loaded = load_checkpoint(checkpoint)
        if not loaded.config.experts and options.max_experts == 1:  # the default, which is a mixture's
            options = msgspec.structs.replace(options, max_experts=0)
        check(options, loaded, data, jobs)
        wanted = options.wanted()
        refuse_fewer(out, wanted)
        # Parts lie under digests of all that decides their bytes: options may change, what is the same is taken over.
        work.take_up({"checkpoint": str(checkpoint.resolve())}, own=PARTS)
        validation = open_data(data, "val").with_classes(loaded.config.labels)
        if options.validation_images is not None:
            validation = validation.sample(options.validation_images)
        tensors = Tensors(validation, loaded.config.preprocessing, progress)
        if say or options.expect_accuracy is not None:
            expected = options.expect_accuracy
            check_mixture(loaded, validation, expected, tensors=tensors, say=say, progress=progress)
        ranks: Ranker = ranker or Committed(row_of())
        candidates = rank.orders(wanted, ranks.row)
        calibration = open_data(data, "train").sample(options.calibration_images)
        conversion = _Conversion(
            loaded=loaded,
            options=options,
            wanted=wanted,
            partial=partial,
            ranker=ranks,
            candidates=candidates,
            maker=Maker(
                checkpoint=checkpoint,
                loaded=loaded,
                recipes=rank.tried(wanted, candidates, options.keep_float),
                images=list(calibration.tensors(loaded.config.preprocessing)),
                folder=partial,
                store=Store(partial / STORE, (*options.reuse, *([out] if out.exists() else []))),
                jobs=jobs,
                progress=progress,
            ),
            judge=Judge(
                loaded=loaded,
                validation=validation,
                tensors=tensors,
                specs=package.part_specs(loaded),
                options=options,
                progress=progress,
            ),
        )
        return conversion.publish(work)


@dataclass(kw_only=True)
class _Conversion:
    """One run of `convert`: the four steps, and which backends it goes on without."""

    loaded: Checkpoint
    options: ConversionOptions
    wanted: Wanted
    partial: Path
    ranker: Ranker
    candidates: dict[str, list[SetKey]]  # of each backend for which no recipe was asked for, the best first
    maker: Maker
    judge: Judge
    failed: dict[str, str] = field(default_factory=dict)  # backend -> why the bundle has to do without it
    dropped: dict[SetKey, str] = field(default_factory=dict)  # set that was asked for -> likewise, beside others
    ranked: dict[str, Ranked] = field(default_factory=dict)  # backend -> how its default was found

    @property
    def alive(self) -> Wanted:
        """The backends that did not fail, with their recipes."""
        return {name: recipes for name, recipes in self.wanted.items() if name not in self.failed}

    @property
    def tried(self) -> Wanted:
        """The same, with the candidates of the row where no recipe was asked for: other rows may have others."""
        row = {name: tuple(key.recipe for key in keys) for name, keys in self.candidates.items()}
        return {name: recipes or row[name] for name, recipes in self.alive.items()}

    @property
    def left_out(self) -> dict[str, str]:
        """Backends that failed, and sets that were asked for and cannot be made or miss a bar, with the reason."""
        asked = [SetKey(backend, name) for backend, names in self.alive.items() for name in names]
        without = {key: why for key, why in (self.dropped | self.maker.unmade).items() if key in asked}
        return self.failed | {str(key): why for key, why in without.items()}

    def publish(self, work: Work) -> Report:
        """Make the bundle in the folder of `work`, of the backends that do not fail, and give it its name.

        Raises: as `convert`.
        """
        out, partial = work.target, work.folder
        clear(partial)
        try:
            report = self.run(work)
            if self.failed and (lost := [name for name in backends_of(out) if name not in self.alive]):
                raise ConversionError(
                    f"{listed(self.failed)}; {out} stays as it was, for the new bundle would be without "
                    f"{', '.join(lost)}: mend that and repeat the command, or choose another target; the report is "
                    f"{partial / 'parity.md'}"
                )
            publish_bundle(work, keep=self.maker.keys.besides(report.shipped) if report.left_out else ())
        except ConversionError:
            clear(partial, *REPORT, "convert.log")  # to see why
            raise
        except BaseException:
            clear(partial)
            raise
        if report.left_out:
            error = LeftOutError(
                f"{out} was written without {', '.join(report.left_out)}: {listed(report.left_out)}; the report is "
                f"{out / 'parity.md'}"
            )
            error.report = report
            raise error
        return report

    def run(self, work: Work) -> Report:
        """Make what is going to be published of the backends that do not fail; return its parity report."""
        self.maker.store.sift(self.maker.keys.known)
        unmade = self.maker.unmade
        every = self.ranker.measures
        while keys := rank.next_to_try(self.judge.missed, unmade, self.alive, self.candidates, every=every):
            self._make(keys)
            self._judge(keys)
        for backend, why in rank.hopeless(unmade, self.tried).items():
            self._fail(backend, why)
        self._rank()
        missed = self.judge.missed
        chosen = rank.choose(missed, unmade, self.alive, self.candidates, ship_float=self.options.ship_float)
        layers = self._rank_layers(chosen)
        found = failing.Findings(missed, layers, self.options.keep_float)
        if not self.options.keep_going:
            self.dropped = failing.dropped(chosen, found)
            chosen = [key for key in chosen if key not in self.dropped]
            self.failed |= failing.problems(chosen, found)
        shipped = [key for key in chosen if key.backend in self.alive]
        report = self._report(shipped, layers)
        self._write(report)
        if not shipped:
            whole = {key.backend for key in chosen} == set(self.wanted)
            what = failing.problem(chosen, found) if whole else listed(self.failed)
            raise ConversionError(f"{what}; the report is {self.partial / 'parity.md'}")
        package.write(work.gather(*REPORT), self.maker, self.judge, shipped, self.options)
        return report

    def _make(self, keys: list[SetKey]) -> None:
        try:
            self.maker.make(keys)
        except FailedBackends as error:
            for backend, why in error.errors.items():
                self._fail(backend, str(why))

    def _judge(self, keys: list[SetKey]) -> None:
        """Judge what could be made, the reference of a backend before what is compared with it."""
        for key in sorted(keys, key=lambda key: not key.is_float):
            if key.backend in self.failed or key in self.maker.unmade:
                continue
            try:
                self.judge.judge(key, self.maker.files(key), self.maker.structures)
            except ConversionError as error:
                if key.is_float:
                    self._fail(key.backend, str(error))
                else:
                    self.maker.unmade[key] = str(error)

    def _fail(self, backend: str, why: str) -> None:
        """Go on without `backend`, unless it was the last one."""
        self.failed[backend] = why
        if not self.alive:
            raise ConversionError(listed(self.failed)) from None

    def _rank(self) -> None:
        """Put the best candidate of each backend first, where no recipe was asked for."""
        pricing = Pricing(self.maker, self.judge, self.ranker)
        for backend in self.alive:
            if self.candidates[backend]:
                self.candidates[backend], self.ranked[backend] = pricing.rank(backend, self.candidates[backend])

    def _rank_layers(self, chosen: list[SetKey]) -> dict[tuple[SetKey, str], Ranking]:
        """Rank the layers of every part if that was asked for, else of those to blame for a bar that was missed."""
        found: dict[tuple[SetKey, str], Ranking] = {}
        for key in chosen:
            missed = () if self.options.keep_going else self.judge.missed[key]
            to_blame = dict.fromkeys(one.part or "base" for one in missed if one.agreement)
            # Of the first, which is told; where nothing can stay in float there is nothing to try.
            tried = None if backends.record(key.backend).npu else next(iter(to_blame), None)
            # A gate is one layer: there is nothing to rank.
            parts = [
                part
                for part in self.maker.keys.parts
                if part != "gate" and (self.options.debug_parity or part in to_blame)
            ]
            if not parts or key.is_float:
                continue
            # What was missed is said all the same, and the other backends do not wait for it.
            needed = self.options.debug_parity or len(self.wanted) == 1
            with contextlib.nullcontext() if needed else contextlib.suppress(ConversionError):
                found |= {(key, part): one for part, one in self.maker.rank_layers(key, parts, tried).items()}
        return found

    def _report(self, shipped: list[SetKey], layers: dict[tuple[SetKey, str], Ranking]) -> Report:
        config, validation, options = self.loaded.config, self.judge.validation, self.options
        verdicts = self.judge.in_order(self.maker.recipes)
        defaults = [next(key for key in shipped if key.backend == backend) for backend in self.alive]
        return Report(
            checkpoint=self.maker.checkpoint.resolve().name,
            trained=config.origin != "untrained",
            data=validation.title,
            images=len(validation),
            calibration_images=len(self.maker.images),
            fingerprints=" ".join(self.judge.tensors.fingerprints),
            machine=Machine(system=f"{platform.system()} {platform.machine()}", processor=this_processor().title),
            tools=package.tools(self.wanted),
            bars=Bars(
                min_agreement=options.min_agreement,
                min_routing=options.min_routing,
                max_float_error=bars.FLOAT_ERROR,
            ),
            sets={str(key): one.parts for key, one in verdicts.items()},
            routed={str(key): one.routed for key, one in verdicts.items() if one.routed},
            default_taus={str(key): one.default_tau for key, one in verdicts.items()},
            at_default=tuple(filter(None, (self._at_default(key, verdicts[key]) for key in shipped))),
            flips=tuple(flips.found(shipped, self.judge.verdicts, config, options.max_experts)),
            accuracy=self._accuracy(),
            missed_bars={str(key): one.missed for key, one in verdicts.items()},
            shipped=[str(key) for key in shipped],
            left_out=self.left_out,
            unmade={str(key): why for key, why in self.maker.unmade.items()},
            ranked=self.ranked,
            made_anew=self.maker.store.remarks,
            operating_points=parity.spread({key: verdicts[key].points for key in defaults}),
            layers={f"{key}/{part}": found.layers for (key, part), found in layers.items()},
            kernels={f"{key}/{part}": found.kernels for (key, part), found in layers.items()},
            seconds=self.maker.seconds,
        )

    def _at_default(self, key: SetKey, verdict: Verdict) -> str | None:
        return at_default(str(key), verdict.points, verdict.default_tau, self.options.max_experts)

    def _accuracy(self) -> Accuracies | None:
        config, validation = self.loaded.config, self.judge.validation
        if not validation.labelled or config.origin == "untrained":
            return None
        outputs = {key: one.outputs for key, one in self.judge.in_order(self.maker.recipes).items()}
        return parity.accuracies(outputs, validation.labels, config.ensemble, config.space, validation.groups)

    def _write(self, report: Report) -> None:
        write_file(self.partial / FILE, to_json(report))
        write_file(self.partial / "parity.md", to_markdown(report).encode())
        if report.layers:
            write_file(self.partial / "layers.png", layers_picture.draw(report.layers))
