"""Pairs of 1x1 convolutions: which become one, and that the function stays the same."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from edge_moe.converters import recipes
from edge_moe.converters.interface import with_channels_last
from edge_moe.converters.litert import quantizer
from edge_moe.converters.litert.recipes import LiteRTRecipe
from edge_moe.converters.litert.toolchain import LiteRTToolchain
from edge_moe.verify import relative_error
from tests import fixed
from tests.converters.conftest import WORDS

TOOLS = LiteRTToolchain()
MERGE = LiteRTRecipe(name="merge", quantize=("CONV_2D",), merge_convolutions=True, **WORDS)
X = np.random.default_rng(0).standard_normal((8, 1, 4, 4, 8)).astype(np.float32)


class Pair(nn.Module):
    """Two convolutions, with something in between, around and behind them."""

    def __init__(
        self, middle: int, between: nn.Module, *, second: nn.Module | None = None, again: bool = False
    ) -> None:
        super().__init__()
        self.one, self.between, self.again = nn.Conv2d(8, middle, 1), between, again
        self.two = second or nn.Conv2d(middle, 24, 1)
        self.end = nn.Sequential(nn.Hardswish(), nn.Flatten(), nn.Linear(24 * 16, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 8, 4, 4] -> [N, 3]."""
        middle = self.between(self.one(x))
        logits: torch.Tensor = self.end(self.two(middle))
        return logits + middle.mean() if self.again else logits


def operators(model):
    return [node["op_name"] for node in Interpreter(model_content=model)._get_ops_details()]


def logits(model, x):
    return Interpreter(model_content=model).get_signature_runner()(features=x)["logits"]


@pytest.mark.parametrize(
    ("pair", "left"),
    [
        (Pair(6, nn.Identity()), 1),  # 8 * 24 multiply-accumulates a pixel for 8 * 6 + 6 * 24: as many
        (Pair(5, nn.Identity()), 2),  # for 8 * 5 + 5 * 24: more
        (Pair(8, nn.ReLU()), 2),
        (Pair(8, nn.Identity(), again=True), 2),
        (Pair(8, nn.Identity(), second=nn.Conv2d(8, 24, 3, padding=1)), 2),
    ],
)
def test_which_pairs_become_one(pair, left):
    model = TOOLS.export(with_channels_last(fixed.fill(pair).eval(), "expert"), "expert", X[0])
    made = quantizer.prepared(model, MERGE)
    assert operators(made).count("CONV_2D") == left
    assert relative_error(logits(made, X[0]), logits(model, X[0])) < 1e-6
    assert (made is model) == (left == 2)
    assert quantizer.prepared(made, MERGE) == made
    assert quantizer.prepared(model, msgspec.structs.replace(MERGE, merge_convolutions=False)) is model


def test_what_is_merged_is_quantized_and_takes_no_room():
    model = TOOLS.export(with_channels_last(fixed.fill(Pair(6, nn.Identity())).eval(), "expert"), "expert", X[0])
    made = quantizer.prepared(model, MERGE)
    assert len(made) < len(model)
    tensors = [len(Interpreter(model_content=one).get_tensor_details()) for one in (made, model)]
    assert tensors[0] == tensors[1] - 3  # the first one's weights and bias, and what was in between
    small = quantizer.calibrate_and_quantize(model, X, MERGE)
    assert operators(small).count("CONV_2D") == 1
    assert TOOLS.structure(small).is_whole
    assert relative_error(logits(small, X[0]), logits(model, X[0])) < 0.03


@pytest.mark.parametrize(("layer", "left"), [("one", 2), ("two", 2), ("end", 1)])
def test_what_a_person_wants_in_float_is_not_merged(layer, left):
    pair = Pair(6, nn.Identity()).eval()
    traced = TOOLS.trace(pair, "expert", X[0])
    integers = ("CONV_2D", "FULLY_CONNECTED")
    recipe = msgspec.structs.replace(MERGE, quantize=integers, ranges="dynamic", keep_float=(layer,))
    (made,) = TOOLS.build(traced, pair, "expert", X, [recipe])
    assert operators(made).count("CONV_2D") == left


def test_layers_are_ranked_by_what_is_left():
    pair = Pair(6, nn.Identity()).eval()
    found = TOOLS.compare(TOOLS.trace(pair, "expert", X[0]), pair, "expert", X, MERGE)
    assert {one.layer for one in found} == {"two", "end.2"}


def test_a_hard_swish_is_not_resolved_where_it_is_0():
    pair = fixed.fill(Pair(6, nn.Identity()), seed=4).eval()
    with torch.no_grad():
        pair.two.weight *= 40
    model = TOOLS.export(with_channels_last(pair, "expert"), "expert", X[0])
    errors = {}
    everything = recipes.get("litert", "int8-all")
    for clip in (False, True):
        recipe = msgspec.structs.replace(everything, clip_hard_swish=clip)
        made = quantizer.calibrate_and_quantize(model, X, recipe)
        interpreter = Interpreter(model_content=made)
        tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
        (hard_swish,) = [node for node in interpreter._get_ops_details() if node["op_name"] == "HARD_SWISH"]
        (feeder,) = [n for n in interpreter._get_ops_details() if hard_swish["inputs"][0] in n["outputs"]]
        scale, zero = tensors[feeder["inputs"][0]]["quantization"]
        assert ((-128 - zero) * scale >= -3.0 - scale) == clip
        found, exact = (np.concatenate([logits(one, x) for x in X]) for one in (made, model))
        errors[clip] = relative_error(found, exact)
    assert errors[True] < errors[False]


def test_the_recipe_for_arm_has_both():
    recipe = recipes.get("litert", "int8-arm")
    assert recipe.merge_convolutions
    assert recipe.clip_hard_swish
