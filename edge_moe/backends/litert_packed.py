"""LiteRT with its weights in a file that is mapped: parts that are opened in a millisecond and hold next to nothing.

XNNPACK lays a part's weights out for the processor when it is opened, which takes ten times as long as running an
expert, and as much private memory as its file has, once more. By LiteRT's C API (google-ai-edge/LiteRT, litert/c; the
Python package's own CompiledModel is a wrapper of it that writes to stderr) it takes them from a file, and the model
from another, both by descriptor. What it does with a file that is none, or on a disk that is full, is to end the
process. So the weights are laid out in memory (memfd), and kept by `edge_moe.packed`, which writes and checks them.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from ctypes import c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_moe.backends.base import CLOSED, OpenPart, PartTensors, Tensor
from edge_moe.errors import BackendError, UsageError
from edge_moe.packed import Packed, has_sha256

__all__ = ["PackedPart", "open_packed"]

_LIBRARY = "libLiteRt.so"
_CPU, _FLOAT32, _ERRORS = 1, 1, 3
_AUTO_REGISTER, _LEAST_SEVERITY, _INTEGER = 24, 25, 2  # tags of an environment's options, and the type of their value
_CALLED = tuple(
    f"LiteRt{name}"
    for name in (
        *("CreateEnvironment", "CreateModelFromFd", "CreateOptions", "CreateOpaqueOptions", "AddOpaqueOptions"),
        *("SetOptionsHardwareAccelerators", "CreateCompiledModel", "CreateTensorBufferFromHostMemory"),
        *("RunCompiledModel", "GetModelSignature", "GetRankedTensorType"),
        *(f"GetNumSignature{side}s" for side in ("Input", "Output")),
        *(f"GetSignature{side}{what}" for side in ("Input", "Output") for what in ("Name", "TensorByIndex")),
        *(f"Destroy{kind}" for kind in ("Model", "CompiledModel", "TensorBuffer", "Options")),
    )
)
_MOST_RANK, _ALIGNMENT = 8, 64  # the latter in bytes


class _Value(ctypes.Structure):
    _fields_ = (("kind", c_int), ("value", c_int64))


class _Option(ctypes.Structure):
    _fields_ = (("tag", c_int), ("value", _Value))


class _Ranked(ctypes.Structure):
    """LiteRtRankedTensorType, which is part of the stable ABI: 72 bytes."""

    _fields_ = (
        ("element", c_int32),
        ("rank", c_uint32, 7),
        ("has_strides", c_uint32, 1),
        ("dimensions", c_int32 * _MOST_RANK),
        ("strides", c_uint32 * _MOST_RANK),
    )


class _Tensor(NamedTuple):
    side: str  # Input or Output
    name: str
    shape: tuple[int, ...]


class _Refused(Exception):
    """LiteRT does not do it; its text says what."""


_Deleter = ctypes.CFUNCTYPE(None, c_void_p)
_nothing_to_delete = _Deleter(lambda _: None)  # the payload is Python's


class _Library:
    """The C API of one process, and its environment: the processor alone, and no line on stderr but of errors."""

    def __init__(self, file: Path) -> None:
        self.native = ctypes.CDLL(str(file))
        for name in _CALLED:
            getattr(self.native, name)  # of an older library some are missing
        state = file.stat()
        self.build = f"{state.st_size} {state.st_mtime_ns}"
        self.environment = c_void_p()
        options = (_Option * 2)(
            _Option(_AUTO_REGISTER, _Value(_INTEGER, _CPU)), _Option(_LEAST_SEVERITY, _Value(_INTEGER, _ERRORS))
        )
        self.call("LiteRtCreateEnvironment", 2, options, ctypes.byref(self.environment))

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self.native, name)(*arguments)
        if status:
            raise _Refused(f"{name} gives status {status}")


@functools.cache
def _library(file: Path) -> _Library | None:
    """Return the C API; None where there is none, or another than this was written for."""
    try:
        return _Library(file)
    except (OSError, AttributeError, _Refused):
        return None


# Of another thread that was in the library when the process forked, the child may have locks that nobody gives back.
_forked = False


def _note_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def open_packed(
    package: Path, file: Path, sha256: str, packed: Packed, threads: int, check: Callable[[bytes], object]
) -> PackedPart | None:
    """Open a part with its weights mapped.

    Args:
        package: the folder of the installed ai_edge_litert.
        file: the artifact, which is mapped.
        sha256: of it.
        packed: where the weights are kept.
        threads: of XNNPACK.
        check: raises for bytes that are no sound artifact, at which the C API would crash; is asked before anything is
            kept of one, and so before any is mapped.

    Returns:
        None where that cannot be done: another system than Linux, an older library, another file, a disk that is full
        or may not be written to, a fork.

    Raises:
        BackendError: as `check`.
    """
    library = _library(package / _LIBRARY) if hasattr(os, "memfd_create") and not _forked else None
    if library is None:
        return None
    try:
        model = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        size = os.fstat(model).st_size
        # Both files are hashed, at once: it is most of what opening takes.
        is_it = _Beside(lambda: has_sha256(model, sha256))
        weights = packed.open(
            ("litert", library.build, sha256),
            lambda: _laid_out(library, model, size, threads, check),
            is_it.found,
        )
        if weights is None:
            return None
        if not is_it.found():
            os.close(weights)
            return None
        return PackedPart(library, model, size, weights, threads)
    except (OSError, ValueError, _Refused):
        return None
    finally:
        os.close(model)


def _laid_out(library: _Library, model: int, size: int, threads: int, check: Callable[[bytes], object]) -> int | None:
    """Return a file in memory with the weights as this processor wants them; None where LiteRT puts none into it."""
    check(os.pread(model, size, 0))
    weights = os.memfd_create("weights", os.MFD_CLOEXEC)
    try:
        PackedPart(library, model, size, os.dup(weights), threads).close()
        if os.fstat(weights).st_size:
            return weights
    except BaseException:
        os.close(weights)
        raise
    os.close(weights)
    return None


class _Beside:
    """A question about a file that is answered while others are; where it cannot be read, by no."""

    def __init__(self, call: Callable[[], bool]) -> None:
        self._found = False
        self._thread = threading.Thread(target=self._make, args=(call,), daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads can be had
            self._make(call)

    def found(self) -> bool:
        """Return the answer."""
        if self._thread.ident is not None:
            self._thread.join()
        return self._found

    def _make(self, call: Callable[[], bool]) -> None:
        with suppress(OSError):
            self._found = call()


class PackedPart(OpenPart):
    """One part by LiteRT's C API; its inputs and outputs are arrays of ours, which it reads and writes in place."""

    def __init__(self, library: _Library, model: int, size: int, weights: int, threads: int) -> None:
        """Prepare the part from two descriptors: `model` stays the caller's, `weights` becomes the part's.

        Raises:
            _Refused: LiteRT does not take it, or it is no part of edge-moe.
        """
        self._library = library
        self._made: list[tuple[str, c_void_p]] = []  # what is to be destroyed, and how
        try:
            opened = self._new(
                "Model", "LiteRtCreateModelFromFd", library.environment, model, c_size_t(0), c_size_t(size)
            )
            given, results = self._signature(opened)
        except BaseException:
            os.close(weights)
            self.close()
            raise
        try:
            self._compiled = self._compile(opened, weights, threads)
            self._input = _aligned(given.shape)
            self._outputs = {one.name: _aligned(one.shape) for one in results}
            self._given = (c_void_p * 1)(self._buffer(self._input))
            self._results = (c_void_p * len(results))(*map(self._buffer, self._outputs.values()))
        except BaseException:
            self.close()
            raise
        self._run = library.native.LiteRtRunCompiledModel
        self._one, self._count = c_size_t(1), c_size_t(len(results))
        self._first = c_size_t(0)

    def invoke(self, tensor: Tensor) -> None:
        """Run the part on `tensor`, float32 in the shape of the part's one input.

        Raises:
            BackendError: another shape or dtype, or LiteRT failed.
            UsageError: the part is closed.
        """
        if not self._made:
            raise UsageError(CLOSED)
        if tensor.shape != self._input.shape or tensor.dtype != np.float32:
            raise BackendError(
                f"LiteRT could not run the part: it takes float32 {self._input.shape}, not {tensor.dtype} "
                f"{tensor.shape}"
            )
        self._input[...] = tensor
        status = self._run(self._compiled, self._first, self._one, self._given, self._count, self._results)
        if status:
            raise BackendError(f"LiteRT could not run the part: status {status}")

    def output(self, name: str) -> Tensor:
        """Return a copy of the output called `name` of the last `invoke`.

        Raises:
            BackendError: the artifact has no such output.
            UsageError: the part is closed.
        """
        if not self._made:
            raise UsageError(CLOSED)
        try:
            return self._outputs[name].copy()
        except KeyError:
            have = ", ".join(sorted(self._outputs))
            raise BackendError(f"the .tflite artifact has no output {name!r}; it has {have}") from None

    def tensors(self) -> PartTensors:
        """Return nothing: whoever looks at an artifact's tensors opens it for that.

        Raises:
            BackendError: always.
        """
        raise BackendError("a part whose weights are mapped does not describe itself; open it by Backend.open")

    def close(self) -> None:
        """Release the native memory and what is mapped."""
        while self._made:
            kind, handle = self._made.pop()
            getattr(self._library.native, f"LiteRtDestroy{kind}")(handle)

    def __del__(self) -> None:
        self.close()

    def _new(self, kind: str, name: str, *arguments: Any) -> c_void_p:
        made = c_void_p()
        self._library.call(name, *arguments, ctypes.byref(made))
        self._made.append((kind, made))
        return made

    def _compile(self, model: c_void_p, weights: int, threads: int) -> c_void_p:
        """Return the compiled model; `weights` is its own from here on."""
        call, options, opaque = self._library.call, c_void_p(), c_void_p()
        call("LiteRtCreateOptions", ctypes.byref(options))
        try:
            call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
            payload = ctypes.create_string_buffer(
                f"num_threads = {threads}\nweight_cache_file_descriptor = {weights}\n".encode()
            )
            where = ctypes.cast(payload, c_void_p)
            call("LiteRtCreateOpaqueOptions", b"xnnpack", where, _nothing_to_delete, ctypes.byref(opaque))
            call("LiteRtAddOpaqueOptions", options, opaque)
            return self._new("CompiledModel", "LiteRtCreateCompiledModel", self._library.environment, model, options)
        finally:
            self._library.native.LiteRtDestroyOptions(options)

    def _signature(self, model: c_void_p) -> tuple[_Tensor, list[_Tensor]]:
        """Return the input and the outputs of the one signature, in its order."""
        call, signature = self._library.call, c_void_p()
        call("LiteRtGetModelSignature", model, c_size_t(0), ctypes.byref(signature))
        found = []
        for side in ("Input", "Output"):
            count = c_size_t()
            call(f"LiteRtGetNumSignature{side}s", signature, ctypes.byref(count))
            for place in range(count.value):
                name, tensor, ranked = c_char_p(), c_void_p(), _Ranked()
                call(f"LiteRtGetSignature{side}Name", signature, c_size_t(place), ctypes.byref(name))
                call(f"LiteRtGetSignature{side}TensorByIndex", signature, c_size_t(place), ctypes.byref(tensor))
                call("LiteRtGetRankedTensorType", tensor, ctypes.byref(ranked))
                if ranked.element != _FLOAT32 or name.value is None:
                    raise _Refused("a tensor that is not float32")
                shape = tuple(ranked.dimensions[: ranked.rank])
                found.append(_Tensor(side, name.value.decode(), shape))
        given = [one for one in found if one.side == "Input"]
        if len(given) != 1:
            raise _Refused(f"{len(given)} inputs")
        return given[0], found[1:]

    def _buffer(self, array: Tensor) -> c_void_p:
        dimensions = (c_int32 * _MOST_RANK)(*array.shape)
        ranked = _Ranked(_FLOAT32, array.ndim, 0, dimensions)
        where, size = c_void_p(array.ctypes.data), c_size_t(array.nbytes)
        return self._new(
            "TensorBuffer", "LiteRtCreateTensorBufferFromHostMemory", ctypes.byref(ranked), where, size, None
        )


def _aligned(shape: tuple[int, ...]) -> Tensor:
    """Return an array whose memory begins where LiteRT wants it to."""
    size = int(np.prod(shape))
    memory = np.zeros(size + _ALIGNMENT // 4, np.float32)
    start = -memory.ctypes.data % _ALIGNMENT // 4
    return memory[start : start + size].reshape(shape)
