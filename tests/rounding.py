"""int8 in torch: a second implementation, without integers, of what the backends do."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["ALLOWED", "rounded"]

# How many times the error of this implementation a backend's may be. Both round the same tensors to steps of the same
# size, but not the same values to the same side: two draws of noise of one power. Over the hundreds of numbers that
# the tests compare, draws differ by a tenth or so; half as much again is twice the power. What is wrong costs far more:
# a scale that is off by a tenth is an error of a tenth, ten times what 8 bits cost.
ALLOWED = 1.5


@torch.no_grad()
def rounded(part: nn.Module, x: Tensor, seen: Tensor | None = None) -> Any:
    """Return what `part` makes of inputs [N, ...] with 8 bits for them, its weights, and what every operator gives.

    Weights have 127 steps to either side of zero in each output channel. Activations have 255 from the least to the
    largest that they are for the inputs `seen`, `x` by default, or zero. That is the coarsest of the recipes: the
    others leave something in float.
    """
    seen = x if seen is None else seen
    twin = copy.deepcopy(part)
    for layer in twin.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            step = layer.weight.flatten(1).abs().amax(1).clamp_min(1e-12) / 127
            step = step.reshape(-1, *[1] * (layer.weight.ndim - 1))
            layer.weight.copy_((layer.weight / step).round() * step)
    with _Watch() as watch:
        part(seen)
    given = _rounded(x, _range(seen))
    with _Round(watch):
        return twin(given)


class _Watch(TorchFunctionMode):
    """Remembers the name of every operator and the range of what it gives, in the order of execution."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.ranges: list[tuple[float, float]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point():
            self.names.append(func.__name__)
            self.ranges.append(_range(result))
        return result


class _Round(TorchFunctionMode):
    """Rounds what every operator gives; but what goes on into BatchNorm, which the backends fold into the weights."""

    def __init__(self, watched: _Watch) -> None:
        super().__init__()
        self._ranges = iter(watched.ranges)
        self._following = iter([*watched.names[1:], ""])

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point():
            within = next(self._ranges)
            if next(self._following) != "batch_norm":
                return _rounded(result, within)
        return result


def _range(values: Tensor) -> tuple[float, float]:
    return min(float(values.min()), 0.0), max(float(values.max()), 0.0)


def _rounded(values: Tensor, within: tuple[float, float]) -> Tensor:
    low, high = within
    step = max(high - low, 1e-12) / 255
    zero = round(-low / step)
    return ((values / step).round().clamp(-zero, 255 - zero)) * step
