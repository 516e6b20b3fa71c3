"""The accuracy before the work, against a second implementation, and what is refused for want of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_moe.checkpoint import TrainingConfig
from edge_moe.data import LabelledImages, open_data
from edge_moe.errors import CheckpointError, UsageError
from edge_moe.intervals import wilson
from edge_moe.tensors import Tensors
from edge_moe.training import preflight
from edge_moe.training.checkpoint import Checkpoint, load_checkpoint
from edge_moe.training.images import Images
from edge_moe.training.measure import collect_torch, mixture_metrics
from edge_moe.training.plan import TrainingPlan
from edge_moe.training.preflight import Found, check_expectation, check_given_base, check_mixture


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(tiny_checkpoint)


@pytest.fixture(scope="module")
def validation(tiny_images: Path) -> LabelledImages:
    return open_data(tiny_images, "val")


def changed(checkpoint: Checkpoint, **fields: Any) -> Checkpoint:
    return replace(checkpoint, config=msgspec.structs.replace(checkpoint.config, **fields))


@pytest.mark.parametrize("ensemble", ["bagging", "expert"])
@pytest.mark.parametrize("space", ["logit", "probability"])
def test_the_accuracy_is_that_of_the_training(
    checkpoint: Checkpoint, validation: LabelledImages, ensemble: Any, space: Any
) -> None:
    config = checkpoint.config
    outputs = collect_torch(checkpoint.mixture, Images(validation, config.preprocessing))
    expected = mixture_metrics(outputs, validation.labels, ensemble, space)
    said: list[str] = []
    found = check_mixture(changed(checkpoint, ensemble=ensemble, space=space), validation, say=said.append)
    assert found is not None
    assert found.right["base"] / 72 == expected["base_accuracy"]
    assert found.accuracy == found.right["mixture"] / 72 == expected["mixture_accuracy"]
    assert said == [str(found)]
    assert f"base {expected['base_accuracy']:.2%} (95% interval" in said[0]
    assert said[0].endswith(f", on 72 images of {validation.name}")


def test_tensors_that_are_there_are_used(checkpoint: Checkpoint, validation: LabelledImages) -> None:
    tensors = Tensors(validation, checkpoint.config.preprocessing)
    assert check_mixture(checkpoint, validation, tensors=tensors) == check_mixture(checkpoint, validation)


def test_intervals_are_over_originals_where_images_are_versions(
    checkpoint: Checkpoint, validation: LabelledImages
) -> None:
    """Six alike images tell as much as one; a sixth of N in Wilson's interval, which goes with the root of N."""
    alike = replace(
        validation,
        sources=[source for source in validation.sources[::6] for _ in range(6)],
        labels=np.repeat(validation.labels[::6], 6),
    )
    over_images = check_mixture(checkpoint, alike)
    over_originals = check_mixture(checkpoint, replace(alike, groups=np.repeat(np.arange(12), 6)))
    assert over_images is not None
    assert over_originals is not None
    assert over_images.right == over_originals.right
    right = over_images.right["base"]
    assert over_images.intervals["base"] == wilson(right, 72)
    assert over_originals.intervals["base"] == pytest.approx(wilson(right // 6, 12))


def test_many_images_are_sampled_unless_an_accuracy_is_expected(
    checkpoint: Checkpoint, validation: LabelledImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "MOST", 20)
    tensors = Tensors(validation, checkpoint.config.preprocessing)
    one, other = check_mixture(checkpoint, validation), check_mixture(checkpoint, validation, tensors=tensors)
    assert one == other
    assert one is not None
    assert (one.images, one.of) == (20, 72)
    assert "on a sample of 20 of 72 images of" in str(one)
    every = check_mixture(checkpoint, validation, 1.1)
    assert every is not None
    assert every.images == 72


def test_a_point_below_is_refused(checkpoint: Checkpoint, validation: LabelledImages) -> None:
    found = check_mixture(checkpoint, validation)
    assert found is not None
    per_cent = 100 * found.accuracy
    for expected in (per_cent, min(per_cent + 1, 100), max(per_cent - 20, 2)):
        assert check_mixture(checkpoint, validation, expected) == found
    grey = msgspec.structs.replace(checkpoint.config.preprocessing, std=(1e-3,) * 3, mean=(1,) * 3)
    wrong = changed(checkpoint, preprocessing=grey)
    words = r"the mixture answers \d+\.\d\d% of 72 images .*, expected 99%; check --mean, .*--stem-stride, .*labels"
    with pytest.raises(CheckpointError, match=words) as caught:
        check_mixture(wrong, validation, 99)
    assert "\n" not in str(caught.value)


def test_exactly_a_point_below_is_not() -> None:
    """73.6 per cent less a point is 72.6, which binary fractions miss by a hair."""
    assert Found({"base": 726}, {"base": (0.7, 0.75)}, 1000, 1000, "x").accuracy == 0.726
    assert not 73.6 / 100 - preflight._SLACK - 1e-9 > 0.726


@pytest.mark.parametrize("expected", [0.736, 1.0, 0.0, -5.0, 100.1, float("nan")])
def test_an_accuracy_is_per_cent(expected: float) -> None:
    with pytest.raises(UsageError, match=r"expected per cent, above 1 and at most 100, such as 73.6"):
        check_expectation(expected)


def test_where_nothing_can_be_measured(checkpoint: Checkpoint, validation: LabelledImages) -> None:
    unlabelled = replace(validation, classes=(), labels=np.zeros(len(validation), np.int64))
    said: list[str] = []
    for one, images, words in (
        (changed(checkpoint, origin="untrained"), validation, "the network is untrained"),
        (checkpoint, unlabelled, "has no labels"),
    ):
        assert check_mixture(one, images, say=said.append) is None
        with pytest.raises(UsageError, match=f"expect_accuracy is 73.6, but .*{words}"):
            check_mixture(one, images, 73.6)
    assert said == []


def plan(checkpoint: Checkpoint, file: Path | None, data: Path, labels: tuple[str, ...]) -> TrainingPlan:
    architecture = msgspec.structs.replace(checkpoint.config.architecture, classes=len(labels))
    return TrainingPlan(
        architecture=architecture,
        experts=1,
        labels=labels,
        preprocessing=checkpoint.config.preprocessing,
        config=TrainingConfig(data=str(data), base_weights=str(file) if file else None),
    )


def test_a_given_base(
    checkpoint: Checkpoint, validation: LabelledImages, tiny_checkpoint: Path, tiny_images: Path
) -> None:
    file, labels = tiny_checkpoint / "base.safetensors", checkpoint.config.labels
    found, whole = check_given_base(plan(checkpoint, file, tiny_images, labels)), check_mixture(checkpoint, validation)
    assert found is not None and whole is not None
    assert found.right == {"base": whole.right["base"]}
    with pytest.raises(CheckpointError, match="the base answers"):
        turned = (labels[1], labels[2], labels[0])  # another order of the logits
        check_given_base(plan(checkpoint, file, tiny_images, turned), 99)


def test_a_base_whose_classifier_is_replaced_has_no_accuracy(
    checkpoint: Checkpoint, tiny_checkpoint: Path, tiny_images: Path
) -> None:
    more = (*checkpoint.config.labels, "else")
    said: list[str] = []
    for file, words in ((tiny_checkpoint / "base.safetensors", "replaced: other classes"), (None, "no --base-weights")):
        assert check_given_base(plan(checkpoint, file, tiny_images, more), say=said.append) is None
        with pytest.raises(UsageError, match=f"expect_accuracy is 90, but .*{words}"):
            check_given_base(plan(checkpoint, file, tiny_images, more), 90)
    file = tiny_checkpoint / "base.safetensors"
    assert said == [f"the last layer of {file} is replaced, for it does not give 4 classes: there is no accuracy yet"]
