"""Ethos-U's recipes: everything is an integer, for the NPU has nothing else."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from edge_moe.converters.recipe import FLOAT, NOTHING, Recipe, Seen

__all__ = ["ORDERS", "RECIPES", "SAFEST", "SEEN", "STOCK", "EthosURecipe"]


class EthosURecipe(Recipe, frozen=True, kw_only=True):
    """How Arm's quantizer treats a part: weights in int8 per output channel, activations of 8 or 16 bits."""

    algorithm: ClassVar[str] = "pt2e"
    activation_bits: Literal[8, 16] = 8
    # Where activations have 8 bits: so many layers from an image on, with what is between them, have 16, and so has
    # what a linear layer gives as an output.
    wide_layers: int = 0
    wide_logits: bool = False
    statistic: Literal["min-max", "histogram"] = "min-max"  # over the calibration images

    def settings(self, calibration_images: int) -> dict[str, Any]:
        """Return everything that is needed to do it again."""
        settings = super().settings(calibration_images)
        if self.activation_bits == 16:
            settings["activations"] = "int16, symmetric, per tensor"
        return settings


# What the quantizer does when nobody tells it otherwise.
STOCK = EthosURecipe(
    name="int8-stock",
    int8="everything, inputs and outputs included; ranges by the quantizer's own histogram",
    floats="nothing",
    why="what Arm's quantizer does by itself",
    when="where its ranges serve better",
    statistic="histogram",
)
RECIPES = (
    EthosURecipe(name=FLOAT, why="the reference; no NPU runs it", when="to compare with", **NOTHING),
    EthosURecipe(
        name="int8",
        int8="everything, inputs and outputs included; the first two layers and the logits in 16 bits",
        floats="nothing",
        why="an NPU has integers alone; few channels of the first maps are large, and 256 levels are lost on them",
        when="by default",
        wide_layers=2,
        wide_logits=True,
    ),
    EthosURecipe(
        name="int8-a16",
        int8="weights; all activations, inputs and outputs included, in 16 bits",
        floats="nothing",
        why="65,536 levels lose next to nothing",
        when="where the others miss a bar; where reading weights takes the time, at next to no cost",
        activation_bits=16,
    ),
    STOCK,
)
ROW = "ethos-u"
# 8 bits first, 16 last, for these cost more (docs/npus.md has cycles and agreement). Of digits the first two answered
# as fp32 on 98.4% to 99.4%; of photographs the bases of the three on 95.0%, 82.0% and 97.8%.
ORDERS = {ROW: ("int8", "int8-stock", "int8-a16")}
SAFEST = "int8-a16"
SEEN = Seen(fp32=1e-6, int8=0.0, processors=("any",))
