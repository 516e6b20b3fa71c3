"""Sets of parts on a phone: sent once, run in any order, what they give and what they take brought back.

Axis letters: N inputs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge_moe.backends import Tensor
from edge_moe.benchmarks.runner.native import NATIVE
from edge_moe.benchmarks.runner.work import Described, Run, Work
from edge_moe.benchmarks.targets.adb.contact import Contact
from edge_moe.benchmarks.targets.adb.state import watts
from edge_moe.bundle import PartSpec
from edge_moe.errors import BackendError
from edge_moe.progress import Progress

__all__ = ["Answer", "Parts"]

_NS = 1e-6  # milliseconds in a nanosecond
_KEEP, _OUT, _WORK = "keep.f32", "out", "work"


class Answer(NamedTuple):
    """What the runner did, in milliseconds."""

    times: npt.NDArray[np.float64]  # one an interval
    begins: npt.NDArray[np.float64]  # when each began, since the first; empty unless they are repeated
    library: float  # from the start of the program until its library was there
    opening: dict[str, float]  # part -> until it was open
    peak_bytes: int  # the most memory that the program ever had
    outputs: list[dict[str, dict[str, Tensor]]]  # of each run: part -> name -> values; empty unless kept
    watts: float | None = None  # of the whole phone, while it ran; None: not read


class Parts:
    """The parts of one set."""

    def __init__(
        self,
        contact: Contact,
        name: str,
        backend: str,
        specs: Mapping[str, PartSpec],
        artifacts: Mapping[str, Described],
        progress: Progress,
    ) -> None:
        """`name`: a folder there of the set's own; `specs` and `artifacts`: as `Work` has them."""
        self._contact, self._name, self._backend = contact, name, backend
        self._artifacts, self._work = artifacts, Work(specs, artifacts)
        contact.put_runner(backend, progress)

    def send(self, files: Mapping[str, bytes], progress: Progress) -> None:
        """Write the artifacts, part -> bytes, checked."""
        self._contact.put({f"{self._name}/{part}": data for part, data in files.items()}, progress)

    def run(
        self,
        runs: Sequence[Run],
        given: str,
        cpus: Sequence[int],
        *,
        keep: bool = False,
        seconds: int = 0,
        power: bool = False,
    ) -> Answer:
        """Run what is asked, in one process.

        Args:
            runs: in their order.
            given: a file there, the inputs of the parts that are run first.
            cpus: to run on.
            keep: whether outputs are wanted.
            seconds: for which the runs are repeated; 0: once.
            power: whether the battery is read meanwhile.

        Raises:
            BackendError: the runner failed, or the phone is gone.
        """
        there = {part: f"{self._name}/{part}" for part in self._artifacts}
        work = self._work.lines(
            library=f"{self._backend}/{NATIVE[self._backend].library}",
            runs=runs,
            at=there,
            given=given,
            keep=_KEEP if keep else "",
            details=True,
            seconds=seconds,
        )
        self._contact.put({_WORK: work.encode()})
        done = self._contact.run(self._backend, _WORK, _OUT, cpus, seconds=seconds, power=power)
        if done.code != 0:
            raise BackendError(f"the runner on the phone failed: {done.last}")
        numbers = np.array(self._contact.get(_OUT).split(), np.int64)
        opened, asked = len(self._artifacts), sum(run.intervals for run in runs)
        times = numbers[1 + opened : -1]
        begins = times[:0]
        if seconds:  # each is told with when it began
            begins, times = times[: len(times) // 2 * 2].reshape(-1, 2).T
        if not len(times) or (not seconds and len(times) != asked):
            raise BackendError(
                f"the runner on the phone measured {len(times)} intervals, expected {asked}; report this"
            )
        return Answer(
            times=np.asarray(times * _NS, np.float64),
            begins=np.asarray(begins * _NS, np.float64),
            library=float(numbers[0] * _NS),
            opening=dict(zip(self._artifacts, (numbers[1 : 1 + opened] * _NS).tolist(), strict=True)),
            peak_bytes=int(numbers[-1]),
            outputs=self._kept(runs) if keep else [],
            watts=watts(self._contact.get("power").decode(errors="replace").splitlines()) if power else None,
        )

    def _kept(self, runs: Sequence[Run]) -> list[dict[str, dict[str, Tensor]]]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / _KEEP
            file.write_bytes(self._contact.get(_KEEP))
            return self._work.read(file, runs)
