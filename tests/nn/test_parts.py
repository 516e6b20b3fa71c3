from __future__ import annotations

import pytest
import torch
from torch import nn

from edge_moe.nn import ARCHITECTURES, Architecture, Gate, SplitBase, build_base, build_empty_base
from edge_moe.nn.torchvision import torchvision


class SmallCNN(nn.Module):
    """What a user may bring: nested names, and a classifier of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU())
        self.late = nn.ModuleDict({"conv": nn.Conv2d(4, 6, 3), "act": nn.ReLU()})
        self.head = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.late["act"](self.late["conv"](self.early(x)))
        return self.head(x.mean((2, 3)))


def small_base() -> tuple[SmallCNN, SplitBase]:
    torch.manual_seed(0)
    network = SmallCNN().eval()
    return network, SplitBase(network, ["early.0", "early.1", "early.2"], ["late.conv", "late.act"], "head").eval()


@torch.no_grad()
def test_a_network_of_ones_own_becomes_a_base() -> None:
    network, base = small_base()
    x = torch.randn(2, 3, 16, 16)
    logits, features, embedding = base(x)
    torch.testing.assert_close(logits, network(x))
    torch.testing.assert_close(features, network.early(x))
    torch.testing.assert_close(network.head(embedding), logits)
    assert list(base.state_dict()) == list(network.state_dict())


@torch.no_grad()
def test_an_expert_starts_as_a_copy_of_the_tail() -> None:
    _, base = small_base()
    expert = base.new_expert()
    logits, features, _ = base(torch.randn(2, 3, 16, 16))
    assert torch.equal(expert(features), logits)
    own = expert.state_dict()
    assert list(own) == [
        "late.conv.weight",
        "late.conv.bias",
        *(f"head.{i}.{n}" for i in (0, 2) for n in ("weight", "bias")),
    ]
    for tensor in own.values():
        tensor.zero_()
    assert expert(features).abs().max() == 0
    assert base.late.conv.weight.abs().min() > 0, "the expert shares memory with its base"


def test_shapes_need_no_weights() -> None:
    shapes = build_empty_base(Architecture(base="mobilenet_v3_small", classes=1000, image_size=224)).shapes(224)
    assert shapes.features.shape == (1, 48, 14, 14)
    assert shapes.embedding.shape == (1, 576)
    assert shapes.logits.shape == (1, 1000)
    assert shapes.features.is_meta


@torch.no_grad()
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_torchvisions_weights_give_torchvisions_logits(name: str) -> None:
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(num_classes=7).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that matter
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    base = build_base(Architecture(base=name, classes=7, image_size=64)).eval()
    assert list(base.state_dict()) == list(theirs.state_dict())
    base.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 64, 64)
    expected = theirs(x)
    assert expected.std() > 0
    logits, features, _ = base(x)
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=1e-6)
    assert torch.equal(base.new_expert().eval()(features), logits)


def test_the_gate_is_a_linear_layer() -> None:
    gate = Gate(6, 3)
    x = torch.randn(2, 6)
    assert torch.equal(gate(x), nn.functional.linear(x, gate.weight, gate.bias))
    assert gate(x).shape == (2, 3)
