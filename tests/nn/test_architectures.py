from __future__ import annotations

import msgspec
import pytest
import torch
from torch import nn

from edge_moe.errors import UsageError
from edge_moe.nn import ARCHITECTURES, Architecture, build_base, build_empty_base
from edge_moe.nn.torchvision import torchvision


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_stem_stride_and_batch_norm_momentum(name: str) -> None:
    sides = {}
    for stride in (1, 2):
        base = build_empty_base(Architecture(base=name, classes=2, image_size=64, stem_stride=stride))
        sides[stride] = base.shapes(64).features.shape[-1]
        norms = [module for module in base.modules() if isinstance(module, nn.BatchNorm2d)]
        assert {norm.momentum for norm in norms} == {0.1}
    assert sides[1] == 2 * sides[2]


@pytest.mark.parametrize("size", [32, 33, 56])
def test_resnets_pooling_is_torchvisions(size: int) -> None:
    base = build_base(Architecture(base="resnet18", classes=2, image_size=32))
    theirs = torchvision.models.resnet18().maxpool
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)).relu()
    assert torch.equal(base.get_submodule("maxpool")(x), theirs(x))


def test_a_base_without_weights_takes_no_memory() -> None:
    base = build_empty_base(Architecture(base="mobilenet_v3_small", classes=2, image_size=32))
    assert all(tensor.is_meta for tensor in base.state_dict().values())


def test_an_unknown_base_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"'vgg'.*mobilenet_v3_small.*resnet18"):
        build_base(Architecture(base="vgg", classes=2, image_size=32))


@pytest.mark.parametrize("field", [{"classes": 0}, {"image_size": 7}, {"stem_stride": 3}, {"depth": 1}])
def test_an_architecture_is_strict(field: dict[str, int]) -> None:
    good = {"base": "resnet18", "classes": 2, "image_size": 32}
    assert msgspec.convert(good, Architecture).stem_stride == 2
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(good | field, Architecture)
