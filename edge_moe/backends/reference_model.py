"""Arm's reference model of TOSA in processes of its own: what every integer operator gives, by its definition.

It prints at every call, ends the process on what it does not understand, and computes on one core: so it has
processes, as many as there are cores, which all parts share. They end with the last part.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_moe.backends.base import one_line
from edge_moe.brought import cache_folder, import_from
from edge_moe.errors import BackendError
from edge_moe.pool import Pool, WorkerLost

__all__ = ["KIND", "TOSA", "VERSION", "Arrays", "Model", "missing", "tools_folder"]

Arrays: TypeAlias = list[npt.NDArray[Any]]

KIND, TOSA = "ethos-u", "tosa"  # of the set-up, and of its folder with the reference model
VERSION = "TOSA reference model 2026.5.0"
_MODULE = "tosa_reference_model"


def tools_folder(name: str) -> Path:
    """Return where a folder of the set-up lies, there or not."""
    return cache_folder() / KIND / name


def missing() -> str | None:
    """Return what to do where the reference model is not here; None where it is."""
    if (tools_folder(TOSA) / _MODULE).is_dir():
        return None
    return f"{VERSION}, which answers here as the NPU does, is not set up: run 'edge-moe devices setup {KIND}'"


class Model:
    """One user of the processes; `close` gives them back."""

    def __init__(self) -> None:
        """Look for the tools.

        Raises:
            BackendError: they are not set up.
        """
        if problem := missing():
            raise BackendError(problem)
        self._shared: _Shared | None = _shared()
        self._shared.users += 1

    def run(self, graph: bytes, inputs: Sequence[npt.NDArray[Any]]) -> list[Arrays]:
        """Run a graph with one input on each of `inputs`; return for each its outputs, in the graph's order.

        Raises:
            BackendError: the reference model refuses it, or ended.
        """
        assert self._shared is not None
        return self._shared.run(graph, inputs)

    def close(self) -> None:
        """Be a user no more."""
        if self._shared is not None:
            self._shared.leave()
        self._shared = None


class _Shared:
    """The processes of this one."""

    def __init__(self) -> None:
        self.pid, self.users = os.getpid(), 0
        self._lock, self._open = threading.Lock(), ExitStack()
        self._pool: Pool | None = None

    def run(self, graph: bytes, inputs: Sequence[npt.NDArray[Any]]) -> list[Arrays]:
        """See `Model.run`."""
        with self._lock:
            if self._pool is None:
                cores = os.cpu_count() or 1
                self._pool = self._open.enter_context(Pool(cores, _start, (str(tools_folder(TOSA)),)))
            size = -(-len(inputs) // (os.cpu_count() or 1))
            shares = [inputs[at : at + size] for at in range(0, len(inputs), size)]
            try:
                futures = [self._pool.submit(_run, graph, share) for share in shares]
                while self._pool.wait():
                    pass
                return [one for future in futures for one in future.result()]
            except WorkerLost as lost:
                self._end()
                words = f" (last words: {lost.words})" if lost.words else ""
                raise BackendError(f"a process of the reference model {lost}{words}; convert the part again") from None
            except BaseException:  # Ctrl-C: what they are at is nobody's any more
                self._end()
                raise

    def leave(self) -> None:
        """Be one user less."""
        self.users -= 1
        if not self.users and self.pid == os.getpid():
            with self._lock:
                self._end()

    def _end(self) -> None:
        self._open.close()
        self._pool = None


_now: _Shared | None = None
_making = threading.Lock()


def _shared() -> _Shared:
    """Return the processes of this process: a fork has none of its parent's."""
    global _now
    with _making:
        if _now is None or _now.pid != os.getpid():
            _now = _Shared()
        return _now


_model: Any = None


def _start(folder: str) -> None:
    global _model
    _model = import_from(Path(folder), _MODULE)


def _run(graph: bytes, inputs: Sequence[npt.NDArray[Any]]) -> list[Arrays]:
    """Run a graph, in a process of the pool."""
    found = []
    for x in inputs:
        try:
            outputs, status = _model.run(graph, [np.ascontiguousarray(x)])
        except (ValueError, RuntimeError) as error:
            raise BackendError(f"the reference model could not run the part: {one_line(error)}") from None
        if status != _model.GraphStatus.TOSA_VALID:
            raise BackendError(f"the reference model could not run the part: {status.name}; convert it again")
        found.append([np.array(one) for one in outputs])
    return found
