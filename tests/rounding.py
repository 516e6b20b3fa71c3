"""int8 in torch: a second implementation, without integers, of what the backends do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ALLOWED", "rounded"]

# How many times the error of this implementation a backend's may be. Both round the same tensors to steps of the same
# size, but not the same values to the same side: two draws of noise of one power. Over the few hundred numbers that
# the tests compare, draws differ by a tenth or so; twice the error is four times the power. A scale or zero point that
# is wrong costs far more: a scale that is off by a factor of two is an error of a half or more.
ALLOWED = 2.0

_SILENT = (nn.Dropout, nn.Identity, nn.Flatten)


@torch.no_grad()
def rounded(part: nn.Module, x: Tensor, seen: Tensor | None = None) -> Any:
    """Return what `part` makes of inputs [N, ...] with 8 bits for its input, its weights, and what every layer gives.

    Weights have 127 steps to either side of zero in each output channel. Activations have 255 from the least to the
    largest that they are for the inputs `seen`, `x` by default, or zero. That is the coarsest of the recipes: the
    others leave something in float.
    """
    ranges: dict[str, tuple[float, float]] = {}

    def see(name: str) -> Callable[..., None]:
        return lambda _, __, result: ranges.update({name: _range(result)})

    seen = x if seen is None else seen
    _run(part, see, seen)
    twin = copy.deepcopy(part)
    for layer in twin.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            step = layer.weight.flatten(1).abs().amax(1).clamp_min(1e-12) / 127
            step = step.reshape(-1, *[1] * (layer.weight.ndim - 1))
            layer.weight.copy_((layer.weight / step).round() * step)
    return _run(twin, lambda name: lambda _, __, result: _round(result, *ranges[name]), _round(x, *_range(seen)))


def _run(part: nn.Module, hook: Callable[[str], Any], x: Tensor) -> Any:
    layers = {name: one for name, one in part.named_modules() if not [*one.children()] and not isinstance(one, _SILENT)}
    handles = [one.register_forward_hook(hook(name)) for name, one in layers.items()]
    try:
        return part(x)
    finally:
        for handle in handles:
            handle.remove()


def _range(values: Tensor) -> tuple[float, float]:
    return min(float(values.min()), 0.0), max(float(values.max()), 0.0)


def _round(values: Tensor, low: float, high: float) -> Tensor:
    step = max(high - low, 1e-12) / 255
    zero = round(-low / step)
    return ((values / step).round().clamp(-zero, 255 - zero)) * step
