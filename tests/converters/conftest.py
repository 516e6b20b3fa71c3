from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge_moe.backends import get
from edge_moe.bundle import Bundle
from edge_moe.converters import recipes, toolchain
from edge_moe.converters.convert import ConversionOptions, convert
from edge_moe.converters.interface import channels_first
from edge_moe.nn import Gate, SplitBase
from edge_moe.training.checkpoint import load_checkpoint
from edge_moe.verify import relative_error
from tests import fixed, tiny
from tests.converters.quick import FAST
from tests.rounding import ALLOWED, rounded
from tests.tiny import digest

SIZE, CALIBRATION, CLASSES = 16, 48, 5
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
        self.classifier = nn.Linear(24, CLASSES)  # int8


def split(network: nn.Module) -> SplitBase:
    """As a base; the layers have the names of `Network`."""
    return SplitBase(network, ("first", "squeeze"), ("wide", "even", "narrow"), "classifier").eval()


def noisy_colours() -> np.ndarray:
    """[N, 1, H, W, 3]: image i is of colour i % 5 and full of noise."""
    colours = 2 * fixed.uniform(9, CLASSES, 3)[np.arange(CALIBRATION) % CLASSES]
    return fixed.uniform(0, CALIBRATION, 1, SIZE, SIZE, 3) + colours[:, np.newaxis, np.newaxis, np.newaxis]


@torch.no_grad()
def tell_apart(layer: nn.Linear, embeddings: np.ndarray, classes: int) -> None:
    """Let `layer` tell which of `classes` is the nearest to an embedding [N, E]: the mean of every so many.

    With the middle one of all distances between first and second choice being 4, so that most answers are sure.
    """
    means = np.stack([embeddings[k::classes].mean(axis=0, dtype=np.float64) for k in range(classes)])
    weight = means - means.mean(axis=0)
    bias = -weight @ means.mean(axis=0) - (weight**2).sum(axis=1) / 2
    best = np.sort(embeddings @ weight.T + bias, axis=1)
    scale = 4 / np.median(best[:, -1] - best[:, -2])
    layer.weight.copy_(torch.from_numpy(weight * scale))
    layer.bias.copy_(torch.from_numpy(bias * scale))


@pytest.fixture(scope="session")
def parts() -> dict[str, nn.Module]:
    """The same on every processor, up to last bits."""
    base = split(fixed.fill(Network(), gain=3**0.5))
    with torch.no_grad():
        embeddings = base(channels_first(noisy_colours()[:, 0])).embedding.numpy()
    gate = Gate(24, 3).eval()
    tell_apart(base.get_submodule("classifier"), embeddings, CLASSES)  # type: ignore[arg-type]
    tell_apart(gate, embeddings, 3)
    return {"base": base, "gate": gate, "expert": base.new_expert().eval()}


@pytest.fixture(scope="session")
def samples(parts: dict[str, nn.Module]) -> dict[str, np.ndarray]:
    """What each part is calibrated on: [N, 1, ...], channels last."""
    images = noisy_colours()
    with torch.no_grad():
        out = parts["base"](channels_first(images[:, 0]))
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
def run_torch(
    part: nn.Module, kind: str, samples: np.ndarray, how: Callable[[nn.Module, Tensor], Any] = lambda part, x: part(x)
) -> dict[str, np.ndarray]:
    """[N, 1, ...] -> output -> [N, ...], through torch."""
    out = how(part, channels_first(samples[:, 0]))
    if kind != "base":
        return {"logits": out.numpy()}
    return {
        "logits": out.logits.numpy(),
        "features": out.features.permute(0, 2, 3, 1).numpy(),
        "embedding": out.embedding.numpy(),
    }


def allowed(part: nn.Module, kind: str, samples: np.ndarray) -> dict[str, float]:
    """Return the relative L2 error that int8 may have in each output, see `tests.rounding`."""
    exact, found = run_torch(part, kind, samples), run_torch(part, kind, samples, rounded)
    return {name: ALLOWED * relative_error(found[name], value) for name, value in exact.items()}


def sure(part: nn.Module, kind: str, samples: np.ndarray) -> np.ndarray:
    """[N] whether int8 must give the answer of fp32: the first choice leads by more than two errors can make up."""
    exact, found = (run_torch(part, kind, samples, *how)["logits"] for how in ((), (rounded,)))
    best = np.sort(exact, axis=1)
    return np.asarray(best[:, -1] - best[:, -2] > 2 * ALLOWED * np.abs(found - exact).max())


@pytest.fixture
def make(made_here, own_checkpoint, tiny_images, tmp_path):
    """make(**options) -> the manifest of a fresh bundle at make.path."""

    def call(checkpoint=own_checkpoint, data=tiny_images, out=None, force=False, **options):
        call.path = out or tmp_path / "bundle"
        call.report = convert(checkpoint, str(data), call.path, ConversionOptions(**(FAST | options)), force=force)
        return Bundle(call.path).manifest

    call.partial = tmp_path / "bundle.partial"
    return call


@pytest.fixture
def contrary(made_here, own_checkpoint):
    """The int8 gate says the opposite of what it should."""
    gate = load_checkpoint(own_checkpoint).mixture.gate
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.neg_()
    recipe = recipes.get("litert", "int8")
    made_here.made = dict(made_here.made)

    class Job:
        backend, kind, part, checkpoint = "litert", "gate", "gate", own_checkpoint
        samples = own_checkpoint.with_name("gate.npy")

    np.save(Job.samples, np.zeros((1, 1, 80), np.float32))
    from edge_moe.converters.litert.toolchain import LiteRTToolchain

    (wrong,) = LiteRTToolchain().build(
        made_here.graph(Job), gate, "gate", np.load(Job.samples), [recipes.get("litert", "fp32")]
    )
    made_here.made[digest(own_checkpoint / "gate.safetensors"), recipe] = wrong
