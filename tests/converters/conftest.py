from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge_moe.converters import litert
from edge_moe.nn import Base, Gate
from tests import tiny

SIZE, CALIBRATION = 16, 48


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    with tiny.one_thread():
        yield


class Squeeze(nn.Module):
    """Squeeze-excite, as in MobileNetV3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = nn.functional.adaptive_avg_pool2d(x, 1)
        return x * nn.functional.hardsigmoid(self.up(self.down(scale).relu()))


class Network(nn.Module):
    """Has what MobileNetV3 has, in five layers; which of them pay in int8 is worked out beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Hardswish())  # 3 * 8 / 11 = 2.2 < 16: float
        self.squeeze = Squeeze(8)  # on a map of 1 x 1: int8
        self.wide = nn.Sequential(nn.Conv2d(8, 48, 1), nn.Hardswish())  # 8 * 48 / 56 = 6.9 < 16: float
        self.even = nn.Sequential(nn.Conv2d(48, 48, 1), nn.Hardswish())  # 48 * 48 / 96 = 24 >= 16: int8
        self.narrow = nn.Sequential(nn.Conv2d(48, 24, 1), nn.Hardswish())  # 48 * 24 / 72 = 16 >= 16: int8
        self.classifier = nn.Linear(24, 5)  # int8


@pytest.fixture(scope="session")
def parts() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    base = Base(Network(), ("first", "squeeze"), ("wide", "even", "narrow"), "classifier").eval()
    return {"base": base, "gate": Gate(24, 3).eval(), "expert": base.new_expert().eval()}


@pytest.fixture(scope="session")
def samples(parts: dict[str, nn.Module]) -> dict[str, np.ndarray]:
    """What each part is calibrated on: [N, 1, ...], channels last."""
    images = np.random.default_rng(0).standard_normal((CALIBRATION, 1, SIZE, SIZE, 3)).astype(np.float32)
    with torch.no_grad():
        out = parts["base"](torch.from_numpy(images[:, 0].transpose(0, 3, 1, 2).copy()))
    features = out.features.permute(0, 2, 3, 1).contiguous().numpy()
    return {"base": images, "gate": out.embedding.numpy()[:, None], "expert": features[:, None]}


@pytest.fixture(scope="session")
def exported(parts: dict[str, nn.Module], samples: dict[str, np.ndarray]) -> dict[str, bytes]:
    """The fp32 artifact of each part."""
    return {name: litert.export(part, samples[name][0]) for name, part in parts.items()}
