"""Checkpoints with random weights. Their latency is real, their answers are noise, and they say so wherever they go."""

from __future__ import annotations

import numpy as np
import torch

from edge_moe.bundle import Preprocessing
from edge_moe.checkpoint import CheckpointConfig
from edge_moe.data import NOISE, open_data
from edge_moe.nn import Architecture, SingleGateMoE, build_base
from edge_moe.training.checkpoint import Checkpoint, tool_versions
from edge_moe.training.fit import settle_statistics

__all__ = ["new_untrained"]

_IMAGES = 32


def new_untrained(architecture: Architecture, experts: int, preprocessing: Preprocessing, *, seed: int) -> Checkpoint:
    """Return a checkpoint of `experts` experts with random weights, with origin "untrained"; 0: of a plain network.

    Raises:
        UsageError: unknown base, or one without the branch point that experts need.
    """
    torch.manual_seed(seed)
    base = build_base(architecture)
    # Without statistics that fit, activations fade from layer to layer, and every image looks the same to the gate.
    images = np.concatenate(list(open_data(NOISE, "train").sample(_IMAGES).tensors(preprocessing)))
    settle_statistics(base, iter([torch.from_numpy(images.transpose(0, 3, 1, 2).copy())]))
    gate = base.new_gate(experts, architecture.image_size) if experts else None
    config = CheckpointConfig(
        architecture=architecture,
        experts=experts,
        labels=tuple(f"class {i}" for i in range(architecture.classes)),
        preprocessing=preprocessing,
        ensemble="bagging",
        space="logit",
        origin="untrained",
        tools=tool_versions(),
    )
    mixture = SingleGateMoE(base, gate, [base.new_expert() for _ in range(experts)])
    return Checkpoint(config, mixture.eval())
