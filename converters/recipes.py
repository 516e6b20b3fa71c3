"""Recipes: named ways to quantize a part for a backend. The manifest records the name and all settings.

What pays on a device is measured, not assumed: `benchmarks/recipes.py` runs every recipe here at full size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from edge_moe.backends import BACKENDS
from edge_moe.errors import UsageError

__all__ = [
    "CANDIDATES",
    "FLOAT",
    "RECIPES",
    "STOCK",
    "ExecuTorchRecipe",
    "LiteRTRecipe",
    "OnnxRecipe",
    "Recipe",
    "choose",
    "get",
]

FLOAT = "fp32"


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What every backend's recipes have."""

    name: str
    int8: str  # what is int8, for a person
    floats: str  # what stays float
    why: str
    when: str  # to use it
    # Where the range of an activation comes from: the calibration images, or each image as it is answered.
    ranges: Literal["none", "calibrated", "dynamic"] = "calibrated"
    # Layers that a person wants in float: names of torch modules, with all that is inside them.
    keep_float: tuple[str, ...] = ()

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return self.ranges == "none"

    def settings(self, calibration_images: int) -> dict[str, Any]:
        """Return everything that is needed to do it again."""
        settings: dict[str, Any] = msgspec.to_builtins(self)
        for words in ("name", "int8", "floats", "why", "when"):
            del settings[words]
        if self.is_float:
            return self._of_float(settings)
        settings["weights"] = "int8, symmetric, per output channel"
        if self.ranges == "calibrated":
            settings["calibration_images"] = calibration_images
        return settings

    def _of_float(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return those of `settings` that mean something where nothing is quantized."""
        return {}


class LiteRTRecipe(Recipe, frozen=True, kw_only=True):
    """How ai-edge-quantizer treats the operators of a part: 8 bits, weights per output channel."""

    quantize: tuple[str, ...] = ()  # LiteRT operators in int8; "*" is every one that the quantizer supports
    except_operators: tuple[str, ...] = ()  # exceptions to "*"
    # Operators in int8 whose activations have the range of the image at hand, whatever `ranges` says. Their output is
    # in float: 256 levels are too few to tell like logits apart.
    dynamic_operators: tuple[str, ...] = ()
    statistic: Literal["min-max", "moving-average"] = "min-max"  # over the calibration images
    # A convolution stays in float unless it saves enough multiply-accumulates for each activation that has to be
    # converted: with C inputs and D outputs a 1x1 convolution does C * D a pixel and converts C + D.
    min_macs_per_conversion: float = 0.0
    # On a 1 x 1 map, as in squeeze-excite, what counts is the weights that need not be read.
    min_point_weights: int = 0

    def settings(self, calibration_images: int) -> dict[str, Any]:
        """Return everything that is needed to do it again."""
        settings = super().settings(calibration_images)
        if not self.is_float:
            settings["algorithm"] = "min_max_uniform_quantize"
            if self.ranges == "dynamic":
                del settings["statistic"]
            per = "tensor and image" if self.ranges == "dynamic" else "tensor"
            settings["activations"] = f"int8, asymmetric, per {per}"
        return settings


class OnnxRecipe(Recipe, frozen=True, kw_only=True):
    """How onnxruntime.quantization treats the operators of a part: QDQ, QUInt8 activations, QInt8 weights."""

    opset: int = 20
    ir_version: int = 10
    operators: tuple[str, ...] = ()  # in int8; "*" is every one that has an integer kernel
    # A graph is float up to its first convolution that does this many multiply-accumulates for each activation that
    # goes in or out, and integer from there on: early maps are large and shallow, and blocked float kernels are better
    # at them.
    integer_from_macs_per_activation: float = 0.0
    min_weights: int = 0  # a convolution with fewer stays in float
    integer_hard_swish: bool = True  # as an integer addition and multiplication; there is no integer kernel of its own
    float_logits: bool = True  # what linear layers give: 256 levels are too few to tell like logits apart
    clip_ranges: bool = True  # of what goes into hard-swish or hard-sigmoid: below -3, both are 0

    def settings(self, calibration_images: int) -> dict[str, Any]:
        """Return everything that is needed to do it again."""
        settings = super().settings(calibration_images)
        if not self.is_float:
            settings |= {"format": "QDQ", "statistic": "min-max", "activations": "uint8, asymmetric, per tensor"}
        return settings

    def _of_float(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {name: settings[name] for name in ("opset", "ir_version")}


class ExecuTorchRecipe(Recipe, frozen=True, kw_only=True):
    """How torchao's PT2E treats the operators of a part: 8 bits, weights per output channel."""

    # Operators in int8, of conv2d, linear, add, mul; "*" is every one that the XNNPACK quantizer supports.
    quantize: tuple[str, ...] = ()
    dynamic_operators: tuple[str, ...] = ()  # as LiteRTRecipe's
    statistic: Literal["min-max", "histogram"] = "min-max"  # over the calibration images
    min_macs_per_conversion: float = 0.0  # as LiteRTRecipe's, of each group of a convolution
    min_point_weights: int = 0  # as LiteRTRecipe's

    def settings(self, calibration_images: int) -> dict[str, Any]:
        """Return everything that is needed to do it again."""
        settings = super().settings(calibration_images)
        if not self.is_float:
            settings["algorithm"] = "pt2e"
            if self.ranges == "dynamic":
                del settings["statistic"]
            per = "tensor and image" if self.ranges == "dynamic" else "tensor"
            settings["activations"] = f"int8, asymmetric, per {per}"
        return settings


_NOTHING: dict[str, Any] = {"int8": "nothing", "floats": "everything", "ranges": "none"}
_LITERT = (
    LiteRTRecipe(name=FLOAT, why="the reference", when="to compare with", **_NOTHING),
    LiteRTRecipe(
        name="int8",
        int8="convolutions that save 30 MACs for each activation they convert; linear layers, with ranges of the image",
        floats="stem, early and depthwise convolutions, small squeeze-excite, hard-swish, pooling, additions, logits",
        why="a conversion costs as much as a small convolution saves, and rounding adds up layer by layer",
        when="tried first: the fastest on the host that was measured",
        quantize=("CONV_2D",),
        dynamic_operators=("FULLY_CONNECTED",),
        min_macs_per_conversion=30.0,
        min_point_weights=6000,
    ),
    LiteRTRecipe(
        name="int8-dynamic",
        int8="convolutions from 25 MACs an activation and linear layers, with ranges of the image at hand",
        floats="as in int8",
        why="nothing is clipped: follows fp32 most closely, also where activations have long tails",
        when="tried next, when int8 misses a bar; a little slower",
        quantize=("CONV_2D", "FULLY_CONNECTED"),
        ranges="dynamic",
        min_macs_per_conversion=25.0,
        min_point_weights=6000,
    ),
    LiteRTRecipe(
        name="int8-all",
        int8="everything that XNNPACK takes in int8",
        floats="hard-swish, inputs and outputs",
        why="hard-swish in int8 is not delegated and would split the graph",
        when="on a target whose float path is slow; measure first",
        quantize=("*",),
        except_operators=("HARD_SWISH", "INPUT", "OUTPUT"),
    ),
)
_ONNX = (
    OnnxRecipe(name=FLOAT, why="the reference", when="to compare with", **_NOTHING),
    OnnxRecipe(
        name="int8",
        int8="everything from the first convolution with 35 MACs an activation on, hard-swish included",
        floats="the layers before it, and the logits",
        why="early maps are large and shallow, where blocked float kernels win; integers need no conversions between",
        when="tried first: the fastest on the host that was measured",
        operators=("*",),
        integer_from_macs_per_activation=35.0,
    ),
    OnnxRecipe(
        name="int8-heavy",
        int8="linear layers, and convolutions with 30,000 weights or more",
        floats="everything else, and the logits",
        why="reading weights is what these layers cost; few activations are rounded",
        when="tried next, when int8 misses a bar",
        operators=("Conv", "Gemm"),
        min_weights=30_000,
        integer_hard_swish=False,
    ),
    OnnxRecipe(
        name="int8-all",
        int8="everything, hard-swish included",
        floats="the logits",
        why="the smallest file",
        when="where size counts more than accuracy, or float is slow; measure first",
        operators=("*",),
    ),
)
_EXECUTORCH = (
    ExecuTorchRecipe(name=FLOAT, why="the reference", when="to compare with", **_NOTHING),
    ExecuTorchRecipe(
        name="int8-dynamic",
        int8="convolutions from 25 MACs an activation and linear layers, with ranges of the image at hand",
        floats="stem, early and depthwise convolutions, small squeeze-excite, hard-swish, pooling, additions, logits",
        why="follows fp32 most closely, needs no calibration, and costs hardly more than calibrated ranges",
        when="by default",
        quantize=("conv2d", "linear"),
        ranges="dynamic",
        min_macs_per_conversion=25.0,
        min_point_weights=6000,
    ),
    ExecuTorchRecipe(
        name="int8",
        int8="convolutions that save 30 MACs for each activation they convert; linear layers, with ranges of the image",
        floats="as in int8-dynamic",
        why="calibrated ranges need not be found for every image",
        when="where the last percent of speed counts more than agreement",
        quantize=("conv2d",),
        dynamic_operators=("linear",),
        min_macs_per_conversion=30.0,
        min_point_weights=6000,
    ),
    ExecuTorchRecipe(
        name="int8-all",
        int8="everything that the XNNPACK quantizer takes",
        floats="hard-swish, hard-sigmoid",
        why="the fewest operators in float",
        when="on a target whose float path is slow; measure first",
        quantize=("*",),
    ),
)
RECIPES: dict[str, dict[str, Recipe]] = {
    "litert": {recipe.name: recipe for recipe in _LITERT},
    "onnx": {recipe.name: recipe for recipe in _ONNX},
    "executorch": {recipe.name: recipe for recipe in _EXECUTORCH},
}
# Without a wish, the first of these that follows fp32 closely enough is shipped. The first is the faster one.
CANDIDATES = {"litert": ("int8", "int8-dynamic"), "onnx": ("int8", "int8-heavy"), "executorch": ("int8-dynamic",)}
_STOCK_WORDS: dict[str, Any] = {"floats": "", "why": "for comparison", "when": "never"}
# What each quantizer does when nobody tells it otherwise. Not for bundles: this is what the benchmark compares with.
STOCK: dict[str, Recipe] = {
    "litert": LiteRTRecipe(
        name="int8-stock",
        int8="the quantizer's own static_wi8_ai8, inputs and outputs included",
        quantize=("*",),
        statistic="moving-average",
        **_STOCK_WORDS,
    ),
    "onnx": OnnxRecipe(
        name="int8-stock",
        int8="quantize_static per channel, QUInt8 activations, QInt8 weights",
        operators=("*",),
        integer_hard_swish=False,
        float_logits=False,
        clip_ranges=False,
        **_STOCK_WORDS,
    ),
    "executorch": ExecuTorchRecipe(
        name="int8-stock",
        int8="the XNNPACK quantizer's get_symmetric_quantization_config(is_per_channel=True)",
        quantize=("*",),
        statistic="histogram",
        **_STOCK_WORDS,
    ),
}


def get(backend: str, name: str) -> Recipe:
    """Return the recipe of `backend` called `name`; raise UsageError for an unknown one."""
    if backend not in RECIPES:
        raise UsageError(f"unknown backend {backend!r}; expected one of {', '.join(BACKENDS)}")
    if name not in RECIPES[backend]:
        raise UsageError(
            f"unknown recipe {name!r} for {backend}; expected one of {', '.join(RECIPES[backend])} "
            "('edge-moe recipes' explains them)"
        )
    return RECIPES[backend][name]


def choose(wanted: Sequence[str] | None, backends: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the recipes asked for, by backend; a backend for which none was named is not in it.

    `wanted`: "int8" for every one of `backends`, or "onnx/int8" for one of them.

    Raises:
        UsageError: an unknown recipe, or a recipe of a backend that is not among `backends`.
    """
    chosen: dict[str, list[str]] = {}
    for wish in wanted or ():
        backend, _, name = wish.rpartition("/")
        if backend and backend not in backends:
            raise UsageError(
                f"recipe {wish!r} is of backend {backend!r}; expected one of {', '.join(backends)}, or add --backend"
            )
        for one in (backend,) if backend else backends:
            chosen.setdefault(one, []).append(get(one, name).name)
    return {backend: tuple(dict.fromkeys(names)) for backend, names in chosen.items()}
