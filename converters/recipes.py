"""Recipes: named ways to quantize a part for a backend. The manifest records the name and all settings.

What pays on a device is measured, not assumed: `benchmarks/speed.py` runs every recipe here at full size.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edge_moe.errors import UsageError

__all__ = ["CANDIDATES", "FLOAT", "RECIPES", "STOCK", "LiteRTRecipe", "get"]

FLOAT = "fp32"
# Without a wish, the first of these that follows fp32 closely enough is shipped. The first is the faster one.
CANDIDATES = ("int8", "int8-dynamic")


class LiteRTRecipe(msgspec.Struct, frozen=True, kw_only=True):
    """How ai-edge-quantizer treats the operators of a part: 8 bits, weights per output channel."""

    name: str
    summary: str
    quantize: tuple[str, ...]  # LiteRT operators in int8; "*" is every one that the quantizer supports
    keep_float: tuple[str, ...] = ()  # exceptions to "*"
    # Where the range of an activation comes from: the calibration images, or each image as it is answered.
    ranges: Literal["none", "calibrated", "dynamic"] = "calibrated"
    statistic: Literal["min-max", "moving-average"] = "min-max"  # over the calibration images
    # A convolution stays in float unless it saves enough multiply-accumulates for each activation that has to be
    # converted: with C inputs and D outputs a 1x1 convolution does C * D a pixel and converts C + D.
    min_macs_per_conversion: float = 0.0
    # On a 1 x 1 map, as in squeeze-excite, what counts is the weights that need not be read.
    min_point_weights: int = 0

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return not self.quantize

    def settings(self, calibration_images: int) -> dict[str, Any]:
        """Return everything that is needed to do it again."""
        settings: dict[str, Any] = msgspec.to_builtins(self)
        del settings["name"], settings["summary"]
        if self.is_float:
            return {}
        settings |= {"algorithm": "min_max_uniform_quantize", "weights": "int8, symmetric, per output channel"}
        if self.ranges == "dynamic":
            del settings["statistic"]
            return settings | {"activations": "int8, asymmetric, per tensor and image"}
        return settings | {
            "activations": "int8, asymmetric, per tensor",
            "calibration_images": calibration_images,
        }


_ALL = (
    LiteRTRecipe(name=FLOAT, summary="nothing is quantized", quantize=(), ranges="none"),
    LiteRTRecipe(
        name="int8",
        summary="int8 convolutions and linear layers where that saves time; all that stands between them in float",
        quantize=("CONV_2D", "FULLY_CONNECTED"),
        min_macs_per_conversion=20.0,
        min_point_weights=6000,
    ),
    LiteRTRecipe(
        name="int8-dynamic",
        summary="the same, with the ranges of each image: for activations with long tails; a little slower",
        quantize=("CONV_2D", "FULLY_CONNECTED"),
        ranges="dynamic",
        min_macs_per_conversion=25.0,
        min_point_weights=6000,
    ),
    LiteRTRecipe(
        name="int8-all",
        summary="everything in int8 but hard-swish, inputs and outputs",
        quantize=("*",),
        keep_float=("HARD_SWISH", "INPUT", "OUTPUT"),
    ),
)
RECIPES = {recipe.name: recipe for recipe in _ALL}
# What the quantizer does when nobody tells it otherwise. Not for bundles, whose tensors come and go in float: this is
# what the benchmark compares with.
STOCK = LiteRTRecipe(
    name="int8-stock",
    summary="the quantizer's own static_wi8_ai8, for comparison",
    quantize=("*",),
    statistic="moving-average",
)


def get(name: str) -> LiteRTRecipe:
    """Return the recipe called `name`; raise UsageError for an unknown one."""
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}; expected one of {', '.join(RECIPES)}")
    return RECIPES[name]
