"""What a .pte file says of the tensors of a method: their axes and the order of their bytes.

ExecuTorch's binding tells sizes and types of inputs and outputs, and not in which order of axes the bytes have to
come; it takes whatever it is given, and computes with it. So the file is read here: it is a flatbuffer, of which a
few tables are followed. The numbers are places of fields in ExecuTorch's schema/program.fbs.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["MethodTensors", "method_tensors"]

_PLANS = 1  # of Program
_NAME, _VALUES, _INPUTS, _OUTPUTS = 0, 2, 3, 4  # of ExecutionPlan
_VALUE = 1  # of EValue, behind its type
_SIZES, _DIM_ORDER = 2, 3  # of Tensor


class MethodTensors(NamedTuple):
    """Of each input, and of each output: its sizes, and its axes from the outermost in memory to the innermost."""

    inputs: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    outputs: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def method_tensors(data: bytes, method: str) -> MethodTensors | None:
    """Return the tensors of `method` of the .pte file `data`; None where the bytes cannot be understood."""
    try:
        program = _Table(data, _u32(data, 0))
        for plan in program.tables(_PLANS):
            if plan.text(_NAME) == method:
                values = plan.tables(_VALUES)
                return MethodTensors(
                    tuple(_tensor(values[i]) for i in plan.numbers(_INPUTS)),
                    tuple(_tensor(values[i]) for i in plan.numbers(_OUTPUTS)),
                )
    except (struct.error, IndexError, UnicodeDecodeError):
        pass
    return None


def _tensor(value: _Table) -> tuple[tuple[int, ...], tuple[int, ...]]:
    tensor = value.table(_VALUE)
    return tensor.numbers(_SIZES), tensor.octets(_DIM_ORDER)


class _Table:
    """A table of a flatbuffer: a signed offset to its list of fields, then the fields."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._fields = at - struct.unpack_from("<i", data, at)[0]
        self._size = struct.unpack_from("<H", data, self._fields)[0]

    def _target(self, field: int) -> int:
        """Return where the object lies that a field points to."""
        place = 4 + 2 * field
        offset = struct.unpack_from("<H", self._data, self._fields + place)[0] if place < self._size else 0
        if not offset:
            raise IndexError(field)
        return self._at + offset + _u32(self._data, self._at + offset)

    def _vector(self, field: int) -> tuple[int, int]:
        """Return where the first element lies, and how many there are."""
        at = self._target(field)
        return at + 4, _u32(self._data, at)

    def table(self, field: int) -> _Table:
        return _Table(self._data, self._target(field))

    def tables(self, field: int) -> list[_Table]:
        start, count = self._vector(field)
        places = range(start, start + 4 * count, 4)
        return [_Table(self._data, place + _u32(self._data, place)) for place in places]

    def numbers(self, field: int) -> tuple[int, ...]:
        start, count = self._vector(field)
        return struct.unpack_from(f"<{count}i", self._data, start)

    def octets(self, field: int) -> tuple[int, ...]:
        start, count = self._vector(field)
        return tuple(self._data[start : start + count])

    def text(self, field: int) -> str:
        start, count = self._vector(field)
        return self._data[start : start + count].decode()


def _u32(data: bytes, at: int) -> int:
    number: int = struct.unpack_from("<I", data, at)[0]
    return number
