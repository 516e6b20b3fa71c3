"""Running the native runner on an emulated core, and reading what was counted.

QEMU translates the runner's instructions and the libraries', one by one; our plugin counts them between marks. Its time
means nothing. Counts repeat to the last digit: one thread, one environment, a time of day that stands still, and one
layout of memory (`-R`: the guest's addresses lie in a range of their own, whatever this machine has mapped).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge_moe.backends import Tensor
from edge_moe.benchmarks.runner.native import NATIVE, RUNNER
from edge_moe.benchmarks.runner.work import KEEP, WORK, Described, Run, Work
from edge_moe.benchmarks.targets.arm.set_up import COUNTS, EMULATOR, ROOT, STILL
from edge_moe.bundle import PartSpec
from edge_moe.errors import BackendError
from edge_moe.orphans import end_with_parent

__all__ = ["KINDS", "Answer", "Counts", "Emulator"]

KINDS = ("instructions", "simd", "dot_products", "loads", "stores")  # in the order of the plugin's columns
_NAME_LENGTH = 160
_MEMORY = "0x1000000000"  # 64 GiB of addresses for the guest, not of memory

Counts = npt.NDArray[np.int64]


class Answer(NamedTuple):
    """What the runner did."""

    counts: Counts  # [intervals, KINDS]; empty without marks
    outputs: list[dict[str, dict[str, Tensor]]]  # of each run: part -> name -> values; empty unless kept


class Emulator:
    """One core of a set-up that is complete."""

    def __init__(self, folder: Path, core: str) -> None:
        """`folder`: of the set-up."""
        self._folder, self._core = folder, core

    def run(
        self,
        backend: str,
        specs: Mapping[str, PartSpec],
        artifacts: Mapping[str, Described],
        files: Mapping[str, Path],
        inputs: npt.NDArray[np.float32],
        runs: Sequence[Run],
        *,
        keep: bool = False,
        marks: bool = True,
    ) -> Answer:
        """Open the parts and run what is asked; arguments as `Work` has them.

        Raises:
            BackendError: the runner refused an artifact, or failed.
        """
        work = Work(specs, artifacts)
        with _folder() as folder:
            shutil.copytree(self._folder / backend, folder / "lib", ignore=shutil.ignore_patterns("include"))
            shutil.copy(self._folder / RUNNER / f"runner-{backend}", folder / "runner")
            shutil.copy(self._folder / RUNNER / STILL, folder / STILL)
            work.write(
                folder,
                library=f"lib/{NATIVE[backend].library}",
                files=files,
                inputs=inputs,
                runs=runs,
                keep=keep,
                marks=marks,
            )
            self._start(folder, marks=marks)
            counts = np.empty((0, len(KINDS)), np.int64)
            if marks:
                counts = np.loadtxt(folder / "counts", np.int64, ndmin=2)
                asked = sum(run.intervals for run in runs)
                if counts.shape != (asked, len(KINDS)):
                    raise BackendError(f"{len(counts)} intervals were counted, expected {asked}; report this")
            return Answer(counts, work.read(folder / KEEP, runs) if keep else [])

    def _start(self, folder: Path, *, marks: bool) -> None:
        emulator = self._folder / EMULATOR
        # By the emulator's own loader and libraries: this system may have others, or none.
        command = [emulator / "ld-linux-x86-64.so.2", "--library-path", emulator, emulator / "qemu-aarch64"]
        command += ["-R", _MEMORY, "-cpu", self._core, "-L", self._folder / ROOT / self._core]
        command += ["-E", f"LD_PRELOAD=./{STILL}", "-E", "LD_LIBRARY_PATH=lib"]
        if marks:
            command += ["-plugin", f"file={self._folder / RUNNER / COUNTS},out=counts"]
        done = subprocess.run(
            [*map(str, command), "./runner", WORK],
            cwd=folder,
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=partial(end_with_parent, os.getpid()),
        )
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
            code = done.returncode
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            raise BackendError(f"the runner on the emulated {self._core} failed: {lines[-1]} ({how})")


@contextmanager
def _folder() -> Iterator[Path]:
    """Make a folder whose name has one length wherever it lies, and remove it afterwards.

    ONNX Runtime asks the system where its files are, and what it does with memory depends on how long the answer is. So
    all that it sees is copied, too.
    """
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name).resolve()
        folder = outer / ("x" * max(1, _NAME_LENGTH - len(str(outer)) - 1))
        folder.mkdir()
        yield folder
