"""What is in an .onnx artifact, and what has to stay out of it."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from torch import nn

from edge_moe.backends.onnx_session import open_session
from edge_moe.converters import recipes
from edge_moe.converters.interface import with_channels_last
from edge_moe.converters.onnx.toolchain import OnnxToolchain
from edge_moe.errors import ConversionError
from edge_moe.verify import relative_error
from tests.converters.conftest import KINDS, Network, run, run_torch, split

TOOLS = OnnxToolchain()
EVERY = recipes.book("onnx").recipes


def operators(model):
    return Counter(node.op_type for node in onnx.load_from_string(model).graph.node)


@pytest.mark.parametrize("recipe", EVERY)
@pytest.mark.parametrize("kind", KINDS)
def test_versions_are_those_of_the_recipe_s_settings(make_artifact, kind, recipe):
    (model,) = make_artifact("onnx", kind, EVERY[recipe])
    content, settings = onnx.load_from_string(model), EVERY[recipe].settings(8)
    assert content.ir_version == settings["ir_version"]
    assert {one.version for one in content.opset_import if one.domain in ("", "ai.onnx")} == {settings["opset"]}
    onnx.checker.check_model(content, full_check=True)


@pytest.mark.parametrize("recipe", EVERY)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_this_machine_is_in_it(make_artifact, kind, recipe):
    (model,) = make_artifact("onnx", kind, EVERY[recipe])
    content = onnx.load_from_string(model)
    graph = content.graph
    described = (content, graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output)
    assert not any(list(one.metadata_props) or one.doc_string for one in described)
    for words in (b"/site-packages", b"/home", b"/tmp", b".py:", b'.py"', __file__.encode().rpartition(b"/")[0]):
        assert words not in model


def test_one_input_outputs_by_name_weights_inside(make_artifact):
    for kind, names in KINDS.items():
        graph = onnx.load_from_string(make_artifact.fp32("onnx", kind)).graph
        given = {"base": "image", "gate": "embedding", "expert": "features"}[kind]
        assert [one.name for one in graph.input] == [given]
        assert sorted(one.name for one in graph.output) == names
        assert not any(tensor.external_data for tensor in graph.initializer)
        assert len({node.name for node in graph.node}) == len(graph.node)


def test_operators_of_fp32_by_hand(make_artifact):
    """One of each for every module of the network; two transposes: of the image and of the features."""
    expected = {"Conv": 6, "HardSigmoid": 5, "Mul": 5, "Relu": 1, "GlobalAveragePool": 2, "Gemm": 1, "Reshape": 1}
    assert operators(make_artifact.fp32("onnx", "base")) == {**expected, "Transpose": 2}


def test_there_is_no_delegate(make_artifact):
    assert TOOLS.structure(make_artifact.fp32("onnx", "gate")) is None


class Pooled(Network):
    def __init__(self, size) -> None:
        super().__init__()
        self.wide = nn.Sequential(self.wide, nn.AdaptiveAvgPool2d(size))


@pytest.mark.parametrize("size", [4, (8, 2), (None, 4)])
def test_adaptive_pooling_to_more_than_a_pixel(samples, size):
    """The maps are 8 x 8."""
    base = split(Pooled(size))
    model = TOOLS.export(with_channels_last(base, "base"), "base", samples["base"][0])
    assert operators(model)["AveragePool"] == 1
    found, expected = run("onnx", model, "base", samples["base"][:4]), run_torch(base, "base", samples["base"][:4])
    assert relative_error(found["logits"], expected["logits"]) < 1e-5


def test_adaptive_pooling_to_a_size_that_does_not_divide(samples):
    base = with_channels_last(split(Pooled(3)), "base")
    words = r"adaptive_avg_pool2d from 8 x 8 to 3 x 3: expected a size that divides the map's"
    with pytest.raises(ConversionError, match=words) as caught:
        TOOLS.export(base, "base", samples["base"][0])
    assert "\n" not in str(caught.value)


def test_the_exporter_is_silent_and_leaves_logging_as_it_was(parts, samples, capfd):
    before = {name: logging.getLogger(name).level for name in ("root", "onnxscript", "torch.onnx")}
    TOOLS.export(with_channels_last(parts["gate"], "gate"), "gate", samples["gate"][0])
    assert capfd.readouterr() == ("", "")
    assert {name: logging.getLogger(name).level for name in before} == before


def test_constants_can_be_replaced(make_artifact, samples):
    model = make_artifact.fp32("onnx", "gate")
    constants = TOOLS.constants(model)
    assert sorted(values.size for values in constants.values()) == [3, 24 * 3]
    doubled = TOOLS.replaced(model, {where: values * 2 for where, values in constants.items()})
    before, after = (run("onnx", one, "gate", samples["gate"])["logits"] for one in (model, doubled))
    np.testing.assert_allclose(after, 2 * before, rtol=1e-5, atol=1e-5)
    assert {t.name for t in onnx.load_from_string(doubled).graph.initializer} == constants.keys()


def test_int8_is_smaller(make_artifact):
    """By the weights that are int8: every one of the network's 4 thousand, less what scales and zero points take."""
    fp32, int8 = make_artifact("onnx", "expert", EVERY["fp32"], EVERY["int8-all"])
    sizes = {}
    for name, model in (("fp32", fp32), ("int8", int8)):
        tensors = onnx.load_from_string(model).graph.initializer
        sizes[name] = sum(numpy_helper.to_array(t).nbytes for t in tensors if "weight" in t.name and "_" not in t.name)
        sizes[f"{name} quantized"] = sum(
            numpy_helper.to_array(t).nbytes for t in tensors if t.name.endswith("weight_quantized")
        )
    weights = 8 * 48 + 48 * 48 + 48 * 24 + 24 * 5
    assert sizes == {"fp32": 4 * weights, "fp32 quantized": 0, "int8": 0, "int8 quantized": weights}
    assert open_session(int8)
