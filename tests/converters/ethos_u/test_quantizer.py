"""What is done to the graph and to the ranges, worked out by hand; and, where Arm's tools are, what comes of it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import hardswish
from torchao.quantization.pt2e import MinMaxObserver

from edge_moe import BackendError, ConversionError, backends
from edge_moe.backends.reference_model import missing
from edge_moe.converters import recipes, toolchain
from edge_moe.converters.ethos_u import quantizer
from edge_moe.converters.executorch.toolchain import without_warnings
from edge_moe.verify import relative_error
from tests import fixed
from tests.converters.conftest import run_torch

aten = torch.ops.aten
INT8, WIDE, FLOAT = (recipes.get("ethos-u", name) for name in ("int8", "int8-a16", "fp32"))


@pytest.fixture
def tools():
    """The toolchain; Arm's quantizer cannot be imported without what the set-up brings."""
    assert missing() is None, "Arm's tools are not set up: make test-devices"
    return toolchain.get("ethos-u")


def exported(module, *shape):
    with without_warnings():
        return torch.export.export(module.eval(), (torch.zeros(shape),)).module(check_guards=False)


def targets(nodes):
    return [node.target for node in nodes if node.op == "call_function"]


class Plain(nn.Module):
    """Four layers: three convolutions and a linear one."""

    def __init__(self, channels=3):
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(channels, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.third(self.second(hardswish(self.first(x))).relu()).mean((2, 3)))


class Shared(nn.Module):
    """What `first` gives is read by a layer and by an addition, what `second` gives by an addition alone."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        y = self.first(x)
        return self.last(hardswish(self.third(y + self.second(y))).mean((2, 3)))


class Sum(Shared):
    """Here no layer reads what another hands to the addition."""

    def forward(self, x):
        y = hardswish(self.first(x))
        return self.last(hardswish(self.third(y + self.second(y))).mean((2, 3)))


@pytest.mark.parametrize(
    ("channels", "settings", "expected"),
    [
        (3, {"wide_layers": 1}, [aten.conv2d.default, aten.hardswish.default]),
        (3, {}, [aten.conv2d.default, aten.hardswish.default, aten.conv2d.default, aten.relu.default]),
        (3, {"wide_layers": 0}, []),
        (5, {}, []),  # no image: an expert's map
    ],
)
def test_what_has_16_bits_is_the_first_layers_of_an_image(channels, settings, expected):
    graph = exported(Plain(channels), 1, channels, 6, 6)
    assert targets(quantizer._wide(graph, msgspec.structs.replace(INT8, **settings))) == expected
    assert targets(quantizer._wide(graph, WIDE)) == targets(graph.graph.nodes)
    assert quantizer._wide(graph, FLOAT) == []


def test_where_there_are_fewer_layers_all_have_16_bits():
    graph = exported(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()), 1, 3, 4, 4)
    assert len(quantizer._wide(graph, INT8)) == 2


def test_a_clamp_ends_the_sums_that_an_addition_reads():
    module = fixed.fill(Shared())
    graph = exported(module, 1, 3, 4, 4)
    quantizer._end_sums(graph, list(graph.graph.nodes))
    clamped = [node.args[0] for node in graph.graph.nodes if node.target is aten.hardtanh.default]
    layers = [node for node in graph.graph.nodes if node.target is aten.conv2d.default]
    assert clamped == layers[:2]  # the third one's reader is a table
    assert all(len(node.users) == 1 for node in clamped)
    x = torch.from_numpy(1000 * fixed.uniform(0, 1, 3, 4, 4))
    torch.testing.assert_close(graph(x), module(x), rtol=0, atol=0)


def observed(*readers, low=-7.0, high=5.0, dtype=torch.int8):
    """Return the range of an observer that saw [low, high], before each of `readers`, once its range was set."""
    observer = MinMaxObserver(dtype=dtype, qscheme=torch.per_tensor_affine)
    observer(torch.tensor([low, high]))
    root, graph = nn.Module(), torch.fx.Graph()
    x = graph.placeholder("x")
    for place, several in enumerate(readers):
        root.add_module(f"observer_{place}", observer)
        seen = graph.call_module(f"observer_{place}", (x,))
        results = [graph.call_function(reader, (seen,)) for reader in several]
    graph.output(results)
    quantizer._set_ranges(torch.fx.GraphModule(root, graph))
    return observer.min_val.item(), observer.max_val.item()


SWISH, SIGMOID, RELU = aten.hardswish.default, aten.hardsigmoid_.default, aten.relu.default


@pytest.mark.parametrize(
    ("readers", "expected"),
    [
        ([[SWISH]], (-3.0, 5.0)),
        ([[SIGMOID]], (-3.0, 3.0)),
        ([[RELU]], (-7.0, 5.0)),
        ([[SWISH, RELU]], (-7.0, 5.0)),  # which tells -7 from -3
        ([[SWISH, SIGMOID]], (-7.0, 5.0)),
        ([[SWISH], [SWISH]], (-3.0, 5.0)),
        ([[RELU], [SWISH]], (-7.0, 5.0)),  # one range in two places
    ],
)
def test_a_range_is_cut_to_what_the_function_tells_apart(readers, expected):
    assert observed(*readers) == expected


def test_a_range_inside_of_that_stays():
    assert observed([SWISH], low=-1.0, high=2.0) == (-1.0, 2.0)


def test_16_bits_have_headroom_once():
    assert observed([SWISH], [RELU], dtype=torch.int16) == (-28.0, 20.0)
    assert observed([SWISH], dtype=torch.int16) == (-3.0, 6.25)  # less, for a table is the coarser the wider


def test_no_layer_can_stay_in_float():
    recipe = msgspec.structs.replace(INT8, keep_float=("first", "last"))
    graph = exported(Plain(), 1, 3, 6, 6)
    with pytest.raises(ConversionError, match="integers alone, so first, last cannot stay in float: leave ") as caught:
        quantizer.quantized(graph, np.zeros((1, 1, 6, 6, 3), np.float32), recipe, (torch.zeros(1, 3, 6, 6),))
    assert "\n" not in str(caught.value)


def made(tools, part, kind, x, *wanted):
    return list(tools.build(tools.trace(part, kind, x[0]), part, kind, x, wanted))


def logits(artifact, x):
    part = backends.get("ethos-u").open(artifact)
    try:
        return np.concatenate(part.each(["logits"], list(x))["logits"])
    finally:
        part.close()


@pytest.mark.devices
@pytest.mark.parametrize("network", [Shared, Sum])
def test_16_bits_through_additions(tools, network):
    part, x = fixed.fill(network()).eval(), fixed.uniform(1, 8, 1, 5, 5, 3)
    int8, wide = (logits(one, x) for one in made(tools, part, "expert", x, INT8, WIDE))
    exact = run_torch(part, "expert", x)["logits"]
    assert relative_error(wide, exact) < 0.01  # its weights have 8 bits
    assert relative_error(wide, exact) < relative_error(int8, exact) < 0.1


@pytest.mark.devices
@pytest.mark.parametrize("network", [Shared, Sum])
def test_what_clamps_are_for(tools, monkeypatch, network):
    """Else ExecuTorch is mended, and `_end_sums` is to be removed."""
    monkeypatch.setattr(quantizer, "_end_sums", lambda graph, wide: None)
    part, x = fixed.fill(network()).eval(), fixed.uniform(1, 8, 1, 5, 5, 3)
    with pytest.raises((BackendError, ConversionError), match=r"cannot lower the part|TOSA_UNPREDICTABLE"):
        logits(made(tools, part, "expert", x, WIDE)[0], x)


@pytest.mark.devices
def test_16_bits_follow_fp32_more_closely_than_8(tools, parts, samples):
    for kind, part in parts.items():
        x = samples[kind]
        exact = run_torch(part, kind, x)["logits"]
        wide, narrow = (relative_error(logits(one, x), exact) for one in made(tools, part, kind, x, WIDE, INT8))
        assert wide < narrow < 0.1, kind


@pytest.mark.devices
def test_which_integers_come_in_and_go_out(tools, parts, samples):
    """Of 8 bits the logits alone have more: the image has none, and the wide layers end before the map does."""
    artifacts = made(tools, parts["base"], "base", samples["base"], INT8, WIDE)
    for artifact, narrow in zip(artifacts, ("int8", "int16"), strict=True):
        part = backends.get("ethos-u").open(artifact)
        try:
            (image,), outputs = part.tensors()
        finally:
            part.close()
        assert image.dtype == narrow
        found = {one.name: one.dtype for one in outputs}
        assert found == {"features": narrow, "embedding": narrow, "logits": "int16"}


@pytest.mark.devices
def test_the_logits_of_8_bits_reach_beyond_the_calibration_images(tools, parts, samples):
    """Four times as far; else they would end at the largest that was seen."""
    gate, x = parts["gate"], samples["gate"]
    (artifact,) = made(tools, gate, "gate", x[:8], INT8)
    part = backends.get("ethos-u").open(artifact)
    (given,) = part.tensors().outputs
    part.close()
    largest = np.abs(run_torch(gate, "gate", x[:8])["logits"]).max()
    assert given.scale * 32767 == pytest.approx(4 * largest, rel=0.05)
