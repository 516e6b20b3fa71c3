"""The one place that opens ONNX Runtime sessions, so that each gives the right integers on the processor at hand.

An x86 with AVX2 and without VNNI multiplies uint8 by int8 in pairs, and adds each pair up in 16 bits that saturate:
255 by 127 and 255 by 127 is 32,767 instead of 64,770, without a word. The session option `session.x64quantprecision`
makes the weights unsigned when a session is opened, and such products are exact; where products are right anyway it
only costs time. So it is set where a product comes out wrong, and nowhere else. A product is computed, and no list of
processors looked at: that is right for processors to come, and under emulation.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from edge_moe.backends.base import one_line
from edge_moe.backends.imported import imported, version_of
from edge_moe.errors import BackendError, MissingExtraError

__all__ = ["RIGHT", "open_session", "probe_model", "saturates", "version"]

_ERRORS_ONLY = 3
_UNSIGNED_WEIGHTS = "session.x64quantprecision"
# A 1x1 convolution of _CHANNELS inputs of 255 with weights of 127, in steps of _STEP: 64 * 255 * 127 = 2,072,640 is
# 127 steps (2,080,768); half of the 64 products are lost where 16 bits saturate, 64 steps (1,048,576).
_CHANNELS, _INPUT, _WEIGHT, _STEP = 64, 255, 127, 16384.0
RIGHT = 127


def open_session(
    model: bytes, *, threads: int = 1, optimise: bool = True, what: str = "artifact", advice: str = ""
) -> Any:
    """Return an InferenceSession of `model` on the CPU.

    Args:
        model: the bytes of an .onnx file.
        threads: of each operator.
        optimise: False runs the graph as it is written, operator by operator: QDQ in float, without integer kernels.
        what: what to call the model where it is refused.
        advice: what to do then.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        BackendError: it cannot be loaded, or refuses the model.
    """
    runtime = _import()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Each part has threads of its own. Those of the last part would go on looking for work while the next one runs,
    # on the very CPUs that it needs: on two threads an expert after a base would take three times as long.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not optimise:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if saturates():
        options.add_session_config_entry(_UNSIGNED_WEIGHTS, "1")
    try:
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base but this one
        raise BackendError(f"ONNX Runtime refuses the {what}: {one_line(error)}{advice}") from None


def version() -> str:
    """Return the version of onnxruntime, or of its like, such as onnxruntime-gpu, which is the same module.

    Raises:
        MissingExtraError, BackendError: as `open_session`.
    """
    return version_of(_import(), "onnxruntime")


@functools.cache
def saturates() -> bool:
    """Return whether products of uint8 by int8 come out wrong in this process; computed once.

    Also where ONNX Runtime cannot tell: the option is slower, but never wrong.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    runtime = _import()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = runtime.InferenceSession(probe_model(), options, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"x": np.full((1, _CHANNELS, 1, 1), _INPUT, np.uint8)})
    except Exception:  # its exceptions have no common base but this one
        return True
    return not (found == RIGHT).all()


def probe_model() -> bytes:
    """Return the .onnx file of the convolution: uint8 `x` [1, C, 1, 1] to uint8 `y` [1, C, 1, 1], 4 kB.

    Written field by field (the numbers are those of onnx.proto3), since a device has no package that writes .onnx
    files. As bytes in the source it would be 4 kB that nobody can read, of which 4,096 bytes are the same.
    """
    shape = (1, _CHANNELS, 1, 1)
    names = ("x", "one", "zero_u8", "w", "one", "zero_i8", "step", "zero_u8")
    node = b"".join(_field(1, name.encode()) for name in names) + _field(2, b"y") + _field(4, b"QLinearConv")
    constants = (
        _constant("one", np.float32(1)),
        _constant("step", np.float32(_STEP)),
        _constant("zero_u8", np.uint8(0)),
        _constant("zero_i8", np.int8(0)),
        _constant("w", np.full((_CHANNELS, _CHANNELS, 1, 1), _WEIGHT, np.int8)),
    )
    graph = _field(1, node) + _field(2, b"probe") + b"".join(_field(5, one) for one in constants)
    graph += _field(11, _tensor_type("x", shape)) + _field(12, _tensor_type("y", shape))
    opset = _field(1, b"") + _number(2, 13)  # of the domain ""
    return _number(1, 8) + _field(7, graph) + _field(8, opset)  # IR version 8


_TYPES = {np.dtype(np.float32): 1, np.dtype(np.uint8): 2, np.dtype(np.int8): 3}  # TensorProto.DataType


def _constant(name: str, value: Any) -> bytes:
    """Return a TensorProto."""
    array = np.asarray(value)
    dims = b"".join(_number(1, size) for size in array.shape)
    return dims + _number(2, _TYPES[array.dtype]) + _field(8, name.encode()) + _field(9, array.tobytes())


def _tensor_type(name: str, shape: tuple[int, ...]) -> bytes:
    """Return a ValueInfoProto of uint8."""
    dims = _field(2, b"".join(_field(1, _number(1, size)) for size in shape))
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, _TYPES[np.dtype(np.uint8)]) + dims))


def _number(field: int, value: int) -> bytes:
    """Return a field of protobuf that holds a number."""
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    """Return a field of protobuf that holds bytes: a text or a message."""
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Return `value` in groups of seven bits, the lowest first; all but the last have their eighth bit set."""
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _import() -> Any:
    """Return the module onnxruntime; nothing else of the device's side imports it."""
    try:
        return imported("onnxruntime", "onnxruntime")
    except ModuleNotFoundError:
        raise MissingExtraError("onnxruntime", "onnx", "running .onnx artifacts") from None
