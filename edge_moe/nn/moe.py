"""The single-gate Mixture of Experts: base, gate and experts together, and its anytime answer in torch.

The device runs `edge_moe.anytime`; this is the same rule on torch tensors, for training and as a reference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edge_moe.anytime import Ensemble, Space
from edge_moe.nn.parts import Base, Gate

__all__ = ["MixtureOutputs", "SingleGateMoE", "ensemble_log_probabilities"]


class MixtureOutputs(NamedTuple):
    """Raw outputs of every part for a batch."""

    base_logits: Tensor  # [B, Y]
    gate_logits: Tensor  # [B, K]; K = 0: a plain network, which has neither gate nor experts
    expert_logits: Tensor  # [B, K, Y]


def ensemble_log_probabilities(base_logits: Tensor, expert_logits: Tensor, kind: Ensemble, space: Space) -> Tensor:
    """[B, Y] logits of the base and of one expert -> [B, Y] log d_k, the loss's argument when an expert trains.

    See `edge_moe.anytime.ensemble` for d_k.
    """
    if kind == "expert":
        return expert_logits.log_softmax(-1)
    if space == "logit":
        return (base_logits + expert_logits).log_softmax(-1)
    both = torch.stack([base_logits.log_softmax(-1), expert_logits.log_softmax(-1)])
    return torch.logsumexp(both, dim=0) - math.log(2)


class SingleGateMoE(nn.Module):
    """Base, gate and K experts; or a base alone, K = 0."""

    def __init__(self, base: Base, gate: Gate | None = None, experts: Sequence[nn.Module] = ()) -> None:
        """All parts must fit each other: the gate takes the base's embedding, the experts its features."""
        super().__init__()
        assert (gate is None) == (not experts), "a gate chooses among experts"
        self.base, self.gate = base, gate
        self.experts = nn.ModuleList(experts)

    def forward(self, images: Tensor) -> MixtureOutputs:
        """[B, 3, H, W] images -> the outputs of every part. Runs all experts: routing is decided afterwards."""
        logits, features, embedding = self.base(images)
        if self.gate is None:
            none = logits.new_empty(len(logits), 0)
            return MixtureOutputs(logits, none, none[..., None].expand(-1, -1, logits.shape[1]))
        expert_logits = torch.stack([expert(features) for expert in self.experts], dim=1)
        return MixtureOutputs(logits, self.gate(embedding), expert_logits)
