"""The machine that the harness itself runs on: milliseconds, of parts and of whole predictions."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_moe import backends
from edge_moe.backends import Backend, Tensor
from edge_moe.benchmarks.elsewhere import run_each
from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.target import Availability, Prices, Session, Target
from edge_moe.bundle import ArtifactSet, Bundle, PartSpec
from edge_moe.errors import BackendError, MissingExtraError, UsageError
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["TARGET", "Host"]


class Host(Target):
    """The machine that the harness itself runs on."""

    kind = "host"
    is_here = True
    sustains = True

    def __init__(self, parameter: str = "") -> None:
        """There is one host."""
        if parameter:
            raise UsageError(f"unknown device 'host:{parameter}'; expected host: this machine has no parameter")
        super().__init__()

    def available(self) -> list[Availability]:
        """Return the host, which is always there, and each backend with its version or the extra that brings it."""
        found = [Availability("host", True, f"{platform.system()} {platform.machine()}, in milliseconds")]
        for name in backends.names():
            try:
                found.append(Availability(f"host, {name}", True, backends.get(name).version()))
            except (MissingExtraError, BackendError) as error:
                found.append(Availability(f"host, {name}", False, str(error)))
        return found

    def check(self, sets: Sequence[ArtifactSet], threads: int) -> None:
        """Refuse an NPU's sets: what their emulator takes here says nothing of the NPU."""
        for one in sets:
            if one.runs_on.npu is not None:
                raise BackendError(
                    f"{one.key} is for the NPU {one.runs_on.npu}, which is only emulated here: its answers can be had, "
                    "and not its times; measure on a device of 'edge-moe devices' that is one, or choose others with "
                    "--set"
                )

    def open(self, job: Job, progress: Progress) -> Session:
        """Pin the process, load every set, and make the peers."""
        from edge_moe.benchmarks.targets.host.session import HostSession

        return HostSession(job, progress)

    def fingerprint(self) -> Any:
        """Return what machine this is."""
        from edge_moe.benchmarks.machine import this_machine

        return this_machine()

    def outputs(self, bundle: Bundle, artifacts: ArtifactSet, part: str, inputs: Tensor) -> dict[str, Tensor]:
        """Run the part here, on one input after the other."""
        names = [one.name for one in bundle.manifest.parts[part].outputs]
        opened = backends.get(artifacts.backend).open(bundle.read(artifacts.parts[part]))
        try:
            return run_each(opened, names, inputs)
        finally:
            opened.close()

    def price(
        self,
        files: Mapping[SetKey, Mapping[str, Path]],
        specs: Mapping[str, PartSpec],
        inputs: Mapping[str, Tensor],
        rounds: int,
        progress: Progress,
    ) -> Prices:
        """Time them on one core."""
        from edge_moe.benchmarks.targets.host.price import price

        own = {key: parts for key, parts in files.items() if backends.record(key.backend).npu is None}
        return price(own, inputs, rounds, progress)

    def backend(self, bundle: Bundle, name: str) -> Backend:
        """Return the backend itself."""
        return backends.get(name)


TARGET = Host
