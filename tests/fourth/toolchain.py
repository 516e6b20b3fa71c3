"""What makes its artifacts."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from edge_moe.converters.interface import Floats, Kind, with_channels_last
from edge_moe.converters.origin import Origin
from edge_moe.converters.recipe import Recipe
from edge_moe.converters.toolchain import COMPARED, LayerTensors, Structure, Toolchain
from tests.fourth.runtime import Fourth


class FourthToolchain(Toolchain):
    backend, packages = "fourth", ("torch",)

    def trace(self, part: nn.Module, kind: Kind, example: Floats) -> bytes:
        return b"no graph is shared"

    def build(
        self,
        traced: bytes,
        part: nn.Module,
        kind: Kind,
        samples: Floats,
        recipes: Sequence[Recipe],
        origins: Sequence[Origin] = (),
    ) -> Iterator[bytes]:
        for recipe in recipes:
            program = torch.export.export(
                with_channels_last(_rounded(part, recipe), kind), (torch.from_numpy(samples[0]),)
            )
            written = io.BytesIO()
            torch.export.save(program, written)
            yield written.getvalue()

    def structure(self, artifact: bytes, part: nn.Module | None = None) -> Structure | None:
        return None

    def compare(
        self, traced: bytes, part: nn.Module, kind: Kind, samples: Floats, recipe: Recipe
    ) -> Iterator[LayerTensors]:
        exact, rounded = (with_channels_last(one, kind) for one in (part, _rounded(part, recipe)))
        for sample in map(torch.from_numpy, samples[:COMPARED]):
            pair = [one(sample)["logits"].detach().numpy() for one in (exact, rounded)]
            yield LayerTensors("all", (sample.numpy(), sample.numpy()), (pair[0], pair[1]))

    def emulate(
        self, artifact: bytes, traced: bytes, part: nn.Module, samples: Floats, recipe: Recipe
    ) -> Iterator[Floats]:
        opened = Fourth().open(artifact)
        for sample in samples[:COMPARED]:
            opened.invoke(sample)
            yield opened.output("logits")


def _rounded(part: nn.Module, recipe: Recipe) -> nn.Module:
    """255 levels a tensor of weights, in a copy."""
    part = copy.deepcopy(part).eval()
    for weights in part.parameters():
        if not recipe.is_float and weights.ndim > 1:
            step = weights.abs().max() / 127
            weights.data = (weights.data / step).round() * step
    return part
