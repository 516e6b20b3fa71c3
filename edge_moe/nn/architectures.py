"""The backbones that come with edge-moe, and where each one splits; and how a network of one's own is found."""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_moe.checkpoint import Architecture
from edge_moe.errors import UsageError
from edge_moe.nn.check import check_base
from edge_moe.nn.custom import find_builder
from edge_moe.nn.parts import Base, SplitBase
from edge_moe.nn.torchvision import torchvision

__all__ = ["ARCHITECTURES", "build_base", "build_empty_base"]


class _Split(msgspec.Struct, frozen=True):
    """Names of the modules before the branch point, after it, and of the classifier; and of the first convolution."""

    stem: tuple[str, ...]
    tail: tuple[str, ...]
    head: str
    first_convolution: str


def _features(start: int, stop: int) -> tuple[str, ...]:
    return tuple(f"features.{i}" for i in range(start, stop))


# The branch point of mobilenet_v3_small reproduces the paper's 8.13e7 MACs for base + one expert, that of resnet18
# its 2.64e9. mobilenet_v3_large, which the paper does not have, splits at its own analogous place: one block before
# the last block with stride 2.
_SPLITS = {
    "mobilenet_v3_small": _Split(_features(0, 8), _features(8, 13), "classifier", "features.0.0"),
    "mobilenet_v3_large": _Split(_features(0, 12), _features(12, 17), "classifier", "features.0.0"),
    "resnet18": _Split(("conv1", "bn1", "relu", "maxpool", "layer1", "layer2"), ("layer3", "layer4"), "fc", "conv1"),
}
ARCHITECTURES = tuple(_SPLITS)


class _MaxPoolAfterReLU(nn.Module):
    """ResNet's max pooling, padded with zeros: the same after a ReLU, and mobile delegates take the whole graph.

    Padding inside a max pooling means -infinity, for which LiteRT's converter emits an operator that XNNPACK lacks.
    """

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, stride=2)


def build_base(architecture: Architecture) -> Base:
    """Return the base of `architecture` with freshly initialised weights, in training mode.

    The first of its kind in a process runs on random images, and is held against its network: see `check_base`.

    BatchNorm momentum is torch's usual 0.1 instead of the 0.01 that torchvision gives to MobileNetV3, with which a
    short training is evaluated on statistics that lag behind the weights.

    Raises:
        UsageError: unknown architecture, or a builder of one's own that cannot be found, gives no Base, or gives one
            that is not what its network is.
    """
    builder = find_builder(architecture.base) if ":" in architecture.base else _build
    base = builder(architecture)
    if not isinstance(base, Base):
        raise UsageError(
            f"{architecture.base} gave a {type(base).__name__}; expected an edge_moe.nn.Base, such as a SplitBase"
        )
    check_base(base, architecture, builder)
    return base


def _build(architecture: Architecture) -> Base:
    if architecture.base not in _SPLITS:
        raise UsageError(
            f"unknown base {architecture.base!r}; expected one of {', '.join(ARCHITECTURES)}, "
            "or module:function for a network of your own"
        )
    network: nn.Module = getattr(torchvision.models, architecture.base)(num_classes=architecture.classes)
    split = _SPLITS[architecture.base]
    first = network.get_submodule(split.first_convolution)
    assert isinstance(first, nn.Conv2d)
    first.stride = (architecture.stem_stride, architecture.stem_stride)
    if architecture.base.startswith("resnet"):
        network.maxpool = _MaxPoolAfterReLU()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return SplitBase(network, split.stem, split.tail, split.head)


def build_empty_base(architecture: Architecture) -> Base:
    """Return the base of `architecture` on the meta device: shapes and names, no memory."""
    with torch.device("meta"):
        return build_base(architecture)
