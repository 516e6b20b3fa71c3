"""Recipes: named ways to quantize a part for a backend. The manifest records the name and all settings.

What pays on a device is measured, not assumed: `benchmarks/speed.py` runs every recipe here at full size.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edge_moe.errors import UsageError

__all__ = ["DEFAULT", "FLOAT", "RECIPES", "STOCK", "LiteRTRecipe", "get"]

FLOAT = "fp32"
DEFAULT = "int8"


class LiteRTRecipe(msgspec.Struct, frozen=True, kw_only=True):
    """How ai-edge-quantizer treats the operators of a part: static, 8 bits, weights per output channel."""

    name: str
    summary: str
    quantize: tuple[str, ...]  # LiteRT operators in int8; "*" is every one that the quantizer supports
    keep_float: tuple[str, ...] = ()  # exceptions to "*"
    # A convolution stays in float unless it saves enough multiply-accumulates for each activation that has to be
    # converted: with C inputs and D outputs a 1x1 convolution does C * D a pixel and converts C + D.
    min_macs_per_conversion: float = 0.0
    calibration: Literal["none", "min-max", "moving-average"] = "min-max"

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return not self.quantize

    def settings(self, calibration_images: int) -> dict[str, Any]:
        """Return everything that is needed to do it again."""
        settings = msgspec.to_builtins(self)
        del settings["name"], settings["summary"]
        if not self.is_float:
            settings |= {
                "algorithm": "min_max_uniform_quantize",
                "activations": "int8, asymmetric, per tensor",
                "weights": "int8, symmetric, per output channel",
                "calibration_images": calibration_images,
            }
        return dict(settings)


_ALL = (
    LiteRTRecipe(name=FLOAT, summary="nothing is quantized", quantize=(), calibration="none"),
    LiteRTRecipe(
        name=DEFAULT,
        summary="int8 convolutions and linear layers where that saves time; all that stands between them in float",
        quantize=("CONV_2D", "FULLY_CONNECTED"),
        min_macs_per_conversion=16.0,
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
    calibration="moving-average",
)


def get(name: str) -> LiteRTRecipe:
    """Return the recipe called `name`; raise UsageError for an unknown one."""
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}; expected one of {', '.join(RECIPES)}")
    return RECIPES[name]
