"""Tensors by name in the bytes of an .npz file: golden samples, and what a network made of a fixed input."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_moe.errors import BundleError
from edge_moe.text import one_line

__all__ = ["pack", "unpack"]

_MOST_BYTES = 256 << 20  # of all tensors: golden samples of a real network have a few hundred thousand numbers
_QUOTED = 200
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def pack(tensors: Mapping[str, npt.NDArray[Any]], *, compressed: bool = False) -> bytes:
    """Return `tensors` as the bytes of an .npz file."""
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **tensors)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack(data: bytes, problem: str) -> dict[str, npt.NDArray[np.float32]]:
    """Return the tensors in `data`; Python objects are not read.

    Raises:
        BundleError: `data` is not a plain .npz; `problem` says what it should have been.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as stored:
            unpacked = sum(one.file_size for one in stored.infolist())
            if unpacked > _MOST_BYTES:
                raise BundleError(f"{problem}: unpacked it has {unpacked:,} bytes, expected at most {_MOST_BYTES:,}")
            return {one.filename.removesuffix(".npy"): _tensor(stored, one) for one in stored.infolist()}
    except BundleError:
        raise
    except Exception as error:  # on a damaged file zipfile, zlib and numpy raise nearly anything
        raise BundleError(f"{problem}: {one_line(str(error) or type(error).__name__, _QUOTED)}") from None


def _tensor(stored: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """Return one array, for which room is made only once it is known to be there whole."""
    with stored.open(member) as stream:
        content = stream.read(member.file_size)
    stream = io.BytesIO(content)
    shape, in_columns, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds objects, expected numbers")
    values = np.frombuffer(content, dtype, offset=stream.tell())
    if values.size != math.prod(shape):
        raise ValueError(f"{member.filename} has {values.size} numbers, but says that it has the shape {list(shape)}")
    return values.reshape(shape, order="F" if in_columns else "C").copy()
