"""One graph for all experts: by hand, and against torch for weights that were never exported."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from edge_moe.converters import recipes, toolchain
from edge_moe.converters.interface import with_channels_last
from edge_moe.converters.shared_graph import Graph
from edge_moe.converters.sharing import (
    Slot,
    Slots,
    fold_batch_norm,
    is_within,
    layer_of,
    randomised,
    value,
    with_feeders,
)
from edge_moe.verify import relative_error
from tests import fixed
from tests.converters.conftest import BACKENDS, allowed, run, run_torch


def numbers(*shape):
    return np.random.default_rng(sum(shape)).random(shape).astype(np.float32)


STATE = {
    "part.convolution.weight": torch.from_numpy(numbers(2, 3, 4, 5)),
    "part.convolution.bias": torch.from_numpy(numbers(2)),
    "part.linear.weight": torch.from_numpy(numbers(3, 7)),
    "part.count": torch.tensor(7),  # not float, as BatchNorm's num_batches_tracked
}
CONSTANTS = {name: tensor.numpy() for name, tensor in STATE.items() if tensor.is_floating_point()}


@pytest.mark.parametrize(
    ("change", "slot"),
    [
        (lambda c: c["part.convolution.weight"].transpose(0, 2, 3, 1), Slot("part.convolution.weight", (0, 2, 3, 1))),
        (lambda c: c["part.convolution.weight"].transpose(1, 2, 3, 0), Slot("part.convolution.weight", (1, 2, 3, 0))),
        (lambda c: c["part.linear.weight"].T, Slot("part.linear.weight", (1, 0))),
        (lambda c: c["part.linear.weight"].ravel(), Slot("part.linear.weight", (0, 1))),  # another shape, same bytes
        (lambda c: c["part.convolution.bias"] + np.float32(3), Slot("part.convolution.bias", (0,), 3.0)),
    ],
    ids=["channels last", "depthwise", "transposed", "flat", "shifted"],
)
def test_what_a_constant_is(change, slot):
    constant = np.ascontiguousarray(change(CONSTANTS))
    slots = Slots.find({**CONSTANTS, slot.name: constant}, STATE)
    assert slots.complete
    assert slots.found[slot.name] == slot
    other = {name: tensor + 1 for name, tensor in STATE.items()}
    np.testing.assert_array_equal(
        value(slot, other).ravel(), change({n: t.numpy() for n, t in other.items()}).ravel().astype(np.float32)
    )


@pytest.mark.parametrize(
    ("change", "complete"),
    [
        ({"a scalar of an operator": np.float32(0.5)}, True),
        ({"a table": np.float32([1, 2, 3])}, False),
        ({"part.linear.weight": CONSTANTS["part.linear.weight"] * 2}, False),  # folded into something
        ({"twice": CONSTANTS["part.linear.weight"]}, True),
    ],
)
def test_a_graph_with_something_unexplained_is_not_shared(change, complete):
    assert Slots.find(CONSTANTS, STATE).complete
    assert Slots.find(CONSTANTS | change, STATE).complete is complete


def test_a_graph_that_lacks_a_parameter_is_not_shared():
    fewer = {name: constant for name, constant in CONSTANTS.items() if name != "part.linear.weight"}
    slots = Slots.find(fewer, STATE)
    assert not slots.complete
    assert slots.found.keys() == fewer.keys()


def test_names_of_layers():
    assert Slot("part.features.9.0.weight", (0,)).layer == "features.9.0"
    assert Slot("part.weight", (0, 1)).layer == "(whole part)"
    assert [layer_of(name) for name in ("part", "part.a.b", "")] == ["(whole part)", "a.b", "(whole part)"]


def test_within():
    assert is_within("features.9.0", ("features.9",))
    assert is_within("features.9", ("head", "features.9"))
    assert not is_within("features.90", ("features.9",))
    assert not is_within("features.9", ("features.9.0",))
    assert not is_within("features.9", ())


def test_feeders_by_hand():
    """Layers in capitals: A -> b -> C -> d -> E, and F -> g -> d: keeping E keeps d, C, g and F, not A and b."""
    feeds = {"b": ["A"], "C": ["b"], "d": ["C", "g"], "g": ["F"], "E": ["d"]}

    def kept(*names):
        return with_feeders(names, lambda node: feeds.get(node, []), str.isupper)

    assert kept("E") == set("EdCgF")
    assert kept("C") == set("CbA")
    assert kept("A") == {"A"}
    assert kept("E", "C") == set("EdCgFbA")
    assert kept() == set()


class Normed(nn.Module):
    """An expert with BatchNorm behind a convolution, in a block with a shortcut."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.depthwise, self.head = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Linear(8, 3)
        fixed.fill(self, seed)
        with torch.no_grad():  # statistics that matter
            for number, tensor in enumerate((self.norm.running_mean, self.norm.running_var, self.norm.weight)):
                tensor.copy_(torch.from_numpy(fixed.uniform(seed + 10 * number, 8)))
            for tensor in (self.norm.running_var, self.norm.weight):
                tensor.mul_(0.75).add_(1.25)  # from 0.5 to 2

    def forward(self, x):
        x = x + self.norm(self.convolution(x)).relu()
        x = nn.functional.hardsigmoid(self.depthwise(x)) * x
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Untraceable(Normed):
    """The same function; torch.fx has no numbers for shapes, torch.export has."""

    def forward(self, x):
        return super().forward(torch.cat([x[:, :, 4 * i : 4 * i + 4] for i in range(x.shape[2] // 4)], 2))


def test_batch_norm_is_folded_and_layers_keep_their_names():
    part = Normed().eval()
    folded = fold_batch_norm(with_channels_last(part, "expert"))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert {name for name in folded.state_dict() if name.startswith("part.convolution")} == {
        "part.convolution.weight",
        "part.convolution.bias",
    }
    x = torch.randn(2, 5, 5, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(folded(x)["logits"], part(x.permute(0, 3, 1, 2)))
    assert part.convolution.bias is None  # the part itself is as it was


def test_random_weights_are_all_different():
    part = Normed()
    twin = randomised(part)
    values = torch.cat([tensor.flatten() for tensor in twin.state_dict().values() if tensor.is_floating_point()])
    assert len(values.unique()) == len(values)
    assert values.abs().min() >= 0.5
    assert torch.equal(part.convolution.weight, Normed().convolution.weight)


def answers(backend, traced, part, x):
    wanted = [recipes.get(backend, name) for name in ("fp32", "int8-all")]
    return [
        run(backend, m, "expert", x)["logits"] for m in toolchain.get(backend).build(traced, part, "expert", x, wanted)
    ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_graph_traced_of_one_expert_serves_another(parts, samples, traced, backend):
    other, x = fixed.fill(parts["base"].new_expert().eval(), seed=1), samples["expert"]
    assert msgspec.msgpack.decode(traced[backend, "expert"], type=Graph).slots.complete
    expected, not_expected = (run_torch(part, "expert", x)["logits"] for part in (other, parts["expert"]))
    bounds = (1e-4, allowed(other, "expert", x)["logits"])
    for found, bound in zip(answers(backend, traced[backend, "expert"], other, x), bounds, strict=True):
        assert relative_error(found, expected) < bound
        assert relative_error(found, not_expected) > 0.5


@pytest.mark.parametrize(("network", "shared"), [(Normed, True), (Untraceable, False)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_norm_of_another_expert(samples, backend, network, shared):
    one, other, x = network(0).eval(), network(1).eval(), samples["expert"]
    graph = toolchain.get(backend).trace(one, "expert", x[0])
    assert msgspec.msgpack.decode(graph, type=Graph).slots.complete is shared
    expected = run_torch(other, "expert", x)["logits"]
    bounds = (1e-4, allowed(other, "expert", x)["logits"])
    for found, bound in zip(answers(backend, graph, other, x), bounds, strict=True):
        assert relative_error(found, expected) < bound
