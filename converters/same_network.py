"""Is it still the network that an artifact was made from? Seen by what torch makes of a fixed input.

The digest of a builder's file does not see an edit in what that file imports. Outputs are compared, never hashed:
floats differ between processors.

Axis letters: H W height and width.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from edge_moe.bundle import expert_name
from edge_moe.converters.interface import Floats
from edge_moe.nn import SingleGateMoE
from edge_moe.verify import relative_error

__all__ = ["TOLERANCE", "fixed_image", "fixed_outputs", "is_same"]

TOLERANCE = 1e-4  # relative L2 error of one output; processors differ by about 1e-6
_MOST = 4096  # values of an output that are kept; a larger map is thinned out evenly


def fixed_image(height: int, width: int) -> Floats:
    """Return [1, H, W, 3] in closed form: waves of three lengths and directions, mixed otherwise in each channel."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(2 * np.pi * (a * x / width + b * y / height) + a) for a, b in ((1, 2), (3, -1), (7, 5))]
    mixed = [0.9 * waves[i] + 0.5 * waves[(i + 1) % 3] + 0.2 * (i - 1) for i in range(3)]
    return np.stack(mixed, axis=-1)[np.newaxis].astype(np.float32)


@torch.no_grad()
def fixed_outputs(mixture: SingleGateMoE, image: Floats) -> dict[str, dict[str, Floats]]:
    """Return part -> output -> what torch makes of `image` [1, H, W, 3], flat, at most 4096 values each.

    The gate and the experts are fed what the base makes of it, as when images come.
    """
    base = mixture.base(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
    if mixture.gate is None:
        return {"base": {"logits": _thinned(base.logits.numpy())}}
    found = {"base": base._asdict(), "gate": {"logits": mixture.gate(base.embedding)}}
    found |= {expert_name(k): {"logits": expert(base.features)} for k, expert in enumerate(mixture.experts)}
    return {
        part: {name: _thinned(tensor.numpy()) for name, tensor in outputs.items()} for part, outputs in found.items()
    }


def is_same(stored: Mapping[str, Floats], found: Mapping[str, Floats]) -> bool:
    """Return whether the outputs of one part are those that were stored, as far as processors agree."""
    return stored.keys() == found.keys() and all(
        # Not "error > tolerance": NaN is the same as nothing.
        stored[name].shape == values.shape and relative_error(values, stored[name]) <= TOLERANCE
        for name, values in found.items()
    )


def _thinned(values: Floats) -> Floats:
    flat = values.ravel()
    return np.ascontiguousarray(flat[:: -(-flat.size // _MOST)])
