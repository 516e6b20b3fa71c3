"""Three networks that edge-moe does not know, made into bases. docs/your-own-network.md explains them.

In this folder: edge-moe train digits --base my_networks:small_cnn --image-size 32 -o checkpoint
"""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn import functional

from edge_moe.nn import Architecture, Base, BaseOutputs, SplitBase, base_builder
from edge_moe.nn.torchvision import torchvision


@base_builder
def wide_resnet18(architecture: Architecture) -> Base:
    """Name the modules before and after the branch point, and the head: they run one after another."""
    network = torchvision.models.resnet18(num_classes=architecture.classes)
    network.conv1 = nn.Conv2d(3, 64, 3, architecture.stem_stride, 1, bias=False)
    # A stride instead of a pooling: one that pads is XNNPACK's only behind a ReLU (docs/your-own-network.md).
    network.maxpool = nn.Conv2d(64, 64, 3, 2, 1)
    return SplitBase(
        network,
        stem=["conv1", "bn1", "relu", "maxpool", "layer1", "layer2"],
        tail=["layer3", "layer4"],
        head="fc",
    )


class Tail(nn.Module):
    """What follows the branch point: two convolutions that read each other's sum, pooling, a classifier."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(32, 48, 3, 2, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU())
        self.right = nn.Sequential(nn.Conv2d(32, 48, 1, 2, bias=False), nn.BatchNorm2d(48), nn.Hardswish())
        self.mix = nn.Conv2d(48, 64, 1)
        self.head = nn.Linear(64, classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 32, H, W] -> logits [B, Y], embedding [B, 64]."""
        mixed = functional.relu(self.mix(self.left(features) + self.right(features)))
        embedding = functional.adaptive_avg_pool2d(mixed, 1).flatten(1)
        return self.head(embedding), embedding


class Expert(nn.Module):
    """A tail of its own, of which only the logits count."""

    def __init__(self, tail: Tail) -> None:
        super().__init__()
        self.tail = copy.deepcopy(tail)

    def forward(self, features: Tensor) -> Tensor:
        """[B, 32, H, W] -> logits [B, Y]."""
        return self.tail(features)[0]


class SmallCNN(Base):
    """A network that branches, so that names in a row do not describe it: it says itself what it gives."""

    head_name = "tail.head"

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.Hardswish(),
            nn.Conv2d(16, 32, 3, 1, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        )
        self.tail = Tail(classes)

    def forward(self, images: Tensor) -> BaseOutputs:
        """[B, 3, H, W] images -> logits [B, Y], features [B, 32, H/2, W/2], embedding [B, 64]."""
        features = self.stem(images)
        logits, embedding = self.tail(features)
        return BaseOutputs(logits, features, embedding)

    def new_expert(self) -> Expert:
        """Return an expert that starts from this base's own tail."""
        return Expert(self.tail)


@base_builder
def small_cnn(architecture: Architecture) -> Base:
    """For a checkpoint to name: my_networks:small_cnn."""
    return SmallCNN(architecture.classes)


class Plain(Base):
    """A network without a branch point: it can be converted and measured, and gets no experts."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network  # whose state dict fits as it is

    def forward(self, images: Tensor) -> BaseOutputs:
        """[B, 3, H, W] images -> logits [B, Y]."""
        return BaseOutputs(self.network(images))


@base_builder
def plain_cnn(architecture: Architecture) -> Base:
    """For a checkpoint with --experts 0: my_networks:plain_cnn."""
    head = nn.Linear(16, architecture.classes)
    return Plain(nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head))
