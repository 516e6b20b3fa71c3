"""Qualcomm's NPU (HTP), without one: its vendor's compiler, estimate and simulator, by onnxruntime-qnn.

The estimate is what QNN itself says at the end of a compilation, for the few chips that it says it for; no figure is
made here. For phones there are context binaries, and no latency.
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_moe.backends import Tensor
from edge_moe.benchmarks.fitting import refuse_unfit
from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.runner.native import unsupported
from edge_moe.benchmarks.target import Availability, Prices, Session, Target
from edge_moe.benchmarks.targets.qnn.set_up import QnnSetUp
from edge_moe.benchmarks.targets.qnn.socs import NEEDED, SOCS
from edge_moe.brought import cache_folder
from edge_moe.bundle import ArtifactSet, Bundle, PartSpec
from edge_moe.converters.recipe import QNN
from edge_moe.errors import BackendError, MissingExtraError, UsageError
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["TARGET", "Qnn"]

_BACKEND, _FLOAT = "onnx", "fp32"
_SET_UP = "'edge-moe devices setup qnn'"
# Bits of an activation -> kind of part -> relative error up to which the HTP's answer is right, see docs/devices.md: it
# rounds elsewhere than ONNX Runtime does. Seen at most, with 8 bits, of two trained networks, a ResNet-18 and that of
# the tests: 0.18, 0.13 of an expert, 0.049 of a gate (an untrained MobileNetV3 is mostly rounding, and fails); with 16,
# of these and two untrained MobileNetV3: 0.012.
TOLERANCES = {
    8: {"base": 0.3, "gate": 0.1, "expert": 0.2},
    16: dict.fromkeys(("base", "gate", "expert"), 0.03),
}
_GLIBC = (2, 35)  # as the wheel's name says
_ESTIMATED = [name for name, one in SOCS.items() if one.estimated]
_NEEDED = {"onnxruntime": "onnx", "onnx": "convert"}  # package -> extra


class Qnn(Target):
    """`qnn:QCS9100` and its like; `qnn` alone is what all of them are set up by."""

    kind = "qnn"
    counts_exactly = True
    own_backend = _BACKEND

    def __init__(self, parameter: str = "") -> None:
        """`parameter`: the chip.

        Raises:
            UsageError: there is no such chip.
        """
        if parameter and parameter not in SOCS:
            raise UsageError(f"unknown device 'qnn:{parameter}'; expected {_listed()}")
        super().__init__(parameter)
        self._set_up = QnnSetUp(cache_folder() / "qnn")

    @property
    def row(self) -> str:
        """That of all chips: what they take as a whole is the same."""
        return QNN

    def available(self) -> list[Availability]:
        """Return every chip, and what compiles for them."""
        from edge_moe.benchmarks.targets.qnn.session import VERSION

        problem = self._problem
        chips = [name for name in SOCS if self.parameter in ("", name)]
        found = [Availability(f"qnn:{name}", not problem, problem or SOCS[name].about) for name in chips]
        return [*found, Availability(f"qnn, {_BACKEND}", not problem, problem or VERSION)]

    def set_up(self) -> QnnSetUp:
        """Return what all chips share."""
        problem = _unsupported()
        if problem:
            raise UsageError(f"qnn cannot be set up: {problem}")
        return self._set_up

    def check(self, sets: Sequence[ArtifactSet], threads: int) -> None:
        """Refuse what has no chip, more than one thread, other backends' sets, and those in float."""
        if not self.parameter:
            raise UsageError(f"qnn has to be told which chip; expected {_listed()}")
        for package, extra in _NEEDED.items():
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, extra, f"the device {self.name}")
        if self._problem:
            raise BackendError(f"{self.name} cannot be used: {self._problem}")
        if threads != 1:
            raise UsageError(f"threads is {threads}; {self.name} is compiled for, not run: expected 1")
        refuse_unfit(self.name, sets, (_BACKEND,), (), f"an HTP of {self.parameter}")
        for one in sets:
            if one.recipe.name == _FLOAT:
                # Seen with 2.7.0: in fp16, with a relative error of 1 where int8 has some percent.
                raise BackendError(
                    f"{one.key} cannot run on {self.name}: of layers in float QNN's simulator computes something else "
                    "than they say; choose others with --set"
                )

    def examine(self, bundle: Bundle, sets: Sequence[ArtifactSet]) -> None:
        """Compile one part of each kind: experts are alike, and an operator that is not taken is said at once."""
        for artifacts in sets:
            kinds = {bundle.manifest.parts[part].kind: part for part in reversed(list(artifacts.parts))}
            for part in reversed(kinds.values()):
                self._tool.compile(_file(bundle, artifacts, part), f"{part} of {artifacts.key}")

    def fingerprint(self) -> Any:
        """Return the chip, and what compiles for it."""
        return (self.name, self._set_up.items)

    def open(self, job: Job, progress: Progress) -> Session:
        """Compile what the job has."""
        from edge_moe.benchmarks.targets.qnn.session import QnnSession

        self.check(job.sets, job.plan.threads)
        return QnnSession(job, self.name, self.parameter, self._tool, self._set_up.folder / "contexts", progress)

    def outputs(self, bundle: Bundle, artifacts: ArtifactSet, part: str, inputs: Tensor) -> dict[str, Tensor]:
        """Run the part on QNN's simulator of the NPU."""
        self.check([artifacts], 1)
        found: dict[str, Tensor] = self._tool.run(_file(bundle, artifacts, part), f"{part} of {artifacts.key}", inputs)
        names = {one.name for one in bundle.manifest.parts[part].outputs}
        if set(found) != names:
            raise BackendError(f"{part} of {artifacts.key} gave {', '.join(found)} on {self.name}; report this")
        return found

    def price(
        self,
        files: Mapping[SetKey, Mapping[str, Path]],
        specs: Mapping[str, PartSpec],
        inputs: Mapping[str, Tensor],
        rounds: int,
        progress: Progress,
    ) -> Prices:
        """Tell QNN's estimate of parts, once: another time it would be the same.

        Raises:
            UsageError: there is none for the chip.
        """
        if not self.ranks:
            raise UsageError(f"{self.name} cannot rank recipes: {self.no_ranking}")
        self.check((), 1)
        from edge_moe.benchmarks.targets.qnn.price import price

        return price(self._tool, {key: parts for key, parts in files.items() if key.backend == _BACKEND}, progress)

    @property
    def ranks(self) -> bool:
        """Whether QNN has an estimate for the chip."""
        return self.parameter in _ESTIMATED

    @property
    def no_ranking(self) -> str:
        """That there is no estimate, and for which chips there is one."""
        return (
            f"QNN has no estimate for this chip ({NEEDED}); name one that it has one for, such as --for "
            f"qnn:{_ESTIMATED[0]}, which takes the same sets"
        )

    def ranked_by(self) -> Target:
        """Return the chip, or of none the first that QNN has an estimate for."""
        return self if self.parameter else Qnn(_ESTIMATED[0])

    def tolerance(self, artifacts: ArtifactSet, part: str) -> float | None:
        """Return that of the part's kind, by the bits of the set's activations: of 8 a step is much."""
        return TOLERANCES[artifacts.recipe.settings.get("activation_bits", 8)][part.partition("_")[0]]

    @cached_property
    def _tool(self) -> Any:
        from edge_moe.benchmarks.targets.qnn.tool import Tool

        return Tool(self._set_up.libraries, SOCS[self.parameter].model, self.name)

    @cached_property
    def _problem(self) -> str:
        """Why it cannot be used here, and what to do; asked once, for every file is hashed for that."""
        problem = _unsupported()
        if problem or self._set_up.complete:
            return problem
        return f"its tools are not set up: run {_SET_UP}"


def _unsupported() -> str:
    problem: str = unsupported("Qualcomm's tools are for", "measure on such a machine, and bring results.json")
    if problem:
        return problem
    library, version = platform.libc_ver()
    numbers = tuple(int(one) for one in version.split(".")[:2] if one.isdigit())
    if library == "glibc" and numbers < _GLIBC:
        return f"Qualcomm's tools need glibc 2.35 or newer, and this system has {version}; use a newer Linux"
    return ""


def _file(bundle: Bundle, artifacts: ArtifactSet, part: str) -> Path:
    """Return the part's artifact, whose bytes are those of the manifest."""
    bundle.read(artifacts.parts[part])
    return bundle.path / artifacts.parts[part].file


def _listed() -> str:
    return ", ".join(f"qnn:{name}" for name in SOCS)


TARGET = Qnn
