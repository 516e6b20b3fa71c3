"""A network of one's own that is not split: its logits, and nothing that an expert could read."""

from __future__ import annotations

from torch import Tensor, nn

from edge_moe.nn import Architecture, Base, BaseOutputs, base_builder

NAME = "tests.whole:network"


def layers(classes: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes)),
    )


class Whole(Base):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.network = layers(classes)

    def forward(self, images: Tensor) -> BaseOutputs:
        return BaseOutputs(self.network(images))


@base_builder
def network(architecture: Architecture) -> Base:
    return Whole(architecture.classes)
