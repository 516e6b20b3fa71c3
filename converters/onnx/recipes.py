"""ONNX Runtime's recipes."""

from __future__ import annotations

from typing import Any, Literal

from edge_moe.converters.recipe import A53, A76, AVX2, FLOAT, NOTHING, QNN, VNNI, X86, Recipe, Seen

__all__ = ["GOALS", "ORDERS", "RECIPES", "SAFEST", "SEEN", "STOCK", "OnnxRecipe"]


_OF_THE_FILE = ("opset", "ir_version")


class OnnxRecipe(Recipe, frozen=True, kw_only=True):
    """How onnxruntime.quantization treats the operators of a part: QDQ, unsigned activations, QInt8 weights."""

    opset: int = 20
    ir_version: int = 10
    activation_bits: Literal[8, 16] = 8
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
        if self.ranges == "weights":
            meant = {*Recipe.__struct_fields__, *_OF_THE_FILE, "weights"}
            settings = {name: value for name, value in settings.items() if name in meant} | {
                "format": "integers cast when the model is opened",
                "activations": "float32",
            }
        elif not self.is_float:
            activations = f"uint{self.activation_bits}, asymmetric, per tensor"
            settings |= {"format": "QDQ", "statistic": "min-max", "activations": activations}
        return settings

    def _of_float(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {name: settings[name] for name in _OF_THE_FILE}


# What the quantizer does when nobody tells it otherwise: a candidate as well, and what the benchmark compares with.
STOCK = OnnxRecipe(
    name="int8-stock",
    int8="quantize_static per channel, QUInt8 activations, QInt8 weights",
    floats="hard-swish, inputs and outputs",
    why="what the quantizer does by itself is good for plain convolutions and ReLU",
    when="where nothing is hard-swish",
    operators=("*",),
    integer_hard_swish=False,
    float_logits=False,
    clip_ranges=False,
)
RECIPES = (
    OnnxRecipe(name=FLOAT, why="the reference", when="to compare with", **NOTHING),
    OnnxRecipe(
        name="int8",
        int8="everything from the first convolution with 35 MACs an activation on, hard-swish included",
        floats="the layers before it, and the logits",
        why="early maps are large and shallow, where blocked float kernels win; integers need no conversions between",
        when="on x86: the fastest where it was measured",
        operators=("*",),
        integer_from_macs_per_activation=35.0,
    ),
    OnnxRecipe(
        name="int8-heavy",
        int8="linear layers, and convolutions with 30,000 weights or more",
        floats="everything else, and the logits",
        why="reading weights is what these layers cost; few activations are rounded",
        when="where int8 misses a bar",
        operators=("Conv", "Gemm"),
        min_weights=30_000,
        integer_hard_swish=False,
    ),
    OnnxRecipe(
        name="int8-all",
        int8="everything, hard-swish included",
        floats="the logits",
        why="the smallest file",
        when="on Arm; where size counts more than accuracy",
        operators=("*",),
    ),
    STOCK,
    OnnxRecipe(
        name="int8-weights",
        int8="what the file holds of weights; they are float again once it is open",
        floats="everything that is computed",
        why="no activation is rounded, so that none can be clipped; a quarter of the size, no faster than fp32",
        when="where the others miss a bar, as with swish (EfficientNet), or are slower than fp32",
        ranges="weights",
    ),
    OnnxRecipe(
        name="int8-a16",
        int8="weights; what lies between layers, and the logits, in 16 bits",
        floats="hard-swish, inputs and outputs",
        why="an NPU has integers alone, and 65,536 levels lose next to nothing; on a processor it is slower than fp32",
        when="on Qualcomm's HTP, where int8-stock misses a bar",
        operators=("*",),
        activation_bits=16,
        integer_hard_swish=False,
        float_logits=False,
        clip_ranges=False,
    ),
)
# As LiteRT's.
# Ms on one thread of an Intel Xeon with VNNI, base / expert of MobileNetV3-Small at 224 pixels (docs/full-size.md):
# int8 1.567 / .536, int8-heavy 1.622 / .631, int8-all 1.866 / .533, int8-stock 2.240 / .663. With
# AVX2 alone, an AMD, processor ms: 4.461 / 2.001, 4.568 / 2.233, 5.911 / 2.151, 6.591 / 2.473 (docs/devices.md, as what
# follows).
# int8-weights computes what fp32 does: 1.851 and 5.273 for the base.
_WITH_VNNI = ("int8", "int8-heavy", "int8-all", "int8-weights", "int8-stock")
_WITH_AVX2 = ("int8", "int8-heavy", "int8-weights", "int8-all", "int8-stock")
# Millions of instructions, cortex-a76 and cortex-a53: int8-all 25.91 / 7.17 and 36.59 / 11.02, int8-stock 29.35 / 8.39
# and 40.03 / 12.24, int8 53.74 / 7.17 and 57.59 / 11.02, int8-heavy 76.73 / 30.20 and 79.30 / 32.77.
_ON_ARM = ("int8-all", "int8-stock", "int8", "int8-heavy", "int8-weights")
# What Qualcomm's HTP takes as a whole (docs/devices.md); the first costs less, the other follows fp32.
_ON_QNN = ("int8-stock", "int8-a16")
ORDERS = {VNNI: _WITH_VNNI, AVX2: _WITH_AVX2, A76: _ON_ARM, A53: _ON_ARM, QNN: _ON_QNN}
SAFEST = "int8-weights"  # follows fp32 most closely
# Measured by `python -m edge_moe.benchmarks.studies.kernels`, see converters/tolerances.py.
SEEN = Seen(fp32=2.6e-6, int8=2.8e-4, processors=X86)
# part -> how many times faster than fp32 the first candidate should be, see benchmarks/recipes.py.
GOALS = {"base": 1.0, "expert": 1.0}
