"""Max pooling that pads becomes a padding with zeros where nothing is negative: same numbers, one partition."""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from edge_moe.converters.interface import with_channels_last
from edge_moe.converters.litert.pooling import with_zeros_padded
from edge_moe.converters.litert.toolchain import LiteRTToolchain
from tests import fixed
from tests.converters.conftest import run

TOOLS = LiteRTToolchain()


class Net(nn.Module):
    def __init__(self, pool, before=None, call=None):
        super().__init__()
        self.first, self.pool = nn.Conv2d(8, 4, 1), pool
        self.before = nn.Identity() if before is None else before
        self.call = (lambda x: x) if call is None else call
        self.last = nn.LazyLinear(3)

    def forward(self, x):
        return self.last(self.pool(self.call(self.before(self.first(x)))).flatten(1))


class Called(nn.Module):
    """A pooling as a function."""

    def __init__(self, function, *args, **kwargs):
        super().__init__()
        self.call = lambda x: function(x, *args, **kwargs)

    def forward(self, x):
        return self.call(x)


def below_zero(x):
    x.sub_(1)
    return x


def traced(**given):
    net = Net(**given)
    net(torch.zeros(1, 8, 8, 8))  # which settles the lazy layer
    return fx.symbolic_trace(with_channels_last(fixed.fill(net), "expert"))


POOL = nn.MaxPool2d(3, 2, 1)
SAME = [
    {"pool": POOL, "before": nn.ReLU()},
    {"pool": nn.MaxPool2d((3, 5), (2, 1), (1, 2)), "before": nn.Sequential(nn.ReLU6(), nn.Dropout(0.5))},
    {"pool": nn.MaxPool2d(2, padding=1), "call": functional.relu},
    {"pool": POOL, "call": torch.relu},
    {"pool": POOL, "call": lambda x: x.relu()},
    {"pool": POOL, "before": nn.Sigmoid()},
    {"pool": Called(functional.max_pool2d, 3, 2, 1), "before": nn.ReLU()},
    {"pool": Called(torch.max_pool2d, kernel_size=(3, 3), stride=(2, 1), padding=(1, 0)), "call": torch.relu},
    {"pool": Called(functional.max_pool2d, 2, padding=1), "before": nn.ReLU()},  # stride as large as the window
]
OTHERWISE = [
    {"pool": POOL},
    {"pool": POOL, "before": nn.Hardswish()},
    {"pool": POOL, "call": functional.leaky_relu},
    {"pool": POOL, "call": lambda x: below_zero(x.relu())},
    {"pool": Called(functional.max_pool2d, 3, 2, 1, ceil_mode=True), "before": nn.ReLU()},
    {"pool": Called(functional.max_pool2d, 3, 2), "before": nn.ReLU()},
    {"pool": nn.MaxPool2d(3, 2, 1, ceil_mode=True), "before": nn.ReLU()},
    {"pool": nn.MaxPool2d(2, padding=1, dilation=2), "before": nn.ReLU()},
    {"pool": nn.MaxPool2d(3, 2), "before": nn.ReLU()},
    {"pool": nn.AvgPool2d(3, 2, 1), "before": nn.ReLU()},
]


@pytest.mark.parametrize("given", SAME)
def test_it_is_the_same_function_in_one_partition(given):
    module = traced(**given)
    before = str(module.graph)
    changed = with_zeros_padded(module)
    assert str(module.graph) == before != str(changed.graph)
    x = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(changed(x)["logits"], module(x)["logits"])
    artifact = TOOLS.export(module, "expert", x.numpy())
    assert TOOLS.structure(artifact).is_whole
    found = torch.from_numpy(run("litert", artifact, "expert", x.numpy()[None])["logits"][0])
    torch.testing.assert_close(found, module(x)["logits"][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("given", OTHERWISE)
def test_what_may_be_negative_stays(given):
    module = traced(**given)
    assert with_zeros_padded(module) is module


def test_zeros_would_win_over_what_is_negative():
    """Else there would be nothing to look at."""
    x = -torch.ones(1, 1, 4, 4)
    assert POOL(x).max() == -1
    assert functional.max_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, 2).max() == 0


def test_a_module_that_was_not_traced_is_as_it_was():
    module = nn.Sequential(nn.ReLU(), POOL)
    assert with_zeros_padded(module) is module


def test_a_pooling_that_is_called_twice_keeps_its_padding_where_it_must():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = POOL

        def forward(self, x):
            return self.pool(x) + self.pool(x.relu())

    module = fx.symbolic_trace(Twice())
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    changed = with_zeros_padded(module)
    assert changed is not module
    assert torch.equal(changed(x), module(x))
