"""A phone at work on a job.

As on an emulated core, the runner knows no exit rule: first every set's parts run on every timed image, and the rule,
here on the host, says from what they gave what each image runs at each setting. Then round after round, in an order
drawn anew, every set's parts are timed one by one, and these sequences as a whole. A round waits until the phone is
cool, and counts only if nothing held it back meanwhile.

Axis letters: T timed images.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
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
from edge_moe.benchmarks.targets.adb.contact import Contact
from edge_moe.benchmarks.targets.adb.parts import Answer, Parts
from edge_moe.benchmarks.targets.adb.phone import Phone
from edge_moe.benchmarks.targets.adb.settings import hold_speed
from edge_moe.benchmarks.targets.adb.state import Identity, State, state, thermal_words
from edge_moe.benchmarks.units import MS, UNITS
from edge_moe.benchmarks.wire import (
    SCHEMA_VERSION,
    Costs,
    Facts,
    Machine,
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
from edge_moe.processor import described
from edge_moe.progress import Progress

__all__ = ["HOW", "AdbSession"]

HOW = "by a native runner with its own C library (glibc), not Android's"
_GIVEN, _REPEAT = "inputs.f32", "repeat the command to go on"
_WARM_UP = 3
_MOST_DISCARDED = 10  # rounds in a row: a phone that does not keep its speed for one round is told so
_COOLING_S, _LOOK_S = 1800.0, 10.0
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
        contact.put({_GIVEN: np.concatenate(job.inputs).astype("<f4").tobytes()}, progress)
        self._sets = [self._send(place, one, progress) for place, one in enumerate(job.sets)]
        self._logits = [self._find_out(*pair) for pair in zip(self._sets, job.plan.sets, strict=True)]
        self._turns = [
            [ran_by_rule(*given, setting.tau, setting.max_experts) for setting in planned.settings]
            for given, planned in zip(self._logits, job.plan.sets, strict=True)
        ]
        self.steps = len(job.sets)
        self.opening = self._opening(identity, now, held, [*remarks, *_remarks(now)])

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
        facts: Facts = {
            "screen": now.wakefulness,
            "powered": now.powered,
            "not timed": "the exit rule, and preparing the image",
            **{f"{name}, before": fact for name, fact in now.facts(self._cpus).items()},
        }
        # What two sittings have to have in common, and what may differ.
        kept: Facts = {
            "SoC": identity.soc,
            "build": identity.get("ro.build.fingerprint"),
            "Linux": identity.kernel,
            "fixed performance mode": held,
            "governor": ", ".join(dict.fromkeys(now.cpus[one].governor for one in self._cpus if one in now.cpus)),
        }
        return Opening(
            schema_version=SCHEMA_VERSION,
            target="adb",
            units=(MS, _ENERGY) if self._reads_power else (MS,),
            provenance={_ENERGY.name: estimated} if self._reads_power else {},
            machine=Machine(
                name=identity.model,
                system=f"Android {identity.get('ro.build.version.release')}",
                processor=described(identity.cpuinfo, identity.soc).title,
                logical_cpus=len(now.cpus) or None,
                memory_bytes=identity.memory_bytes,
                facts={name: fact for name, fact in kept.items() if fact not in (None, "")},
            ),
            versions={str(one.key): NATIVE[one.backend].words for one in self._job.sets},
            how=HOW,
            cpus=self._cpus,
            remarks=tuple(remarks),
            facts={name: fact for name, fact in facts.items() if fact not in (None, "")},
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Have everything put back and removed; of a phone that is gone its keeper does it."""
        try:
            self._contact.close()
        except BackendError:
            if error is None:
                raise
        finally:
            self._phone.close()

    def rounds(self, first: int, progress: Progress, step: str) -> Iterator[Round]:
        """Measure, round after round; a round in which the phone was held back is measured again."""
        for number in range(first, self._job.plan.rounds):
            held_back, discarded = True, 0
            while held_back and discarded < _MOST_DISCARDED:
                before = self._cool(progress)
                sets = self._round(number)
                after = state(self._phone)
                held_back = after.holds_back(self._cpus) != before.holds_back(self._cpus)
                discarded += held_back
            if held_back:
                raise BackendError(
                    f"{self._phone.name} does not keep its speed: {_MOST_DISCARDED} rounds in a row ended with another "
                    f"thermal status or highest clock than they began with (now {_status(after)}); let it lie still, "
                    "unplugged from fast chargers and out of its case, and repeat the command to go on"
                )
            for _ in sets:
                progress.advance(step)
            facts: Facts = {**after.facts(self._cpus), "rounds discarded before": discarded}
            yield Round(sets=sets, seen=Seen(facts=facts))

    def _cool(self, progress: Progress) -> State:
        """Wait until the phone is not warm; return how it is then."""
        deadline, step = time.monotonic() + _COOLING_S, ""
        while now := state(self._phone):
            if self._reads_power and now.powered is not False:
                raise BackendError(
                    f"{self._phone.name} is being charged now, so that its battery says nothing of what it needs; "
                    "unplug it, and repeat the command to go on"
                )
            if not now.thermal:
                return now
            if not step:
                step = f"waiting: {self._phone.name} is warm"
                progress.start(step, int(_COOLING_S / _LOOK_S))
            if time.monotonic() > deadline:
                break
            progress.advance(step, f"thermal status {_status(now)}")
            time.sleep(_LOOK_S)
        raise BackendError(
            f"{self._phone.name} stays warm: thermal status {_status(now)} after {_COOLING_S / 60:.0f} minutes; let it "
            "cool, and repeat the command to go on"
        )

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
        watched, over = list[tuple[float, Facts]](), threading.Event()
        watcher = threading.Thread(target=self._watch, args=(watched, over, progress, step), daemon=True)
        watcher.start()
        try:
            answer = self._sets[place].run(whole, _GIVEN, self._cpus, seconds=seconds)
        finally:
            over.set()
            watcher.join()
        windows = _windows(answer.begins / 1000, answer.times, seconds, watched)
        return Sustained(set=planned.set, setting=setting, windows=windows)

    def _watch(self, into: list[tuple[float, Facts]], over: threading.Event, progress: Progress, step: str) -> None:
        phone = Phone(self._phone.name, self._phone.serial)  # a connection of this thread's own
        start = time.monotonic()
        try:
            while not over.wait(sustained.WINDOW_S):
                into.append((time.monotonic() - start, state(phone).facts(self._cpus)))
                progress.advance(step)
        except BackendError:  # the one who runs says what is wrong
            return
        finally:
            phone.close()


def _windows(
    begins: Doubles, times: Doubles, seconds: int, watched: Sequence[tuple[float, Facts]]
) -> tuple[Window, ...]:
    """Return the median of each window, of the predictions that began in it: as `edge_moe.benchmarks.sustained` does.

    Args:
        begins: in seconds since the first.
        times: in milliseconds.
        seconds: how long.
        watched: how things stood, and when, in seconds.
    """
    found, start = [], 0.0
    for end in sustained.window_ends(seconds):
        some = times[(begins >= start) & (begins < end)]
        if len(some):
            _, facts = min(watched, key=lambda one: abs(one[0] - end), default=(0.0, Facts()))
            median = round(float(np.median(some)), 4)
            found.append(Window(start_s=start, median=median, count=len(some), facts=facts))
        start = end
    return tuple(found)


def _remarks(now: State) -> list[str]:
    remarks = []
    if now.thermal is None:
        remarks.append("this Android tells no thermal status (10 and later do): whether heat held it back is not known")
    if not now.cpus:
        remarks.append("this phone does not tell of its cores: it was measured on the first, which may be a small one")
    return remarks


def _status(now: State) -> str:
    return "unknown" if now.thermal is None else thermal_words(now.thermal)


def _intervals(runs: Sequence[Run]) -> int:
    return sum(run.intervals for run in runs)


def _by_part(runs: Sequence[Run], times: Doubles, answer: Answer) -> dict[str, Costs]:
    return {part: _costs(times[rows], answer) for part, rows in rows_by_part(runs).items()}


def _costs(times: Doubles, answer: Answer) -> Costs:
    costs = {MS.name: tuple(np.round(times, 4).tolist())}
    if answer.watts is not None:  # watts times milliseconds are millijoules
        costs[_ENERGY.name] = tuple(np.round(times * answer.watts, 4).tolist())
    return costs
