"""All experts have the same graph: it is exported once, and each expert's weights are put into it.

The graph is exported with random weights, all different, so that each constant in it can be told by its values: which
parameter of the module it is, and in which order of axes. BatchNorm is folded into the convolution before it, for
otherwise the converters would mix several parameters into one constant.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edge_moe.converters.interface import Floats

__all__ = [
    "WHOLE_PART",
    "Slot",
    "Slots",
    "fold_batch_norm",
    "is_within",
    "layer_of",
    "randomised",
    "value",
    "with_feeders",
]

WHOLE_PART = "(whole part)"  # of a parameter that no layer has
_Node = TypeVar("_Node", bound=Hashable)
_ORDERS: dict[int, list[tuple[int, ...]]] = {
    # As it is; convolution weights with channels last, depthwise ones too; a transposed matrix.
    1: [(0,)],
    2: [(0, 1), (1, 0)],
    4: [(0, 1, 2, 3), (0, 2, 3, 1), (1, 2, 3, 0), (2, 3, 1, 0)],
}


class Slot(msgspec.Struct, frozen=True):
    """A constant of the graph: parameter `name` with its axes in the order `axes`, plus `shift`."""

    name: str
    axes: tuple[int, ...]
    shift: float = 0.0  # hard-sigmoid's 3, which converters add to the bias before it

    @property
    def layer(self) -> str:
        """The module that has the parameter, by its name in the part."""
        return layer_of(self.name.rpartition(".")[0])


class Slots(msgspec.Struct, frozen=True):
    """Where in a graph the parameters are."""

    found: dict[str, Slot]  # the constant's name or number in the graph -> what it is
    # Whether every parameter was found, and every constant explained: the graph can take other weights.
    complete: bool

    @classmethod
    def find(cls, constants: Mapping[str, npt.NDArray[np.floating]], state: Mapping[str, torch.Tensor]) -> Slots:
        """Explain the float `constants` of a graph that was exported with the weights `state`."""
        values = {name: tensor.detach().numpy() for name, tensor in state.items() if tensor.is_floating_point()}
        exact: dict[bytes, Slot] = {}
        for name, array in values.items():
            for axes in _ORDERS.get(array.ndim, [tuple(range(array.ndim))]):
                exact.setdefault(np.ascontiguousarray(array.transpose(axes)).tobytes(), Slot(name, axes))
        found, explained = {}, True
        for where, constant in constants.items():
            slot = exact.get(np.ascontiguousarray(constant).tobytes()) or _shifted(constant, values)
            if slot is not None:
                found[where] = slot
            elif constant.size > 1:
                explained = False
        named = {slot.name for slot in found.values()}
        return cls(found, explained and named == set(values))


def _shifted(constant: npt.NDArray[np.floating], values: Mapping[str, Floats]) -> Slot | None:
    if constant.ndim != 1 or constant.size < 2:
        return None
    for name, array in values.items():
        if array.shape == constant.shape:
            shift = np.float32(np.round(np.median(constant - array), 4))
            if np.array_equal(array + shift, constant):
                return Slot(name, (0,), float(shift))
    return None


def layer_of(module: str) -> str:
    """Return the name in the part of what is called `module` in the wrapped part, see `with_channels_last`."""
    return module.removeprefix("part").removeprefix(".") or WHOLE_PART


def is_within(layer: str, names: Collection[str]) -> bool:
    """Return whether `layer` is one of the modules `names`, or inside of one: "features.9.0" is in "features.9"."""
    return any(layer == name or layer.startswith(f"{name}.") for name in names)


def with_feeders(
    kept: Iterable[_Node], feeders: Callable[[_Node], Iterable[_Node]], is_layer: Callable[[_Node], bool]
) -> set[_Node]:
    """Return the nodes `kept`, the layers that feed them, and all that lies between.

    A layer in float gains nothing where what it reads was rounded as somebody's output, so that with calibrated ranges
    whoever computes its input has to be in float too.
    """
    found = set(kept)
    todo = [feeder for node in found for feeder in feeders(node)]
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += [] if is_layer(node) else feeders(node)
    return found


def value(slot: Slot, state: Mapping[str, torch.Tensor]) -> Floats:
    """Return what stands in `slot` where the weights are `state`."""
    array: Floats = state[slot.name].detach().numpy().transpose(slot.axes)
    return np.ascontiguousarray(array + np.float32(slot.shift) if slot.shift else array)


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Return a copy of `module`, in evaluation mode, whose BatchNorm layers are part of the convolutions before them.

    Layers keep their names. A module that torch.fx cannot trace is returned as it is: it works, but nothing is shared.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what it imports along
        from torch.fx.experimental.optimization import fuse
    try:
        return fuse(module.eval()).eval()
    except Exception:  # torch.fx raises whatever the module's own code raises on its proxies
        return module.eval()


def randomised(module: nn.Module) -> nn.Module:
    """Return a copy of `module` with random weights, all different and none 0."""
    twin = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(0)
    for tensor in _floats(twin):
        tensor.data = 0.5 + torch.rand(tensor.shape, generator=generator)
    return twin


def _floats(module: nn.Module) -> Iterator[torch.Tensor]:
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            yield tensor
