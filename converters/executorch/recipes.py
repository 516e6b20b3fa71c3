"""ExecuTorch's recipes."""

from __future__ import annotations

from typing import ClassVar, Literal

from edge_moe.converters.recipe import A53, A76, AVX2, FLOAT, NOTHING, VNNI, X86, Recipe, Seen

__all__ = ["GOALS", "ORDERS", "RECIPES", "SAFEST", "SEEN", "STOCK", "ExecuTorchRecipe"]


class ExecuTorchRecipe(Recipe, frozen=True, kw_only=True):
    """How torchao's PT2E treats the operators of a part: 8 bits, weights per output channel."""

    algorithm: ClassVar[str] = "pt2e"
    # Operators in int8, of conv2d, linear, add, mul; "*" is every one that the XNNPACK quantizer supports.
    quantize: tuple[str, ...] = ()
    dynamic_operators: tuple[str, ...] = ()  # as LiteRTRecipe's
    statistic: Literal["min-max", "histogram"] = "min-max"  # over the calibration images
    min_macs_per_conversion: float = 0.0  # as LiteRTRecipe's, of each group of a convolution
    min_point_weights: int = 0  # as LiteRTRecipe's


# What the quantizer does when nobody tells it otherwise: a candidate as well, and what the benchmark compares with.
STOCK = ExecuTorchRecipe(
    name="int8-stock",
    int8="the XNNPACK quantizer's get_symmetric_quantization_config(is_per_channel=True)",
    floats="hard-swish, hard-sigmoid, inputs and outputs",
    why="what the quantizer does by itself is good for plain convolutions and ReLU",
    when="where nothing is hard-swish",
    quantize=("*",),
    statistic="histogram",
)
RECIPES = (
    ExecuTorchRecipe(name=FLOAT, why="the reference", when="to compare with", **NOTHING),
    ExecuTorchRecipe(
        name="int8-dynamic",
        int8="convolutions from 25 MACs an activation and linear layers, with ranges of the image at hand",
        floats="stem, early and depthwise convolutions, small squeeze-excite, hard-swish, pooling, additions, logits",
        why="follows fp32 most closely, needs no calibration, and costs hardly more than calibrated ranges",
        when="on x86; where the others miss a bar",
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
        when="on Arm; and wherever few layers are hard-swish",
        quantize=("*",),
    ),
    STOCK,
)
# As LiteRT's.
# Ms on one thread of an Intel Xeon with VNNI, base / expert of MobileNetV3-Small at 224 pixels (docs/full-size.md):
# int8-dynamic 1.355 / .459, int8 1.335 / .447, int8-all 1.638 / .523, int8-stock 1.652 / .528. The first costs hardly
# more than the second, and follows fp32 more closely. With AVX2 alone, an AMD, processor ms: 4.959 / 2.054, 4.836 /
# 1.990, 5.354 / 2.142, 5.301 / 2.099 (docs/devices.md, as what follows).
_ON_X86 = ("int8-dynamic", "int8", "int8-all", "int8-stock")
# Millions of instructions, cortex-a76 and cortex-a53: int8-all 15.62 / 4.96 and 30.40 / 11.71, int8-stock as many, int8
# 20.86 / 5.49 and 34.15 / 12.22, int8-dynamic 23.43 / 6.67 and 34.36 / 12.21.
_ON_ARM = ("int8-all", "int8-stock", "int8", "int8-dynamic")
ORDERS = {VNNI: _ON_X86, AVX2: _ON_X86, A76: _ON_ARM, A53: _ON_ARM}
SAFEST = "int8-dynamic"  # follows fp32 most closely
# Measured by `python -m edge_moe.benchmarks.studies.kernels`, see converters/tolerances.py.
SEEN = Seen(fp32=2.8e-6, int8=5.1e-5, processors=X86)
# part -> how many times faster than fp32 the first candidate should be, see benchmarks/recipes.py.
GOALS = {"base": 1.2, "expert": 1.2}
