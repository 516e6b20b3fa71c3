"""An emulated core at work on a job.

Two processes a set and round. The first runs the parts of every timed image, each counted by itself, and keeps what
they give: from that the exit rule, here on the host, says which parts each image runs at each setting. The second runs
these sequences, each counted as a whole. The rule itself, some numpy on the host, is not counted.

Axis letters: T timed images, K experts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from edge_moe.backends import Tensor
from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.runner.native import NATIVE
from edge_moe.benchmarks.runner.turns import alone, logits, ran_by_rule, rows_by_part, sequence, tensors_of
from edge_moe.benchmarks.runner.work import Run
from edge_moe.benchmarks.target import Prices, Session
from edge_moe.benchmarks.targets.arm.cores import CORES
from edge_moe.benchmarks.targets.arm.emulator import KINDS, Answer, Counts, Emulator
from edge_moe.benchmarks.units import UNITS
from edge_moe.benchmarks.wire import (
    SCHEMA_VERSION,
    Costs,
    Machine,
    Opening,
    PlannedSet,
    PointRound,
    Provenance,
    Ran,
    Round,
    SetRound,
)
from edge_moe.bundle import ArtifactSet, Bundle, PartSpec
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["ArmSession", "outputs", "price"]

# A part does more in its first run: it packs weights, and takes memory.
_WARM_UP = 2
_PRICED_IMAGES = 3  # images differ by some instructions in a million


class ArmSession(Session):
    """See the module."""

    def __init__(self, job: Job, name: str, core: str, emulator: Emulator) -> None:
        """`name`: of the target; `emulator`: of the core."""
        self._job, self._emulator = job, emulator
        self._inputs = np.concatenate(job.inputs)
        self.steps = 2 * len(job.sets)
        emulated: Provenance = "emulated"
        self.opening = Opening(
            schema_version=SCHEMA_VERSION,
            target=name,
            units=tuple(UNITS[kind] for kind in KINDS),
            machine=Machine(name=f"Arm {core}", system="Linux aarch64", facts={"core": CORES[core].words}),
            versions={str(one.key): NATIVE[one.backend].words for one in job.sets},
            provenance=dict.fromkeys(KINDS, emulated),
            facts={"emulator": "QEMU 7.2, user mode", "not counted": "the exit rule, and preparing the image"},
        )

    def __exit__(self, *_: object) -> None:
        """Nothing stays open."""

    def rounds(self, first: int, progress: Progress, step: str) -> Iterator[Round]:
        """Count, round after round; all are alike."""
        for _ in range(first, self._job.plan.rounds):
            sets = zip(self._job.sets, self._job.plan.sets, strict=True)
            yield Round(sets=tuple(self._set(one, planned, progress, step) for one, planned in sets))

    def _set(self, artifacts: ArtifactSet, planned: PlannedSet, progress: Progress, step: str) -> SetRound:
        runs = alone(planned, self._job.bundle.manifest.experts)
        counts, found = self._run(artifacts, runs, keep=True)
        progress.advance(step)
        base, gate = logits(found[: self._job.plan.timed])
        ran = [ran_by_rule(base, gate, setting.tau, setting.max_experts) for setting in planned.settings]
        points = self._whole(artifacts, ran)
        progress.advance(step)
        return SetRound(parts=_by_part(runs, counts), points=points)

    def _whole(self, artifacts: ArtifactSet, ran: Sequence[Sequence[Ran]]) -> tuple[PointRound, ...]:
        """Count whole sequences; what several settings let an image run is run once for all of them."""
        wanted = {(t, one): None for setting in ran for t, one in enumerate(setting)}
        runs = [Run(t, sequence(one, artifacts.parts), whole=True) for t, one in wanted]
        counts = self._run(artifacts, runs, keep=False).counts
        row = {key: place for place, key in enumerate(wanted)}
        return tuple(
            PointRound(costs=_costs(counts[[row[t, one] for t, one in enumerate(setting)]]), ran=tuple(setting))
            for setting in ran
        )

    def _run(self, artifacts: ArtifactSet, runs: Sequence[Run], *, keep: bool) -> Answer:
        bundle, inputs = self._job.bundle, self._inputs
        specs, files = bundle.manifest.parts, _files(bundle, artifacts)

        def run(runs: Sequence[Run]) -> Answer:
            return self._emulator.run(artifacts.backend, specs, artifacts.parts, files, inputs, runs, keep=keep)

        return _warmed(run, tuple(artifacts.parts), runs)


def outputs(emulator: Emulator, bundle: Bundle, artifacts: ArtifactSet, part: str, inputs: Tensor) -> dict[str, Tensor]:
    """Return a part's outputs for N inputs, by name, [N, ...] each; arguments as `Target.outputs`."""
    runs = [Run(index, (part,), whole=True) for index in range(len(inputs))]
    only = {part: artifacts.parts[part]}
    files = _files(bundle, artifacts, (part,))
    answer = emulator.run(artifacts.backend, bundle.manifest.parts, only, files, inputs, runs, keep=True, marks=False)
    names = [one.name for one in bundle.manifest.parts[part].outputs]
    return {name: np.concatenate([one[part][name] for one in answer.outputs]) for name in names}


def price(
    emulator: Emulator,
    files: Mapping[SetKey, Mapping[str, Path]],
    specs: Mapping[str, PartSpec],
    inputs: Mapping[str, Tensor],
    progress: Progress,
) -> Prices:
    """Count every part of every set on a few of the base's `inputs`; arguments as `Target.price`."""
    step, found = f"emulating {', '.join(map(str, files))}", dict[SetKey, dict[str, list[list[float]]]]()
    progress.start(step, len(files))
    for key, parts in files.items():
        described = {name: tensors_of(key.backend, file, specs[name]) for name, file in parts.items()}
        runs = [Run(index, tuple(parts), whole=False) for index in range(min(len(inputs["base"]), _PRICED_IMAGES))]
        run = partial(emulator.run, key.backend, specs, described, parts, inputs["base"][: len(runs)])
        costs = _by_part(runs, _warmed(run, tuple(parts), runs).counts)
        found[key] = {part: [list(cost[KINDS[0]])] for part, cost in costs.items()}
        progress.advance(step, str(key))
    return Prices(UNITS[KINDS[0]], found)


def _files(bundle: Bundle, artifacts: ArtifactSet, parts: Sequence[str] = ()) -> Mapping[str, Path]:
    """Return part -> its file, whose size and digest were just checked."""
    names = parts or tuple(artifacts.parts)
    for name in names:
        bundle.read(artifacts.parts[name])
    return {name: bundle.path / artifacts.parts[name].file for name in names}


def _warmed(run: Callable[[Sequence[Run]], Answer], parts: tuple[str, ...], runs: Sequence[Run]) -> Answer:
    """Return what `run` answers to `runs` after every one of `parts` ran a few times."""
    warm = [Run(0, parts, whole=False)] * _WARM_UP
    counts, outputs = run([*warm, *runs])
    return Answer(counts[sum(one.intervals for one in warm) :], outputs[len(warm) :])


def _by_part(runs: Sequence[Run], counts: Counts) -> dict[str, Costs]:
    return {part: _costs(counts[rows]) for part, rows in rows_by_part(runs).items()}


def _costs(counts: Counts) -> Costs:
    return {kind: tuple(column) for kind, column in zip(KINDS, counts.T.astype(float).tolist(), strict=True)}
