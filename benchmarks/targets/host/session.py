"""The host at work on a job.

Everything takes turns: a round is a sequence of blocks, each one set and one thing to measure, in an order drawn anew
every round, so that a slow moment of the machine falls on all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import msgspec
import numpy as np

from edge_moe import backends
from edge_moe.backends import OpenPart
from edge_moe.benchmarks import clocks, machine, sustained
from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.peers.ways import Way, make_stock_parts, ways
from edge_moe.benchmarks.target import Session
from edge_moe.benchmarks.targets.host import cold, limits
from edge_moe.benchmarks.targets.host.timing import (
    time_parts,
    time_point,
    time_preprocessing,
    time_waking,
    time_way,
)
from edge_moe.benchmarks.units import MS
from edge_moe.benchmarks.watch import Watch
from edge_moe.benchmarks.wire import (
    SCHEMA_VERSION,
    Costs,
    Limit,
    Opening,
    PointRound,
    Ran,
    Round,
    SetRound,
    Sustained,
)
from edge_moe.bundle import ArtifactSet, expert_name, part_names
from edge_moe.progress import Progress
from edge_moe.runtime import Runtime

__all__ = ["HostSession"]


class _Found:
    """What the blocks of a round leave behind, in milliseconds."""

    def __init__(self, job: Job, peers: int, products: int) -> None:
        sets = job.plan.sets
        self.parts: list[dict[str, list[float]]] = [{} for _ in sets]
        self.waking: list[dict[str, list[float]]] = [{} for _ in sets]
        self.points: list[list[list[float]]] = [[[] for _ in one.settings] for one in sets]
        self.ran: list[list[list[Ran]]] = [[[] for _ in one.settings] for one in sets]
        self.cold: list[cold.Cold | None] = [None for _ in sets]
        self.preprocessing: list[float] = []
        self.peers: list[list[float]] = [[] for _ in range(peers)]
        self.limits: list[list[float]] = [[] for _ in range(products)]


class HostSession(Session):
    """See the module."""

    def __init__(self, job: Job, progress: Progress) -> None:
        """Load all; nothing stays open if that fails."""
        self._job = job
        load = machine.load_average()
        self._stack = ExitStack()
        try:
            stock = make_stock_parts(job, progress) if job.plan.peers else {}
            self._cpus = self._stack.enter_context(machine.pinned(job.plan.threads))
            self._runtimes = [self._stack.enter_context(self._runtime(one)) for one in job.sets]
            for runtime in self._runtimes:
                for k in range(runtime.manifest.experts):  # now, not inside the first prediction that needs it
                    runtime.part(expert_name(k))
            self._ways: list[Way] = ways(job, self._runtimes, stock, self._stack) if job.plan.peers else []
            self._products = limits.products(job.plan.threads, self._stack)
            self._here = machine.this_machine()
        except BaseException:
            self._stack.close()
            raise
        self.steps = len(self._blocks(self._nothing(), cold_start=False))
        self.opening = self._opening(load)
        self._watch = Watch(self._cpus)

    def _runtime(self, one: ArtifactSet) -> Runtime:
        threads = self._job.plan.threads
        return Runtime(self._job.bundle, backend=one.backend, recipe=one.recipe.name, threads=threads)

    def _nothing(self) -> _Found:
        return _Found(self._job, len(self._ways), len(self._products))

    def _opening(self, load: float | None) -> Opening:
        here, threads, remarks = self._here, self._job.plan.threads, []
        if here.logical_cpus is not None and threads > here.logical_cpus:
            remarks.append(f"crowded: {threads} threads share {here.logical_cpus} CPUs; measure with fewer")
        if "powersave" in (clocks.governor(self._measured_on) or ""):
            remarks.append("the CPU governor is 'powersave'; set 'performance' where you may")
        return Opening(
            schema_version=SCHEMA_VERSION,
            target="host",
            units=(MS,),
            machine=msgspec.structs.replace(here, facts={**here.facts, **clocks.told(self._measured_on)}),
            versions={str(one.key): backends.get(one.backend).version() for one in self._job.sets},
            peers=tuple(way.peer for way in self._ways),
            limits=tuple(Limit(dtype=p.dtype, library=p.library, shape=limits.SHAPE) for p in self._products),
            cpus=self._cpus,
            load=load,
            remarks=tuple(remarks),
        )

    @property
    def _measured_on(self) -> Sequence[int]:
        """The CPUs that may be in the figures."""
        return range(self._here.logical_cpus or 1) if self._cpus is None else self._cpus

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every part, and let the process run where it did."""
        self._stack.close()

    def rounds(self, first: int, progress: Progress, step: str) -> Iterator[Round]:
        """Measure, round after round."""
        for number in range(first, self._job.plan.rounds):
            yield self.round(number, progress, step)

    def round(self, number: int, progress: Progress, step: str) -> Round:
        """Measure everything once."""
        found, plan = self._nothing(), self._job.plan
        blocks = self._blocks(found, cold_start=number < plan.cold_starts)
        for index in np.random.default_rng([plan.seed, number]).permutation(len(blocks)):
            counts, block = blocks[index]
            block()
            if counts:
                progress.advance(step)
        return Round(
            sets=tuple(
                SetRound(
                    parts={name: _costs(raw) for name, raw in sorted(found.parts[i].items())},
                    points=tuple(
                        PointRound(costs=_costs(raw), ran=tuple(ran))
                        for raw, ran in zip(found.points[i], found.ran[i], strict=True)
                    ),
                    waking={name: _costs(raw) for name, raw in sorted(found.waking[i].items())},
                    cold_start_ms=None if start is None else round(start.first_answer_ms, 1),
                    peak_rss_bytes=None if start is None else start.peak_rss_bytes,
                )
                for i, start in enumerate(found.cold)
            ),
            steps={"preprocessing": _costs(found.preprocessing)},
            peers=tuple(_costs(raw) if raw else None for raw in found.peers),
            limits_ms=tuple(_rounded(raw) for raw in found.limits),
            seen=self._watch.round(),
        )

    def sustained(self, progress: Progress, step: str) -> tuple[Sustained, ...]:
        """Run set after set."""
        plan, inputs, found = self._job.plan, self._job.inputs, []
        pairs = zip(plan.sets, self._runtimes, strict=True)
        asked = [(one.set, one.sustained, runtime) for one, runtime in pairs if one.sustained is not None]
        for name, setting, runtime in asked:
            runtime.tau, runtime.max_experts = setting.tau, setting.max_experts
            windows = sustained.run(
                runtime.predict_tensor,
                inputs,
                plan.sustained_s,
                lambda: clocks.now(self._measured_on),
                lambda: progress.advance(step),
            )
            found.append(Sustained(set=name, setting=setting, windows=windows))
        return tuple(found)

    def _blocks(self, found: _Found, *, cold_start: bool) -> list[tuple[bool, Callable[[], None]]]:
        """Return what a round consists of; cold starts are not in every round, and not counted."""
        job, inputs = self._job, self._job.inputs
        blocks: list[tuple[bool, Callable[[], None]]] = []

        def add(function: Callable[..., None], *arguments: Any, counts: bool = True) -> None:
            blocks.append((counts, lambda: function(*arguments)))

        add(time_preprocessing, job, found.preprocessing)
        for i, (runtime, planned) in enumerate(zip(self._runtimes, job.plan.sets, strict=True)):
            add(time_parts, runtime, planned, inputs, found.parts[i])
            add(time_waking, self._waker(job.sets[i]), part_names(runtime.manifest.experts), found.waking[i])
            for j, setting in enumerate(planned.settings):
                add(time_point, runtime, setting, inputs, found.points[i][j], found.ran[i][j])
            if cold_start:
                add(self._cold_start, i, found, counts=False)
        for i, way in enumerate(self._ways):
            if way.call is not None:
                add(time_way, way.call, len(inputs), found.peers[i])
        for i, product in enumerate(self._products):
            add(lambda product, into: into.extend(limits.time_product(product)), product, found.limits[i])
        return blocks

    def _waker(self, artifacts: ArtifactSet) -> Callable[[str], OpenPart]:
        backend, bundle, threads = backends.get(artifacts.backend), self._job.bundle, self._job.plan.threads
        return lambda name: backend.open(bundle.read(artifacts.parts[name]), threads=threads)

    def _cold_start(self, index: int, found: _Found) -> None:
        job = self._job
        found.cold[index] = cold.cold_start(
            job.bundle.path, job.sets[index].key, job.plan.threads, job.folder / job.plan.inputs
        )


def _costs(raw: Sequence[float]) -> Costs:
    return {MS.name: _rounded(raw)}


def _rounded(raw: Sequence[float]) -> tuple[float, ...]:
    """Keep a tenth of a microsecond: finer than the clock, and a third of the bytes."""
    return tuple(round(value, 4) for value in raw)
