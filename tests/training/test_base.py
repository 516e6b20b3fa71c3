from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from edge_moe.errors import CheckpointError, UsageError
from edge_moe.nn import Base, build_base
from edge_moe.progress import Silent
from edge_moe.training.base import load_base_weights, train_base
from edge_moe.training.images import Images
from edge_moe.training.plan import TrainingPlan
from tests.training.conftest import small_architecture

LAST = "classifier.3"


def new_base(classes: int = 3, seed: int = 0) -> Base:
    torch.manual_seed(seed)
    return build_base(small_architecture(classes))


def state(base: Base) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in base.state_dict().items()}


def changed(before: dict[str, Tensor], base: Base) -> set[str]:
    after = base.state_dict()
    return {key for key in before if not torch.equal(before[key], after[key])}


@pytest.fixture
def weights(tmp_path: Path) -> Callable[[int], Path]:
    """weights(classes) -> the file of a network with so many classes."""

    def write(classes: int) -> Path:
        torch.save(new_base(classes, seed=5).state_dict(), tmp_path / f"{classes}.pth")
        return tmp_path / f"{classes}.pth"

    return write


def test_weights_with_the_same_classes_are_taken_whole(weights: Callable[[int], Path]) -> None:
    base = new_base()
    assert load_base_weights(base, weights(3))
    assert changed(state(new_base(seed=5)), base) == set()


def test_weights_with_other_classes_lose_their_classifier(weights: Callable[[int], Path]) -> None:
    base = new_base()
    fresh, given = state(base), state(new_base(7, seed=5))
    assert not load_base_weights(base, weights(7))
    last = {f"{LAST}.weight", f"{LAST}.bias"}
    assert changed(fresh, base).isdisjoint(last)
    assert changed({key: given[key] for key in given if key not in last}, base) == set()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    for stored, words in (
        (
            {"fc.weight": torch.zeros(3, 512)},
            r"none of its names is one of the network's; it has fc\.weight, expected fea",
        ),
        (
            {f"{LAST}.weight": torch.zeros(3, 99)},
            r"expected classifier\.3\.weight of \[classes, 1024\], but it has \[3, 99",
        ),
        ({f"{LAST}.bias": torch.zeros(3)}, r"of \[classes, 1024\], but it has none: is it of another architecture\?"),
    ):
        torch.save(stored, tmp_path / "w.pth")
        with pytest.raises(CheckpointError, match=words):
            load_base_weights(new_base(), tmp_path / "w.pth")


def test_training_moves_everything_and_freezes(images: Images, plan: Callable[..., TrainingPlan]) -> None:
    base = new_base()
    before = state(base)
    train_base(base, images, plan().config, progress=Silent())
    assert changed(before, base) >= {name for name, _ in base.named_parameters()}
    assert not base.training
    assert not any(parameter.requires_grad for parameter in base.parameters())


@pytest.mark.parametrize("classes", [3, 7])
def test_finetuning_the_head_moves_the_last_layer_only(
    images: Images, plan: Callable[..., TrainingPlan], weights: Callable[[int], Path], classes: int
) -> None:
    base = new_base()
    load_base_weights(base, weights(classes))
    before = state(base)
    config = plan(base_weights=str(weights(classes)), finetune="head").config
    train_base(base, images, config, progress=Silent())
    assert changed(before, base) == {f"{LAST}.weight", f"{LAST}.bias"}
    assert not any(parameter.requires_grad for parameter in base.parameters())


def test_no_finetuning_moves_nothing(
    images: Images, plan: Callable[..., TrainingPlan], weights: Callable[[int], Path]
) -> None:
    base = new_base()
    train_base(base, images, plan(base_weights=str(weights(3)), finetune="none").config, progress=Silent())
    assert changed(state(new_base(seed=5)), base) == set()
    assert not base.training


def test_a_new_classifier_must_be_trained(
    images: Images, plan: Callable[..., TrainingPlan], weights: Callable[[int], Path]
) -> None:
    config = plan(base_weights=str(weights(7)), finetune="none").config
    with pytest.raises(UsageError, match=r"another number of classes .* --finetune head or --finetune all"):
        train_base(new_base(), images, config, progress=Silent())


@pytest.mark.parametrize("finetune", ["head", "none"])
def test_a_base_kept_as_it_is_needs_weights(images: Images, plan: Callable[..., TrainingPlan], finetune: str) -> None:
    with pytest.raises(UsageError, match=f"finetune={finetune}.*--base-weights"):
        train_base(new_base(), images, plan(finetune=finetune).config, progress=Silent())


def test_a_last_batch_of_one_image_is_left_out(images: Images, plan: Callable[..., TrainingPlan]) -> None:
    assert len(images) % 2 == 1
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        new_base().train()(torch.zeros(1, 3, 16, 16))  # what would happen otherwise
    train_base(new_base(), images, plan(batch_size=2).config, progress=Silent())


def test_settled_statistics_are_those_of_the_training_images(images: Images, plan: Callable[..., TrainingPlan]) -> None:
    base = new_base()
    train_base(base, images, plan(augment="none", batch_size=64).config, progress=Silent())
    x = torch.stack([image for image, _ in images]).float() / 255
    x = (x - 0.5) / 0.25
    norm = base.get_submodule("features.0.1")
    seen = base.get_submodule("features.0.0")(x)
    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)), atol=1e-4, rtol=1e-4)
