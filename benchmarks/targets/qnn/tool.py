"""Qualcomm's tool at work on one part: what it says of a compilation, what it leaves, what its simulator computes.

Figures are the vendor's alone. What a simulated run takes is the time of this machine; nothing here reads it.

Axis letters: N inputs.
"""

from __future__ import annotations

import csv
import re
import signal
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from edge_moe.backends import Tensor
from edge_moe.benchmarks.targets.qnn.child import PROGRAM, Task
from edge_moe.benchmarks.targets.qnn.graph import Graph
from edge_moe.converters import recipes
from edge_moe.converters.recipe import QNN
from edge_moe.errors import BackendError
from edge_moe.pool import python

__all__ = ["Estimate", "Range", "RefusedError", "Tool", "estimate"]

_WHOLE = tuple(f"onnx/{name}" for name in recipes.book("onnx").orders[QNN])  # what the NPU takes as it is
_SHOWN = 3
_TOLD = "Simulated (Accelerator exec "
_LEFT_OUT = "Missing Ops"
_BOUNDS = {"": "value", " (lower estimate)": "low", " (upper estimate)": "high"}
# What ONNX Runtime says of nodes that its plug-in does not take, by number; and of one that is left over.
_UNSUPPORTED = re.compile(r"Unsupported nodes in QNN EP: (.*)")
_NODE = re.compile(r"\{ name: (\S+), type: \S+ \}")
_LEFT = re.compile(r"Node '(\S+)' OpType:\S+ with domain:com.ms.internal.nhwc was inserted")
_PLAIN = re.compile(r"\x1b\[[0-9;]*m")


class RefusedError(BackendError):
    """The NPU does not take the whole of a part."""


class Range(NamedTuple):
    """An estimate, and between which it lies."""

    value: float
    low: float
    high: float


class Estimate(NamedTuple):
    """What QNN says at the end of a compilation."""

    us: Range
    cycles: Range
    left_out: int  # operations that it has no cost for


class Tool:
    """QNN for one chip."""

    def __init__(self, libraries: Path, soc_model: int, name: str) -> None:
        """`libraries`: of the set-up; `name`: of the target, for errors."""
        package = libraries / "onnxruntime_qnn"
        self._plugin, self._backend = package / "libonnxruntime_providers_qnn.so", package / "libQnnHtp.so"
        self._soc_model, self._name = soc_model, name

    def compile(self, artifact: Path, what: str, context: Path | None = None) -> Estimate | None:
        """Compile an artifact and return the estimate; None: QNN has none for this chip.

        Args:
            artifact: .onnx.
            what: it is, for errors: "base of onnx/int8".
            context: where the context's .onnx is written, its binary beside it; None: nowhere.

        Raises:
            RefusedError: the NPU does not take the whole of it; says which layer.
            BackendError: the tool failed.
        """
        with tempfile.TemporaryDirectory() as folder:
            profile = Path(folder) / "profile.csv"
            self._do(self._task(artifact, context="" if context is None else str(context), profile=str(profile)), what)
            return estimate(profile.read_text().splitlines()) if profile.is_file() else None

    def run(self, artifact: Path, what: str, inputs: Tensor) -> dict[str, Tensor]:
        """Return what the simulator computes of N inputs, by output, [N, ...] each; arguments as `compile`.

        Raises:
            BackendError: as `compile`.
        """
        with tempfile.TemporaryDirectory() as folder:
            given, found = Path(folder) / "inputs.npy", Path(folder) / "outputs.npz"
            np.save(given, np.ascontiguousarray(inputs, np.float32))
            self._do(self._task(artifact, inputs=str(given), outputs=str(found)), what)
            with np.load(found) as arrays:
                return dict(arrays)

    def _task(self, artifact: Path, **more: str) -> Task:
        plugin, backend = str(self._plugin), str(self._backend)
        return Task(artifact=str(artifact), plugin=plugin, backend=backend, soc_model=self._soc_model, **more)

    def _do(self, task: Task, what: str) -> None:
        graph = Graph(Path(task.artifact))
        misread = graph.misread()
        if misread is not None:
            raise self._refused(
                what,
                f"{misread} reads integers by another scale than they were written by, which onnxruntime-qnn ignores "
                "without a word",
            )
        with python(PROGRAM, msgspec.json.encode(task).decode()) as process:
            _, said = process.communicate()
        if process.returncode != 0:
            raise self._failed(what, _PLAIN.sub("", said.decode(errors="replace")), process.returncode, graph)

    def _failed(self, what: str, said: str, code: int, graph: Graph) -> BackendError:
        """Return the error for what a process said before it failed."""
        lacking = _UNSUPPORTED.findall(said)
        nodes = _NODE.findall(lacking[-1]) if lacking else _LEFT.findall(said)
        if nodes:
            places = list(dict.fromkeys(map(graph.place, nodes)))
            more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
            return self._refused(what, f"the HTP does not take {', '.join(places[:_SHOWN])}{more} as it is")
        lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
        how = f" (signal {signal.Signals(-code).name})" if code < 0 else ""
        return BackendError(f"{what} failed on {self._name}: {lines[-1]}{how}")

    def _refused(self, what: str, why: str) -> RefusedError:
        todo = "choose a set that is int8 throughout, with --set: 'edge-moe convert --for qnn' makes one"
        if what.endswith(_WHOLE):
            todo = "replace that layer in the network, or choose another device"
        return RefusedError(f"{what} cannot run on {self._name}: {why}; {todo}")


def estimate(profile: Iterable[str]) -> Estimate | None:
    """Return the estimate in the lines of a profile that QNN wrote; None: there is none.

    Raises:
        BackendError: the lines are not what this version of QNN writes.
    """
    found: dict[str, dict[str, float]] = {}
    left_out = 0
    try:
        for row in csv.DictReader(profile):
            message = row["Event Identifier"]
            if message.startswith(_TOLD):
                unit, bound = re.fullmatch(r"(cycles|time us)(.*)\)", message.removeprefix(_TOLD)).groups()  # type: ignore[union-attr]
                found.setdefault(unit, {})[_BOUNDS[bound]] = float(row["Time"])
            elif message.startswith(_LEFT_OUT):
                left_out = int(row["Time"])
        if not found:
            return None
        return Estimate(us=Range(**found["time us"]), cycles=Range(**found["cycles"]), left_out=left_out)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BackendError(f"QNN's profile is not what its version writes ({error!r}); report this") from None
