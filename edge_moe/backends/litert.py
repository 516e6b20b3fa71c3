"""LiteRT: .tflite artifacts, executed by XNNPACK on the CPU.

An artifact has one signature, `serving_default`, with one input; its outputs are named as the part's outputs.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from typing import Any, NamedTuple

from edge_moe.backends.base import Backend, OpenPart, Tensor
from edge_moe.errors import BackendError, MissingExtraError, UsageError

__all__ = ["LiteRT", "LiteRTPart", "Partitions"]

_PACKAGE = "ai-edge-litert"
_PURPOSE = "running .tflite artifacts"
_SIGNATURE = "serving_default"
_CLOSED = "the part is closed; open it again"


class Partitions(NamedTuple):
    """How a graph was split between XNNPACK and LiteRT's own kernels; (1, 0) is a wholly delegated part."""

    delegates: int  # XNNPACK partitions; each costs a hand-over, and often a conversion, at its edges
    outside: int  # nodes that XNNPACK did not take


class LiteRT(Backend):
    """Executes .tflite artifacts with ai-edge-litert."""

    name = "litert"
    suffix = ".tflite"

    def open(self, data: bytes, *, threads: int = 1) -> LiteRTPart:
        """Load a part from the bytes of a .tflite file.

        Raises:
            MissingExtraError: ai-edge-litert is not installed.
            BackendError: LiteRT refuses the bytes, or they are not an artifact of edge-moe.
        """
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ModuleNotFoundError:
            raise MissingExtraError(_PACKAGE, "litert", _PURPOSE) from None
        try:
            interpreter = Interpreter(model_content=data, num_threads=threads)
            with _without_greeting():
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BackendError(f"LiteRT refuses the artifact: {_one_line(error)}; convert it again") from None
        return LiteRTPart(interpreter)

    def version(self) -> str:
        """Return the version of ai-edge-litert; raise MissingExtraError where it is not installed."""
        try:
            return f"{_PACKAGE} {metadata.version(_PACKAGE)}"
        except metadata.PackageNotFoundError:
            raise MissingExtraError(_PACKAGE, "litert", _PURPOSE) from None


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
        self._outputs: dict[str, int] = signature["outputs"]

    def invoke(self, tensor: Tensor) -> None:
        """Run the part on `tensor`, float32 in the shape of the part's one input.

        Raises:
            BackendError: another shape or dtype, or LiteRT failed.
            UsageError: the part is closed.
        """
        if self._interpreter is None:
            raise UsageError(_CLOSED)
        try:
            self._interpreter.set_tensor(self._input, tensor)
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise BackendError(f"LiteRT could not run the part: {_one_line(error)}") from None

    def output(self, name: str) -> Tensor:
        """Return a copy of the output called `name` of the last `invoke`.

        Raises:
            BackendError: the artifact has no such output.
            UsageError: the part is closed.
        """
        if self._interpreter is None:
            raise UsageError(_CLOSED)
        try:
            index = self._outputs[name]
        except KeyError:
            have = ", ".join(sorted(self._outputs))
            raise BackendError(f"the .tflite artifact has no output {name!r}; it has {have}") from None
        result: Tensor = self._interpreter.get_tensor(index)
        return result

    def partitions(self) -> Partitions:
        """Return how many XNNPACK partitions there are, and how many nodes are left outside of them.

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
        return Partitions(len(delegates), len(graph) - len(replaced))

    def close(self) -> None:
        """Release the interpreter and its memory."""
        self._interpreter = None


_GREETING = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
_greeted = False


@contextmanager
def _without_greeting() -> Iterator[None]:
    """Keep the line that LiteRT writes to file descriptor 2, once a process, off the user's terminal.

    LiteRT 2.3 has neither an option nor a variable for it. Descriptor 2 goes to a temporary file for the
    milliseconds of the first allocation, and everything in it except that line is then written where it belongs.
    Only while this is the only Python thread, so that no other can start a child process that inherits the file;
    with others the line stays.
    """
    global _greeted
    if _greeted or threading.active_count() > 1:
        yield
        return
    _greeted = True
    with ExitStack() as stack:
        try:
            written = stack.enter_context(tempfile.TemporaryFile())
            stderr = os.dup(2)
        except OSError:  # no stderr, or no room for a file: not worth failing for
            yield
            return
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            if rest := written.read().replace(_GREETING, b""):
                os.write(2, rest)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
