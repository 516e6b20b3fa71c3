from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge_moe.backends import get
from edge_moe.converters import recipes, toolchain
from edge_moe.nn import Gate, SplitBase
from tests import tiny

SIZE, CALIBRATION = 16, 48
BACKENDS = ("litert", "onnx")
KINDS = {"base": ["embedding", "features", "logits"], "gate": ["logits"], "expert": ["logits"]}  # and their outputs
WORDS = {"int8": "", "floats": "", "why": "", "when": ""}  # of a recipe


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


def split(network: nn.Module) -> SplitBase:
    """As a base; the layers have the names of `Network`."""
    return SplitBase(network, ("first", "squeeze"), ("wide", "even", "narrow"), "classifier").eval()


@pytest.fixture(scope="session")
def parts() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    base = split(Network())
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
def traced(parts: dict[str, nn.Module], samples: dict[str, np.ndarray]) -> dict[tuple[str, str], bytes]:
    """(backend, kind) -> the graph that all parts of the kind share."""
    return {
        (backend, kind): toolchain.get(backend).trace(part, kind, samples[kind][0])  # type: ignore[arg-type]
        for backend in BACKENDS
        for kind, part in parts.items()
    }


class Maker:
    """make(backend, kind, *recipes, part=...) -> the artifact by each recipe; of the part in `parts` by default."""

    def __init__(self, parts: Any, samples: Any, traced: Any) -> None:
        self.parts, self.samples, self.traced = parts, samples, traced
        self.made: dict[Any, bytes] = {}

    def __call__(self, backend: str, kind: Any, *wanted: Any, part: nn.Module | None = None) -> list[bytes]:
        tools, samples = toolchain.get(backend), self.samples[kind]
        if part is not None:
            return list(tools.build(self.traced[backend, kind], part, kind, samples, wanted))
        missing = [recipe for recipe in wanted if (kind, recipe) not in self.made]
        built = tools.build(self.traced[backend, kind], self.parts[kind], kind, samples, missing) if missing else ()
        self.made |= {(kind, recipe): artifact for recipe, artifact in zip(missing, built, strict=True)}
        return [self.made[kind, recipe] for recipe in wanted]

    def fp32(self, backend: str, kind: str, **options: Any) -> bytes:
        return self(backend, kind, recipes.get(backend, "fp32"), **options)[0]


@pytest.fixture(scope="session")
def make_artifact(parts: Any, samples: Any, traced: Any) -> Maker:
    return Maker(parts, samples, traced)


def run(backend: str, model: bytes, kind: str, samples: np.ndarray) -> dict[str, np.ndarray]:
    """[N, 1, ...] -> output -> [N, ...], through the backend."""
    part = get(backend).open(model)
    found: dict[str, list[np.ndarray]] = {}
    for sample in samples:
        part.invoke(sample)
        for name in KINDS[kind]:
            found.setdefault(name, []).append(part.output(name)[0])
    part.close()
    return {name: np.stack(rows) for name, rows in found.items()}


@torch.no_grad()
def run_torch(part: nn.Module, kind: str, samples: np.ndarray) -> dict[str, np.ndarray]:
    x = torch.from_numpy(samples[:, 0])
    out = part(x.permute(0, 3, 1, 2) if x.ndim == 4 else x)
    if kind != "base":
        return {"logits": out.numpy()}
    return {
        "logits": out.logits.numpy(),
        "features": out.features.permute(0, 2, 3, 1).numpy(),
        "embedding": out.embedding.numpy(),
    }
