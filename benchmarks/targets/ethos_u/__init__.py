"""Arm's Ethos-U, without one: what its compiler says a part costs, and what the reference model says it answers.

Vela's figures are estimates of an NPU in a named system; nothing is added to them. A bundle's set `ethos-u/...` is one
for all sizes of the NPU: each is compiled for here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_moe import backends
from edge_moe.backends import Backend, Tensor
from edge_moe.backends.reference_model import KIND, VERSION
from edge_moe.backends.tosa import unpack
from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.target import Availability, Prices, Session, Target
from edge_moe.benchmarks.targets.ethos_u.configs import NPUS, Config, Mode, parse, systems
from edge_moe.benchmarks.targets.ethos_u.set_up import EthosUSetUp, unsupported
from edge_moe.benchmarks.units import Unit
from edge_moe.brought import cache_folder
from edge_moe.bundle import ArtifactSet, Bundle, PartSpec
from edge_moe.errors import BackendError, UsageError
from edge_moe.progress import Progress, Silent
from edge_moe.sets import SetKey

__all__ = ["TARGET", "EthosU"]

_SET_UP = f"'edge-moe devices setup {KIND}'"
_RANKED_BY = NPUS[0]  # where no NPU is named: recipes differ on all of them alike


class EthosU(Target):
    """`ethos-u:u55-256` and its like; `ethos-u` alone is what all of them are set up by, and recipes are ranked by."""

    kind = KIND
    counts_exactly = True
    own_backend = KIND

    def __init__(self, parameter: str = "") -> None:
        """`parameter`: the NPU, and what else is known of the chip, see configs.py.

        Raises:
            UsageError: there is no such NPU, or not in such a system.
        """
        super().__init__(parameter)
        self._config = parse(parameter) if parameter else None
        self._set_up = EthosUSetUp(cache_folder() / KIND)
        self._known: dict[tuple[str, str], Any] = {}  # (digest of an artifact, memory mode) -> what Vela said of it

    @property
    def row(self) -> str:
        """Of the committed table of recipes: one for all."""
        return KIND

    def available(self) -> list[Availability]:
        """Return every NPU, with its systems, and what compiles and answers for them."""
        from edge_moe.benchmarks.targets.ethos_u.vela import VERSION as VELA

        problem = self._problem
        npus = NPUS if self._config is None else (self._config.npu,)
        found = [Availability(f"{KIND}:{one}", not problem, problem or ", ".join(systems(one))) for one in npus]
        return [*found, Availability(f"{KIND}, {KIND}", not problem, problem or f"{VELA}, {VERSION}")]

    def set_up(self) -> EthosUSetUp:
        """Return what all NPUs share."""
        if problem := unsupported():
            raise UsageError(f"{KIND} cannot be set up: {problem}")
        return self._set_up

    def check(self, sets: Sequence[ArtifactSet], threads: int) -> None:
        """Refuse what has no NPU, more than one thread, other backends' sets, and those in float."""
        self._named()
        if self._problem:
            raise BackendError(f"{self.name} cannot be used: {self._problem}")
        if threads != 1:
            raise UsageError(f"threads is {threads}; {self.name} is compiled for, not run: expected 1")
        for one in sets:
            if one.backend != KIND or one.key.is_float:
                why = "of float numbers" if one.backend == KIND else f"of {one.backend}"
                raise BackendError(
                    f"{one.key} cannot run on {self.name}: it is {why}, and the NPU takes what 'edge-moe convert --for "
                    f"{KIND}' makes; choose others with --set"
                )

    def examine(self, bundle: Bundle, sets: Sequence[ArtifactSet]) -> None:
        """Compile every part: what the NPU does not take, or has no room for, is said at once."""
        self._modes(bundle, sets, Silent())

    def fingerprint(self) -> Any:
        """Return the NPU with its system, and what compiles for it."""
        return (self.name, self._config, self._set_up.items)

    def open(self, job: Job, progress: Progress) -> Session:
        """Compile what the job has, unless that was done a moment ago."""
        from edge_moe.benchmarks.targets.ethos_u.session import EthosUSession

        self.check(job.sets, job.plan.threads)
        modes = self._modes(job.bundle, job.sets, progress)
        found = {
            one.key: {
                part: {mode.name: self._known[made.sha256, mode.name] for mode in modes}
                for part, made in one.parts.items()
            }
            for one in job.sets
        }
        return EthosUSession(job, self.name, self._named(), modes, found)

    def backend(self, bundle: Bundle, name: str) -> Backend:
        """Return the reference model: every NPU answers as it does."""
        if name != KIND:
            raise UsageError(f"{self.name} runs artifacts of {KIND}, not of {name}; choose a set with --set")
        return backends.get(name)

    def price(
        self,
        files: Mapping[SetKey, Mapping[str, Path]],
        specs: Mapping[str, PartSpec],
        inputs: Mapping[str, Tensor],
        rounds: int,
        progress: Progress,
    ) -> Prices:
        """Compile every part of every set once; another time Vela would say the same."""
        from edge_moe.benchmarks.targets.ethos_u.session import costs, units
        from edge_moe.benchmarks.targets.ethos_u.vela import estimates

        config = self._config or parse(_RANKED_BY)
        mode, samples = config.modes[:1], dict[SetKey, dict[str, list[list[float]]]]()
        unit: Unit = units(mode, 0)[0]
        for key, parts in files.items():
            if key.backend != KIND or key.is_float:
                continue
            graphs = {part: unpack(file.read_bytes()).graph for part, file in parts.items()}
            found = estimates(config, mode, graphs, progress, f"compiling {key} for {config.npu}")
            samples[key] = {part: [list(costs(one, mode)[unit.name])] for part, one in found.items()}
        return Prices(unit, samples)

    def _modes(self, bundle: Bundle, sets: Sequence[ArtifactSet], progress: Progress) -> list[Mode]:
        """Compile what was not yet; return the memory modes in which the chip has room for all parts.

        Raises:
            BackendError: the NPU does not take a part, or there is no room for one.
        """
        from edge_moe.benchmarks.targets.ethos_u.vela import estimates

        config = self._named()
        for artifacts in sets:
            graphs = {
                f"{part} of {artifacts.key}": (one, unpack(bundle.read(one)).graph)
                for part, one in artifacts.parts.items()
                if any((one.sha256, mode.name) not in self._known for mode in config.modes)
            }
            step = f"compiling {artifacts.key} for {config.npu}"
            found = estimates(
                config, config.modes, {name: graph for name, (_, graph) in graphs.items()}, progress, step
            )
            for name, by_mode in found.items():
                for mode, one in by_mode.items():
                    self._known[graphs[name][0].sha256, mode] = one
        return [mode for mode in config.modes if all(self._fits(config, mode, one) for one in sets)]

    def _fits(self, config: Config, mode: Mode, artifacts: ArtifactSet) -> bool:
        """Return whether the chip has room for a set in a mode; weights in SRAM need not be possible, the rest must.

        Raises:
            BackendError: there is no room for a part's tensors.
        """
        if config.sram_kib is None:
            return True
        room = config.sram_kib * 1024
        found = {part: self._known[one.sha256, mode.name] for part, one in artifacts.parts.items()}
        if mode.weights == "SRAM":  # those of all parts, beside the tensors of the part that runs
            weights = sum(one.facts["weights in SRAM bytes"] for one in found.values())
            return bool(weights + max(one.facts["SRAM bytes"] for one in found.values()) <= room)
        for part, one in found.items():
            if one.facts["SRAM bytes"] > room:
                needed = f"{one.facts['SRAM bytes'] / 1024:,.0f} KiB of SRAM, most of it in {one.widest}"
                raise BackendError(
                    f"{part} of {artifacts.key} needs {needed}, and {self.name} has {config.sram_kib:,}; take a "
                    "smaller image or network, or a larger sram="
                )
        return True

    def _named(self) -> Config:
        if self._config is None:
            named = ", ".join(f"{KIND}:{one}" for one in NPUS)
            raise UsageError(f"{KIND} has to be told which NPU; expected one of {named}")
        return self._config

    @cached_property
    def _problem(self) -> str:
        """Why it cannot be used here, and what to do; asked once, for every file is hashed for that."""
        problem = unsupported()
        if problem or self._set_up.complete:
            return problem
        return f"its tools are not set up: run {_SET_UP}"


TARGET = EthosU
