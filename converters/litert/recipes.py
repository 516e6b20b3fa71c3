"""LiteRT's recipes."""

from __future__ import annotations

from typing import ClassVar, Literal

from edge_moe.converters.recipe import A53, A76, AVX2, BROWSER, FLOAT, NOTHING, STOCK_WORDS, VNNI, X86, Recipe, Seen

__all__ = ["GOALS", "ORDERS", "RECIPES", "SAFEST", "SEEN", "STOCK", "STOCK_GOAL", "LiteRTRecipe"]


class LiteRTRecipe(Recipe, frozen=True, kw_only=True):
    """How ai-edge-quantizer treats the operators of a part: 8 bits, weights per output channel."""

    algorithm: ClassVar[str] = "min_max_uniform_quantize"
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
    # Two 1x1 convolutions with nothing in between become one, whatever is quantized.
    merge_convolutions: bool = False
    # What goes into a hard-swish is not resolved below -3, where it is 0 anyway.
    clip_hard_swish: bool = False


RECIPES = (
    LiteRTRecipe(name=FLOAT, why="the reference", when="to compare with", **NOTHING),
    LiteRTRecipe(
        name="int8",
        int8="convolutions that save 30 MACs for each activation they convert; linear layers, with ranges of the image",
        floats="stem, early and depthwise convolutions, small squeeze-excite, hard-swish, pooling, additions, logits",
        why="a conversion costs as much as a small convolution saves, and rounding adds up layer by layer",
        when="on x86: the fastest where it was measured, but for int8-all",
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
        when="where the others miss a bar; a little slower",
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
        when="on Arm; and wherever few layers are hard-swish",
        quantize=("*",),
        except_operators=("HARD_SWISH", "INPUT", "OUTPUT"),
    ),
    LiteRTRecipe(
        name="int8-arm",
        int8="everything that XNNPACK takes in int8, two convolutions in a row as one",
        floats="hard-swish, which XNNPACK looks up in a table of integers; inputs and outputs",
        why="fewest instructions on Arm: once conversions count, no operator there takes fewer in float",
        when="on Arm, where it follows fp32 closely enough: all layers add noise",
        quantize=("*",),
        except_operators=("HARD_SWISH", "INPUT", "OUTPUT"),
        merge_convolutions=True,
        clip_hard_swish=True,
    ),
    LiteRTRecipe(
        name="int8-stock",
        int8="everything that the quantizer's own static_wi8_ai8 takes",
        floats="inputs and outputs",
        why="what the quantizer does by itself is good for plain convolutions and ReLU",
        when="where nothing is hard-swish, which in int8 would split the graph",
        quantize=("*",),
        except_operators=("INPUT", "OUTPUT"),
        statistic="moving-average",
    ),
)
# Without a wish, that of the bars' survivors is shipped which is cheapest on the target. This order holds where nothing
# is measured, or nothing is surely cheaper.
# Ms on one thread of an Intel Xeon with VNNI, base / expert of MobileNetV3-Small at 224 pixels (docs/full-size.md):
# int8 1.171 / .358, int8-dynamic 1.240 / .366, int8-all 1.736 / .373, int8-stock 4.694 / 1.453. On an AMD with VNNI
# int8-all took 1.016 where int8 took 1.151. With AVX2 alone, an AMD, processor ms: int8 3.784 / 1.540, int8-dynamic
# 3.735 / 1.590, int8-arm 4.030 / 1.438, int8-all 4.094 / 1.398, int8-stock 7.970 / 2.759 (docs/devices.md, as what
# follows).
_ON_X86 = ("int8", "int8-dynamic", "int8-all", "int8-arm", "int8-stock")
# Millions of instructions, cortex-a76 and cortex-a53: int8-arm 13.89 / 4.34 and 28.51 / 11.15, int8-all 14.08 / 4.34
# and 28.92 / 11.15, int8-stock 15.22 / 4.73 and 30.07 / 11.54, int8 20.25 / 5.30 and 33.59 / 12.07, int8-dynamic
# 22.64 / 6.41 and 32.62 / 11.33.
ORDERS = {
    VNNI: _ON_X86,
    AVX2: _ON_X86,
    A76: ("int8-arm", "int8-all", "int8-stock", "int8", "int8-dynamic"),
    A53: ("int8-arm", "int8-all", "int8-stock", "int8-dynamic", "int8"),
    BROWSER: ("int8-all", "int8-arm", "int8", "int8-dynamic", "int8-stock"),
}
SAFEST = "int8-dynamic"  # follows fp32 most closely
# What the quantizer does when nobody tells it otherwise, at the edges too, so that parts would not fit together: this
# is what the benchmark compares with.
STOCK = LiteRTRecipe(
    name="int8-stock",
    int8="the quantizer's own static_wi8_ai8, inputs and outputs included",
    quantize=("*",),
    statistic="moving-average",
    **STOCK_WORDS,
)
# Measured by `python -m edge_moe.benchmarks.studies.kernels`, see converters/tolerances.py.
SEEN = Seen(fp32=2.9e-6, int8=3.4e-4, processors=X86)
# part -> how many times faster than fp32 the first candidate should be, see benchmarks/recipes.py.
GOALS = {"base": 1.4, "expert": 1.7}
STOCK_GOAL = 3.0  # times faster than STOCK
