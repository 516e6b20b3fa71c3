"""A recipe: a named way to quantize a part for a backend. Each backend's are in its folder."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from edge_moe.sets import FLOAT

__all__ = ["A53", "A76", "AVX2", "BROWSER", "FLOAT", "NOTHING", "QNN", "STOCK_WORDS", "VNNI", "X86", "Recipe", "Seen"]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What every backend's recipes have."""

    # Of a quantizer that rounds activations to int8, asymmetrically, for each tensor; "": it does something else.
    algorithm: ClassVar[str] = ""

    name: str
    int8: str  # what is int8, for a person
    floats: str  # what stays float
    why: str
    when: str  # to use it
    # Where the range of an activation comes from: the calibration images, or each image as it is answered; "weights":
    # it needs none, for it stays in float.
    ranges: Literal["none", "weights", "calibrated", "dynamic"] = "calibrated"
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
        if self.algorithm:
            settings["algorithm"] = self.algorithm
            dynamic = self.ranges == "dynamic"
            settings["activations"] = f"int8, asymmetric, per {'tensor and image' if dynamic else 'tensor'}"
            if dynamic:
                settings.pop("statistic", None)  # over the calibration images, of which there are none
        return settings

    def _of_float(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return those of `settings` that mean something where nothing is quantized."""
        return {}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The largest relative error between right kernels of a backend, where no part is unsteady."""

    fp32: float
    int8: float
    processors: tuple[str, ...]  # the first is the one that the others are compared with


NOTHING: dict[str, Any] = {"int8": "nothing", "floats": "everything", "ranges": "none"}  # of a recipe called FLOAT
STOCK_WORDS: dict[str, Any] = {"floats": "", "why": "for comparison", "when": "never"}  # of a quantizer's own
# Rows of the committed tables: the processors for which the order of a backend's candidates is known. Arm's and the
# browser's are called as the devices are on which it was found.
VNNI, AVX2, A76, A53 = "x86 with AVX512-VNNI", "x86 with AVX2", "arm:cortex-a76", "arm:cortex-a53"
BROWSER = "browser"
QNN = "qnn"  # every chip: what an NPU takes, and what no processor's row has
X86 = (VNNI, AVX2, "x86 with AVX, without FMA", "x86 with SSE4.2")
