"""A base is held against the network that it was split from, and against its own experts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_moe.errors import UsageError
from edge_moe.nn import (
    ARCHITECTURES,
    Architecture,
    Base,
    BaseOutputs,
    SplitBase,
    base_builder,
    build_base,
    build_empty_base,
)
from edge_moe.nn import check as module
from edge_moe.nn.check import check_base
from edge_moe.nn.torchvision import torchvision

CLASSES = 5
ARCHITECTURE = Architecture(base="mine:network", classes=CLASSES, image_size=16)


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(module, "_checked", set())


class Network(nn.Module):
    """Modules in a row; `missing` says which are there but not among those that `split` names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.more = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Hardswish())
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Any:
        x = self.more(self.block(self.act(self.norm(self.conv(x)))))
        return self.fc(self.drop(functional.adaptive_avg_pool2d(x, 1).flatten(1)))


STEM, TAIL = ("conv", "norm", "act"), ("block", "more")


def split(network: nn.Module, stem: Sequence[str] = STEM, tail: Sequence[str] = TAIL) -> SplitBase:
    return SplitBase(network, stem, tail, "fc")


def refusal(base: Base, architecture: Architecture = ARCHITECTURE) -> str:
    with pytest.raises(UsageError, match=r"^mine:network: ") as caught:
        check_base(base, architecture)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_right_base_passes_and_stays_as_it_was() -> None:
    base = split(Network())
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    random = torch.random.get_rng_state()
    check_base(base, ARCHITECTURE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(part.training for part in base.modules())
    assert base.norm.momentum == 0.1


def test_what_the_network_runs_besides_is_not_kept() -> None:
    base = split(Network())
    assert copy.deepcopy(base).whole.network is None
    check_base(base, ARCHITECTURE)
    assert base.whole.network is None


@pytest.mark.parametrize(
    ("stem", "tail", "words"),
    [
        (("norm", "act"), TAIL, "SplitBase fails (running_mean should contain 3 elements not 8): before norm the netw"),
        (("conv", "act"), TAIL, "between conv and act the network runs norm; name it in stem or tail, in its place"),
        (("conv", "norm"), TAIL, "between norm and block the network runs act; name it in stem or tail"),
        (STEM, ("more",), "between act and more the network runs block; name it in stem or tail"),
        ((*STEM, "block.0", "block.1"), ("more",), "between block.1 and more the network runs block.2; name it"),
        (STEM, ("block",), "between block and fc the network runs more, where SplitBase has global average pooling al"),
        (("conv", "act", "norm"), TAIL, "between conv and act the network runs norm"),
        (("conv", "norm", "norm", "act"), TAIL, "the network does not run norm 2 times"),
    ],
)
def test_a_module_that_was_forgotten_is_named(stem: Sequence[str], tail: Sequence[str], words: str) -> None:
    assert words in refusal(split(Network(), stem, tail))


class Between(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = functional.leaky_relu(self.act(self.norm(self.conv(x))) - 0.1)
        return self.fc(functional.adaptive_avg_pool2d(self.more(self.block(x)), 1).flatten(1))


class Before(Network):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x + 1)


class After(Network):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(-1)


class Pooled(Network):
    """DenseNet's way: a ReLU that is no module, in front of the pooling."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.more(self.block(self.act(self.norm(self.conv(x)))))
        return self.fc(functional.adaptive_avg_pool2d(functional.relu(x), 1).flatten(1))


class Maximum(Network):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveMaxPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.more(self.block(self.act(self.norm(self.conv(x)))))).flatten(1))


class Flat(Network):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8 * 36, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.more(self.block(self.act(self.norm(self.conv(x))))).flatten(1))


class ZeroInitialised(Network):
    """A branch that does nothing until it has learned: at its first values it could be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Conv2d(8, 8, 1)
        nn.init.zeros_(self.branch.weight)
        nn.init.zeros_(self.branch.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv(x)))
        x = self.more(self.block(x + self.branch(x)))
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Between, "between act and block the network runs something that is no module, such as functional.relu; make"),
        (Before, "before conv the network runs something that is no module"),
        (After, "after fc the network runs something that is no module"),
        (
            Pooled,
            "between more and fc the network runs something that is no module, such as functional.relu, where Spl",
        ),
        (Maximum, "between more and fc the network runs pool, where SplitBase has global average pooling alone"),
        (Flat, f"the network gives fc [2, {8 * 36}], SplitBase gives it the pooled embedding [2, 8]; wrap fc"),
        (ZeroInitialised, "between act and block the network runs branch"),
    ],
)
def test_what_a_network_does_between_its_modules_is_placed(kind: Callable[[], nn.Module], words: str) -> None:
    assert words in refusal(split(kind()))


def test_densenet_is_refused() -> None:
    """Its weights load, and its answers would be off by most of their length."""
    larger = Architecture(base="mine:network", classes=CLASSES, image_size=64)
    network = torchvision.models.DenseNet(8, (2, 2, 2, 2), 16, num_classes=CLASSES)
    names = [f"features.{name}" for name, _ in network.features.named_children()]
    base = SplitBase(network, names[:8], names[8:], "classifier")
    assert "between features.norm5 and classifier the network runs something that is no module" in refusal(base, larger)
    network.features.add_module("relu5", nn.ReLU())
    network.forward = lambda x: network.classifier(functional.adaptive_avg_pool2d(network.features(x), 1).flatten(1))
    check_base(SplitBase(network, names[:8], [*names[8:], "features.relu5"], "classifier"), larger)


@pytest.mark.parametrize("size", [32, 64, 224])
def test_activations_neither_fade_nor_grow_in_a_deep_network(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images, the last maps of one pixel: where no channel tells them apart, there is nothing to compare."""
    network, seen = torchvision.models.densenet121(num_classes=CLASSES), []
    names = [f"features.{name}" for name, _ in network.features.named_children()]
    base = SplitBase(network, names[:8], names[8:], "classifier")
    monkeypatch.setattr(module, "_check_split", lambda *arguments: seen.append(arguments[3]))
    check_base(base, Architecture(base="mine:network", classes=CLASSES, image_size=size))
    (logits,) = seen
    assert 0.1 < (logits[0] - logits[1]).abs().max() < 100
    assert logits.abs().max() < 100


def test_logits_that_are_no_numbers() -> None:
    class Large(Network):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * torch.inf

    assert "the network's logits of random images are not finite" in refusal(split(Large()))


def test_a_name_that_the_network_does_not_have() -> None:
    with pytest.raises(UsageError, match=r"^Network has no module 'conv1'; expected .*: conv, norm, act, block, more"):
        split(Network(), ("conv1",))


def test_a_network_that_fails_by_itself() -> None:
    class Broken(Network):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("too small\nby far")

    assert refusal(split(Broken())) == "mine:network: the network fails on images [2, 3, 16, 16]: too small"


def test_a_network_that_gives_no_logits() -> None:
    class Several(Network):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x), x

    assert "the network gives a tuple" in refusal(split(Several()))


def test_a_container_of_modules_has_nothing_to_compare() -> None:
    check_base(split(nn.ModuleDict(dict(Network().named_children()))), ARCHITECTURE)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_comes_with_edge_moe_passes(name: str) -> None:
    build_base(Architecture(base=name, classes=CLASSES, image_size=32, stem_stride=1))
    assert len(module._checked) == 1


# --- bases that say themselves what they give ---


class Mine(Base):
    head_name = "fc"

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.tail = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()), nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Any:
        features = self.stem(images)
        embedding = self.tail(features).mean((2, 3))
        return BaseOutputs(self.fc(embedding), features, embedding)

    def new_expert(self) -> Any:
        return copy.deepcopy(Tail(self.tail, self.fc))


class Tail(nn.Module):
    def __init__(self, tail: nn.Module, fc: nn.Module) -> None:
        super().__init__()
        self.tail, self.fc = tail, fc

    def forward(self, features: Tensor) -> Tensor:
        return self.fc(self.tail(features).mean((2, 3)))


def test_a_base_of_one_s_own_passes() -> None:
    check_base(Mine(), ARCHITECTURE)


def _one_for_all(base: Mine) -> nn.Module:
    if not hasattr(base, "kept"):
        object.__setattr__(base, "kept", copy.deepcopy(Tail(base.tail, base.fc)))
    return base.kept


def _fresh(base: Mine) -> nn.Module:
    return Tail(nn.Conv2d(8, 8, 1), nn.Linear(8, CLASSES))


@pytest.mark.parametrize(
    ("new_expert", "words"),
    [
        (lambda base: Tail(base.tail, base.fc), "shares tail.weight with the base, so that training one would change"),
        (lambda base: Tail(copy.deepcopy(base.tail), base.fc), "shares fc.weight with the base"),
        (_one_for_all, "shares tail.weight with another expert"),
        (_fresh, "a fresh expert gives other logits than its base; expected the same"),
        (lambda base: nn.Linear(3, 3), "a fresh expert fails on features [2, 8, 14, 14]: mat1 and mat2"),
        (lambda base: None, "new_expert gives a NoneType; expected a torch module"),
    ],
)
def test_an_expert_is_a_copy_of_its_own(new_expert: Callable[[Mine], Any], words: str) -> None:
    assert words in refusal(type("Other", (Mine,), {"new_expert": new_expert})())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda o: tuple(o), "the base gives tuple; expected edge_moe.nn.BaseOutputs"),
        (lambda o: o._replace(logits=o.logits[:, :4]), f"logits of 2 images are [2, 4]; expected [B, {CLASSES}], one"),
        (
            lambda o: o._replace(features=o.features[..., None]),
            "features of 2 images are [2, 8, 14, 14, 1]; expected [B, C, H, W], [B, T, C] or [B, C]",
        ),
        (lambda o: BaseOutputs(o.logits, o.features), "embedding of 2 images are [0]; expected [B, E]"),
        (lambda o: o._replace(embedding=o.features), "embedding of 2 images are [2, 8, 14, 14]; expected [B, E]"),
        (lambda o: o._replace(embedding=o.embedding[:1]), "embedding of 2 images are [1, 8]; expected [B, E]"),
        (lambda o: o._replace(logits=o.logits / 0), "logits of random images are not finite"),
        (lambda o: o._replace(logits=o.logits + torch.rand(1)), "gives other logits for the same images when it runs"),
    ],
)
def test_what_a_base_gives(change: Callable[[BaseOutputs], Any], words: str) -> None:
    forward = {"forward": lambda self, images: change(Mine.forward(self, images))}
    assert words in refusal(type("Other", (Mine,), forward)())


def test_a_gate_of_one_s_own_takes_the_embedding() -> None:
    gate = {"new_gate": lambda self, experts, image_size: nn.Linear(7, experts)}
    assert "new_gate fails on the embedding [2, 8]: mat1" in refusal(type("Other", (Mine,), gate)())
    gate = {"new_gate": lambda self, experts, image_size: nn.Linear(8, experts + 1)}
    assert "a gate of 2 experts gives [2, 3]; expected [B, 2]" in refusal(type("Other", (Mine,), gate)())


# --- when ---


@base_builder
def forgetful(architecture: Architecture) -> Base:
    return split(Network(), ("conv", "norm"))


def test_it_is_asked_when_a_base_is_built_but_not_where_there_are_no_values() -> None:
    architecture = Architecture(base=f"{__name__}:forgetful", classes=CLASSES, image_size=16)
    build_empty_base(architecture)
    for _ in range(2):  # a refusal is not forgotten
        with pytest.raises(UsageError, match="between norm and block the network runs act"):
            build_base(architecture)


def test_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = Architecture(base="mobilenet_v3_small", classes=CLASSES, image_size=32)
    build_base(architecture)
    monkeypatch.setattr(module, "_check", None)
    build_base(architecture)
    with pytest.raises(TypeError):
        build_base(Architecture(base="mobilenet_v3_small", classes=CLASSES, image_size=64))
