"""The machine that the harness runs on: milliseconds, of parts and of whole predictions.

Everything takes turns: a round is a sequence of blocks, each one set and one thing to measure, in an order drawn anew
every round, so that a slow moment of the machine falls on all alike. Each block is warmed up. Only the inference is
timed: input tensors are prepared before.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import perf_counter
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe import backends
from edge_moe.backends import OpenPart
from edge_moe.benchmarks import cold, limits, machine
from edge_moe.benchmarks.conditions import Seen, Watch, judge
from edge_moe.benchmarks.peers import Way, make_stock_parts, ways
from edge_moe.benchmarks.results import Conditions, Limit
from edge_moe.benchmarks.targets.base import Availability, Plan, Round, Session, SetPlan, SetRound, Setting, Target
from edge_moe.bundle import ArtifactSet, expert_name
from edge_moe.errors import BackendError, MissingExtraError
from edge_moe.output import writing
from edge_moe.progress import Progress
from edge_moe.runtime import Runtime
from edge_moe.turns import bare

__all__ = ["Host"]

_WARM_UP = 3
_UNSEEN_IMAGES = 10


class Host(Target):
    """The machine that the harness itself runs on."""

    name = "host"
    unit = "ms"

    def available(self) -> list[Availability]:
        """Return the host, which is always there, and each backend with its version or the extra that brings it."""
        found = [Availability("host", True, f"{platform.system()} {platform.machine()}, in milliseconds")]
        for name in backends.names():
            try:
                found.append(Availability(f"host, {name}", True, backends.get(name).version()))
            except (MissingExtraError, BackendError) as error:
                found.append(Availability(f"host, {name}", False, str(error)))
        return found

    def open(self, plan: Plan, progress: Progress) -> Session:
        """Pin the process, load every set, and make the peers."""
        return _HostSession(plan, progress)


class _Costs:
    """What the blocks of a round leave behind."""

    def __init__(self, plan: Plan, peers: int, limits: int) -> None:
        self.parts: list[dict[str, list[float]]] = [{} for _ in plan.sets]
        self.points: list[list[list[float]]] = [[[] for _ in one.settings] for one in plan.sets]
        self.cold: list[cold.Cold | None] = [None for _ in plan.sets]
        self.peers: list[list[float]] = [[] for _ in range(peers)]
        self.limits: list[list[float]] = [[] for _ in range(limits)]


class _HostSession(Session):
    def __init__(self, plan: Plan, progress: Progress) -> None:
        self._plan = plan
        self._load_before = machine.load_average()
        self._stack = ExitStack()
        try:
            stock = make_stock_parts(plan, progress) if plan.peers else {}
            self._cpus = self._stack.enter_context(machine.pinned(plan.threads))
            self._runtimes = [self._stack.enter_context(self._runtime(one)) for one in plan.sets]
            for runtime in self._runtimes:
                for k in range(runtime.manifest.experts):  # now, not inside the first prediction that needs it
                    runtime.part(expert_name(k))
            self._ways: list[Way] = ways(plan, self._runtimes, stock, self._stack) if plan.peers else []
            self._products = limits.products(plan.threads, self._stack)
            self._images = plan.folder / "inputs.npy"
            if plan.cold_starts:
                with writing(self._images):
                    plan.folder.mkdir(parents=True, exist_ok=True)
                    np.save(self._images, np.stack(list(plan.inputs[:1])))
        except BaseException:
            self._stack.close()
            raise
        self.machine = machine.this_machine()
        self.peers = [way.peer for way in self._ways]
        self.limits = [Limit(dtype=p.dtype, library=p.library, shape=limits.SHAPE, raw=()) for p in self._products]
        self.steps = len(self._blocks(_Costs(plan, len(self._ways), len(self._products)), cold_start=False))
        self._watch = Watch(self._cpus)

    def _runtime(self, one: SetPlan) -> Runtime:
        artifacts, plan = one.artifacts, self._plan
        return Runtime(plan.bundle, backend=artifacts.backend, recipe=artifacts.recipe.name, threads=plan.threads)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def version(self, artifacts: ArtifactSet) -> str:
        return backends.get(artifacts.backend).version()

    def conditions(self, seen: Sequence[Seen]) -> Conditions:
        found, there = judge(seen, self._cpus, self._load_before), self.machine.logical_cpus
        if self._plan.threads <= there:
            return found
        crowded = f"crowded: {self._plan.threads} threads share {there} CPUs; measure with fewer"
        return msgspec.structs.replace(found, remarks=(crowded, *found.remarks))

    def round(self, number: int, progress: Progress, step: str) -> Round:
        costs = _Costs(self._plan, len(self._ways), len(self._products))
        blocks = self._blocks(costs, cold_start=number < self._plan.cold_starts)
        for index in np.random.default_rng([self._plan.seed, number]).permutation(len(blocks)):
            counts, block = blocks[index]
            block()
            if counts:
                progress.advance(step)
        return Round(
            sets=tuple(
                SetRound(
                    parts={name: _rounded(raw) for name, raw in sorted(costs.parts[i].items())},
                    points=tuple(_rounded(raw) for raw in costs.points[i]),
                    cold_start_ms=None if found is None else round(found.first_answer_ms, 1),
                    peak_rss_bytes=None if found is None else found.peak_rss_bytes,
                )
                for i, found in enumerate(costs.cold)
            ),
            peers=tuple(_rounded(raw) or None for raw in costs.peers),
            limits=tuple(_rounded(raw) for raw in costs.limits),
            seen=self._watch.round(),
        )

    def _blocks(self, costs: _Costs, *, cold_start: bool) -> list[tuple[bool, Callable[[], None]]]:
        """Return what a round consists of; cold starts are not in every round, and not counted."""
        plan = self._plan
        found: list[tuple[bool, Callable[[], None]]] = []

        def add(function: Callable[..., None], *arguments: Any, counts: bool = True) -> None:
            found.append((counts, lambda: function(*arguments)))

        for i, (runtime, one) in enumerate(zip(self._runtimes, plan.sets, strict=True)):
            add(_time_parts, runtime, one, plan, costs.parts[i])
            for j, setting in enumerate(one.settings):
                add(_time_point, runtime, setting, plan, costs.points[i][j])
            if cold_start:
                add(self._cold_start, i, costs, counts=False)
        for i, way in enumerate(self._ways):
            if way.call is not None:
                add(_time_way, way.call, len(plan.inputs), costs.peers[i])
        for i, product in enumerate(self._products):
            add(lambda product, into: into.extend(limits.time_product(product)), product, costs.limits[i])
        return found

    def _cold_start(self, index: int, costs: _Costs) -> None:
        key, plan = self._plan.sets[index].artifacts.key, self._plan
        costs.cold[index] = cold.cold_start(plan.bundle.path, key, plan.threads, self._images)


def _time_parts(runtime: Runtime, one: SetPlan, plan: Plan, into: dict[str, list[float]]) -> None:
    """Time each part through its backend, among the parts that it runs among: as if every other image exited.

    A part that others ran before finds the processor's caches full of their weights. That is part of its price: an
    expert timed over and over by itself would seem cheaper than it ever is. So is taking over what it reads.
    """
    ranked = one.order[:, : max(max_experts for _, max_experts in one.settings)]
    # Experts that no timed image needs are timed as well, on a few images more.
    unseen = sorted(set(range(runtime.manifest.experts)) - set(ranked.ravel().tolist()))
    turns = [*enumerate(ranked[:_WARM_UP]), *enumerate(ranked)]
    turns += [(index, np.array(unseen)) for index in range(min(len(plan.inputs), _UNSEEN_IMAGES)) if unseen]
    base = bare(runtime.part("base"))
    gate = bare(runtime.part("gate")) if runtime.manifest.experts else None
    for turn, (index, experts) in enumerate(turns):
        x = plan.inputs[index]
        elapsed = [("base", _base_ms(base, x)), ("base", _base_ms(base, x))]
        if gate is not None:
            elapsed.append(("gate", _ms(gate, base, "embedding")))
        for k in np.sort(experts).tolist():
            elapsed.append((expert_name(k), _ms(bare(runtime.part(expert_name(k))), base, "features")))
        if turn >= min(_WARM_UP, len(plan.inputs)):
            for name, value in elapsed:
                into.setdefault(name, []).append(value)


def _base_ms(base: OpenPart, x: npt.NDArray[np.float32]) -> float:
    start = perf_counter()
    base.invoke(x)
    base.output("logits")
    return (perf_counter() - start) * 1000


def _ms(part: OpenPart, base: OpenPart, what: str) -> float:
    start = perf_counter()
    part.invoke(base.output(what))
    part.output("logits")
    return (perf_counter() - start) * 1000


def _time_point(runtime: Runtime, setting: Setting, plan: Plan, into: list[float]) -> None:
    runtime.tau, runtime.max_experts = setting
    predict = runtime.predict_tensor
    for x in plan.inputs[:_WARM_UP]:
        predict(x)
    for x in plan.inputs:
        start = perf_counter()
        predict(x)
        into.append((perf_counter() - start) * 1000)


def _time_way(call: Callable[[int], Any], images: int, into: list[float]) -> None:
    for index in range(min(_WARM_UP, images)):
        call(index)
    for index in range(images):
        start = perf_counter()
        call(index)
        into.append((perf_counter() - start) * 1000)


def _rounded(raw: Sequence[float]) -> tuple[float, ...]:
    """Keep a tenth of a microsecond: finer than the clock, and a third of the bytes."""
    return tuple(round(value, 4) for value in raw)
