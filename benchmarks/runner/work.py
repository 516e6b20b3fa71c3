"""What the native runner is told, and what comes back: its WORK file and the files beside it, see main.c.

Axis letters: N inputs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_moe.backends import PartTensor, PartTensors, Tensor
from edge_moe.bundle import PartArtifact, PartSpec
from edge_moe.errors import BackendError

__all__ = ["GIVEN", "KEEP", "WORK", "Described", "Run", "Work"]

WORK, GIVEN, KEEP = "work", "given.f32", "keep.f32"
_FEEDS = {"gate": "embedding", "expert": "features"}  # kind of a part -> the base's output that it reads


# Whatever says of an artifact what goes in and what comes out, in the file's own order.
Described: TypeAlias = PartArtifact | PartTensors


class Run(NamedTuple):
    """Some parts on one input."""

    input_index: int
    parts: tuple[str, ...]  # base first, unless a part is run alone
    whole: bool  # in one interval, or each part in one of its own

    @property
    def intervals(self) -> int:
        """How many intervals it is measured in."""
        return 1 if self.whole else len(self.parts)


class Work:
    """Parts of one set, and what to run."""

    def __init__(self, specs: Mapping[str, PartSpec], artifacts: Mapping[str, Described]) -> None:
        """`specs` and `artifacts`: of the parts that are opened, in this order."""
        self._specs, self._artifacts = specs, artifacts

    def lines(
        self,
        *,
        library: str,
        runs: Sequence[Run],
        at: Mapping[str, str] | None = None,
        given: str = GIVEN,
        keep: str = "",
        marks: bool = False,
        details: bool = False,
        seconds: int = 0,
    ) -> str:
        """Return the WORK file.

        Args:
            library: file that executes the artifacts, relative to the folder in which the runner is started, as all.
            runs: in their order.
            at: part -> its artifact; None: under the part's name.
            given: the inputs of the parts that are run first, float32 [N, ...].
            keep: where the outputs go; empty: nowhere.
            marks: whether an emulator counts.
            details: whether opening and memory are told, too.
            seconds: for which the runs are repeated, whole; 0: each is run once.
        """
        lines = [f"library {library}", "threads 1"]
        for name, artifact in self._artifacts.items():
            (taken,) = artifact.inputs
            lines += [f"part {name} {at[name] if at else name}", f"input {_described(taken)}"]
            lines += [f"output {_described(one)}" for one in artifact.outputs]
        if "base" in self._artifacts:
            lines += [
                f"feed {name} base {_FEEDS[self._specs[name].kind]}" for name in self._artifacts if name != "base"
            ]
        lines += [f"given {given}", *([f"keep {keep}"] if keep else []), *(["marks"] if marks else [])]
        lines += [*(["details"] if details else []), *([f"for {seconds}"] if seconds else [])]
        lines += [f"{'whole' if run.whole else 'each'} {run.input_index} {' '.join(run.parts)}" for run in runs]
        return "\n".join(lines) + "\n"

    def write(
        self,
        folder: Path,
        *,
        library: str,
        files: Mapping[str, Path],
        inputs: npt.NDArray[np.float32],
        runs: Sequence[Run],
        keep: bool,
        marks: bool,
    ) -> None:
        """Write everything into `folder`, under names that are the same wherever it lies.

        An emulated program's memory holds its arguments: where they differ in length, all that comes after lies
        elsewhere, and copies are made with other instructions.

        Args:
            folder: empty.
            library: file that executes the artifacts, relative to `folder`.
            files: part -> where its artifact lies, its bytes checked.
            inputs: float32 [N, ...] of the parts that are run first.
            runs: in their order.
            keep: whether the outputs are wanted.
            marks: whether an emulator counts.

        Raises:
            OSError: no space, no permission.
        """
        for name in self._artifacts:
            shutil.copyfile(files[name], folder / name)
        np.ascontiguousarray(inputs, np.float32).tofile(folder / GIVEN)
        (folder / WORK).write_text(self.lines(library=library, runs=runs, keep=KEEP if keep else "", marks=marks))

    def read(self, file: Path, runs: Iterable[Run]) -> list[dict[str, dict[str, Tensor]]]:
        """Return for each of `runs` part -> name of the output -> its values, float32 as the manifest has its shape.

        `file` is what the runner was told to keep them in.

        Raises:
            BackendError: the runner wrote something else.
        """
        kept, found = np.fromfile(file, np.float32), list[dict[str, dict[str, Tensor]]]()
        place = 0
        for run in runs:
            outputs: dict[str, dict[str, Tensor]] = {}
            for part in run.parts:
                shapes = {one.name: one.shape for one in self._specs[part].outputs}
                outputs[part] = {}
                for one in self._artifacts[part].outputs:  # of NHWC bytes, whatever the file calls their axes
                    size = int(np.prod(one.shape))
                    if place + size > len(kept):
                        raise BackendError("the runner kept fewer outputs than were asked for; report this")
                    outputs[part][one.name] = kept[place : place + size].reshape(shapes[one.name])
                    place += size
            found.append(outputs)
        return found


def _described(tensor: PartTensor) -> str:
    return f"{tensor.name} {' '.join(map(str, tensor.shape))}"
