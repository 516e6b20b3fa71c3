"""An operator that a backend cannot take ends in an error that names the module."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edge_moe.converters import blame, toolchain
from edge_moe.converters.interface import with_channels_last
from edge_moe.errors import ConversionError
from tests.converters.conftest import Network, split


class Bessel(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)


class Undecided(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x


class Histogram(nn.Module):
    def forward(self, x):
        return x * torch.histc(x, bins=8)[0]


def with_second(module):
    network = Network()
    network.even = nn.Sequential(network.even, module)
    return split(network)


@pytest.mark.parametrize(
    ("module", "operator", "kind"),
    [
        (Bessel, " (special_bessel_j0)", "expert"),
        (Histogram, " (histc)", "expert"),
        (Undecided, "", "base"),  # torch itself cannot trace it
    ],
)
@pytest.mark.parametrize(("backend", "tool"), [("litert", "litert-torch"), ("onnx", "torch.onnx")])
def test_the_module_is_named(samples, backend, tool, module, operator, kind):
    base = with_second(module())
    part = base if kind == "base" else base.new_expert()
    with pytest.raises(ConversionError) as caught:
        toolchain.get(backend).trace(part.eval(), kind, samples[kind][0])
    text = str(caught.value)
    assert text.startswith(f"{tool} cannot convert this part: even.1{operator}: ")
    assert text.endswith("; replace the operator, or leave the backend out")
    assert "\n" not in text
    assert len(text) < 500


def test_the_module_of_a_node():
    base = with_second(nn.Sequential(nn.ReLU(), nn.Sigmoid()))
    program = torch.export.export(with_channels_last(base, "base"), (torch.zeros(1, 16, 16, 3),))
    modules = {node.target._opname: blame.module_of(node) for node in program.graph.nodes if node.op == "call_function"}
    assert modules["sigmoid"] == "even.1.1"
    assert modules["linear"] == "classifier"
    assert modules["permute"] == "(whole part)"
