"""Which module is to blame: a converter's error names an operator, a person knows modules."""

from __future__ import annotations

import re
import warnings

import torch
from torch import nn

from edge_moe.converters.interface import Floats
from edge_moe.converters.sharing import WHOLE_PART, layer_of
from edge_moe.errors import ConversionError

__all__ = ["failure", "module_of"]

_OPERATOR = re.compile(r"(?:aten[.:]+|torch\.ops\.\w+\.)(\w+)|\b(\w+)\.default\b")


def failure(tool: str, error: Exception, module: nn.Module, example: Floats | torch.Tensor) -> ConversionError:
    """Return an error that says what `tool` said about the wrapped part `module`, and where it arose.

    `example`: one input of the module.
    """
    causes: list[BaseException] = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    # The innermost says what it is about; torch.onnx's outermost says, in colours, which of its steps it was.
    reason = " ".join(str(causes[-1]).split())[:300] or type(error).__name__
    x = example if isinstance(example, torch.Tensor) else torch.from_numpy(example)
    where = _culprit(" ".join(map(str, causes)), module, x)
    return ConversionError(
        f"{tool} cannot convert this part: {where}{reason}; replace the operator, or leave the backend out"
    )


def module_of(node: torch.fx.Node) -> str:
    """Return the part's module whose code made `node` of an exported graph."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values()]
    return layer_of(re.sub(r"^L\['self'\]\.?", "", paths[-1])) if paths else WHOLE_PART


def _culprit(message: str, module: nn.Module, x: torch.Tensor) -> str:
    """Return "module (operator): " for what the message is about, "" where that cannot be told."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (x,))
    except Exception:  # then the trace itself failed; find the innermost module in which it did
        return _failing_module(module, x)
    named = {name for found in _OPERATOR.findall(message) for name in found if name}
    for node in program.graph.nodes:
        if node.op == "call_function":
            operator = getattr(node.target, "_opname", None) or str(node.target).split(".")[-2:][0]
            # A tool may have decomposed it already: special_bessel_j0 into bessel_j0.
            if operator in named or any(operator.endswith(f"_{name}") for name in named):
                return f"{module_of(node)} ({operator}): "
    return ""


def _failing_module(module: nn.Module, x: torch.Tensor) -> str:
    """Return the innermost module whose forward raises when it is traced."""
    entered: list[str] = []
    names = {submodule: name for name, submodule in module.named_modules()}

    def enter(submodule: nn.Module, _: object) -> None:
        entered.append(names.get(submodule, ""))

    def leave(*_: object) -> None:
        entered.pop()

    hooks = [h for m in module.modules() for h in (m.register_forward_pre_hook(enter), m.register_forward_hook(leave))]
    try:
        torch.export.export(module, (x,), strict=False)
    except Exception:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return f"{layer_of(entered[-1])}: " if entered else ""
