"""A phone by cable or over Wi-Fi, through adb: milliseconds of the backends' own Arm libraries, from its shell."""

from __future__ import annotations

import atexit
import contextlib
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edge_moe.backends import Tensor
from edge_moe.benchmarks.elsewhere import golden_problem
from edge_moe.benchmarks.fitting import refuse_unfit
from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.runner.native import NATIVE, unsupported
from edge_moe.benchmarks.target import Availability, Prices, Session
from edge_moe.benchmarks.targets.adb.on_phone import PIP, OnPhone, has_adb
from edge_moe.benchmarks.targets.adb.set_up import AdbSetUp
from edge_moe.brought import cache_folder
from edge_moe.bundle import ArtifactSet, Bundle, PartSpec
from edge_moe.converters.ranking import row_of
from edge_moe.errors import BackendError, EdgeMoeError, UsageError
from edge_moe.processor import described
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

if TYPE_CHECKING:
    from edge_moe.benchmarks.targets.adb.contact import Contact
    from edge_moe.benchmarks.targets.adb.state import Identity

__all__ = ["TARGET", "Adb"]

_SET_UP, _ABI = "'edge-moe devices setup adb'", "arm64-v8a"
_WORDS = "any phone with Android 8 or later and USB debugging, in milliseconds"


class Adb(OnPhone):
    """`adb:SERIAL`; `adb` where one phone is connected."""

    kind = "adb"
    sustains = True
    _contacts: ClassVar[dict[str, Contact]] = {}  # serial -> ours: who asks again finds it

    def __init__(self, parameter: str = "") -> None:
        """`parameter`: its serial number, as `adb devices` tells it; empty: the only one."""
        super().__init__(parameter)
        self._set_up = AdbSetUp(cache_folder() / "adb")

    @property
    def row(self) -> str:
        """Of the committed table of recipes: that of a processor with such instructions."""
        return row_of(described(self.identity.cpuinfo), "aarch64")

    def available(self) -> list[Availability]:
        """Return whether phones can be measured from here; whether this one can, where one was named.

        Where none was named, nobody is asked: adb's server would be started, and goes on running.
        """
        problem = self._problem()
        found = [Availability(self.name if self.parameter else "adb:SERIAL", not problem, problem or _WORDS)]
        if self.parameter and not problem:
            try:
                found = [Availability(self.name, True, f"{self.identity.model}, {self.identity.soc}")]
            except EdgeMoeError as error:
                return [Availability(self.name, False, str(error))]
            finally:
                self.close()
        return found + [Availability(f"adb, {name}", not problem, problem or one.words) for name, one in NATIVE.items()]

    def set_up(self) -> AdbSetUp:
        """Return what goes to phones."""
        problem = _unsupported()
        if problem:
            raise UsageError(f"adb cannot be set up: {problem}")
        return self._set_up

    def check(self, sets: Sequence[ArtifactSet], threads: int) -> None:
        """Refuse a phone that cannot be used, more than one thread, and sets that it does not run."""
        self.require_adb()
        problem = self._problem()
        if problem:
            raise BackendError(f"{self.name} cannot be used: {problem}")
        if threads != 1:
            raise UsageError(f"threads is {threads}; {self.name} runs the native runner, which has 1")
        flags = described(self.identity.cpuinfo).flags
        refuse_unfit(self.name, sets, NATIVE, flags, "this phone")

    def fingerprint(self) -> Any:
        """Return the phone, and what goes to it."""
        return (self.answers_as(), self._set_up.items)

    def open(self, job: Job, progress: Progress) -> Session:
        """Check the golden samples there, send the job, and hold the phone at one speed."""
        from edge_moe.benchmarks.targets.adb.session import AdbSession

        self.check(job.sets, job.plan.threads)
        try:
            self._check_golden(job)
            return AdbSession(job, self.phone, self._contact(), self.identity, progress)
        except BaseException:
            with contextlib.suppress(BackendError):  # it is told already what is wrong
                self.close()
            raise

    def outputs(self, bundle: Bundle, artifacts: ArtifactSet, part: str, inputs: Tensor) -> dict[str, Tensor]:
        """Run the part on the phone, in one process."""
        from edge_moe.benchmarks.runner.work import Run
        from edge_moe.benchmarks.targets.adb.parts import Parts
        from edge_moe.progress import Silent

        self.check([artifacts], 1)
        contact, artifact = self._contact(), artifacts.parts[part]
        only = {part: artifact}
        parts = Parts(contact, "asked", artifacts.backend, bundle.manifest.parts, only, Silent())
        parts.send({part: bundle.read(artifact)}, Silent())
        contact.put({"asked/inputs": np.ascontiguousarray(inputs, "<f4").tobytes()})
        runs = [Run(index, (part,), whole=True) for index in range(len(inputs))]
        found = parts.run(runs, "asked/inputs", self._cpus, keep=True).outputs
        names = [one.name for one in bundle.manifest.parts[part].outputs]
        return {name: np.concatenate([one[part][name] for one in found]) for name in names}

    def price(
        self,
        files: Mapping[SetKey, Mapping[str, Path]],
        specs: Mapping[str, PartSpec],
        inputs: Mapping[str, Tensor],
        rounds: int,
        progress: Progress,
    ) -> Prices:
        """Time parts on the phone, sets in turns."""
        from edge_moe.benchmarks.targets.adb.price import price

        self.check((), 1)
        able = {key: parts for key, parts in files.items() if key.backend in NATIVE}
        try:
            return price(self._contact(), self._cpus, able, specs, inputs, rounds, progress)
        finally:
            self.close()

    def close(self) -> None:
        """Have everything put back on the phone, and removed."""
        if not self.was_looked_for:
            return
        contact = self._contacts.pop(self.serial, None)
        try:
            if contact is not None:
                contact.close()
        finally:
            self.phone.close()

    @cached_property
    def identity(self) -> Identity:
        """What the phone is.

        Raises:
            UsageError: several are connected, and none was named.
            BackendError: it is not there, does not answer, or cannot run what goes to it.
        """
        from edge_moe.benchmarks.targets.adb.state import identity

        found = identity(self.phone)
        abis = found.get("ro.product.cpu.abilist")
        if _ABI not in abis.split(","):
            raise BackendError(f"{self.name} cannot be used: it runs programs for {abis or 'unknown'}; expected {_ABI}")
        return found

    @cached_property
    def _cpus(self) -> tuple[int, ...]:
        from edge_moe.benchmarks.targets.adb.state import state

        return state(self.phone).biggest

    def _contact(self) -> Contact:
        from edge_moe.benchmarks.targets.adb.contact import Contact

        if self.serial not in self._contacts or self._contacts[self.serial].is_over:
            self._contacts[self.serial] = Contact(self.phone, self._set_up.folder)
        return self._contacts[self.serial]

    def _check_golden(self, job: Job) -> None:
        """Raise unless the phone computes what the bundle's golden samples say."""
        for artifacts in job.sets:
            problem = golden_problem(self.outputs, job.bundle, artifacts)
            if problem:
                raise BackendError(
                    f"{self.name} computes something else than the bundle's golden samples: {problem}; see 'edge-moe "
                    f"verify {job.bundle.path} --device {self.name}'"
                )

    def _problem(self) -> str:
        """Return why no phone can be measured from here, and what to do; nothing where one can."""
        if not has_adb():
            return PIP
        problem = _unsupported()
        return problem or ("" if self._complete else f"it is not set up: run {_SET_UP}")

    @cached_property
    def _complete(self) -> bool:
        """Whether the set-up is whole: all its files are hashed for that, so it is asked once."""
        return self._set_up.complete


def _unsupported() -> str:
    return unsupported("the runner is compiled on", "measure from such a machine")


@atexit.register
def _let_go() -> None:
    """Let no phone be as it was measured when this process ends."""
    for contact in list(Adb._contacts.values()):
        try:
            contact.close()
        except EdgeMoeError as error:
            print(f"edge-moe: warning: {error}", file=sys.stderr)


TARGET = Adb
