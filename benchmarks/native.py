"""Calling what executes a part directly, without this toolkit around it: what its overhead is compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_moe.backends import OpenPart, Tensor
from edge_moe.errors import UsageError
from edge_moe.turns import SharedPart

__all__ = ["bare", "native_call"]


def bare(part: OpenPart) -> OpenPart:
    """Return a part that a runtime lent as the runtime itself calls it, which takes its turn once for all parts."""
    return part.part if isinstance(part, SharedPart) else part


def native_call(part: OpenPart) -> Callable[[Tensor], Any]:
    """Return a function from the part's input to its logits, as the backend's own documentation would have it.

    On the same interpreter: a second copy of the model would measure the processor's caches.

    Raises:
        UsageError: a part of a backend that is not known here.
    """
    part = bare(part)
    name, held = type(part).__name__, vars(part)
    if name == "LiteRTPart":
        return _litert(held["_interpreter"], held["_outputs"]["logits"])
    if name == "OnnxPart":
        return _onnx(held["_session"], held["_names"], held["_input"], held["_places"]["logits"])
    if name == "ExecuTorchPart":
        return _executorch(held["_method"], held["_names"]["logits"], held["_is_map"])
    raise UsageError(f"there is no native call for a {name}")


def _litert(interpreter: Any, logits: int) -> Callable[[Tensor], Any]:
    given = interpreter.get_input_details()[0]["index"]

    def call(x: Tensor) -> Any:
        interpreter.set_tensor(given, x)
        interpreter.invoke()
        return interpreter.get_tensor(logits)

    return call


def _onnx(session: Any, names: list[str], given: str, logits: int) -> Callable[[Tensor], Any]:
    return lambda x: session.run(names, {given: x})[logits]


def _executorch(method: Any, logits: int, is_map: bool) -> Callable[[Tensor], Any]:
    import torch

    def call(x: Tensor) -> Any:
        tensor = torch.from_numpy(x)
        method.set_inputs((tensor.permute(0, 3, 1, 2) if is_map else tensor,))
        method.execute()
        return method.get_outputs(clone_outputs=False)[logits].numpy().copy()

    return call
