"""Qualcomm's tool at work on a job: every part compiled once, its context binary kept, its estimate told.

Where QNN has an estimate, a cost is that: milliseconds of the NPU, and its cycles. Where it has none, nothing is known
of time, and a cost is how large a part's context binary is.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.target import Session
from edge_moe.benchmarks.targets.qnn.pins import QAIRT, WHEEL
from edge_moe.benchmarks.targets.qnn.socs import NEEDED, SOCS
from edge_moe.benchmarks.targets.qnn.tool import Estimate, Tool
from edge_moe.benchmarks.units import MS, UNITS, Unit
from edge_moe.benchmarks.wire import (
    SCHEMA_VERSION,
    Compiled,
    Cost,
    Costs,
    Machine,
    Opening,
    Provenance,
    Round,
    SetRound,
)
from edge_moe.bundle import ArtifactSet
from edge_moe.errors import BackendError
from edge_moe.output import writing
from edge_moe.progress import Progress
from edge_moe.records import file_sha256, sha256

__all__ = ["CONTEXT_BYTES", "VERSION", "WARNING", "QnnSession"]

VERSION = f"{WHEEL.name} {WHEEL.version}, QAIRT {QAIRT}"
CYCLES = UNITS["cycles"]
CONTEXT_BYTES = Unit(
    name="context_bytes",
    words="bytes of context binaries",
    symbol="KiB of context binaries",
    per=1024,
    deterministic=True,
    held=True,
)
WARNING = (
    "QNN's estimate is of the NPU's own work, and the call is not in it: a published measurement of MobileNetV3-Small "
    "on the sibling board (QCS9075, w8a16, 0.963 ms) is three times what QNN estimated for the whole network in a "
    "first trial (0.309 ms)"
)


class _Part(NamedTuple):
    """One part, compiled."""

    compiled: Compiled
    estimate: Estimate | None


class QnnSession(Session):
    """See the module."""

    def __init__(self, job: Job, name: str, soc: str, tool: Tool, contexts: Path, progress: Progress) -> None:
        """Compile all parts of the job.

        Args:
            job: to answer.
            name: of the target.
            soc: of SOCS.
            tool: for it.
            contexts: the folder in which context binaries are kept, for the user.
            progress: is told of every part.

        Raises:
            BackendError: the NPU does not take the whole of a part.
            OutputError: the folder cannot be written.
        """
        self._job, self._estimated = job, SOCS[soc].estimated
        step = f"compiling for {soc}, into {contexts / soc}"
        progress.start(step, sum(len(one.parts) for one in job.sets))
        self._sets = [self._compiled(one, contexts, soc, tool, progress, step) for one in job.sets]
        units = (MS, CYCLES) if self._estimated else (CONTEXT_BYTES,)
        estimated: Provenance = "estimated"
        self.opening = Opening(
            schema_version=SCHEMA_VERSION,
            target=name,
            units=units,
            machine=Machine(
                name=f"Qualcomm {soc}",
                processor=f"Hexagon HTP v{SOCS[soc].htp}",
                facts={"chip": SOCS[soc].words, "QNN's number of it": SOCS[soc].model},
            ),
            versions={str(one.key): VERSION for one in job.sets},
            provenance={unit.name: estimated for unit in units} if self._estimated else {},
            how=("by QNN at the end of its compilation" if self._estimated else f"as files (latency: {NEEDED})"),
            compiled={
                str(one.key): {part: made.compiled for part, made in parts.items()}
                for one, parts in zip(job.sets, self._sets, strict=True)
            },
            remarks=tuple(self._remarks(soc)),
            facts={
                "compilation": "htp_graph_finalization_optimization_mode 3, every layer on the NPU",
                "not in a cost": "calling the NPU, the exit rule, preparing the image",
            },
        )

    def __exit__(self, *_: object) -> None:
        """Nothing stays open."""

    def rounds(self, first: int, progress: Progress, step: str) -> Iterator[Round]:
        """Tell the estimates, or the sizes; all rounds are alike."""
        line = Round(sets=tuple(map(self._line, self._sets)))
        for _ in range(first, self._job.plan.rounds):
            progress.advance(step)
            yield line

    def _line(self, parts: Mapping[str, _Part]) -> SetRound:
        if not self._estimated:
            sizes: dict[str, Costs] = {
                part: {CONTEXT_BYTES.name: (float(one.compiled.bytes),)} for part, one in parts.items()
            }
            return SetRound(parts=sizes)
        costs, bounds = dict[str, Costs](), dict[str, dict[str, tuple[Cost, Cost]]]()
        for part, one in parts.items():
            assert one.estimate is not None
            us, cycles = one.estimate.us, one.estimate.cycles
            costs[part] = {MS.name: (us.value / 1000,), CYCLES.name: (cycles.value,)}
            bounds[part] = {MS.name: (us.low / 1000, us.high / 1000), CYCLES.name: (cycles.low, cycles.high)}
        return SetRound(parts=costs, bounds=bounds)

    def _compiled(
        self, artifacts: ArtifactSet, contexts: Path, soc: str, tool: Tool, progress: Progress, step: str
    ) -> dict[str, _Part]:
        """Compile every part of a set, all or none, into a folder named for its recipe and its very artifacts."""
        digest = sha256("".join(one.sha256 for one in artifacts.parts.values()).encode())
        name, found = f"{soc}/{artifacts.recipe.name}-{digest[:8]}", {}
        with writing(contexts / name):
            (contexts / soc).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=contexts / soc, prefix=".") as half:
                folder = Path(half) / "set"
                folder.mkdir()
                for part, artifact in artifacts.parts.items():
                    self._job.bundle.read(artifact)  # its bytes are those of the manifest
                    what, binary = f"{part} of {artifacts.key}", folder / f"{part}_qnn.bin"
                    estimate = tool.compile(self._job.bundle.path / artifact.file, what, folder / f"{part}.onnx")
                    if self._estimated and estimate is None:
                        raise BackendError(f"QNN gave no estimate of {what} for {soc}; report this")
                    made = Compiled(
                        file=f"{name}/{binary.name}",
                        bytes=binary.stat().st_size,
                        sha256=file_sha256(binary),
                        tool=WHEEL.name,
                        version=WHEEL.version,
                    )
                    found[part] = _Part(made, estimate)
                    progress.advance(step, part)
                shutil.rmtree(contexts / name, ignore_errors=True)
                folder.rename(contexts / name)
        return found

    def _remarks(self, soc: str) -> Iterator[str]:
        if not self._estimated:
            yield f"latency on {soc}: {NEEDED}; QNN has no estimate for it: costs here are sizes of files"
            return
        yield WARNING
        for one, parts in zip(self._job.sets, self._sets, strict=True):
            left_out = sum(made.estimate.left_out for made in parts.values() if made.estimate)
            if left_out:
                yield f"QNN's estimate of {one.key} is too low: it has no cost for {left_out} of its operations"
