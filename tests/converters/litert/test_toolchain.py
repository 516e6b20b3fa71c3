"""LiteRT artifacts of a network of five layers; which operators are int8 was worked out by hand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from edge_moe.backends import get
from edge_moe.converters import recipes
from edge_moe.converters.interface import channels_first, with_channels_last
from edge_moe.converters.litert import quantizer as litert
from edge_moe.converters.litert.recipes import LiteRTRecipe
from edge_moe.converters.litert.toolchain import LiteRTToolchain
from edge_moe.errors import BackendError, ConversionError
from edge_moe.nn import Architecture, SplitBase, build_base
from edge_moe.verify import relative_error
from tests import fixed
from tests.converters.conftest import KINDS, SIZE, WORDS, allowed, run, run_torch

TOOLS = LiteRTToolchain()
INT8 = LiteRTRecipe(name="int8", quantize=("CONV_2D", "FULLY_CONNECTED"), min_macs_per_conversion=16.0, **WORDS)
ALL = msgspec.structs.replace(INT8, min_macs_per_conversion=0.0)


def weights(model):
    """(height, width, inputs, outputs) of every convolution and linear layer -> the type of its weights."""
    interpreter = Interpreter(model_content=model)
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    found = {}
    for node in interpreter._get_ops_details():
        if node["op_name"] in ("CONV_2D", "FULLY_CONNECTED"):
            weight, output = tensors[node["inputs"][1]], tensors[node["outputs"][0]]
            height, width = output["shape"][1:3] if node["op_name"] == "CONV_2D" else (1, 1)
            found[int(height), int(width), int(weight["shape"][-1]), int(weight["shape"][0])] = weight["dtype"]
    return found


HALF = SIZE // 2
LAYERS = {
    "first": (HALF, HALF, 3, 8),
    "squeeze.down": (1, 1, 8, 4),
    "squeeze.up": (1, 1, 4, 8),
    "wide": (HALF, HALF, 8, 48),
    "even": (HALF, HALF, 48, 48),
    "narrow": (HALF, HALF, 48, 24),
    "classifier": (1, 1, 24, 5),
}
SQUEEZE, TAIL = {"squeeze.down", "squeeze.up"}, {"wide", "even", "narrow", "classifier"}


@pytest.mark.parametrize(
    ("recipe", "changes", "integers"),
    [
        # By hand, see conftest.Network: 2.2, 6.9, 24 and exactly 16 multiply-accumulates a conversion.
        (INT8, {}, SQUEEZE | {"even", "narrow", "classifier"}),
        (INT8, {"min_point_weights": 33}, {"even", "narrow", "classifier"}),  # squeeze-excite has 32 twice
        (INT8, {"ranges": "dynamic"}, SQUEEZE | {"even", "narrow", "classifier"}),
        (ALL, {}, set(LAYERS)),
        (ALL, {"quantize": ("CONV_2D",)}, set(LAYERS) - {"classifier"}),
        # What computes the input of a layer in float is in float as well, where its range would be calibrated.
        (ALL, {"keep_float": ("even",)}, set(LAYERS) - {"wide", "even"}),
        (ALL, {"keep_float": ("even",), "ranges": "dynamic"}, set(LAYERS) - {"even"}),
        (ALL, {"keep_float": ("squeeze",)}, TAIL),
        (ALL, {"keep_float": ("classifier", "first.0")}, set(LAYERS) - {"first", "narrow", "classifier"}),
        (ALL, {"keep_float": ("eve",)}, set(LAYERS)),
        (recipes.get("litert", "int8"), {}, {"classifier"}),  # 30 multiply-accumulates and 6000 weights are asked for
        (recipes.get("litert", "fp32"), {}, set()),
    ],
)
def test_which_layers_are_int8(make_artifact, recipe, changes, integers):
    (model,) = make_artifact("litert", "base", msgspec.structs.replace(recipe, **changes))
    assert weights(model) == {shape: np.int8 if name in integers else np.float32 for name, shape in LAYERS.items()}


def test_an_expert_is_treated_as_the_base_s_tail(make_artifact):
    (model,) = make_artifact("litert", "expert", INT8)
    integers = {"even", "narrow", "classifier"}
    assert weights(model) == {LAYERS[name]: np.int8 if name in integers else np.float32 for name in TAIL}
    assert len(model) < len(make_artifact.fp32("litert", "expert"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in recipes.book("litert").recipes if name != "int8-stock"])
def test_every_recipe_of_ours_is_one_partition(make_artifact, name, kind):
    (model,) = make_artifact("litert", kind, recipes.get("litert", name))
    assert TOOLS.structure(model).is_whole


def test_a_module_kept_in_float_does_not_split_the_part(make_artifact):
    (model,) = make_artifact("litert", "base", msgspec.structs.replace(ALL, keep_float=("even",)))
    assert TOOLS.structure(model).is_whole


@pytest.mark.parametrize("recipe", [recipes.book("litert").stock, recipes.get("litert", "int8-stock")])
def test_the_stock_recipe_falls_apart_at_hard_swish(make_artifact, parts, recipe):
    found = TOOLS.structure(make_artifact("litert", "base", recipe)[0])
    assert found.delegates > 1
    swishes = [name for name, module in parts["base"].named_modules() if isinstance(module, nn.Hardswish)]
    assert found.left == tuple(f"HARD_SWISH of {name}" for name in swishes)
    assert found.outside == len(swishes) == 4


class Residual(nn.Module):
    """A block as a ResNet has it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x):
        return (x + self.two(self.one(x).relu())).relu()


def behind_pooling(kind):
    """A network whose classifier stands directly behind the pooling, as in a ResNet; its base gives the embedding."""
    network = nn.Sequential()
    network.add_module("stem", nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()))
    network.add_module("block", Residual())
    network.add_module("head", nn.Linear(8, 5))
    base = fixed.fill(SplitBase(network, ("stem",), ("block",), "head"), gain=3**0.5).eval()
    return {"base": base, "expert": base.new_expert().eval(), "plain": base}[kind]


@pytest.mark.parametrize("kind", ["base", "expert", "plain"])
def test_a_classifier_directly_behind_the_pooling_is_int8_as_well(samples, kind):
    """The base gives the embedding in float, and its classifier reads the same numbers in int8."""
    part = behind_pooling(kind)
    x = samples["base"]
    if kind == "expert":
        with torch.no_grad():
            x = behind_pooling("base")(channels_first(x[:, 0])).features.permute(0, 2, 3, 1).numpy()[:, np.newaxis]
    wanted = [recipes.get("litert", name) for name in ("int8-all", "int8-stock")]
    model, stock = TOOLS.build(TOOLS.trace(part, kind, x[0]), part, kind, x, wanted)
    assert TOOLS.structure(stock).is_whole  # without hard-swish it is as whole
    assert set(weights(model).values()) == {np.int8}
    assert TOOLS.structure(model).is_whole
    opened, found = get("litert").open(model), []
    for sample in x:
        opened.invoke(sample)
        found.append(opened.output("logits")[0])
    opened.close()
    of_torch = "expert" if kind == "expert" else "base"
    error = relative_error(np.stack(found), run_torch(part, of_torch, x)["logits"])
    assert error < allowed(part, of_torch, x)["logits"] < 0.1


def test_left_to_itself_the_quantizer_feeds_that_classifier_floats(make_artifact, parts, monkeypatch):
    monkeypatch.setattr(litert, "_feed_integers", lambda *_: None)
    (model,) = make_artifact("litert", "base", recipes.get("litert", "int8-all"), part=parts["base"])
    with pytest.raises(BackendError, match="LiteRT refuses the artifact"):  # else there is nothing to mend any more
        TOOLS.structure(model)


def test_an_output_that_is_also_an_int8_operand(make_artifact, parts, samples, monkeypatch):
    """The embedding is given in float and feeds the classifier in int8: the quantizer drops the former."""
    from ai_edge_litert.tools import flatbuffer_utils

    def outputs(model):
        content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
        return content.subgraphs[0].outputs, [o.tensorIndex for o in content.signatureDefs[0].outputs]

    (mended,) = make_artifact("litert", "base", INT8)
    graph, signed = outputs(mended)
    assert sorted(graph) == sorted(signed)
    found = run("litert", mended, "base", samples["base"])["embedding"]
    bound = allowed(parts["base"], "base", samples["base"])["embedding"]
    assert relative_error(found, run_torch(parts["base"], "base", samples["base"])["embedding"]) < bound
    monkeypatch.setattr(litert, "_outputs_as_signed", lambda *_: None)
    graph, signed = outputs(make_artifact("litert", "base", INT8, part=parts["base"])[0])
    assert sorted(graph) != sorted(signed)  # else there is nothing to mend, and this is to be removed


def test_fp32_is_left_alone(make_artifact, samples):
    model = make_artifact.fp32("litert", "gate")
    assert litert.calibrate_and_quantize(model, samples["gate"], recipes.get("litert", "fp32")) is model


class Max_Pool(nn.MaxPool2d):
    """A name with an underscore in it, as others write them."""


@pytest.mark.parametrize("pool", [nn.MaxPool2d(3, 2, 1), Max_Pool(3, 2, 1)])
def test_the_module_is_named_of_what_no_partition_takes(samples, pool):
    block = nn.Sequential()
    block.add_module("conv_one", nn.Conv2d(8, 4, 1))
    block.add_module("max_pool", pool)
    part = nn.Sequential(block, nn.Flatten(), nn.Linear(64, 3)).eval()
    artifact = TOOLS.export(with_channels_last(part, "expert"), "expert", samples["expert"][0])
    assert TOOLS.structure(artifact, part).left == ("PADV2 of 0.max_pool",)
    (left,) = TOOLS.structure(artifact).left
    assert left.startswith("PADV2 of 0.")  # as far as that can be told


def test_the_module_is_named_in_a_list_that_is_not_called_itself(samples):
    """A base calls the elements of `features`, as MobileNet's has them, and not `features`."""
    features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.ReLU()))
    network = nn.Sequential()
    for name, module in (("features", features), ("last", nn.Conv2d(8, 8, 1)), ("head", nn.Linear(8, 5))):
        network.add_module(name, module)
    base = SplitBase(network, ("features.0", "features.1"), ("last",), "head").eval()
    artifact = TOOLS.export(with_channels_last(base, "base"), "base", samples["base"][0])
    assert TOOLS.structure(artifact, base).left == ("PADV2 of features.1.0",)


def test_resnet_s_max_pooling_is_delegated(samples):
    """torchvision's is padded with -infinity, which XNNPACK lacks; ours with zeros, the same after a ReLU."""
    found = {}
    ours = build_base(Architecture(base="resnet18", classes=3, image_size=32)).get_submodule("maxpool")
    for name, pool in (("ours", ours), ("theirs", nn.MaxPool2d(3, 2, 1))):
        part = nn.Sequential(nn.Conv2d(8, 4, 1), nn.ReLU(), pool, nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(64, 3))
        module = with_channels_last(part, "expert")
        found[name] = TOOLS.structure(TOOLS.export(module, "expert", samples["expert"][0]))
    assert found["ours"].is_whole
    assert found["theirs"].left == ("PADV2 of 2",)  # else ours is to be removed


def test_a_model_that_the_quantizer_refuses(make_artifact, samples, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("no such operator\nand much more")

    monkeypatch.setattr(litert, "_configure", refuse)
    with pytest.raises(ConversionError, match=r"^ai-edge-quantizer cannot apply recipe 'int8': no such operator$"):
        litert.calibrate_and_quantize(make_artifact.fp32("litert", "gate"), samples["gate"], INT8)


def test_constants_can_be_replaced(make_artifact, samples):
    model = make_artifact.fp32("litert", "gate")
    constants = TOOLS.constants(model)
    assert sorted(values.size for values in constants.values()) == [3, 24 * 3]
    doubled = TOOLS.replaced(model, {where: values * 2 for where, values in constants.items()})
    before, after = (run("litert", one, "gate", samples["gate"])["logits"] for one in (model, doubled))
    np.testing.assert_allclose(after, 2 * before, rtol=1e-5, atol=1e-5)
