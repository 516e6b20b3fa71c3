"""The app at work on a job: it measures, and the phone is looked at and kept steady from here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import TypeVar

import msgspec

from edge_moe.benchmarks.job import INPUTS, PLAN, Job
from edge_moe.benchmarks.sustained import window_ends
from edge_moe.benchmarks.target import Session
from edge_moe.benchmarks.targets.adb import told
from edge_moe.benchmarks.targets.adb.contact import Contact, end_all
from edge_moe.benchmarks.targets.adb.phone import Phone
from edge_moe.benchmarks.targets.adb.settings import hold_speed
from edge_moe.benchmarks.targets.adb.state import Identity, State, state
from edge_moe.benchmarks.targets.adb.steady import Steady
from edge_moe.benchmarks.targets.adb.watch import Watch
from edge_moe.benchmarks.targets.app.talk import Talk
from edge_moe.benchmarks.wire import SCHEMA_VERSION, Facts, Opening, Round, Seen, Sustained, Window
from edge_moe.errors import BackendError
from edge_moe.manifest import MANIFEST
from edge_moe.operating import OPERATING
from edge_moe.progress import Progress

__all__ = ["HOW", "AppSession"]

T = TypeVar("T")

HOW = "in the app: the exit rule in Kotlin is timed, and which cores it runs on is Android's choice"
_IN_FRONT = "in front"  # a fact of the app's: whether it is what the person sees
_MOST_HIDDEN = 3  # rounds in a row


class AppSession(Session):
    """See the module."""

    def __init__(self, job: Job, phone: Phone, contact: Contact, identity: Identity, progress: Progress) -> None:
        """Start the app, send it the job, and hold the phone at one speed.

        Raises:
            BackendError: the app or the phone cannot do it; says what to do.
        """
        self._job, self._phone, self._contact = job, phone, contact
        now = state(phone)
        self._cpus = now.biggest  # which Android gives to what a person sees
        self._steady = Steady(phone, self._cpus)
        self._talk = Talk(phone, progress, lambda folder: contact.put_back(f"rm -rf {folder}"))
        try:
            self._talk.send(_files(job), progress)
            held, remarks = hold_speed(phone, contact)
            said = self._decoded(self._talk.opened(), Opening, "opening")
            self.opening = self._opening(said, identity, now, held, [*remarks, *told.remarks(now)])
        except BaseException:
            with contextlib.suppress(BackendError):  # it is told already what is wrong
                self._talk.end()
            raise

    def _opening(self, said: Opening, identity: Identity, now: State, held: str, remarks: list[str]) -> Opening:
        """Return the opening of the app with what is known of the phone, which the app knows less of."""
        if said.schema_version != SCHEMA_VERSION:
            raise BackendError(
                f"{self._phone.name} has a demo app that answers by schema {said.schema_version}, and this edge-moe "
                f"reads {SCHEMA_VERSION}: build and install the app of this edge-moe (android_demo/README.md)"
            )
        return msgspec.structs.replace(
            said,
            target="app",
            machine=told.machine(identity, now, self._cpus, held),
            how=HOW,
            remarks=(*said.remarks, *remarks),
            facts=told.facts(now, self._cpus, said.facts),
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Have the app end, everything put back and removed; of a phone that is gone the app and its keeper do it."""
        end_all(error, self._talk.end, self._contact.close, self._phone.close)

    def rounds(self, first: int, progress: Progress, step: str) -> Iterator[Round]:
        """Measure, round after round; a round in which the phone was held back is measured again."""
        for number in range(first, self._job.plan.rounds):
            line, kept = self._steady.measured(partial(self._round, number), progress)
            progress.advance(step)
            seen = line.seen or Seen()
            facts: Facts = {
                **seen.facts,
                **told.before(kept.before, self._cpus),
                **kept.after.facts(self._cpus),
                "rounds discarded before": kept.discarded,
            }
            yield msgspec.structs.replace(line, seen=msgspec.structs.replace(seen, facts=facts))

    def _round(self, number: int) -> Round:
        """Measure a round; again, where the app was not in front: Android then gives it little time."""
        for _ in range(_MOST_HIDDEN):
            line = self._decoded(self._talk.round(number), Round, "round")
            if line.seen is None or line.seen.facts.get(_IN_FRONT) is not False:
                return line
        raise BackendError(
            f"the app on {self._phone.name} was not in front while it was measured, {_MOST_HIDDEN} rounds in a row; "
            "leave it open with the screen on, and repeat the command to go on"
        )

    def sustained(self, progress: Progress, step: str) -> tuple[Sustained, ...]:
        """Run one set after the other without a pause; a phone that gets warm is what is looked for."""
        with Watch(self._phone, self._cpus, progress, step) as watch:
            line = self._talk.sustained()
        found = self._decoded(line, tuple[Sustained, ...], "sustained run")
        if any(window.facts.get(_IN_FRONT) is False for one in found for window in one.windows):
            raise BackendError(
                f"the app on {self._phone.name} was not in front all the time while it ran without a pause; leave it "
                "open with the screen on, and repeat the command to measure that"
            )
        seconds = self._job.plan.sustained_s
        return tuple(_watched(one, place * seconds, seconds, watch) for place, one in enumerate(found))

    def _decoded(self, line: bytes, kind: type[T], words: str) -> T:
        try:
            return msgspec.json.decode(line, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BackendError(f"the app on {self._phone.name} said what is no {words}: {error}; report this") from None


def _watched(one: Sustained, begun_s: float, seconds: int, watch: Watch) -> Sustained:
    """Return it with what was seen of the phone at the end of each window."""
    ends = window_ends(seconds)

    def seen(window: Window) -> Facts:
        end = min((end for end in ends if end > window.start_s), default=float(seconds))
        return {**window.facts, **watch.at(begun_s + end)}

    windows = tuple(msgspec.structs.replace(window, facts=seen(window)) for window in one.windows)
    return msgspec.structs.replace(one, windows=windows)


def _files(job: Job) -> dict[str, bytes]:
    """Return the job folder, without peers, which are made on this machine alone, and without sets that it has not."""
    plan = msgspec.structs.replace(job.plan, peers=False)
    needed = [MANIFEST, OPERATING, *(one.file for artifacts in job.sets for one in artifacts.parts.values())]
    there = {name: job.folder / name for name in (INPUTS, *plan.images)}
    there |= {f"{plan.bundle}/{name}": job.bundle.path / name for name in needed}
    return {PLAN: msgspec.json.encode(plan), **{name: file.read_bytes() for name, file in there.items()}}
