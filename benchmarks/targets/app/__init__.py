"""The demo app on a phone, through adb: milliseconds of whole predictions as an app has them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edge_moe.benchmarks.fitting import refuse_unfit
from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.target import Availability, Session
from edge_moe.benchmarks.targets.adb.on_phone import PIP, OnPhone, has_adb
from edge_moe.bundle import ArtifactSet
from edge_moe.errors import BackendError, EdgeMoeError
from edge_moe.processor import described
from edge_moe.progress import Progress

if TYPE_CHECKING:
    from edge_moe.benchmarks.targets.adb.contact import Contact

__all__ = ["TARGET", "App"]

_WORDS = "the demo app (android_demo) on a phone with USB debugging, in milliseconds"
_BACKENDS = ("litert", "onnx")  # that an app can be built with; the one that is installed says what it lacks


class App(OnPhone):
    """`app:SERIAL`; `app` where one phone is connected."""

    kind = "app"
    sustains = True

    def available(self) -> list[Availability]:
        """Return whether apps can be measured from here; whether this phone's can, where one was named.

        Where none was named, nobody is asked: adb's server would be started, and goes on running.
        """
        if not self.parameter or not has_adb():
            return [Availability("app:SERIAL", has_adb(), _WORDS if has_adb() else PIP)]
        try:
            self.check((), 1)
            return [Availability(self.name, True, f"{self.identity.model}, {self.identity.soc}")]
        except EdgeMoeError as error:
            return [Availability(self.name, False, str(error))]
        finally:
            self._close()

    def check(self, sets: Sequence[ArtifactSet], threads: int) -> None:
        """Refuse a phone that cannot be used or has no app, and sets that no app runs."""
        self.require_adb()
        _ = self._installed  # raises where nothing is
        refuse_unfit(self.name, sets, _BACKENDS, described(self.identity.cpuinfo).flags, "this phone")

    def fingerprint(self) -> Any:
        """Return the phone, and the app that is installed."""
        return (self.answers_as(), self._installed)

    def open(self, job: Job, progress: Progress) -> Session:
        """Start the app, send the job, and hold the phone at one speed."""
        from edge_moe.benchmarks.targets.adb.contact import Contact
        from edge_moe.benchmarks.targets.app.session import AppSession

        self.check(job.sets, job.plan.threads)
        contact: Contact | None = None
        try:
            contact = Contact(self.phone)
            return AppSession(job, self.phone, contact, self.identity, progress)
        except BaseException:
            with contextlib.suppress(BackendError):  # it is told already what is wrong
                if contact is not None:
                    contact.close()
            self._close()
            raise

    @cached_property
    def _installed(self) -> str:
        """What is installed, so that two builds are told apart.

        Raises:
            BackendError: nothing is, or the phone is gone.
        """
        from edge_moe.benchmarks.targets.app.installed import installed

        return installed(self.phone)

    def _close(self) -> None:
        if self.was_looked_for:
            self.phone.close()


TARGET = App
