"""Which nodes are integer, what their ranges are, and what the integers compute: worked by hand."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_moe.backends.onnx_session import open_session
from edge_moe.converters import recipes
from edge_moe.converters.onnx import quantizer as onnx_quantize
from edge_moe.converters.onnx.quantizer import calibrate, quantize
from edge_moe.converters.onnx.recipes import OnnxRecipe
from edge_moe.converters.sharing import Slots
from edge_moe.errors import ConversionError
from edge_moe.verify import relative_error
from tests.converters.conftest import KINDS, WORDS

ALL = recipes.get("onnx", "int8-all")
PLAIN = OnnxRecipe(name="plain", operators=("*",), integer_hard_swish=False, clip_ranges=False, **WORDS)
LAYERS = {"first.0", "squeeze.down", "squeeze.up", "wide.0", "even.0", "narrow.0", "classifier"}


def integer_layers(model):
    """Names of the layers whose weights are dequantized from integers."""
    graph = onnx.load_from_string(model).graph
    weights = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    read = [weights.get(node.input[1], "") for node in graph.node if node.op_type in ("Conv", "Gemm")]
    return {name.removeprefix("part.").removesuffix(".weight_quantized") for name in read if name}


def optimised(model, tmp_path):
    """Operators of the graph that ONNX Runtime really runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)


@pytest.mark.parametrize(
    ("changes", "integers"),
    [
        # Multiply-accumulates for each activation that goes in or out, the map of 8 x 8 cancelled:
        # first 13824 / (768 + 512) = 10.8, wide 8 * 48 / 56 = 6.9, even 24, narrow 16; squeeze-excite on a point: 0.
        ({}, LAYERS),
        ({"integer_from_macs_per_activation": 10.8}, LAYERS),
        ({"integer_from_macs_per_activation": 10.9}, {"even.0", "narrow.0", "classifier"}),
        ({"integer_from_macs_per_activation": 24.0}, {"even.0", "narrow.0", "classifier"}),
        ({"integer_from_macs_per_activation": 24.1}, {"classifier"}),
        ({"min_weights": 216}, LAYERS - {"squeeze.down", "squeeze.up"}),  # first has 8 * 3 * 9
        ({"min_weights": 1153}, {"even.0", "classifier"}),  # narrow has 24 * 48; no bar for linear layers
        ({"operators": ("Gemm",)}, {"classifier"}),
        ({"operators": ("Conv",)}, LAYERS - {"classifier"}),
        # What computes the input of a layer in float is in float as well.
        ({"keep_float": ("even",)}, LAYERS - {"wide.0", "even.0"}),
        ({"keep_float": ("squeeze",)}, LAYERS - {"first.0", "squeeze.down", "squeeze.up"}),
        ({"keep_float": ("classifier", "first.0")}, LAYERS - {"first.0", "narrow.0", "classifier"}),
        ({"keep_float": ("eve", "first.1")}, LAYERS),
    ],
)
def test_which_layers_are_integer(make_artifact, changes, integers):
    (model,) = make_artifact("onnx", "base", msgspec.structs.replace(ALL, **changes))
    assert integer_layers(model) == integers


@pytest.mark.parametrize(
    ("name", "integers"),
    [
        ("fp32", set()),
        ("int8", {"classifier"}),
        ("int8-heavy", {"classifier"}),
        ("int8-all", LAYERS),
        ("int8-a16", LAYERS),
    ],
)
def test_the_recipes_of_bundles(make_artifact, name, integers):
    """35 multiply-accumulates, or 30,000 weights, are more than a layer of this network has."""
    (model,) = make_artifact("onnx", "base", recipes.get("onnx", name))
    assert integer_layers(model) == integers


def test_activations_of_16_bits(make_artifact, samples):
    """Every activation, and ONNX Runtime runs it; what is left of the error is that of the weights."""
    (fp32,) = make_artifact("onnx", "base", recipes.get("onnx", "fp32"))
    given, answers, types = samples["base"], {}, {}
    for name in ("int8-stock", "int8-a16"):
        (model,) = make_artifact("onnx", "base", recipes.get("onnx", name))
        graph = onnx.load_from_string(model).graph
        tensors = {one.name: one.data_type for one in graph.initializer}
        types[name] = {tensors[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
        answers[name] = [open_session(model).run(["logits"], {"image": x})[0] for x in given]
    exact = [open_session(fp32).run(["logits"], {"image": x})[0] for x in given]
    assert types == {"int8-stock": {TensorProto.UINT8}, "int8-a16": {TensorProto.UINT16}}
    errors = {name: relative_error(np.stack(one), np.stack(exact)) for name, one in answers.items()}
    assert errors["int8-a16"] < errors["int8-stock"]


def test_what_onnx_runtime_makes_of_it(make_artifact, tmp_path):
    """Six convolutions, four hard-swishes and a hard-sigmoid, five multiplications, pooling twice, one linear layer."""
    found = optimised(make_artifact("onnx", "base", ALL)[0], tmp_path)
    assert {name: found[name] for name in ("QLinearConv", "QLinearAdd", "QLinearMul", "QGemm")} == {
        "QLinearConv": 6,
        "QLinearAdd": 5,
        "QLinearMul": 5,
        "QGemm": 1,
    }
    assert found["QLinearGlobalAveragePool"] == 2
    assert not {"Conv", "FusedConv", "Gemm", "Mul", "Add", "HardSigmoid", "GlobalAveragePool"} & found.keys()
    # In and out, nothing between: the image; features and embedding.
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (1, 2)


def test_what_onnx_runtime_makes_of_the_stock_recipe(make_artifact, tmp_path):
    found = optimised(make_artifact("onnx", "base", recipes.book("onnx").stock)[0], tmp_path)
    assert found["HardSigmoid"] == 5
    assert found["QLinearAdd"] == 0  # else ours is to be removed
    assert found["DequantizeLinear"] >= 5


def test_a_float_prefix_is_in_one_piece(make_artifact, tmp_path):
    """Up to wide and its hard-swish; from even on integers: two of the four hard-swishes each."""
    (model,) = make_artifact("onnx", "base", msgspec.structs.replace(ALL, integer_from_macs_per_activation=20.0))
    found = optimised(model, tmp_path)
    assert (found["QLinearConv"], found["QLinearAdd"], found["QLinearMul"], found["QGemm"]) == (2, 2, 2, 1)
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (1, 1)  # into even, and the embedding out


@pytest.mark.parametrize(("float_logits", "quantized"), [(True, False), (False, True)])
def test_logits_are_in_float(make_artifact, samples, float_logits, quantized):
    (model,) = make_artifact("onnx", "gate", msgspec.structs.replace(ALL, float_logits=float_logits))
    session = open_session(model)
    logits = np.concatenate([session.run(["logits"], {"embedding": x})[0] for x in samples["gate"]])
    # With one scale for all, integers are a whole number of steps apart.
    apart = np.diff(np.unique(logits))
    assert np.allclose(apart / apart.min(), np.round(apart / apart.min()), atol=1e-2) is quantized


# --- a graph of our own: hard-swish, and what reads its input ---

OPSET = [helper.make_opsetid("", 20)]
HARD_SIGMOID = {"alpha": 1 / 6, "beta": 0.5}


def graph(*nodes, outputs=("y",), size=8):
    given = nodes[0].input[0]
    shape = [1, size]
    tensor = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph(
            list(nodes),
            "main",
            [tensor(given, TensorProto.FLOAT, shape)],
            [tensor(name, TensorProto.FLOAT, shape) for name in outputs],
            [numpy_helper.from_array(np.float32(2), "two")],
        ),
        opset_imports=OPSET,
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def node(operator, given, result, **attributes):
    return helper.make_node(operator, given, [result], f"{operator}_{result}", **attributes)


GATE = node("HardSigmoid", ["x"], "g", **HARD_SIGMOID)
SWISH = (GATE, node("Mul", ["x", "g"], "y"))
ALONE = (
    node("Mul", ["a", "two"], "x"),
    GATE,
    node("Mul", ["g", "two"], "y"),
)


def resolved(model, name):
    """The range that uint8 has for the tensor `name`."""
    content = onnx.load_from_string(model)
    tensors = {tensor.name: numpy_helper.to_array(tensor).item() for tensor in content.graph.initializer}
    scale, zero = tensors[f"{name}_scale"], tensors[f"{name}_zero_point"]
    return (-zero * scale, (255 - zero) * scale)


@pytest.mark.parametrize(
    ("nodes", "seen", "expected"),
    [
        (SWISH, (-9.0, 6.0), (-3.0, 6.0)),
        (SWISH, (-2.0, 6.0), (-2.0, 6.0)),  # nothing to leave out
        (SWISH, (-9.0, 1.0), (-3.0, 1.0)),
        (ALONE, (-9.0, 7.0), (-3.0, 3.0)),  # a hard-sigmoid ends above as well
        ((*SWISH[:1], node("Add", ["x", "g"], "y")), (-9.0, 6.0), (-9.0, 6.0)),  # somebody else reads it too
        ((GATE, node("Mul", ["x", "two"], "z"), node("Mul", ["z", "g"], "y")), (-9.0, 6.0), (-9.0, 6.0)),
        ((node("Mul", ["x", "two"], "y"),), (-9.0, 6.0), (-9.0, 6.0)),
    ],
    ids=["hard-swish", "in reach", "low", "hard-sigmoid alone", "also added", "not its own gate", "no gate"],
)
@pytest.mark.parametrize("clip", [True, False])
def test_ranges_end_where_nothing_changes(nodes, seen, expected, clip):
    ranges = {"x": seen, "g": (0.0, 1.0), **dict.fromkeys("ayz", (-20.0, 20.0))}
    recipe = msgspec.structs.replace(PLAIN, clip_ranges=clip)
    model = quantize(graph(*nodes), ranges, recipe, Slots({}, complete=False))
    low, high = expected if clip else seen
    step = (high - low) / 255
    found = resolved(model, "x")
    assert found[1] - found[0] == pytest.approx(high - low, rel=1e-5)
    assert found == pytest.approx((low, high), abs=0.51 * step)  # the zero point is a whole number


def test_a_range_that_is_clipped_away_keeps_a_width():
    ranges = {"x": (-9.0, -5.0), "g": (0.0, 0.0), "y": (-1.0, 1.0)}
    model = quantize(graph(*SWISH), ranges, msgspec.structs.replace(PLAIN, clip_ranges=True), Slots({}, complete=False))
    low, high = resolved(model, "x")
    assert high >= 0 > low >= -3.01  # zero is always among the integers
    assert np.isfinite([low, high]).all()


def hard_sigmoid(x):
    return np.clip(x / 6 + 0.5, 0, 1)


def integer_hard_swish(low, high, recipe, tmp_path):
    """x over the whole range in steps of uint8, as ONNX Runtime makes them -> (x rounded, its gate, its product)."""
    nodes = (*SWISH, node("Identity", ["x"], "same"))
    ranges = {"x": (low, high), "g": (0.0, 1.0), "y": (-0.375, high), "same": (low, high)}
    model = quantize(graph(*nodes, outputs=("y", "g", "same"), size=4096), ranges, recipe, Slots({}, complete=False))
    x = np.linspace(low - 1, high + 1, 4096, dtype=np.float32)[np.newaxis]
    session = open_session(model)
    return (x, *session.run(["same", "g", "y"], {"x": x}), optimised(model, tmp_path))


@pytest.mark.parametrize(("low", "high"), [(-3.0, 6.0), (-3.0, 0.5), (-8.0, 8.0), (-1.0, 20.0), (0.0, 3.0)])
def test_integer_hard_sigmoid_is_within_a_step_of_the_float_one(low, high, tmp_path):
    recipe = msgspec.structs.replace(PLAIN, integer_hard_swish=True)
    x, rounded, gate, product, found = integer_hard_swish(low, high, recipe, tmp_path)
    assert (found["QLinearAdd"], found["QLinearMul"], found["HardSigmoid"]) == (1, 1, 0)
    step = (high - low) / 255
    np.testing.assert_allclose(rounded, x.clip(low, high), atol=step)  # what the integers stand for
    assert np.abs(gate - hard_sigmoid(rounded)).max() <= 1 / 255
    assert gate.min() >= 0 and gate.max() <= 1
    # The product's own step, and the gate's times what it is multiplied by.
    bound = 0.51 * (high + 0.375) / 255 + np.abs(rounded) / 255
    assert (np.abs(product - rounded * hard_sigmoid(rounded)) <= bound).all()
    # Where it matters, the answer is hard-swish of what came in.
    inside = (x > low) & (x < high)
    assert np.abs(product - x * hard_sigmoid(x))[inside].max() <= 1.5 * step + (high + 0.375 + high) / 255


def test_below_the_range_it_is_nothing(tmp_path):
    """Where ranges are clipped at -3, everything below is -3, and the hard-swish of that is 0."""
    recipe = msgspec.structs.replace(PLAIN, integer_hard_swish=True, clip_ranges=True)
    ranges = {"x": (-50.0, 6.0), "g": (0.0, 1.0), "y": (-0.375, 6.0)}
    model = quantize(graph(*SWISH), ranges, recipe, Slots({}, complete=False))
    x = np.array([[-50, -10, -5, -3.5, -3, 0, 3, 6]], np.float32)
    (y,) = open_session(model).run(["y"], {"x": x})
    np.testing.assert_allclose(y, [[0, 0, 0, 0, 0, 0, 3, 6]], atol=0.06)


def test_a_hard_sigmoid_in_float_is_left_alone(make_artifact):
    (model,) = make_artifact("onnx", "base", msgspec.structs.replace(ALL, keep_float=("even",)))
    found = Counter(one.op_type for one in onnx.load_from_string(model).graph.node)
    assert (found["HardSigmoid"], found["Add"]) == (1, 4)  # that between wide and even


def test_calibration_by_hand():
    model = graph(GATE, node("Mul", ["x", "g"], "y"))
    samples = np.float32([[[-4, 0, 0, 0, 0, 0, 0, 1.5]], [[0, 0, 0, 3, 0, 0, 0, 0]]])
    found = calibrate(model, samples)
    assert found["x"] == (-4.0, 3.0)
    assert found["g"] == (0.0, 1.0)
    assert found["y"] == pytest.approx((0.0, 3.0), abs=1e-6)


def test_ranges_of_a_part_are_what_torch_gives(make_artifact, parts, samples):
    import torch

    seen = {}
    module = parts["base"].get_submodule("even.0")
    hook = module.register_forward_hook(lambda _, __, out: seen.update(low=out.min().item(), high=out.max().item()))
    with torch.no_grad():
        parts["base"](torch.from_numpy(samples["base"][:, 0]).permute(0, 3, 1, 2))
    hook.remove()
    model = make_artifact.fp32("onnx", "base")
    (name,) = [one.output[0] for one in onnx.load_from_string(model).graph.node if "part.even.0.weight" in one.input]
    assert calibrate(model, samples["base"])[name] == pytest.approx((seen["low"], seen["high"]), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_calibrated_that_is_not_needed(make_artifact, parts, kind, monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr("edge_moe.converters.onnx.toolchain.calibrate", never)
    assert make_artifact("onnx", kind, recipes.get("onnx", "fp32"), part=parts[kind])


def test_a_model_that_the_quantizer_refuses(make_artifact, samples):
    """Without the ranges of its activations."""
    with pytest.raises(ConversionError, match="cannot apply recipe 'plain': ") as caught:
        quantize(make_artifact.fp32("onnx", "gate"), {}, PLAIN, Slots({}, complete=False))
    assert "\n" not in str(caught.value)
    assert onnx_quantize.__all__ == ["calibrate", "quantize"]
