"""A network whose weights are the same on every machine, with layers that each int8 recipe of each backend takes.

Weights are integers drawn by numpy, times powers of two: no processor rounds them. What it answers means nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from edge_moe.bundle import Preprocessing
from edge_moe.nn import Architecture, Base, SplitBase, base_builder
from edge_moe.training.checkpoint import save_checkpoint
from edge_moe.training.untrained import new_untrained

NAME = "tests.devices.network:network"
SIZE, CLASSES, EXPERTS = 32, 10, 2


class Squeeze(nn.Module):
    """Squeeze-excite, as in MobileNetV3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 80, 1), nn.Conv2d(80, channels, 1)  # 6,400 weights each

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = nn.functional.adaptive_avg_pool2d(x, 1)
        return x * nn.functional.hardsigmoid(self.up(self.down(scale).relu()))


class Network(nn.Module):
    """A 1x1 convolution has C D / (C + D) MACs a conversion; recipes ask for 25 to 35, or for 30,000 weights."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.Hardswish())
        self.second = nn.Sequential(nn.Conv2d(16, 80, 1), nn.ReLU(), nn.Conv2d(80, 80, 3, 2, 1, groups=80), nn.ReLU())
        self.squeeze = Squeeze(80)
        self.even = nn.Sequential(nn.Conv2d(80, 80, 1), nn.ReLU())  # 40 a conversion
        self.wide = nn.Sequential(nn.Conv2d(80, 400, 1), nn.Hardswish())  # 67, and 32,000 weights
        self.last = nn.Sequential(nn.Conv2d(400, 80, 1), nn.Hardswish())
        self.classifier = nn.Sequential(nn.Linear(80, 80), nn.Hardswish(), nn.Linear(80, classes))


@base_builder
def network(architecture: Architecture) -> Base:
    return SplitBase(
        Network(architecture.classes), ("first", "second", "squeeze"), ("even", "wide", "last"), "classifier"
    )


@torch.no_grad()
def fix(part: nn.Module, seed: int) -> None:
    """Give every parameter of `part` the values that `seed` stands for, of a size that keeps activations alike."""
    draw = np.random.default_rng(seed)
    for _, parameter in sorted(part.named_parameters()):
        values = draw.integers(-127, 128, parameter.shape)
        fan_in = int(np.prod(parameter.shape[1:])) if parameter.ndim > 1 else 16
        scale = 2.0 ** np.round(np.log2(2 / (127 * np.sqrt(fan_in))))
        parameter.copy_(torch.from_numpy((values * scale).astype(np.float32)))


def write_checkpoint(folder: Path) -> Path:
    architecture = Architecture(base=NAME, classes=CLASSES, image_size=SIZE)
    spec = Preprocessing(image_size=SIZE, resize=SIZE, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    made = new_untrained(architecture, EXPERTS, spec, seed=0)
    for seed, part in enumerate((made.mixture.base, made.mixture.gate, *made.mixture.experts)):
        fix(part, seed)
    save_checkpoint(folder, made)
    return folder
