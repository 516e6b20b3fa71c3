"""Multiply-accumulates and parameters of the parts.

One fused multiply-add is 1 MAC. Counted are convolutions and matrix products (linear layers), squeeze-excite
included, by torch's own FlopCounterMode on the meta device, which counts 2 operations a multiply-add.
Elementwise operators, pooling and normalisation are not counted: they have no multiply-accumulate.
"""

from __future__ import annotations

import copy

import msgspec
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from edge_moe.checkpoint import Architecture
from edge_moe.nn.architectures import build_empty_base
from edge_moe.nn.parts import Base, Gate
from edge_moe.sizes import Size, height_width

__all__ = ["Cost", "MixtureCost", "cost", "mixture_cost", "part_costs"]


class Cost(msgspec.Struct, frozen=True):
    """What one part costs for one image."""

    macs: int
    parameters: int


class MixtureCost(msgspec.Struct, frozen=True):
    """Costs by part; all experts are alike. None: a plain network has no such part."""

    base: Cost
    gate: Cost | None = None
    expert: Cost | None = None
    base_and_expert: Cost | None = None  # without the gate, as the paper counts


def cost(module: nn.Module, example: Tensor) -> Cost:
    """Return the cost of `module` on `example`, whose batch axis should be 1. Nothing is computed: meta device."""
    twin = copy.deepcopy(module).to("meta").eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        twin(example.to("meta"))
    return Cost(counter.get_total_flops() // 2, sum(p.numel() for p in module.parameters()))


def part_costs(base: Base, gate: Gate | None, image_size: Size) -> MixtureCost:
    """Return the costs of a mixture with this base and gate, for one image of `image_size`; no gate: of the base."""
    whole = cost(base, torch.empty(1, 3, *height_width(image_size), device="meta"))
    if gate is None:
        return MixtureCost(whole)
    shapes = base.shapes(image_size)
    expert = cost(base.new_expert(), shapes.features)
    both = Cost(whole.macs + expert.macs, whole.parameters + expert.parameters)
    return MixtureCost(whole, cost(gate, shapes.embedding), expert, both)


def mixture_cost(architecture: Architecture, experts: int) -> MixtureCost:
    """Return the costs of a mixture of `experts` experts on `architecture`, without building its weights.

    Raises:
        UsageError: unknown base, or one without the branch point that experts need.
    """
    base = build_empty_base(architecture)
    with torch.device("meta"):
        gate = base.new_gate(experts, architecture.image_size) if experts else None
    return part_costs(base, gate, architecture.image_size)
