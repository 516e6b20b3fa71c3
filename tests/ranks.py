"""Networks of one's own whose features at the branch point are no maps: vectors [B, C], or tokens [B, T, C]."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn import functional

from edge_moe.nn import Architecture, Base, BaseOutputs, base_builder

VECTOR, TOKENS = "tests.ranks:vector", "tests.ranks:tokens"
FEATURES = {VECTOR: (1, 64), TOKENS: (1, 16, 32)}  # of an image of 32 pixels
WIDTH = 32


class Tail(nn.Module):
    """[B, C] -> logits [B, Y] and embedding [B, E]."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Linear(width, 48), nn.ReLU(), nn.Linear(48, WIDTH), nn.ReLU())
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.pooled(self.wide(features))
        return self.head(embedding), embedding

    def pooled(self, x: Tensor) -> Tensor:
        return x


class TokenTail(Tail):
    """The same of the mean over T of [B, T, C]."""

    def pooled(self, x: Tensor) -> Tensor:
        # As a map [B, E, T, 1]: XNNPACK takes no mean over the tokens themselves.
        return functional.adaptive_avg_pool2d(x.transpose(1, 2).unsqueeze(-1), 1).flatten(1)


class Expert(nn.Module):
    def __init__(self, tail: Tail) -> None:
        super().__init__()
        self.tail = tail

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.tail(features)[0]
        return logits


class Vector(Base):
    """A convolution, pooled: from there on a multilayer perceptron."""

    head_name = "tail.head"

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU()),
        )
        self.tail = Tail(64, classes)

    def forward(self, images: Tensor) -> BaseOutputs:
        features = self.stem(images)
        logits, embedding = self.tail(features)
        return BaseOutputs(logits, features, embedding)

    def new_expert(self) -> nn.Module:
        return Expert(copy.deepcopy(self.tail))


class Tokens(Vector):
    """Patches of 8 x 8 pixels, each a token of 32 numbers."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.stem = nn.Conv2d(3, 32, 8, 8)
        self.tail = TokenTail(32, classes)

    def forward(self, images: Tensor) -> BaseOutputs:
        features = self.stem(images).flatten(2).transpose(1, 2)
        logits, embedding = self.tail(features)
        return BaseOutputs(logits, features, embedding)


@base_builder
def vector(architecture: Architecture) -> Base:
    return Vector(architecture.classes)


@base_builder
def tokens(architecture: Architecture) -> Base:
    return Tokens(architecture.classes)
