"""Artifacts against torch, on networks of five layers."""

from __future__ import annotations

import copy
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from edge_moe.backends.executorch import MADE_FROM, ExecuTorch
from edge_moe.converters.executorch import toolchain as executorch
from edge_moe.converters.executorch.recipes import RECIPES, STOCK, ExecuTorchRecipe
from edge_moe.converters.executorch.toolchain import ExecuTorchToolchain
from edge_moe.converters.layers import rank
from edge_moe.converters.origin import Origin
from edge_moe.converters.toolchain import COMPARED, get
from edge_moe.errors import ConversionError
from edge_moe.nn import Expert, SplitBase
from edge_moe.verify import relative_error
from tests import fixed
from tests.converters.conftest import Network, allowed
from tests.converters.conftest import run_torch as run_torch_
from tests.rounding import ALLOWED, rounded

pytest.importorskip("executorch.exir.schema")

TOOLS = ExecuTorchToolchain()
RECIPES_AND_STOCK = {one.name: one for one in (*RECIPES, STOCK)}
FLOAT, INT8_ALL = RECIPES_AND_STOCK["fp32"], RECIPES_AND_STOCK["int8-all"]
# As in conftest, "even" and "narrow" save at least 16 multiply-accumulates a conversion.
INT8 = ExecuTorchRecipe(
    name="int8",
    int8="",
    floats="",
    why="",
    when="",
    quantize=("conv2d",),
    dynamic_operators=("linear",),
    min_macs_per_conversion=16.0,
)


class Block(nn.Module):
    """A residual block: its addition reads the map that its convolution reads."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(64, 64, 1)

    def forward(self, x):
        return x + self.convolution(x)


class Wide(nn.Module):
    """64 * 64 / 128 = 32 multiply-accumulates a conversion: what every recipe of the backend takes.

    The features are a convolution's own output, and an addition between int8 convolutions reads them too.
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64), nn.Hardswish())
        self.second = nn.Conv2d(64, 64, 1)
        self.block = Block()
        self.last = nn.Conv2d(64, 64, 1)
        self.classifier = nn.Linear(64, 5)


class Case(NamedTuple):
    part: nn.Module
    samples: np.ndarray
    traced: bytes
    expected: dict[str, np.ndarray]


def run(model, samples, names=("logits", "features", "embedding")):
    """[N, 1, ...] -> name -> [N, ...], through the backend."""
    part = ExecuTorch().open(model)
    found = {name: [] for name in names}
    for sample in samples:
        part.invoke(sample)
        for name in names:
            found[name].append(part.output(name)[0])
    part.close()
    return {name: np.stack(rows) for name, rows in found.items()}


def logits(model, samples):
    return run(model, samples, ("logits",))["logits"]


@torch.no_grad()
def run_torch(part, samples):
    x = torch.from_numpy(samples[:, 0])
    out = part(x.permute(0, 3, 1, 2) if x.ndim == 4 else x)
    if not isinstance(out, tuple):
        return {"logits": out.numpy()}
    return {
        "logits": out.logits.numpy(),
        "features": out.features.permute(0, 2, 3, 1).numpy(),
        "embedding": out.embedding.numpy(),
    }


def build(traced, part, kind, samples, *recipes):
    return list(TOOLS.build(traced, part, kind, samples, recipes))


@pytest.fixture(scope="module")
def wide():
    base = SplitBase(fixed.fill(Wide()), ("first", "second"), ("block", "last"), "classifier")
    x = fixed.uniform(0, 16, 1, 8, 8, 3)
    base(torch.from_numpy(x[:, 0]).permute(0, 3, 1, 2))  # BatchNorm has seen something
    base.eval()
    return Case(base, x, TOOLS.trace(base, "base", x[0]), run_torch(base, x))


@pytest.fixture(scope="module")
def built(wide):
    """All the recipes in one call: each starts from the graph as it was traced."""
    artifacts = build(wide.traced, wide.part, "base", wide.samples, *RECIPES_AND_STOCK.values())
    return dict(zip(RECIPES_AND_STOCK, artifacts, strict=True))


@pytest.fixture(scope="module")
def traced_expert(parts, samples):
    return TOOLS.trace(parts["expert"], "expert", samples["expert"][0])


def test_an_artifact_says_what_it_is(parts, samples):
    """And is the same whenever it is made."""
    from executorch.extension.pybindings import _portable_lib as library

    gate, x = parts["gate"], samples["gate"]
    traced = TOOLS.trace(gate, "gate", x[0])
    origin = Origin(name="tests:wide", part="gate", set="executorch/int8", digest="ab" * 32)
    recipe = RECIPES_AND_STOCK["int8"]
    one, two = (next(TOOLS.build(traced, gate, "gate", x, [recipe], [origin])) for _ in range(2))
    program = library._load_program_from_buffer(one)
    (text,) = program.load_method(MADE_FROM)(())
    assert text == origin.text()
    assert one == two
    (without,) = build(traced, gate, "gate", x, recipe)
    np.testing.assert_array_equal(logits(one, x), logits(without, x))


@pytest.mark.parametrize("recipe", RECIPES_AND_STOCK)
def test_every_recipe_follows_torch_in_one_delegate(wide, built, recipe):
    assert TOOLS.structure(built[recipe]).is_whole
    found = run(built[recipe], wide.samples)
    bounds = dict.fromkeys(found, 1e-4) if recipe == "fp32" else allowed(wide.part, "base", wide.samples)
    for name, value in wide.expected.items():
        assert (found[name].dtype, found[name].shape) == (np.float32, value.shape)
        error = relative_error(found[name], value)
        assert error < bounds[name] < 0.1, name
        assert recipe == "fp32" or name == "logits" or error > 1e-4, name  # something is int8


def test_int8_is_smaller(built):
    sizes = {recipe: len(artifact) for recipe, artifact in built.items()}
    assert max(size for recipe, size in sizes.items() if recipe != "fp32") < 0.7 * sizes["fp32"]


@pytest.fixture(scope="module")
def other_expert(parts):
    """Of the same architecture as the traced one, with other weights."""
    return fixed.fill(parts["base"].new_expert().eval(), seed=1)


def test_one_trace_serves_every_expert(parts, samples, traced_expert, other_expert):
    x = samples["expert"]
    (fp32,) = build(traced_expert, other_expert, "expert", x, FLOAT)
    assert relative_error(logits(fp32, x), run_torch(other_expert, x)["logits"]) < 1e-4
    assert relative_error(logits(fp32, x), run_torch(parts["expert"], x)["logits"]) > 0.5


def test_a_gate(parts, samples):
    gate, x = parts["gate"], samples["gate"]
    traced = TOOLS.trace(gate, "gate", x[0])
    fp32, dynamic = build(traced, gate, "gate", x, FLOAT, RECIPES_AND_STOCK["int8-dynamic"])
    expected = run_torch(gate, x)["logits"]
    assert relative_error(logits(fp32, x), expected) < 1e-4
    assert 1e-4 < relative_error(logits(dynamic, x), expected) < allowed(gate, "gate", x)["logits"]
    assert TOOLS.structure(fp32).is_whole and TOOLS.structure(dynamic).is_whole
    # The same bytes twice; and dynamic ranges need no images.
    assert build(traced, gate, "gate", x[:0], RECIPES_AND_STOCK["int8-dynamic"]) == [dynamic]


def test_weights_that_do_not_fit(parts, samples, traced_expert):
    other = copy.deepcopy(parts["expert"])
    other.classifier = nn.Linear(24, 6)
    with pytest.raises(ConversionError, match=r"cannot apply recipe 'fp32': .*state_dict") as caught:
        build(traced_expert, other, "expert", samples["expert"], FLOAT)
    assert "\n" not in str(caught.value)


def test_it_is_the_toolchain_of_the_backend():
    tools = get("executorch")
    assert type(tools) is ExecuTorchToolchain
    assert tools.backend == "executorch"
    assert set(tools.packages) == {"torch", "torchao", "executorch"}


@pytest.fixture
def int8_layers(monkeypatch):
    """The torch modules whose weights, or whose sums, are integers in the graphs that the test lowers."""
    found = set()

    def look(program, names, origin):
        for node in program.graph.nodes:
            aten = torch.ops.aten
            operator = node.target in (aten.conv2d.default, aten.linear.default, aten.add.Tensor)
            if operator and "dequantize" in str(node.args[1]):
                *_, (path, _) = node.meta["nn_module_stack"].values()
                found.add(path.rpartition("part.")[2])
        return lower(program, names)

    lower = executorch._to_pte
    monkeypatch.setattr(executorch, "_to_pte", look)
    return found


SQUEEZE = {"squeeze.down", "squeeze.up"}
EVERY = SQUEEZE | {"first.0", "wide.0", "even.0", "narrow.0", "classifier"}
ALL = {"min_macs_per_conversion": 0.0}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, SQUEEZE | {"even.0", "narrow.0", "classifier"}),
        ({"min_point_weights": 33}, {"even.0", "narrow.0", "classifier"}),  # squeeze-excite has 32 twice
        ({"ranges": "dynamic"}, SQUEEZE | {"even.0", "narrow.0", "classifier"}),
        (ALL | {"keep_float": ("eve", "features.9")}, EVERY),  # no such modules: convert() checks names
        # With calibrated ranges, what computes the input of a layer in float is in float as well.
        (ALL | {"keep_float": ("first", "narrow.0")}, EVERY - {"first.0", "even.0", "narrow.0"}),
        (ALL | {"keep_float": ("first", "narrow.0"), "ranges": "dynamic"}, EVERY - {"first.0", "narrow.0"}),
    ],
)
def test_which_layers_are_int8(parts, samples, monkeypatch, int8_layers, traced_base, settings, expected):
    monkeypatch.setattr("executorch.exir.to_edge_transform_and_lower", stop)  # most of the time
    recipe = msgspec.structs.replace(INT8, **settings)
    with pytest.raises(ConversionError, match="cannot lower the part: stopped"):
        build(traced_base, parts["base"], "base", samples["base"][:2], recipe)
    assert int8_layers == expected


def test_a_relu_does_not_keep_a_layer_from_dynamic_ranges(samples, monkeypatch, int8_layers):
    """Left to itself, the quantizer has no pattern for a ReLU behind a convolution of dynamic ranges."""
    network = Network()
    network.wide = nn.Sequential(nn.Conv2d(8, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU(inplace=True))
    network.even = nn.Sequential(nn.Conv2d(48, 48, 1), nn.ReLU())
    part = Expert(network, ("wide", "even", "narrow"), "classifier").eval()
    monkeypatch.setattr("executorch.exir.to_edge_transform_and_lower", stop)
    recipe = msgspec.structs.replace(INT8, ranges="dynamic", min_macs_per_conversion=0.0)
    with pytest.raises(ConversionError, match="cannot lower the part: stopped"):
        build(TOOLS.trace(part, "expert", samples["expert"][0]), part, "expert", samples["expert"], recipe)
    assert int8_layers == {"wide.0", "even.0", "narrow.0", "classifier"}


def test_a_shortcut_with_a_convolution_stays_in_the_delegate():
    """Two layers with ranges of the image read one map, and a path leads from one to where the other's output goes."""

    class Shortcut(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1)
            self.shortcut, self.head = nn.Conv2d(8, 8, 1, 2), nn.Linear(8, 3)
            fixed.fill(self)

        def forward(self, x):
            x = x.relu()
            return self.head((self.second(self.first(x).relu()) + self.shortcut(x)).mean((2, 3)))

    part = Shortcut().eval()
    x = fixed.uniform(0, 8, 1, 8, 8, 8)
    recipe = msgspec.structs.replace(INT8, ranges="dynamic", min_macs_per_conversion=0.0)
    (model,) = build(TOOLS.trace(part, "expert", x[0]), part, "expert", x, recipe)
    assert TOOLS.structure(model).is_whole
    assert 1e-4 < relative_error(logits(model, x), run_torch(part, x)["logits"]) < allowed(part, "expert", x)["logits"]


def stop(*_, **__):
    raise RuntimeError("stopped")


@pytest.fixture(scope="module")
def traced_base(parts, samples):
    return TOOLS.trace(parts["base"], "base", samples["base"][0])


def test_a_module_kept_in_float_where_all_else_is_int8(wide, int8_layers):
    """With its addition, and still in one delegate."""
    expert = wide.part.new_expert().eval()
    x = np.ascontiguousarray(wide.expected["features"][:, np.newaxis])
    kept = msgspec.structs.replace(INT8_ALL, keep_float=("block", "squeeze"))  # an expert has no squeeze
    (model,) = build(TOOLS.trace(expert, "expert", x[0]), expert, "expert", x, kept)
    assert int8_layers == {"last", "classifier"}
    assert TOOLS.structure(model).is_whole
    assert 1e-4 < relative_error(logits(model, x), wide.expected["logits"]) < allowed(expert, "expert", x)["logits"]


def test_features_that_an_addition_reads_too(wide, monkeypatch):
    """What `_give_outputs_their_own` is for, see test_every_recipe_follows_torch_in_one_delegate."""
    monkeypatch.setattr("edge_moe.converters.executorch.quantizer._give_outputs_their_own", lambda graph: None)
    (model,) = build(wide.traced, wide.part, "base", wide.samples, RECIPES_AND_STOCK["int8"])
    assert not run(model, wide.samples[:2])["features"].any()  # else XNNPACK is mended, and ours is to be removed


def test_an_operator_that_xnnpack_does_not_take(samples):
    class Cumulative(nn.Module):
        def forward(self, x):
            return x.cumsum(3)

    network = Network()
    network.even = nn.Sequential(network.even, Cumulative())
    part = Expert(network, ("wide", "even", "narrow"), "classifier").eval()
    traced = TOOLS.trace(part, "expert", samples["expert"][0])
    with pytest.raises(ConversionError, match=r"XNNPACK does not take aten::cumsum of 'even.1'; ") as caught:
        build(traced, part, "expert", samples["expert"], FLOAT)
    assert "\n" not in str(caught.value)


def test_an_operator_that_executorch_does_not_know(samples):
    class Bessel(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    network = Network()
    network.even = nn.Sequential(network.even, Bessel())
    part = Expert(network, ("wide", "even", "narrow"), "classifier").eval()
    traced = TOOLS.trace(part, "expert", samples["expert"][0])
    expected = r"cannot lower the part: even\.1 \(aten::special_bessel_j0\): .*; replace the operator"
    with pytest.raises(ConversionError, match=expected) as caught:
        build(traced, part, "expert", samples["expert"], FLOAT)
    assert "\n" not in str(caught.value)


def test_batch_norm_that_cannot_be_folded(samples):
    network = Network()
    network.even = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(48))
    part = Expert(network, ("wide", "even", "narrow"), "classifier").eval()
    traced = TOOLS.trace(part, "expert", samples["expert"][0])
    for recipe in (FLOAT, INT8):
        with pytest.raises(ConversionError, match=r"BatchNorm of 'even.1' follows no convolution"):
            build(traced, part, "expert", samples["expert"], recipe)


def test_a_part_that_torch_refuses(samples):
    class Undecided(nn.Module):
        def forward(self, x):
            return x * 2 if x.sum() > 0 else x

    network = Network()
    network.even = nn.Sequential(network.even, Undecided())
    part = Expert(network, ("wide", "even", "narrow"), "classifier").eval()
    with pytest.raises(ConversionError, match=r"torch\.export cannot convert this part: even\.1: ") as caught:
        TOOLS.trace(part, "expert", samples["expert"][0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1, 2])
def test_a_map_of_one_pixel(parts, size):
    """The base's stem halves the image."""
    with pytest.raises(ConversionError, match="cannot hand over a map of one pixel; use larger images"):
        TOOLS.trace(parts["base"], "base", np.zeros((1, size, size, 3), np.float32))


def test_pooling_as_people_write_it(samples):
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = fixed.fill(nn.Linear(8, 3))

        def forward(self, x):
            return self.linear(x.mean((2, 3)) + x.mean((-1, -2)))

    part = Pooled().eval()
    x = samples["expert"]
    (model,) = build(TOOLS.trace(part, "expert", x[0]), part, "expert", x, FLOAT)
    assert TOOLS.structure(model).is_whole
    assert relative_error(logits(model, x), run_torch(part, x)["logits"]) < 1e-4


def test_compare_gives_every_layer_by_its_name_in_torch(parts, samples, traced_base):
    x = samples["base"]
    rows = list(TOOLS.compare(traced_base, parts["base"], "base", x, INT8_ALL))
    layers = list(dict.fromkeys(row.layer for row in rows))
    assert layers == ["first.0", "squeeze.down", "squeeze.up", "wide.0", "even.0", "narrow.0", "classifier"]
    assert len(rows) == COMPARED * len(layers)
    first, last = rows[0], rows[len(layers) - 1]
    np.testing.assert_array_equal(first.inputs[0], x[0].transpose(0, 3, 1, 2))  # of the first sample
    np.testing.assert_array_equal(*first.inputs)  # rounding it is the layer's own doing
    expected = run_torch(parts["base"], x[:1])
    np.testing.assert_allclose(last.inputs[0], expected["embedding"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(last.outputs[0], expected["logits"], rtol=1e-4, atol=1e-6)
    # Of the first sample, by the ranges of all.
    coarse = run_torch_(parts["base"], "base", x, rounded)["logits"][:1]
    bound = ALLOWED * relative_error(coarse, expected["logits"])
    assert 1e-4 < relative_error(last.outputs[1], expected["logits"]) < bound


def test_compare_is_not_fooled_by_operators_in_place():
    """A ReLU in place overwrites what the layer before it gave."""
    depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(inplace=True))  # stays in float
    part = fixed.fill(Chain(depthwise, nn.Conv2d(8, 16, 1), nn.Linear(16, 5)).eval())
    x = fixed.uniform(0, 4, 1, 4, 4, 8)
    traced = TOOLS.trace(part, "expert", x[0])
    recipe = RECIPES_AND_STOCK["int8-dynamic"]
    found = {one.layer: one for one in rank(TOOLS.compare(traced, part, "expert", x, recipe))}
    assert found["before.0"].sqnr_db == 200
    with torch.no_grad():
        expected = depthwise[0](torch.from_numpy(x[0].transpose(0, 3, 1, 2).copy())).numpy()
    first = next(iter(TOOLS.compare(traced, part, "expert", x, recipe)))
    np.testing.assert_allclose(first.outputs[0], expected, rtol=1e-5, atol=1e-6)
    assert expected.min() < 0  # which the ReLU would have made 0


@torch.no_grad()
def test_the_layer_that_broke_is_ranked_first():
    """One channel is blown up and the weights that read it are shrunk: the same in float, ruin for int8."""
    part = fixed.fill(Chain(nn.Conv2d(8, 16, 1), nn.Conv2d(16, 16, 1), nn.Linear(16, 5)).eval())
    x = fixed.uniform(0, 16, 1, 4, 4, 8)
    expected = run_torch(part, x)["logits"]
    part.before.weight[0] *= 1e4
    part.before.bias[0] *= 1e4
    part.behind.weight[:, 0] *= 1e-4
    np.testing.assert_allclose(run_torch(part, x)["logits"], expected, rtol=1e-3, atol=1e-4)
    traced = TOOLS.trace(part, "expert", x[0])
    ranked = rank(TOOLS.compare(traced, part, "expert", x, INT8_ALL))
    assert ranked[0].layer == "behind"
    broken = {one.layer: one for one in ranked}
    assert broken["behind"].own_sqnr_db < 5
    assert broken["before"].sqnr_db > 25  # what is large drowns what is lost
    assert broken["classifier"].input_sqnr_db < 10 < broken["classifier"].own_sqnr_db  # not its own
    kept = msgspec.structs.replace(INT8_ALL, keep_float=("before", "behind"))
    mended = {one.layer: one for one in rank(TOOLS.compare(traced, part, "expert", x, kept))}
    assert mended["behind"].sqnr_db > 60


class Chain(nn.Module):
    """Three layers without anything between them, on [B, 8, H, W]."""

    def __init__(self, before, behind, classifier):
        super().__init__()
        self.before, self.behind, self.classifier = before, behind, classifier

    def forward(self, x):
        return self.classifier(nn.functional.adaptive_avg_pool2d(self.behind(self.before(x)), 1).flatten(1))
