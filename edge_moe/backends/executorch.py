"""ExecuTorch: .pte artifacts, executed by XNNPACK on the CPU.

An artifact has the method `forward` with one input, and the method `output_names`, which gives the names of the
part's outputs in their order. Maps are NCHW tensors in torch's channels-last format, so that they come and go with
channels last without a copy. A program that wants them in another order is refused: it would compute with the bytes as
they come, without a word. The method `made_from` says what the artifact is, for a person: docs/bundle.md.

ExecuTorch's binding exchanges torch tensors, so opening the first part imports torch: the better part of a second, and
about 200 MiB. `executorch.runtime` takes four times as long and half as much memory again, for the exporter that it
imports along; this file imports the binding beneath it, which needs torch alone.
"""

from __future__ import annotations

import importlib
import os
import re
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import metadata
from typing import Any

import numpy as np

from edge_moe.backends.base import CLOSED, Backend, OpenPart, PartTensor, PartTensors, Tensor, one_line
from edge_moe.backends.pte import MethodTensors, method_tensors
from edge_moe.backends.stderr import filtered_stderr
from edge_moe.errors import BackendError, MissingExtraError, UsageError

__all__ = ["MADE_FROM", "OUTPUT_NAMES", "ExecuTorch", "ExecuTorchPart"]

OUTPUT_NAMES = "output_names"  # the method that gives the names of the outputs, with a space between them
MADE_FROM = "made_from"  # the method that gives name, part and digest, in JSON; artifacts of older releases have none
_FORWARD = "forward"
_PACKAGE = "executorch"
_PURPOSE = "running .pte artifacts"
_BINDINGS = tuple(f"executorch.extension.pybindings.{name}" for name in ("_portable_lib", "_C"))  # to 1.4, from 1.5
_TOGETHER = {"executorch": "1.4.1", "torch": "2.13.0"}  # the binding is linked to torch's C++, which has no stable ABI
_FLOAT = 6  # float32, in ExecuTorch's numbering
_CHANNELS_LAST = (0, 2, 3, 1)


class ExecuTorch(Backend):
    """Executes .pte artifacts with ExecuTorch.

    The number of threads is the process's, not the part's: the last `open` decides, for open parts too.
    """

    name = "executorch"
    suffix = ".pte"

    def open(self, data: bytes, *, threads: int = 1) -> ExecuTorchPart:
        """Load a part from the bytes of a .pte file; from now on every part of the process runs on `threads` threads.

        Raises:
            MissingExtraError: executorch is not installed.
            BackendError: executorch does not fit the installed torch, ExecuTorch refuses the bytes, or they are not
                an artifact of edge-moe.
        """
        with _without_log():
            library = _import()
            _set_threads(library, threads)
            return ExecuTorchPart(library, data)

    def version(self) -> str:
        """Return the version of executorch; raise MissingExtraError where it is not installed."""
        try:
            return f"{_PACKAGE} {metadata.version(_PACKAGE)}"
        except metadata.PackageNotFoundError:
            raise MissingExtraError(_PACKAGE, "executorch", _PURPOSE) from None


class ExecuTorchPart(OpenPart):
    """One part in a method of ExecuTorch, its memory planned."""

    def __init__(self, library: Any, data: bytes) -> None:
        """Load `data` with the binding `library`.

        Raises:
            BackendError: ExecuTorch refuses the bytes, or the artifact has not the methods and the input described
                at the top.
        """
        self._library, self._data = library, data  # ExecuTorch reads the weights where they are and keeps no reference
        self._results: list[Any] = []
        self._method: Any
        try:
            check = library.Verification.InternalConsistency
            self._program = library._load_program_from_buffer(data, program_verification=check)
            methods = {self._program.get_method_name(i) for i in range(self._program.num_methods())}
            if not methods >= {_FORWARD, OUTPUT_NAMES}:
                raise _not_ours()
            names = self._program.load_method(OUTPUT_NAMES)(())
            self._load()
        except RuntimeError as error:
            raise BackendError(f"ExecuTorch refuses the artifact: {one_line(error)}; convert it again") from None
        described = self._method.method_meta()
        if len(names) != 1 or not isinstance(names[0], str) or described.num_inputs() != 1:
            raise _not_ours()
        self._names = {name: i for i, name in enumerate(names[0].split())}
        given = described.input_tensor_meta(0)
        if len(self._names) != described.num_outputs() or given.dtype() != _FLOAT:
            raise _not_ours()
        found = method_tensors(data, _FORWARD)
        if found is None or len(found.outputs) != len(self._names):
            raise _not_ours()
        for sizes, order in (*found.inputs, *found.outputs):
            if len(sizes) == 4 and order != _CHANNELS_LAST:
                raise BackendError(
                    f"the .pte artifact has a map {list(sizes)} whose axes lie in memory in the order {list(order)}; "
                    f"expected {list(_CHANNELS_LAST)}, channels last: make it with 'edge-moe convert'"
                )
        self._found: MethodTensors = found
        shape = tuple(given.sizes())
        self._is_map = len(shape) == 4
        self._shape = (shape[0], *shape[2:], shape[1]) if self._is_map else shape

    def _load(self) -> None:
        self._method = self._program.load_method(_FORWARD)
        self._generation = _generation

    def invoke(self, tensor: Tensor) -> None:
        """Run the part on `tensor`, float32 in the shape of the part's one input.

        Raises:
            BackendError: another shape or dtype, or ExecuTorch failed.
            UsageError: the part is closed.
        """
        if self._method is None:
            raise UsageError(CLOSED)
        if tensor.shape != self._shape or tensor.dtype != np.float32:
            last = ", with channels last: give array.transpose(0, 2, 3, 1)" if self._is_map and tensor.ndim == 4 else ""
            raise BackendError(
                f"ExecuTorch could not run the part: it takes float32 {self._shape}, not {tensor.dtype} {tensor.shape}"
                f"{last}"
            )
        import torch

        try:
            if self._generation != _generation:  # the threads that the method was loaded with are gone
                self._results = []
                self._load()
            # torch warns of an array that it could write to but should not.
            x = torch.from_numpy(np.require(tensor, requirements=("C", "W")))
            self._method.set_inputs((x.permute(0, 3, 1, 2) if self._is_map else x,))
            self._method.execute()
            self._results = self._method.get_outputs(clone_outputs=False)  # a copy is made of what is asked for
        except RuntimeError as error:
            raise BackendError(f"ExecuTorch could not run the part: {one_line(error)}") from None

    def output(self, name: str) -> Tensor:
        """Return a copy of the output called `name` of the last `invoke`.

        Raises:
            BackendError: the artifact has no such output, or there was no `invoke`.
            UsageError: the part is closed.
        """
        if self._method is None:
            raise UsageError(CLOSED)
        if name not in self._names:
            have = ", ".join(sorted(self._names))
            raise BackendError(f"the .pte artifact has no output {name!r}; it has {have}")
        if not self._results:
            raise BackendError(f"the part has no output {name!r} yet: invoke it first")
        result = self._results[self._names[name]]
        if result.dim() == 4:
            result = result.permute(0, 2, 3, 1)
        copied: Tensor = np.array(result.numpy(), order="C")
        return copied

    def tensors(self) -> PartTensors:
        """Return the tensors of the artifact; the format has no names, so that inputs are called by their number."""
        if self._method is None:
            raise UsageError(CLOSED)
        inputs = (_described(f"input_{i}", one[0]) for i, one in enumerate(self._found.inputs))
        outputs = (_described(name, self._found.outputs[i][0]) for name, i in self._names.items())
        return PartTensors(tuple(inputs), tuple(outputs))

    def native_call(self) -> Callable[[Tensor], Any]:
        """Return a function from the part's input to its logits, as ExecuTorch's documentation calls a method."""
        import torch

        method, logits, is_map = self._method, self._names["logits"], self._is_map

        def call(x: Tensor) -> Any:
            tensor = torch.from_numpy(x)
            method.set_inputs((tensor.permute(0, 3, 1, 2) if is_map else tensor,))
            method.execute()
            return method.get_outputs(clone_outputs=False)[logits].numpy().copy()

        return call

    def close(self) -> None:
        """Release the method, its memory and the bytes."""
        self._results = []
        self._method = self._program = None
        self._data = b""


def _described(name: str, sizes: tuple[int, ...]) -> PartTensor:
    return PartTensor(
        name=name,
        tensor=None,
        shape=sizes,
        layout="NHWC_in_NCHW" if len(sizes) == 4 else None,
        dtype="float32",
        scale=None,
        zero_point=None,
    )


def _not_ours() -> BackendError:
    return BackendError(
        f"the .pte artifact should have the methods {_FORWARD!r}, with one float input, and {OUTPUT_NAMES!r}; "
        "make it with 'edge-moe convert'"
    )


def _import() -> Any:
    try:
        importlib.import_module("torch")  # loads the libraries that the binding is linked to, and its tensors' type
        old, new = _BINDINGS
        try:
            return importlib.import_module(old)
        except ModuleNotFoundError as error:
            if error.name != old:  # there is no executorch, or what it needs is missing
                raise
            return importlib.import_module(new)
    except ModuleNotFoundError:
        raise MissingExtraError(_PACKAGE, "executorch", _PURPOSE) from None
    except (ImportError, OSError) as error:
        installed = " with ".join(f"{package} {_version(package)}" for package in _TOGETHER)
        works = " ".join(f"{package}=={version}" for package, version in _TOGETHER.items())
        raise BackendError(
            f"{installed} cannot be loaded ({one_line(error)[:200]}); these two fit: pip install {works}"
        ) from None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


_threads: int | None = None
_generation = 0  # of the process's threads
_watches_forks = False
_lock = threading.Lock()


def _set_threads(library: Any, threads: int) -> None:
    """Replace the process's threads where there should be another number of them.

    A loaded method has a pointer to the threads that it was loaded with; see `ExecuTorchPart.invoke`.
    """
    global _threads, _generation, _watches_forks
    with _lock:
        if threads != _threads:
            library._unsafe_reset_threadpool(threads)
            _threads, _generation = threads, _generation + 1
            if not _watches_forks and hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=lambda: _renew_threads(library))
                _watches_forks = True


def _renew_threads(library: Any) -> None:
    """Give a fork, which has none of the process's threads, a set of its own: one.

    ExecuTorch notes a fork and gives the lost threads up when it is next asked for threads, as here. Unasked it would
    wait for them when the fork ends, which crashes.
    """
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it
    with _without_log():
        _set_threads(library, 1)


_LOG_LINE = re.compile(rb"^\[[\w.]+:\d+\] .*\n?", re.MULTILINE)


def _without_log() -> AbstractContextManager[None]:
    """Keep the lines that ExecuTorch logs off the user's terminal.

    The binding has no way to set the level: it tells of files that it did not find out about a processor from, and
    why it refuses an artifact, which the exception tells too.
    """
    return filtered_stderr(lambda written: _LOG_LINE.sub(b"", written))
