"""Backends: what executes an artifact. One record in the table and one file a backend, behind one small interface.

A backend is a class with a `name`, a file `suffix` and `open`; a part has `invoke`, `output`, `tensors` and `close`.
Native libraries are imported by `open`, not by importing this package.
"""

from __future__ import annotations

import importlib
from typing import Any

from edge_moe.backends import table
from edge_moe.backends.base import Backend, OpenPart, PartTensor, PartTensors, Tensor
from edge_moe.backends.table import Record
from edge_moe.errors import UsageError

__all__ = [
    "Backend",
    "OpenPart",
    "PartTensor",
    "PartTensors",
    "Record",
    "Tensor",
    "get",
    "load",
    "missing",
    "names",
    "native",
    "record",
]


def names() -> tuple[str, ...]:
    """Return the names of the backends, the default first."""
    return tuple(one.name for one in table.records())


def native() -> tuple[str, ...]:
    """Return the names of those whose artifacts a processor runs, and no NPU."""
    return tuple(one.name for one in table.records() if one.npu is None)


def record(name: str) -> Record:
    """Return the record of the backend called `name`; raise UsageError for an unknown one."""
    found = table.record(name)
    if found is None:
        raise UsageError(f"unknown backend {name!r}; expected one of {', '.join(names())}")
    return found


def get(name: str) -> Backend:
    """Return the backend called `name`; raise UsageError for an unknown one."""
    backend: Backend = load(record(name).runtime)()
    return backend


def missing(name: str) -> str | None:
    """Return what has to be done before the backend called `name` can be used; None: nothing, packages aside.

    Raises:
        UsageError: an unknown backend.
    """
    where = record(name).missing
    return None if where is None else load(where)()


def load(where: str) -> Any:
    """Return what a record names as "module:Class"."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)
