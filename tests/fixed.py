"""Weights and inputs that are the same on every processor.

torch.randn, training and k-means differ in their last bits from processor to processor, and training grows that into
other networks. A bit generator of numpy is exact (its stream is promised not to change), and so is what is done to its
bits here: a shift, and products that IEEE rounds in one way.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

_Module = TypeVar("_Module", bound=nn.Module)
_BITS = 23  # of a float32's fraction: every multiple of 2**-23 in [-1, 1) is one


def uniform(seed: int, *shape: int) -> npt.NDArray[np.float32]:
    """Return float32 multiples of 2**-23, uniform in [-1, 1)."""
    raw = np.random.PCG64(seed).random_raw(math.prod(shape)) >> np.uint64(64 - _BITS - 1)
    return ((raw.astype(np.int64) - 2**_BITS) * 2.0**-_BITS).astype(np.float32).reshape(shape)


@torch.no_grad()
def fill(module: _Module, seed: int = 0, gain: float = 1.0) -> _Module:
    """Give every layer of `module` weights and biases uniform in +-gain / sqrt(fan in), as torch's own are; return it.

    BatchNorm becomes what it is when it is new: it changes nothing before it has statistics.
    """
    for number, layer in enumerate(module.modules()):
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            bound = gain / math.sqrt(layer.weight[0].numel())
            for place, tensor in enumerate((layer.weight, layer.bias)):
                if tensor is not None:
                    tensor.copy_(torch.from_numpy(uniform(1000 * seed + 2 * number + place, *tensor.shape)) * bound)
    return module
