"""What executes its artifacts."""

from __future__ import annotations

import io
from importlib import metadata
from typing import Any

import numpy as np

from edge_moe.backends import Backend, OpenPart, Tensor
from edge_moe.errors import BackendError


class Fourth(Backend):
    name, suffix = "fourth", ".pt2"

    def open(self, data: bytes, *, threads: int = 1) -> FourthPart:
        import torch

        try:
            return FourthPart(torch.export.load(io.BytesIO(data)))
        except Exception as error:
            raise BackendError(f"torch refuses the artifact: {type(error).__name__}; convert it again") from None

    def version(self) -> str:
        return f"torch {metadata.version('torch')}"


class FourthPart(OpenPart):
    def __init__(self, program: Any) -> None:
        self._module: Any = program.module()
        self._results: dict[str, Tensor] = {}

    def invoke(self, tensor: Tensor) -> None:
        import torch

        try:
            with torch.no_grad():
                found = self._module(torch.from_numpy(np.ascontiguousarray(tensor)))
        except RuntimeError as error:
            raise BackendError(f"torch could not run the part: {str(error).splitlines()[0]}") from None
        self._results = {name: value.numpy() for name, value in found.items()}

    def output(self, name: str) -> Tensor:
        return self._results[name].copy()

    def close(self) -> None:
        self._module = None
