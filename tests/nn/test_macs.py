from __future__ import annotations

import pytest
import torch
from torch import nn

from edge_moe.nn import (
    ARCHITECTURES,
    Architecture,
    Cost,
    Gate,
    MixtureCost,
    build_empty_base,
    cost,
    mixture_cost,
    part_costs,
)
from edge_moe.sizes import Size, height_width


def test_the_papers_network_costs_what_the_design_says() -> None:
    found = mixture_cost(Architecture(base="mobilenet_v3_small", classes=1000, image_size=224), 4)
    assert found.base == Cost(56_510_400, 2_542_856)
    assert found.expert.macs == 24_789_472
    assert found.expert.parameters == pytest.approx(2.38e6, rel=0.005)
    assert found.base_and_expert.macs == 81_299_872  # the paper's 8.13e7
    assert found.gate == Cost(576 * 4, 576 * 4 + 4)


def test_resnet18_costs_what_the_design_says() -> None:
    found = mixture_cost(Architecture(base="resnet18", classes=1000, image_size=224), 4)
    assert found.expert.macs == 822_595_584
    assert found.base_and_expert.macs == 2_636_668_928  # the paper's 2.64e9
    assert found.base == Cost(2_636_668_928 - 822_595_584, 11_689_512)


@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        # output pixels * output channels * (input channels / groups) * kernel
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (1, 3, 16, 16), 8 * 8 * 8 * 3 * 9),
        (nn.Conv2d(8, 8, 5, padding=2, groups=8), (1, 8, 10, 10), 10 * 10 * 8 * 1 * 25),
        (nn.Conv2d(8, 12, 3, groups=4), (1, 8, 7, 9), 5 * 7 * 12 * 2 * 9),
        (nn.Linear(20, 7), (1, 20), 20 * 7),
        (nn.Sequential(nn.BatchNorm2d(4), nn.Hardswish(), nn.AdaptiveAvgPool2d(1)), (1, 4, 8, 8), 0),
    ],
)
def test_worked_by_hand(module: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert cost(module, torch.empty(shape)) == Cost(macs, sum(p.numel() for p in module.parameters()))


def _counted_by_hooks(network: nn.Module, size: Size) -> int:
    """Count the MACs of an independent run: from the layers' own shapes, not from torch's counter."""
    found: list[int] = []

    def convolution(module: nn.Conv2d, _: object, output: torch.Tensor) -> None:
        found.append(
            output[0].numel() * module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
        )

    def linear(module: nn.Linear, _: object, output: torch.Tensor) -> None:
        found.append(module.in_features * module.out_features)

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(convolution)
        elif isinstance(module, nn.Linear):
            module.register_forward_hook(linear)
    network.eval()(torch.empty(1, 3, *height_width(size), device="meta"))
    return sum(found)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("size", "stride"), [(224, 2), (32, 1), ((48, 96), 2), ((72, 40), 1)])
def test_against_an_independent_count(name: str, size: Size, stride: int) -> None:
    architecture = Architecture(base=name, classes=10, image_size=size, stem_stride=stride)
    counted = _counted_by_hooks(build_empty_base(architecture), size)
    assert counted > 0
    assert mixture_cost(architecture, 2).base.macs == counted


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_images_that_are_no_squares(name: str) -> None:
    """Height and width change places at no cost, and what depends on the area grows with it."""

    def macs(size: Size) -> MixtureCost:
        return mixture_cost(Architecture(base=name, classes=10, image_size=size), 2)

    assert macs((64, 64)) == macs(64)
    assert macs((64, 128)) == macs((128, 64))
    assert macs((64, 128)).gate == macs(64).gate
    if name == "resnet18":  # all convolutions but for 512 * 10 at the end
        assert macs((64, 128)).base.macs - 5120 == 2 * (macs(64).base.macs - 5120)
        assert macs((64, 128)).expert.macs - 5120 == 2 * (macs(64).expert.macs - 5120)
    else:
        assert macs(64).base.macs < macs((64, 128)).base.macs < 2 * macs(64).base.macs


def test_counting_leaves_the_module_as_it_was() -> None:
    base = (
        build_empty_base(Architecture(base="mobilenet_v3_small", classes=3, image_size=32))
        .to_empty(device="cpu")
        .train()
    )
    part_costs(base, Gate(576, 2), 32)
    assert base.training
    assert not any(tensor.is_meta for tensor in base.state_dict().values())
