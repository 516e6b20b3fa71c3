"""Ethos-U: answering as Arm's NPUs do, by the reference model of TOSA, the graph that they are compiled from.

The reference model is Arm's own definition of what every integer operator gives. An NPU that follows it gives the same
integers, whatever its size; how long it takes is asked of the compiler, see benchmarks/targets/ethos_u. Nothing here
is fast: it answers what the NPU answers, on a machine that has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_moe.backends.base import CLOSED, Backend, OpenPart, PartTensor, PartTensors, Tensor
from edge_moe.backends.reference_model import KIND, VERSION, Arrays, Model, missing
from edge_moe.backends.tosa import unpack
from edge_moe.errors import BackendError, UsageError

__all__ = ["EthosU", "EthosUPart", "missing"]


class EthosU(Backend):
    """Parts in TOSA, run by the reference model."""

    name = KIND
    suffix = ".tosa"

    def open(self, data: bytes, *, threads: int = 1) -> OpenPart:
        """Load a part. How many threads is the reference model's own affair.

        Raises:
            BackendError: the bytes are no such part, or the reference model is not here.
        """
        part = unpack(data)
        return EthosUPart(part.graph, part.tensors)

    def version(self) -> str:
        """Return the name and version of the reference model.

        Raises:
            BackendError: it is not here.
        """
        if problem := missing():
            raise BackendError(problem)
        return VERSION


class EthosUPart(OpenPart):
    """See `OpenPart`. Float numbers come in and go out; between them everything is the integers of the graph."""

    def __init__(self, graph: bytes, tensors: PartTensors) -> None:
        """`graph`: whose bytes were checked.

        Raises:
            BackendError: the reference model is not here.
        """
        self._model: Model | None = Model()
        self._graph, self._tensors = graph, tensors
        self._results: Arrays = []

    def invoke(self, tensor: Tensor) -> None:
        """Run the part on `tensor`, float32 in the shape of its input.

        Raises:
            BackendError: another shape or dtype, or the reference model failed.
            UsageError: the part is closed.
        """
        self._results = []
        (self._results,) = self._run([tensor])

    def each(self, names: Sequence[str], inputs: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Run the part on several inputs, on all cores; see `OpenPart.each`. Raises as `invoke` and `output`."""
        places = {name: self._place(name) for name in names}
        found = self._run(inputs)
        return {name: [self._real(one, place) for one in found] for name, place in places.items()}

    def output(self, name: str) -> Tensor:
        """Return a copy of the output called `name` of the last `invoke`.

        Raises:
            BackendError: the artifact has no such output, or there was no `invoke`.
            UsageError: the part is closed.
        """
        place = self._place(name)
        if not self._results:
            raise BackendError(f"the part has no output {name!r} yet: invoke it first")
        return self._real(self._results, place)

    def tensors(self) -> PartTensors:
        """Return the tensors of the graph, with what their integers mean."""
        if self._model is None:
            raise UsageError(CLOSED)
        return self._tensors

    def close(self) -> None:
        """Release the graph, and the processes where nobody else needs them."""
        if self._model is not None:
            self._model.close()
        self._results, self._graph, self._model = [], b"", None

    def _run(self, inputs: Sequence[Tensor]) -> list[Arrays]:
        if self._model is None:
            raise UsageError(CLOSED)
        (takes,) = self._tensors.inputs
        for tensor in inputs:
            if tensor.shape != takes.shape or tensor.dtype != np.float32:
                raise BackendError(
                    f"the reference model could not run the part: it takes float32 {takes.shape}, not {tensor.dtype} "
                    f"{tensor.shape}"
                )
        found = self._model.run(self._graph, [_quantized(one, takes) for one in inputs])
        if any(len(one) != len(self._tensors.outputs) for one in found):
            raise BackendError("the graph of the .tosa artifact has not the outputs that its footer names; convert it")
        return found

    def _place(self, name: str) -> int:
        if self._model is None:
            raise UsageError(CLOSED)
        names = [one.name for one in self._tensors.outputs]
        if name not in names:
            raise BackendError(f"the .tosa artifact has no output {name!r}; it has {', '.join(sorted(names))}")
        return names.index(name)

    def _real(self, outputs: Arrays, place: int) -> Tensor:
        """Return the float32 numbers that an output's integers stand for."""
        of = self._tensors.outputs[place]
        values = outputs[place].reshape(of.shape)
        if of.scale is None:
            return values.astype(np.float32)
        whole = values.astype(np.int32) - (of.zero_point or 0)
        return whole.astype(np.float32) * np.float32(of.scale)


def _quantized(values: Tensor, to: PartTensor) -> Any:
    """Return what the NPU is handed: the nearest integers, those half between two to the even one, and no others."""
    if to.scale is None:
        return np.ascontiguousarray(values)
    limits, zero_point = np.iinfo(to.dtype), to.zero_point or 0
    # As ExecuTorch's own kernel has it: times the inverse, in float32.
    rounded = np.rint(values * np.float32(1 / to.scale)) + zero_point
    return np.clip(rounded, limits.min, limits.max).astype(to.dtype, order="C")
