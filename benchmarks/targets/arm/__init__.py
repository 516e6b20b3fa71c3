"""Arm cores, emulated: exact counts of what the backends' own Arm binaries execute, on a machine without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_moe.backends import Tensor
from edge_moe.benchmarks.fitting import refuse_unfit
from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.runner.native import NATIVE, unsupported
from edge_moe.benchmarks.target import Availability, Prices, Session, Target
from edge_moe.benchmarks.targets.arm.cores import CORES
from edge_moe.benchmarks.targets.arm.emulator import Emulator
from edge_moe.benchmarks.targets.arm.set_up import ArmSetUp
from edge_moe.brought import cache_folder
from edge_moe.bundle import ArtifactSet, Bundle, PartSpec
from edge_moe.errors import BackendError, UsageError
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["TARGET", "Arm"]

_SET_UP = "'edge-moe devices setup arm'"


class Arm(Target):
    """`arm:cortex-a76` and its like; `arm` alone is what all of them are set up by."""

    kind = "arm"
    counts_exactly = True

    def __init__(self, parameter: str = "") -> None:
        """`parameter`: the core.

        Raises:
            UsageError: there is no such core.
        """
        if parameter and parameter not in CORES:
            raise UsageError(f"unknown device 'arm:{parameter}'; expected {_listed()}")
        super().__init__(parameter)
        self._set_up = ArmSetUp(cache_folder() / "arm")

    def available(self) -> list[Availability]:
        """Return every core, and each backend with what executes it there."""
        problem = self._problem()
        cores = [name for name in CORES if self.parameter in ("", name)]
        found = [Availability(f"arm:{name}", not problem, problem or CORES[name].words) for name in cores]
        return found + [Availability(f"arm, {name}", not problem, problem or one.words) for name, one in NATIVE.items()]

    def set_up(self) -> ArmSetUp:
        """Return what all cores share."""
        problem = _unsupported()
        if problem:
            raise UsageError(f"arm cannot be set up: {problem}")
        return self._set_up

    def check(self, sets: Sequence[ArtifactSet], threads: int) -> None:
        """Refuse what has no core, more than one thread, and sets that the core does not run."""
        _ = self.emulator  # usable at all?
        if threads != 1:
            raise UsageError(f"threads is {threads}; {self.name} emulates one core, where only 1 is counted exactly")
        refuse_unfit(self.name, sets, NATIVE, CORES[self.parameter].features.split(), self.parameter)

    def fingerprint(self) -> Any:
        """Return the core, and what it is emulated with."""
        return (self.name, self._set_up.items)

    def open(self, job: Job, progress: Progress) -> Session:
        """Return the core at work."""
        from edge_moe.benchmarks.targets.arm.session import ArmSession

        self.check(job.sets, job.plan.threads)
        return ArmSession(job, self.name, self.parameter, self.emulator)

    def outputs(self, bundle: Bundle, artifacts: ArtifactSet, part: str, inputs: Tensor) -> dict[str, Tensor]:
        """Run the part on the emulated core, in one process."""
        from edge_moe.benchmarks.targets.arm.session import outputs

        self.check([artifacts], 1)
        return outputs(self.emulator, bundle, artifacts, part, inputs)

    def price(
        self,
        files: Mapping[SetKey, Mapping[str, Path]],
        specs: Mapping[str, PartSpec],
        inputs: Mapping[str, Tensor],
        rounds: int,
        progress: Progress,
    ) -> Prices:
        """Count what parts execute, once: another time they would execute the same."""
        from edge_moe.benchmarks.targets.arm.session import price

        able = {key: parts for key, parts in files.items() if key.backend in NATIVE}
        return price(self.emulator, able, specs, inputs, progress)

    @cached_property
    def emulator(self) -> Emulator:
        """The core, whose set-up was found whole: all its files are hashed for that, so it is asked once.

        Raises:
            UsageError: no core was named.
            BackendError: it cannot be used here; says what to do.
        """
        if not self.parameter:
            raise UsageError(f"arm has to be told which core; expected {_listed()}")
        problem = self._problem()
        if problem:
            raise BackendError(f"{self.name} cannot be used: {problem}")
        return Emulator(self._set_up.folder, self.parameter)

    def _problem(self) -> str:
        """Return why it cannot be used here, and what to do; nothing where it can."""
        problem = _unsupported()
        if problem or self._set_up.complete:
            return problem
        missing = [item.name for item in self._set_up.items if not self._set_up.is_there(item)]
        part = "it is not set up" if len(missing) == len(self._set_up.items) else f"{', '.join(missing)} must be set up"
        return f"{part}: run {_SET_UP}"


def _unsupported() -> str:
    return unsupported("the emulator is for", "measure on such a machine, and bring results.json")


def _listed() -> str:
    return " or ".join(f"arm:{name}" for name in CORES)


TARGET = Arm
