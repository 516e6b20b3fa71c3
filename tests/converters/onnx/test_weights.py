"""int8 weights alone: the integers by hand, the function against torch, and that nothing is left to do for an image."""

from __future__ import annotations

import copy

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edge_moe.backends.onnx_session import open_session
from edge_moe.converters import recipes
from edge_moe.converters.onnx.weights import with_integer_weights
from edge_moe.converters.sharing import Slots
from edge_moe.verify import relative_error
from tests.converters.conftest import KINDS, run, run_torch
from tests.converters.onnx.test_quantizer import LAYERS, optimised

RECIPE = recipes.get("onnx", "int8-weights")


def constants(model):
    return {one.name: numpy_helper.to_array(one) for one in onnx.load_from_string(model).graph.initializer}


def product(weights, op="MatMul", **attributes):
    """A graph of one product of x [1, 2] and `weights`."""
    given, result = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, size]) for n, size in (("x", 2), ("y", 3)))
    node = helper.make_node(op, ["x", "w"], ["y"], "product", **attributes)
    graph = helper.make_graph([node], "graph", [given], [result], [numpy_helper.from_array(weights, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


# Three output channels of two inputs: scales 2 / 127, 1 (where the step would be 0), 0.5 / 127.
WEIGHTS = np.array([[2.0, -1.0], [0.0, 1e-44], [0.25, 0.5]], np.float32)
INTEGERS = np.array([[127, -64], [0, 0], [64, 127]], np.int8)  # -63.5 and 63.5 to even
SCALES = np.array([2 / 127, 1.0, 0.5 / 127], np.float32)


@pytest.mark.parametrize(
    ("model", "transposed"),
    [
        (product(WEIGHTS.T.copy()), True),
        (product(WEIGHTS.T.copy(), "Gemm"), True),
        (product(WEIGHTS, "Gemm", transB=1), False),
    ],
)
def test_each_output_channel_has_its_own_scale(model, transposed, tmp_path):
    made = with_integer_weights(model, RECIPE, Slots({}, complete=False))
    found = constants(made)
    assert found.keys() == {"w_int8", "w_scale"}
    turn = np.transpose if transposed else np.asarray
    np.testing.assert_array_equal(turn(found["w_int8"]), INTEGERS)
    np.testing.assert_allclose(turn(found["w_scale"])[:, 0], SCALES, rtol=1e-6)
    x = np.array([[1.0, 2.0]], np.float32)
    (y,) = open_session(made).run(["y"], {"x": x})
    # By hand: (127 - 128) * 2 / 127, 0, (64 + 254) * 0.5 / 127.
    np.testing.assert_allclose(y, [[-2 / 127, 0.0, 159 / 127]], rtol=1e-5)
    onnx.checker.check_model(onnx.load_from_string(made))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_network_with_rounded_weights(make_artifact, parts, samples, kind):
    (made,) = make_artifact("onnx", kind, RECIPE)
    twin = copy.deepcopy(parts[kind])
    (fp32,) = make_artifact("onnx", kind, recipes.get("onnx", "fp32"))
    exact = run("onnx", fp32, kind, samples[kind])
    found = run("onnx", made, kind, samples[kind])
    with torch.no_grad():
        for layer in twin.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                largest = layer.weight.abs().amax(tuple(range(1, layer.weight.ndim)), keepdim=True)
                scale = torch.where(largest > 0, largest / 127, 1.0)
                layer.weight.copy_((layer.weight / scale).round() * scale)
    expected = run_torch(twin, kind, samples[kind])
    for name in KINDS[kind]:
        assert relative_error(found[name], expected[name]) < 1e-5
        assert relative_error(found[name], exact[name]) > 1e-5  # else nothing was rounded


def test_nothing_is_left_to_do_for_an_image(make_artifact, tmp_path):
    made, fp32 = make_artifact("onnx", "base", RECIPE, recipes.get("onnx", "fp32"))
    assert optimised(made, tmp_path) == optimised(fp32, tmp_path)
    assert sum(len(w.tobytes()) for w in constants(made).values()) < 0.5 * sum(
        len(w.tobytes()) for w in constants(fp32).values()
    )


def test_layers_are_kept_in_float_as_wished(make_artifact):
    (made,) = make_artifact("onnx", "base", msgspec.structs.replace(RECIPE, keep_float=("squeeze", "classifier")))
    integers = {name for name, values in constants(made).items() if values.dtype == np.int8}
    names = {name.removeprefix("part.").removesuffix(".weight_int8") for name in integers}
    assert names == LAYERS - {"squeeze.down", "squeeze.up", "classifier"}


def test_it_follows_fp32_where_a_range_is_wide(make_artifact, parts, samples):
    """A channel that nobody reads, a thousand times as large as the others, takes all levels of a calibrated range."""
    part = copy.deepcopy(parts["base"])
    with torch.no_grad():
        part.get_submodule("even.0").bias[0] = 1000
        part.get_submodule("narrow.0").weight[:, 0] = 0
    fp32, weights, calibrated = make_artifact(
        "onnx", "base", recipes.get("onnx", "fp32"), RECIPE, recipes.get("onnx", "int8-all"), part=part
    )
    exact, *found = (run("onnx", one, "base", samples["base"])["logits"] for one in (fp32, weights, calibrated))
    errors = [relative_error(one, exact) for one in found]
    assert errors[0] < 0.1 < 0.5 < errors[1]
