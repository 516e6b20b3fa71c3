"""Max pooling that pads, such as ShuffleNet's: with zeros where that is the same, so that XNNPACK takes the graph."""

from __future__ import annotations

import copy

from torch import fx, nn
from torch.nn import functional

__all__ = ["with_zeros_padded"]

_NEVER_NEGATIVE: tuple[type[nn.Module], ...] = (nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Hardsigmoid)
_PASSING: tuple[type[nn.Module], ...] = (nn.Identity, nn.Dropout)


def with_zeros_padded(module: nn.Module) -> nn.Module:
    """Return `module` with zeros padded before each max pooling that follows a ReLU: the same function.

    Padding inside a max pooling means -infinity, for which LiteRT's converter emits an operator (PADV2) that XNNPACK
    lacks. Where nothing is negative, zeros never win either. A module that torch.fx has not traced is returned as it
    is, and so is one that has no such pooling.
    """
    if not isinstance(module, fx.GraphModule) or not any(_fits(module, node) for node in module.graph.nodes):
        return module
    module = copy.deepcopy(module)
    for node in module.graph.nodes:
        if _fits(module, node):
            pooling = module.get_submodule(node.target)
            assert isinstance(pooling, nn.MaxPool2d)
            down, right = _pair(pooling.padding)
            with module.graph.inserting_before(node):
                padded = module.graph.call_function(functional.pad, (node.args[0], (right, right, down, down)))
                pooled = module.graph.call_function(
                    functional.max_pool2d, (padded, pooling.kernel_size), {"stride": pooling.stride}
                )
            node.replace_all_uses_with(pooled)
            module.graph.erase_node(node)
    module.recompile()
    return module


def _fits(module: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether `node` pads in a max pooling what is never negative.

    Not with `ceil_mode`, where a window may not begin in what is padded; nor with gaps, which XNNPACK does not take.
    """
    called = _called(module, node)
    if not isinstance(called, nn.MaxPool2d) or called.ceil_mode or called.return_indices:
        return False
    if _pair(called.dilation) != (1, 1) or not any(_pair(called.padding)):
        return False
    return len(node.args) == 1 and _is_never_negative(module, node.args[0])


def _is_never_negative(module: fx.GraphModule, node: object) -> bool:
    while isinstance(node, fx.Node) and isinstance(_called(module, node), _PASSING):
        node = node.args[0]
    return isinstance(node, fx.Node) and (
        isinstance(_called(module, node), _NEVER_NEGATIVE)
        or (node.op == "call_method" and node.target in ("relu", "relu_"))
        or getattr(node.target, "__name__", "") in ("relu", "relu_", "relu6")
    )


def _called(module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return module.get_submodule(str(node.target)) if node.op == "call_module" else None


def _pair(size: int | tuple[int, ...]) -> tuple[int, int]:
    """Return height and width."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])
