"""ONNX Runtime: .onnx artifacts, executed on the CPU.

An artifact has one input; its outputs are named as the part's outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from edge_moe.backends.base import CLOSED, Backend, OpenPart, PartTensor, PartTensors, Tensor, one_line
from edge_moe.backends.onnx_session import open_session, saturates, version
from edge_moe.errors import BackendError, UsageError

__all__ = ["UNSIGNED", "Onnx", "OnnxPart"]

UNSIGNED = "unsigned weights since this processor's kernels saturate"


class Onnx(Backend):
    """Executes .onnx artifacts with onnxruntime."""

    name = "onnx"
    suffix = ".onnx"

    def open(self, data: bytes, *, threads: int = 1) -> OnnxPart:
        """Load a part from the bytes of an .onnx file.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            BackendError: ONNX Runtime cannot be loaded, refuses the bytes, or they are not an artifact of edge-moe.
        """
        return OnnxPart(open_session(data, threads=threads, advice="; convert it again"))

    def version(self) -> str:
        """Return the version of onnxruntime, and what had to be done about this processor's kernels.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            BackendError: it cannot be loaded.
        """
        found = f"onnxruntime {version()}"
        return f"{found}, {UNSIGNED}" if saturates() else found


class OnnxPart(OpenPart):
    """One part in an ONNX Runtime session."""

    def __init__(self, session: Any) -> None:
        """Take the name of the input and the place of each output.

        Raises:
            BackendError: the artifact has not one input.
        """
        inputs = [one.name for one in session.get_inputs()]
        if len(inputs) != 1:
            raise BackendError(
                f"the .onnx artifact should have one input, but has {len(inputs)}; make it with 'edge-moe convert'"
            )
        self._session = session
        self._input: str = inputs[0]
        self._names: list[str] = [one.name for one in session.get_outputs()]
        self._places = {name: place for place, name in enumerate(self._names)}
        self._results: list[Tensor] | None = None

    def invoke(self, tensor: Tensor) -> None:
        """Run the part on `tensor`, float32 in the shape of the part's one input.

        Raises:
            BackendError: another shape or dtype, or ONNX Runtime failed.
            UsageError: the part is closed.
        """
        if self._session is None:
            raise UsageError(CLOSED)
        try:
            self._results = self._session.run(self._names, {self._input: tensor})
        except Exception as error:  # its exceptions have no common base but this one
            raise BackendError(f"ONNX Runtime could not run the part: {one_line(error)}") from None

    def output(self, name: str) -> Tensor:
        """Return the output called `name` of the last `invoke`; every run writes to memory of its own.

        Raises:
            BackendError: the artifact has no such output, or was not run yet.
            UsageError: the part is closed.
        """
        if self._session is None:
            raise UsageError(CLOSED)
        if name not in self._places:
            have = ", ".join(sorted(self._names))
            raise BackendError(f"the .onnx artifact has no output {name!r}; it has {have}")
        if self._results is None:
            raise BackendError("the part was not run yet; call invoke first")
        return self._results[self._places[name]]

    def tensors(self) -> PartTensors:
        """Return the tensors of the artifact. The format does not say which axis is which: ours have channels last.

        Raises:
            BackendError: one is of a type or a shape that no artifact of edge-moe has.
            UsageError: the part is closed.
        """
        if self._session is None:
            raise UsageError(CLOSED)
        return PartTensors(_described(self._session.get_inputs()), _described(self._session.get_outputs()))

    def native_call(self) -> Callable[[Tensor], Any]:
        """Return a function from the part's input to its logits, as ONNX Runtime's documentation calls a session."""
        session, names, given, logits = self._session, self._names, self._input, self._places["logits"]
        return lambda x: session.run(names, {given: x})[logits]

    def close(self) -> None:
        """Release the session and its memory."""
        self._session = self._results = None


_TYPES: dict[str, Literal["float32", "float16", "int8", "uint8", "int16", "int32"]] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
}


def _described(values: list[Any]) -> tuple[PartTensor, ...]:
    for one in values:
        if one.type not in _TYPES:
            raise BackendError(
                f"the .onnx artifact has {one.name!r} as {one.type}; expected one of {', '.join(_TYPES)}: make it with "
                "'edge-moe convert'"
            )
        if not all(isinstance(side, int) and side > 0 for side in one.shape):  # a name, or None: any length
            raise BackendError(
                f"the .onnx artifact has {one.name!r} in shape {one.shape}; expected lengths of at least 1, and no "
                "names: make it with 'edge-moe convert'"
            )
    return tuple(
        PartTensor(
            name=one.name,
            tensor=one.name,
            shape=tuple(one.shape),
            layout="NHWC" if len(one.shape) == 4 else None,
            dtype=_TYPES[one.type],
            scale=None,  # QuantizeLinear stands inside of the graph
            zero_point=None,
        )
        for one in values
    )
