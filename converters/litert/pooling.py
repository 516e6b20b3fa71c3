"""Max pooling that pads, such as ShuffleNet's: with zeros where that is the same, so that XNNPACK takes the graph."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from torch import fx, nn
from torch.nn import functional

__all__ = ["with_zeros_padded"]

_NEVER_NEGATIVE: tuple[type[nn.Module], ...] = (nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Hardsigmoid)
_PASSING: tuple[type[nn.Module], ...] = (nn.Identity, nn.Dropout)
_PARAMETERS = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")  # of torch's max_pool2d, in order


class _Pooling(NamedTuple):
    """A max pooling that pads."""

    given: fx.Node
    kernel_size: Any
    stride: Any
    padding: tuple[int, int]  # height and width


def with_zeros_padded(module: nn.Module) -> nn.Module:
    """Return `module` with zeros padded before each max pooling that follows a ReLU: the same function.

    Padding inside a max pooling means -infinity, for which LiteRT's converter emits an operator (PADV2) that XNNPACK
    lacks. Where nothing is negative, zeros never win either. A module that torch.fx has not traced is returned as it
    is, and so is one that has no such pooling.
    """
    if not isinstance(module, fx.GraphModule) or not any(_padding(module, node) for node in module.graph.nodes):
        return module
    module = copy.deepcopy(module)
    for node in module.graph.nodes:
        pooling = _padding(module, node)
        if pooling is None:
            continue
        down, right = pooling.padding
        with module.graph.inserting_before(node):
            padded = module.graph.call_function(functional.pad, (pooling.given, (right, right, down, down)))
            pooled = module.graph.call_function(
                functional.max_pool2d, (padded, pooling.kernel_size), {"stride": pooling.stride}
            )
        node.replace_all_uses_with(pooled)
        module.graph.erase_node(node)
    module.recompile()
    return module


def _padding(module: fx.GraphModule, node: fx.Node) -> _Pooling | None:
    """Return what `node` pools, if it is a max pooling that pads what is never negative; else None.

    Nor with `ceil_mode`, where a window may not begin in what is padded; nor with gaps, which XNNPACK does not take.
    """
    called = _called(module, node)
    if isinstance(called, nn.MaxPool2d) and not called.return_indices:
        given = {"input": node.args[0]} | {name: getattr(called, name) for name in _PARAMETERS[1:]}
    elif node.op == "call_function" and getattr(node.target, "__name__", "") == "max_pool2d":
        given = dict(zip(_PARAMETERS, node.args, strict=False)) | dict(node.kwargs)
    else:
        return None
    padding = _pair(given.get("padding", 0))
    if given.get("ceil_mode") or _pair(given.get("dilation", 1)) != (1, 1) or not any(padding):
        return None
    source = given["input"]
    if not isinstance(source, fx.Node) or not _is_never_negative(module, source):
        return None
    return _Pooling(source, given["kernel_size"], given.get("stride") or None, padding)


def _is_never_negative(module: fx.GraphModule, node: fx.Node) -> bool:
    while isinstance(_called(module, node), _PASSING) and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    if any(user.op == "call_method" and str(user.target).endswith("_") for user in node.users):
        return False  # somebody writes into it
    return (
        isinstance(_called(module, node), _NEVER_NEGATIVE)
        or (node.op == "call_method" and node.target in ("relu", "relu_"))
        or (node.op == "call_function" and getattr(node.target, "__name__", "") in ("relu", "relu_", "relu6"))
    )


def _called(module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return module.get_submodule(str(node.target)) if node.op == "call_module" else None


def _pair(size: Any) -> tuple[int, int]:
    """Return height and width."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])
