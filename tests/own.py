"""A network of one's own: small enough to convert in seconds, and with layers that every int8 recipe takes."""

from __future__ import annotations

from torch import nn

from edge_moe.nn import Architecture, Base, SplitBase, base_builder

NAME = "tests.own:network"
RUINED = "last.0"  # the layer that `ruin` ruins


class Network(nn.Module):
    """80 * 80 / 160 = 40 multiply-accumulates a conversion, where the recipes ask for 30 and 35."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(16, 80, 3, 2, 1, bias=False), nn.BatchNorm2d(80), nn.ReLU())
        self.even = nn.Sequential(nn.Conv2d(80, 80, 1, bias=False), nn.BatchNorm2d(80), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(80, 80, 1, bias=False), nn.BatchNorm2d(80), nn.Hardswish())
        self.classifier = nn.Linear(80, classes)


@base_builder
def network(architecture: Architecture) -> Base:
    return SplitBase(Network(architecture.classes), ("first", "second"), ("even", "last"), "classifier")


def ruin(part: nn.Module) -> None:
    """Make channel 0 between `even` and `last` ten thousand times larger, and what reads it as much smaller.

    A ReLU scales along, so in float nothing changes. In int8 the 256 levels of that map are spent on one channel; the
    79 others become nothing. That shows in what `last` makes of them, while the map itself, by its power, looks fine:
    it is the layer that reads the map that is broken.
    """
    norm, convolution = part.get_submodule("even.1"), part.get_submodule(RUINED)
    norm.weight.data[0] *= 1e4
    norm.bias.data[0] *= 1e4
    convolution.weight.data[:, 0] *= 1e-4
