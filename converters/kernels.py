"""Is it the layers, or the kernels of this processor? The same quantized graph, with the backend's kernels and without.

A kernel can be wrong on one kind of processor alone: where there is no VNNI, ONNX Runtime's products of uint8 and int8
have been seen to saturate in silence. No comparison of layers shows that, for layers are read where these kernels do
not run.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from edge_moe.converters.interface import Floats
from edge_moe.converters.noise import EIGHT_BITS_DB, sqnr_db

__all__ = ["KernelNoise", "kernel_noise"]

# Two right implementations round differently. At worst their errors have nothing to do with each other, and what lies
# between them has twice the power of either's; another factor of two is for sums that are off by a last bit.
_ROUNDING_DB = 6.0


class KernelNoise(msgspec.Struct, frozen=True, kw_only=True):
    """Of the logits of one part over all samples: 10 log10(|float|^2 / |difference|^2)."""

    graph_sqnr_db: float  # between float and the quantized graph, computed without the backend's kernels
    kernel_sqnr_db: float  # between that and the artifact, as the backend computes it here

    @property
    def is_suspect(self) -> bool:
        """Whether the kernels add more than another way of rounding could, and more than 8 bits cost anyway."""
        return self.kernel_sqnr_db < min(self.graph_sqnr_db - _ROUNDING_DB, EIGHT_BITS_DB)


def kernel_noise(samples: Iterable[tuple[Floats, Floats, Floats]]) -> KernelNoise:
    """Compare logits: for each sample in float, of the quantized graph, and of the artifact, of one shape."""
    exact, graph, artifact = (np.stack(rows).astype(np.float64) for rows in zip(*samples, strict=True))
    # Both beside the exact signal: a graph that is broken may have less of its own.
    return KernelNoise(graph_sqnr_db=sqnr_db(graph - exact, exact), kernel_sqnr_db=sqnr_db(artifact - graph, exact))
