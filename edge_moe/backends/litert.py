"""LiteRT: .tflite artifacts, executed by XNNPACK on the CPU.

An artifact has one signature, `serving_default`, with one input; its outputs are named as the part's outputs.

Where ai-edge-litert is not installed, its predecessor tflite-runtime executes, which old images of small boards have
and which needs numpy 1. What its last release, 2.14, does with the recipes:

- fp32: the same answers, in about the same time.
- int8-all: answers as close to fp32 as ai-edge-litert's, but not the same, for few operators in int8 are delegated;
  measured on x86, it takes thirty times as long or more.
- int8 and int8-dynamic: refused. Of a linear layer with ranges of the image at hand it would give the bias alone,
  without a word: it has no scale for weights that have one for each output.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_moe.backends.base import CLOSED, Backend, OpenPart, PartTensor, PartTensors, Tensor, one_line
from edge_moe.backends.imported import imported, version_of
from edge_moe.backends.litert_packed import open_packed
from edge_moe.backends.stderr import filtered_stderr
from edge_moe.errors import BackendError, MissingExtraError, UsageError
from edge_moe.packed import Packed

__all__ = ["LiteRT", "LiteRTPart", "Partitions"]

_PACKAGE = "ai-edge-litert"
_OLD_PACKAGE = "tflite-runtime"
_LIBRARIES = {_PACKAGE: "ai_edge_litert.interpreter", _OLD_PACKAGE: "tflite_runtime.interpreter"}  # the better first
_PURPOSE = "running .tflite artifacts"
_SIGNATURE = "serving_default"


class Partitions(NamedTuple):
    """How a graph was split between XNNPACK and LiteRT's own kernels; (1, 0) is a wholly delegated part."""

    delegates: int  # XNNPACK partitions; each costs a hand-over, and often a conversion, at its edges
    outside: int  # nodes that XNNPACK did not take


class LiteRT(Backend):
    """Executes .tflite artifacts with ai-edge-litert or, where only that is there, with tflite-runtime."""

    name = "litert"
    suffix = ".tflite"

    def open(self, data: bytes, *, threads: int = 1) -> LiteRTPart:
        """Load a part from the bytes of a .tflite file.

        Raises:
            MissingExtraError: neither ai-edge-litert nor tflite-runtime is installed.
            BackendError: LiteRT refuses the bytes, or they are not an artifact of edge-moe; or tflite-runtime does not
                fit the installed numpy, or would compute the part wrongly.
        """
        package, library = _import()
        try:
            interpreter = library.Interpreter(model_content=data, num_threads=threads)
            with _without_greeting():
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BackendError(f"LiteRT refuses the artifact: {one_line(error)}; convert it again") from None
        except SystemError:  # from code that was compiled for another major version of numpy
            raise BackendError(
                f"{package} does not work with numpy {np.__version__}; run: pip install 'numpy<2', or {_PACKAGE}"
            ) from None
        if package == _OLD_PACKAGE:
            _check_linear_layers(interpreter)
        return LiteRTPart(interpreter)

    def open_packed(self, file: Path, sha256: str, packed: Packed, *, threads: int = 1) -> OpenPart | None:
        """Load a part with its weights mapped, where ai-edge-litert can."""
        package, library = _import()
        if package != _PACKAGE:
            return None
        with _without_greeting(packed=True):
            return open_packed(Path(library.__file__).parent, file, sha256, packed, threads, self._check)

    def _check(self, data: bytes) -> None:
        self.open(data).close()

    def version(self) -> str:
        """Return name and version of the library that executes; raise MissingExtraError where there is none."""
        package, library = _import()
        return f"{package} {version_of(library, package)}"


class LiteRTPart(OpenPart):
    """One part in a LiteRT interpreter, its tensors allocated."""

    def __init__(self, interpreter: Any) -> None:
        """Find the tensor of each name once, so that a call looks nothing up.

        Raises:
            BackendError: the artifact has not the one signature with one input.
        """
        self._interpreter = interpreter
        signature = interpreter._get_full_signature_list().get(_SIGNATURE)  # name -> index; no public way
        inputs = interpreter.get_input_details()
        if signature is None or len(inputs) != 1:
            raise BackendError(
                f"the .tflite artifact should have the signature {_SIGNATURE!r} with one input; "
                "make it with 'edge-moe convert'"
            )
        self._input: int = inputs[0]["index"]
        self._inputs: dict[str, int] = signature["inputs"]
        self._outputs: dict[str, int] = signature["outputs"]

    def invoke(self, tensor: Tensor) -> None:
        """Run the part on `tensor`, float32 in the shape of the part's one input.

        Raises:
            BackendError: another shape or dtype, or LiteRT failed.
            UsageError: the part is closed.
        """
        if self._interpreter is None:
            raise UsageError(CLOSED)
        try:
            self._interpreter.set_tensor(self._input, tensor)
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise BackendError(f"LiteRT could not run the part: {one_line(error)}") from None

    def output(self, name: str) -> Tensor:
        """Return a copy of the output called `name` of the last `invoke`.

        Raises:
            BackendError: the artifact has no such output.
            UsageError: the part is closed.
        """
        if self._interpreter is None:
            raise UsageError(CLOSED)
        try:
            index = self._outputs[name]
        except KeyError:
            have = ", ".join(sorted(self._outputs))
            raise BackendError(f"the .tflite artifact has no output {name!r}; it has {have}") from None
        result: Tensor = self._interpreter.get_tensor(index)
        return result

    def tensors(self) -> PartTensors:
        """Return the tensors of the artifact: names are the signature's, exact names those of the graph behind it."""
        if self._interpreter is None:
            raise UsageError(CLOSED)
        given = _described(self._interpreter.get_input_details(), self._inputs)
        return PartTensors(given, _described(self._interpreter.get_output_details(), self._outputs))

    def native_call(self) -> Callable[[Tensor], Any]:
        """Return a function from the part's input to its logits, as LiteRT's documentation calls an interpreter."""
        interpreter, logits = self._interpreter, self._outputs["logits"]
        given = interpreter.get_input_details()[0]["index"]

        def call(x: Tensor) -> Any:
            interpreter.set_tensor(given, x)
            interpreter.invoke()
            return interpreter.get_tensor(logits)

        return call

    def partitions(self) -> Partitions:
        """Return how many XNNPACK partitions there are, and how many nodes are left outside of them."""
        delegates = sum(node["op_name"] == "DELEGATE" for node in self._interpreter._get_ops_details())
        return Partitions(delegates, len(self.outside()))

    def outside(self) -> list[tuple[str, str]]:
        """Return the nodes that no XNNPACK partition took, in the order of execution: operator, and name of its output.

        LiteRT lists every node of the graph, also those that a delegate has replaced, then one DELEGATE node a
        partition. A replaced node is one that a walk from a partition's outputs back to its inputs meets.
        """
        nodes = [(n["op_name"], n["inputs"], n["outputs"]) for n in self._interpreter._get_ops_details()]
        graph = [node for node in nodes if node[0] != "DELEGATE"]
        delegates = [node for node in nodes if node[0] == "DELEGATE"]
        producer = {int(tensor): i for i, (_, _, outputs) in enumerate(graph) for tensor in outputs}
        replaced: set[int] = set()
        for _, inputs, outputs in delegates:
            edge = {int(tensor) for tensor in inputs}
            todo = [int(tensor) for tensor in outputs]
            while todo:
                node = producer.get(todo.pop())
                if node is not None and node not in replaced:
                    replaced.add(node)
                    todo += [int(tensor) for tensor in graph[node][1] if int(tensor) not in edge]
        names = {tensor["index"]: str(tensor["name"]) for tensor in self._interpreter.get_tensor_details()}
        return [(op, names.get(int(outputs[0]), "")) for i, (op, _, outputs) in enumerate(graph) if i not in replaced]

    def close(self) -> None:
        """Release the interpreter and its memory."""
        self._interpreter = None


def _described(details: list[dict[str, Any]], signature: dict[str, int]) -> tuple[PartTensor, ...]:
    names = {index: name for name, index in signature.items()}
    found = []
    for one in details:
        shape = tuple(int(size) for size in one["shape"])
        scales, zeros = (one["quantization_parameters"][key] for key in ("scales", "zero_points"))
        found.append(
            PartTensor(
                name=names.get(one["index"], one["name"]),
                tensor=one["name"],
                shape=shape,
                layout="NHWC" if len(shape) == 4 else None,  # which is what a map is in this format
                dtype=np.dtype(one["dtype"]).name,
                scale=float(scales[0]) if len(scales) == 1 else None,
                zero_point=int(zeros[0]) if len(scales) == 1 else None,
            )
        )
    return tuple(found)


def _import() -> tuple[str, Any]:
    """Return the name of the package that executes, and its module."""
    for package, module in _LIBRARIES.items():
        with suppress(ModuleNotFoundError):
            return package, imported(module, package)
    raise MissingExtraError(_PACKAGE, "litert", _PURPOSE)


def _check_linear_layers(interpreter: Any) -> None:
    """Raise BackendError for a linear layer that tflite-runtime computes wrongly, see the top."""
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    for node in interpreter._get_ops_details():
        if node["op_name"] != "FULLY_CONNECTED":
            continue
        given, weights = (tensors[index] for index in node["inputs"][:2])
        scales = weights["quantization_parameters"]["scales"]
        if given["dtype"] == np.float32 and len(scales) > 1:
            raise BackendError(
                f"{_OLD_PACKAGE} cannot compute the part's int8 linear layer; choose recipe fp32 or int8-all, "
                f"or run: pip install {_PACKAGE}"
            )


_GREETING = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
_greeted = set[bool]()


def _without_greeting(*, packed: bool = False) -> AbstractContextManager[None]:
    """Keep the line that LiteRT writes when it first allocates in a process off the user's terminal.

    LiteRT 2.3 has neither an option nor a variable for it. `packed`: of the library of `litert_packed`, another one.
    """
    if packed in _greeted or threading.active_count() > 1:
        return nullcontext()
    _greeted.add(packed)
    return filtered_stderr(lambda written: written.replace(_GREETING, b""))
