"""Tensors by name in the bytes of an .npz file: golden samples, and what a network made of a fixed input."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_moe.errors import BundleError

__all__ = ["pack", "unpack"]


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
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"{problem}: {error}") from None
