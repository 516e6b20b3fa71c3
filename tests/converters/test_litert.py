"""Artifacts against torch, on a network of five layers; which operators are int8 was worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from edge_moe.backends import get
from edge_moe.converters import litert, recipes
from edge_moe.errors import ConversionError
from edge_moe.nn import Architecture, Base, Expert, build_base
from edge_moe.verify import relative_error
from tests.converters.conftest import SIZE, Network

PARTS = ("base", "gate", "expert")
OUTPUTS = {"base": ["embedding", "features", "logits"], "gate": ["logits"], "expert": ["logits"]}


def run(model, samples):
    """[N, 1, ...] -> name -> [N, ...], through the backend."""
    part = get("litert").open(model)
    found = {}
    for sample in samples:
        part.invoke(sample)
        for name in part._outputs:
            found.setdefault(name, []).append(part.output(name)[0])
    part.close()
    return {name: np.stack(rows) for name, rows in found.items()}


@torch.no_grad()
def run_torch(part, samples):
    x = torch.from_numpy(samples[:, 0])
    out = part(x.permute(0, 3, 1, 2) if x.ndim == 4 else x)
    if isinstance(part, Base):
        return {
            "logits": out.logits.numpy(),
            "features": out.features.permute(0, 2, 3, 1).numpy(),
            "embedding": out.embedding.numpy(),
        }
    return {"logits": out.numpy()}


def partitions(model):
    part = get("litert").open(model)
    found = tuple(part.partitions())
    part.close()
    return found


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


@pytest.fixture(scope="module")
def quantized(exported, samples):
    recipe = recipes.LiteRTRecipe(
        name="int8", summary="", quantize=("CONV_2D", "FULLY_CONNECTED"), min_macs_per_conversion=16.0
    )
    return {name: litert.calibrate_and_quantize(exported[name], samples[name], recipe) for name in PARTS}


@pytest.mark.parametrize("part", PARTS)
def test_fp32_is_torch(parts, samples, exported, part):
    found, expected = run(exported[part], samples[part]), run_torch(parts[part], samples[part])
    assert sorted(found) == sorted(expected) == OUTPUTS[part]
    for name, value in expected.items():
        assert found[name].shape == value.shape
        assert relative_error(found[name], value) < 1e-4
    assert partitions(exported[part]) == (1, 0)


def test_maps_come_and_go_with_channels_last(exported, samples):
    assert samples["base"].shape[1:] == (1, SIZE, SIZE, 3)
    assert run(exported["base"], samples["base"][:1])["features"].shape == (1, SIZE // 2, SIZE // 2, 8)
    assert samples["expert"].shape[1:] == (1, SIZE // 2, SIZE // 2, 8)


@pytest.mark.parametrize("part", PARTS)
def test_int8_follows_torch(parts, samples, quantized, part):
    found, expected = run(quantized[part], samples[part]), run_torch(parts[part], samples[part])
    assert sorted(found) == OUTPUTS[part]
    for name, value in expected.items():
        assert found[name].dtype == np.float32
        sqnr = -20 * np.log10(relative_error(found[name], value))
        assert sqnr > 25, (name, sqnr)  # dB: a full int8 range alone gives about 40
    agree = found["logits"].argmax(axis=1) == expected["logits"].argmax(axis=1)
    assert agree.mean() >= 0.9
    assert not np.array_equal(found["logits"], expected["logits"])


@pytest.mark.parametrize("part", PARTS)
def test_int8_is_one_partition(quantized, part):
    assert partitions(quantized[part]) == (1, 0)


def test_which_layers_are_int8(exported, quantized):
    half = SIZE // 2
    expected = {
        (half, half, 3, 8): np.float32,  # first: 2.2 multiply-accumulates a conversion
        (1, 1, 8, 4): np.int8,  # squeeze
        (1, 1, 4, 8): np.int8,  # excite
        (half, half, 8, 48): np.float32,  # wide: 6.9
        (half, half, 48, 48): np.int8,  # even: 24
        (half, half, 48, 24): np.int8,  # narrow: exactly 16
        (1, 1, 24, 5): np.int8,  # classifier
    }
    assert weights(quantized["base"]) == expected
    assert set(weights(exported["base"]).values()) == {np.float32}
    assert weights(quantized["expert"]) == dict(list(expected.items())[3:])
    assert len(quantized["base"]) < len(exported["base"])


def test_small_convolutions_on_a_point_can_stay_in_float(exported, samples):
    recipe = recipes.LiteRTRecipe(name="int8", summary="", quantize=("CONV_2D",), min_point_weights=33)
    found = weights(litert.calibrate_and_quantize(exported["base"], samples["base"], recipe))
    assert found[1, 1, 8, 4] == found[1, 1, 4, 8] == np.float32  # 32 weights each
    assert found[SIZE // 2, SIZE // 2, 3, 8] == np.int8


# Of int8-all the quantizer writes a base that LiteRT refuses, where the head is a single linear layer as here.
@pytest.mark.parametrize(
    ("name", "part"),
    [(n, p) for n in recipes.RECIPES for p in PARTS if n != recipes.FLOAT and (n, p) != ("int8-all", "base")],
)
def test_every_recipe_of_bundles_is_one_partition_in_float_outside(exported, samples, parts, name, part):
    model = litert.calibrate_and_quantize(exported[part], samples[part], recipes.get(name))
    assert partitions(model) == (1, 0)
    found = run(model, samples[part][:4])
    assert sorted(found) == OUTPUTS[part]
    assert relative_error(found["logits"], run_torch(parts[part], samples[part][:4])["logits"]) < 0.25


def test_the_stock_recipe_falls_apart_at_hard_swish(exported, samples):
    delegates, outside = partitions(litert.calibrate_and_quantize(exported["base"], samples["base"], recipes.STOCK))
    assert delegates > 1
    assert outside == 4  # the network's hard-swishes


def test_an_output_that_is_also_an_int8_operand(parts, samples, exported, quantized, monkeypatch):
    """The embedding is given in float and feeds the classifier in int8: the quantizer drops the former."""
    from ai_edge_litert.tools import flatbuffer_utils

    def outputs(model):
        content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
        return content.subgraphs[0].outputs, [o.tensorIndex for o in content.signatureDefs[0].outputs]

    monkeypatch.setattr(litert, "_outputs_as_signed", lambda model: model)
    untouched = litert.calibrate_and_quantize(exported["base"], samples["base"], recipes.get("int8"))
    graph, signed = outputs(untouched)
    assert sorted(graph) != sorted(signed)  # else there is nothing to mend, and this is to be removed
    graph, signed = outputs(quantized["base"])
    assert sorted(graph) == sorted(signed)
    found = run(quantized["base"], samples["base"])["embedding"]
    assert relative_error(found, run_torch(parts["base"], samples["base"])["embedding"]) < 0.06


def test_the_same_bytes_twice(parts, samples, exported, quantized):
    torch.manual_seed(0)
    again = Base(Network(), ("first", "squeeze"), ("wide", "even", "narrow"), "classifier").eval()
    model = litert.export(again, samples["base"][0])
    assert model == exported["base"]
    recipe = recipes.LiteRTRecipe(
        name="int8", summary="", quantize=("CONV_2D", "FULLY_CONNECTED"), min_macs_per_conversion=16.0
    )
    assert litert.calibrate_and_quantize(model, samples["base"], recipe) == quantized["base"]


def test_fp32_is_left_alone(exported, samples):
    assert litert.calibrate_and_quantize(exported["gate"], samples["gate"], recipes.get("fp32")) is exported["gate"]


class Pooled(nn.Module):
    def __init__(self, pool):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.pool = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU()), pool
        self.tail, self.head = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()), nn.Linear(4, 3)


def test_resnet_s_max_pooling_is_delegated(samples):
    """torchvision's is padded with -infinity, which XNNPACK lacks; ours with zeros, the same after a ReLU."""
    ours = build_base(Architecture(base="resnet18", classes=3, image_size=32)).get_submodule("maxpool")
    theirs = nn.MaxPool2d(3, 2, 1)
    x = torch.randn(2, 4, 9, 9).relu()
    torch.testing.assert_close(ours(x), theirs(x))
    found = {}
    for name, pool in (("ours", ours), ("theirs", theirs)):
        base = Base(Pooled(pool), ("stem", "pool"), ("tail",), "head").eval()
        found[name] = partitions(litert.export(base, samples["base"][0]))
    assert found["ours"] == (1, 0)
    assert found["theirs"] != (1, 0)  # else ours is to be removed


def test_a_part_that_the_converter_refuses(samples):
    class Undecided(Expert):
        def forward(self, features):
            return features.nonzero()[:1] if features.sum() > 0 else features

    part = Undecided(Network(), ("wide", "even", "narrow"), "classifier").eval()
    with pytest.raises(ConversionError, match="litert-torch cannot convert this undecided: ") as caught:
        litert.export(part, samples["expert"][0])
    assert "\n" not in str(caught.value)


def test_a_model_that_the_quantizer_refuses(samples, exported, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("no such operator\nand much more")

    monkeypatch.setattr(litert, "_configure", refuse)
    with pytest.raises(ConversionError, match=r"cannot apply recipe 'int8': no such operator$"):
        litert.calibrate_and_quantize(exported["gate"], samples["gate"], recipes.get("int8"))


@pytest.mark.parametrize(
    ("part", "shape", "expected"),
    [
        ("base", (1, 16, 16, 3), ("image", {"logits": (1, 5), "features": (1, 8, 8, 8), "embedding": (1, 24)})),
        ("gate", (1, 24), ("embedding", {"logits": (1, 3)})),
        ("expert", (1, 8, 8, 8), ("features", {"logits": (1, 5)})),
    ],
)
def test_shapes_of_tensors(parts, part, shape, expected):
    inputs, outputs = litert.tensor_shapes(parts[part], np.zeros(shape, np.float32))
    assert (inputs, outputs) == ({expected[0]: shape}, expected[1])
