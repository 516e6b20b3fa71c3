"""Validation accuracy of the base and of the mixture, and what each expert gets to see."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edge_moe.anytime import Ensemble, Space
from edge_moe.evaluate import Outputs, route
from edge_moe.intervals import accuracy_interval, paired_difference
from edge_moe.nn import SingleGateMoE
from edge_moe.progress import Progress, Silent, track
from edge_moe.training.images import Images, batches

__all__ = ["collect_torch", "mixture_metrics"]

_BATCH = 256


@torch.no_grad()
def collect_torch(
    mixture: SingleGateMoE, images: Images, *, workers: int = 0, progress: Progress | None = None
) -> Outputs:
    """Run every part of `mixture` (on its own device) on all images: base [N, Y], gate [N, K], experts [N, K, Y]."""
    device = next(mixture.parameters()).device
    found: list[list[npt.NDArray[np.float32]]] = []
    total = -(-len(images) // _BATCH)
    for x, _ in track(batches(images, _BATCH, device, workers=workers), "validation", total, progress or Silent()):
        found.append([part.cpu().numpy() for part in mixture(x)])
    base, gate, experts = (np.concatenate(column) for column in zip(*found, strict=True))
    return Outputs(base, gate, experts)


def mixture_metrics(
    outputs: Outputs,
    labels: npt.NDArray[np.int64],
    ensemble: Ensemble,
    space: Space,
    groups: npt.NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Return what the training reports: accuracies with 95% intervals, and the share of each expert.

    Of a plain network there is the accuracy of the base alone.

    The mixture is measured in the paper's static mode (tau = 0, one expert). The difference to its base comes with
    a paired bootstrap interval over the images. All intervals are over `groups` of images where these are given, see
    LabelledImages: their number is then reported too.
    """
    base = outputs.base_logits.argmax(axis=1) == labels
    found: dict[str, Any] = {
        "validation_images": len(labels),
        "base_accuracy": float(base.mean()),
        "base_accuracy_95": accuracy_interval(base, groups),
        **({} if groups is None else {"validation_groups": len(np.unique(groups))}),
    }
    if not outputs.gate_logits.shape[1]:
        return found
    mixture = route(outputs, 0.0, 1, ensemble, space).predictions == labels
    difference, low, high = paired_difference(mixture, base, seed=0, groups=groups)
    chosen = outputs.gate_logits.argmax(axis=1)
    shares = np.bincount(chosen, minlength=outputs.gate_logits.shape[1]) / len(labels)
    return found | {
        "mixture_accuracy": float(mixture.mean()),
        "mixture_accuracy_95": accuracy_interval(mixture, groups),
        "mixture_minus_base": difference,
        "mixture_minus_base_95": (low, high),
        "expert_shares": [float(share) for share in shares],
    }
