"""A phone at work on a job.

As on an emulated core, the runner knows no exit rule: first every set's parts run on every timed image, and the rule,
here on the host, says from what they gave what each image runs at each setting. Then round after round, in an order
drawn anew, every set's parts are timed one by one, and these sequences as a whole. A round waits until the phone is
cool, and counts only if nothing held it back meanwhile.

Axis letters: T timed images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from types import TracebackType

import numpy as np

from edge_moe.backends import Tensor
from edge_moe.benchmarks import sustained
from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.prices import Doubles
from edge_moe.benchmarks.runner.native import NATIVE
from edge_moe.benchmarks.runner.turns import alone, logits, ran_by_rule, rows_by_part, sequence
from edge_moe.benchmarks.runner.work import Run
from edge_moe.benchmarks.target import Session
from edge_moe.benchmarks.targets.adb import told
from edge_moe.benchmarks.targets.adb.contact import Contact, end_all
from edge_moe.benchmarks.targets.adb.parts import Answer, Parts
from edge_moe.benchmarks.targets.adb.phone import Phone
from edge_moe.benchmarks.targets.adb.settings import hold_speed
from edge_moe.benchmarks.targets.adb.state import Identity, State, state
from edge_moe.benchmarks.targets.adb.steady import Steady
from edge_moe.benchmarks.targets.adb.watch import Watch
from edge_moe.benchmarks.units import MS, UNITS
from edge_moe.benchmarks.wire import (
    SCHEMA_VERSION,
    Costs,
    Facts,
    Opening,
    PlannedSet,
    PointRound,
    Provenance,
    Round,
    Seen,
    SetRound,
    Sustained,
    Window,
)
from edge_moe.bundle import ArtifactSet
from edge_moe.errors import BackendError
from edge_moe.progress import Progress

__all__ = ["HOW", "AdbSession"]

HOW = "by a native runner with its own C library (glibc), not Android's"
_GIVEN, _REPEAT = "inputs.f32", "repeat the command to go on"
_WARM_UP = 3
_ENERGY = UNITS["millijoules"]


class AdbSession(Session):
    """See the module."""

    def __init__(self, job: Job, phone: Phone, contact: Contact, identity: Identity, progress: Progress) -> None:
        """Send everything, hold the phone at one speed where it can be, and find out what each image runs."""
        self._job, self._phone, self._contact = job, phone, contact
        now = state(phone)
        self._cpus = now.biggest
        held, remarks = hold_speed(phone, contact)
        self._reads_power = now.watts is not None and now.powered is False
        self._steady = Steady(phone, self._cpus, on_battery=self._reads_power)
        contact.put({_GIVEN: np.concatenate(job.inputs).astype("<f4").tobytes()}, progress)
        self._sets = [self._send(place, one, progress) for place, one in enumerate(job.sets)]
        self._logits = [self._find_out(*pair) for pair in zip(self._sets, job.plan.sets, strict=True)]
        self._turns = [
            [ran_by_rule(*given, setting.tau, setting.max_experts) for setting in planned.settings]
            for given, planned in zip(self._logits, job.plan.sets, strict=True)
        ]
        self.steps = len(job.sets)
        self.opening = self._opening(identity, now, held, [*remarks, *told.remarks(now)])

    def _send(self, place: int, artifacts: ArtifactSet, progress: Progress) -> Parts:
        bundle = self._job.bundle
        made = Parts(self._contact, f"set-{place}", artifacts.backend, bundle.manifest.parts, artifacts.parts, progress)
        made.send({part: bundle.read(one) for part, one in artifacts.parts.items()}, progress)
        return made

    def _find_out(self, parts: Parts, planned: PlannedSet) -> tuple[Tensor, Tensor]:
        """Return the logits of base and gate of every timed image, from which the rule says what runs."""
        runs = alone(planned, self._job.bundle.manifest.experts)
        return logits(parts.run(runs, _GIVEN, self._cpus, keep=True).outputs[: self._job.plan.timed])

    def _opening(self, identity: Identity, now: State, held: str, remarks: Sequence[str]) -> Opening:
        estimated: Provenance = "estimated"
        return Opening(
            schema_version=SCHEMA_VERSION,
            target="adb",
            units=(MS, _ENERGY) if self._reads_power else (MS,),
            provenance={_ENERGY.name: estimated} if self._reads_power else {},
            machine=told.machine(identity, now, self._cpus, held),
            versions={str(one.key): NATIVE[one.backend].words for one in self._job.sets},
            how=HOW,
            cpus=self._cpus,
            remarks=tuple(remarks),
            facts=told.facts(now, self._cpus, {"not timed": "the exit rule, and preparing the image"}),
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Have everything put back and removed; of a phone that is gone its keeper does it."""
        end_all(error, self._contact.close, self._phone.close)

    def rounds(self, first: int, progress: Progress, step: str) -> Iterator[Round]:
        """Measure, round after round; a round in which the phone was held back is measured again."""
        for number in range(first, self._job.plan.rounds):
            sets, kept = self._steady.measured(partial(self._round, number), progress)
            for _ in sets:
                progress.advance(step)
            facts: Facts = {**kept.after.facts(self._cpus), "rounds discarded before": kept.discarded}
            yield Round(sets=sets, seen=Seen(facts=facts))

    def _round(self, number: int) -> tuple[SetRound, ...]:
        plan, draw = self._job.plan, np.random.default_rng([self._job.plan.seed, number])
        found: dict[int, SetRound] = {}
        for place in draw.permutation(len(self._sets)).tolist():
            cold = number < plan.cold_starts
            found[place] = self._set(place, draw, cold=cold)
        return tuple(found[place] for place in range(len(self._sets)))

    def _set(self, place: int, draw: np.random.Generator, *, cold: bool) -> SetRound:
        parts, planned, turns = self._sets[place], self._job.plan.sets[place], self._turns[place]
        there = self._job.sets[place].parts
        first = alone(planned, self._job.bundle.manifest.experts, twice=True)
        wanted = [(t, ran) for setting in turns for t, ran in enumerate(setting)]
        order = draw.permutation(len(wanted)).tolist()
        whole = [Run(wanted[one][0], sequence(wanted[one][1], there), whole=True) for one in order]
        warm = [Run(0, tuple(there), whole=False)] * _WARM_UP
        answer = parts.run([*warm, *first, *whole], _GIVEN, self._cpus, power=self._reads_power)
        if self._reads_power and answer.watts is None:
            raise BackendError(f"{self._phone.name} does not tell any more what its battery gives; {_REPEAT}")
        _, alone_ms, whole_ms = np.split(answer.times, np.cumsum([_intervals(warm), _intervals(first)]))
        in_order = np.empty_like(whole_ms)
        in_order[order] = whole_ms
        return SetRound(
            parts=_by_part(first, alone_ms, answer),
            points=tuple(
                PointRound(costs=_costs(ms, answer), ran=tuple(setting))
                for ms, setting in zip(in_order.reshape(len(turns), -1), turns, strict=True)
            ),
            waking={part: {MS.name: (round(ms, 4),)} for part, ms in sorted(answer.opening.items())},
            cold_start_ms=self._cold_start(place) if cold else None,
            peak_rss_bytes=answer.peak_bytes or None,
        )

    def _cold_start(self, place: int) -> float:
        """Return what a process took from its start to its first answer, at the bundle's default operating point."""
        artifacts = self._job.sets[place]
        at = self._job.bundle.operating(artifacts)
        base, gate = self._logits[place]
        (ran,) = ran_by_rule(base[:1], gate[:1], at.default_tau, at.default_max_experts)
        run = Run(0, sequence(ran, artifacts.parts), whole=True)
        answer = self._sets[place].run([run], _GIVEN, self._cpus)
        opened = sum(answer.opening[part] for part in run.parts)
        return round(answer.library + opened + float(answer.times[0]), 1)

    def sustained(self, progress: Progress, step: str) -> tuple[Sustained, ...]:
        """Run one set after the other without a pause; a phone that gets warm is what is looked for."""
        return tuple(self._sustained(place, progress, step) for place in range(len(self._sets)))

    def _sustained(self, place: int, progress: Progress, step: str) -> Sustained:
        artifacts, planned, seconds = self._job.sets[place], self._job.plan.sets[place], self._job.plan.sustained_s
        setting = planned.sustained
        if setting is None:
            raise BackendError(f"{planned.set} is not planned to run without a pause; report this")
        turns = ran_by_rule(*self._logits[place], setting.tau, setting.max_experts)
        whole = [Run(t, sequence(ran, artifacts.parts), whole=True) for t, ran in enumerate(turns)]
        with Watch(self._phone, self._cpus, progress, step) as watch:
            answer = self._sets[place].run(whole, _GIVEN, self._cpus, seconds=seconds)
        windows = _windows(answer.begins / 1000, answer.times, seconds, watch)
        return Sustained(set=planned.set, setting=setting, windows=windows)


def _windows(begins: Doubles, times: Doubles, seconds: int, watch: Watch) -> tuple[Window, ...]:
    """Return the median of each window, of the predictions that began in it: as `edge_moe.benchmarks.sustained` does.

    Args:
        begins: in seconds since the first.
        times: in milliseconds.
        seconds: how long.
        watch: saw how things stood.
    """
    found, start = [], 0.0
    for end in sustained.window_ends(seconds):
        some = times[(begins >= start) & (begins < end)]
        if len(some):
            median = round(float(np.median(some)), 4)
            found.append(Window(start_s=start, median=median, count=len(some), facts=watch.at(end)))
        start = end
    return tuple(found)


def _intervals(runs: Sequence[Run]) -> int:
    return sum(run.intervals for run in runs)


def _by_part(runs: Sequence[Run], times: Doubles, answer: Answer) -> dict[str, Costs]:
    return {part: _costs(times[rows], answer) for part, rows in rows_by_part(runs).items()}


def _costs(times: Doubles, answer: Answer) -> Costs:
    costs = {MS.name: tuple(np.round(times, 4).tolist())}
    if answer.watts is not None:  # watts times milliseconds are millijoules
        costs[_ENERGY.name] = tuple(np.round(times * answer.watts, 4).tolist())
    return costs
