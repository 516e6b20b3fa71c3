"""Which layer broke? The layers of a part, ranked by the noise that quantizing them adds."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from edge_moe.converters.kernels import KernelNoise
from edge_moe.converters.noise import EIGHT_BITS_DB, decibels, ratio
from edge_moe.converters.toolchain import LayerTensors

__all__ = ["InFloat", "LayerNoise", "Ranking", "rank"]


class LayerNoise(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of a part, quantized against float, over all samples."""

    layer: str  # dotted name of the torch module in its part
    position: int  # in the order of execution
    sqnr_db: float  # of what comes out: 10 log10(|float|^2 / |float - quantized|^2)
    input_sqnr_db: float  # of what goes in, before the layer rounds it
    # The SQNR that the layer would have if its input were exact, as far as noise adds up: what it adds itself.
    own_sqnr_db: float

    @property
    def is_noisy(self) -> bool:
        """Whether it adds more noise than 8 bits cost at their best; one that does not cannot be to blame."""
        return self.own_sqnr_db < EIGHT_BITS_DB


class InFloat(msgspec.Struct, frozen=True, kw_only=True):
    """How closely the logits of a part follow torch on what it is calibrated on, with some of its layers in float."""

    sqnr_db: float  # 10 log10(|float|^2 / |difference|^2), over all samples
    changed: int  # samples that are answered otherwise


class Ranking(msgspec.Struct, frozen=True):
    """What is known of where one part of one set loses its signal."""

    layers: list[LayerNoise]  # the noisiest first
    kernels: KernelNoise | None = None
    tried: list[str] = []  # layers that were tried in float, the most promising first
    in_float: dict[int, InFloat] = {}  # by how many of those


def rank(samples: Iterable[LayerTensors]) -> list[LayerNoise]:
    """Return every layer, the one that adds most noise first.

    Noise-to-signal ratios add up where errors are independent, and a layer in float passes on about the ratio that it
    receives. So what a layer adds itself is the ratio of its output minus that of its input; layers behind a bad one
    have a low SQNR too, but it is not their own.
    """
    order: dict[str, int] = {}
    powers: dict[str, list[float]] = {}  # layer -> [signal and noise of the input, signal and noise of the output]
    for sample in samples:
        order.setdefault(sample.layer, len(order))
        sums = powers.setdefault(sample.layer, [0.0] * 4)
        for place, (exact, found) in ((0, sample.inputs), (2, sample.outputs)):
            reference = exact.astype(np.float64)
            sums[place] += float((reference**2).sum())
            sums[place + 1] += float(((found.astype(np.float64).reshape(reference.shape) - reference) ** 2).sum())
    layers = []
    for layer, (signal_in, noise_in, signal, noise) in powers.items():
        given, result = ratio(noise_in, signal_in), ratio(noise, signal)
        layers.append(
            LayerNoise(
                layer=layer,
                position=order[layer],
                sqnr_db=decibels(result),
                input_sqnr_db=decibels(given),
                own_sqnr_db=decibels(max(result - given, 0.0)),
            )
        )
    return sorted(layers, key=lambda one: (one.own_sqnr_db, one.sqnr_db, one.position))
