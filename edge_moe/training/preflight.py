"""The accuracy of given weights in fp32, before any long work: a wrong preprocessing shows here, and nowhere else.

Axis letters: B batch, H W height and width, N images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from edge_moe.anytime import ensemble
from edge_moe.bundle import Preprocessing
from edge_moe.data import LabelledImages, open_data
from edge_moe.errors import CheckpointError, UsageError
from edge_moe.intervals import accuracy_interval
from edge_moe.nn import Base, build_base
from edge_moe.progress import Progress, Silent, track
from edge_moe.tensors import Tensors
from edge_moe.training.base import check_finetune, load_base_weights
from edge_moe.training.checkpoint import Checkpoint
from edge_moe.training.fit import pick_device
from edge_moe.training.plan import TrainingPlan
from edge_moe.training.readable import readable

__all__ = ["MOST", "Found", "check_expectation", "check_given_base", "check_mixture"]

MOST = 2000  # images that are looked at, unless an accuracy is expected
_BATCH = 64
_SLACK = 0.01  # of accuracy: other decoders and kernels
_CAUSES = "--mean, --std, --resize and --interpolation, --stem-stride, and the order of the labels"


@dataclass(frozen=True)
class Found:
    """How many of the images each answered rightly; `str` says it in one line."""

    right: dict[str, int]  # base and, if there are experts, mixture (static mode: tau 0, one expert)
    intervals: dict[str, tuple[float, float]]  # of the same, 95%; over groups of images where these are known
    images: int  # N
    of: int  # how many there are
    name: str  # of the images

    @property
    def accuracy(self) -> float:
        """Of the whole: the mixture if there are experts, else the base."""
        return list(self.right.values())[-1] / self.images

    def __str__(self) -> str:
        parts = []
        for what, right in self.right.items():
            low, high = self.intervals[what]
            parts.append(f"{what} {right / self.images:.2%} (95% interval {low:.1%} to {high:.1%})")
        number = f"{self.images:,}" if self.images == self.of else f"a sample of {self.images:,} of {self.of:,}"
        return f"fp32 accuracy: {', '.join(parts)}, on {number} images of {self.name}"


def check_expectation(per_cent: float | None) -> None:
    """Raise UsageError unless `per_cent` is an accuracy in per cent, or None."""
    if per_cent is not None and not 1 < per_cent <= 100:
        raise UsageError(f"expect_accuracy is {per_cent:g}; expected per cent, above 1 and at most 100, such as 73.6")


def check_given_base(
    plan: TrainingPlan,
    expected: float | None = None,
    *,
    leave_out_unreadable: bool = False,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Found | None:
    """Measure the given base of a training on its validation images, before the training.

    Args:
        plan: names the weights. A base whose last layer is replaced has no accuracy yet: None, and that is said.
        expected: in per cent. A sample is looked at without it, else every image.
        leave_out_unreadable: files that cannot be decoded do not count; else they are an error.
        say: is told what was found, in one line.
        progress: of the work.

    Raises:
        CheckpointError: the accuracy is more than a point below `expected`, or the weights do not fit.
        UsageError: there is nothing that could be held against `expected`, that `finetune` could keep, or to train.
        DataError: the images cannot be used.
    """
    check_expectation(expected)
    plan.check()
    base, weights = build_base(plan.architecture), plan.config.base_weights
    fits = weights is not None and load_base_weights(base, Path(weights))
    check_finetune(plan.config, fits)
    if not fits:
        if expected is not None:
            why = "no --base-weights are given" if weights is None else "the classifier is replaced: other classes"
            raise UsageError(f"expect_accuracy is {expected:g}, but {why}; there is no accuracy yet, leave it out")
        if weights is not None and say is not None:
            say(
                f"the last layer of {weights} is replaced, for it does not give {plan.architecture.classes} classes: "
                "there is no accuracy yet"
            )
        return None
    images = open_data(plan.config.data, "val", strict=True).with_classes(plan.labels)
    if leave_out_unreadable:
        images = readable(images, plan.preprocessing, leave_out=True, progress=progress)
    return _check(base, None, images, plan.preprocessing, None, expected, say, progress)


def check_mixture(
    checkpoint: Checkpoint,
    images: LabelledImages,
    expected: float | None = None,
    *,
    tensors: Tensors | None = None,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Found | None:
    """Measure base and mixture on `images`, whose classes are the checkpoint's labels, before a conversion.

    `tensors`, of the same images, saves decoding them. Unlabelled images and untrained networks give None.

    Raises:
        CheckpointError: the accuracy of the mixture is more than a point below `expected`, in per cent.
        UsageError: there is nothing that could be held against `expected`.
        DataError: the images cannot be used.
    """
    check_expectation(expected)
    untrained = checkpoint.config.origin == "untrained"
    if untrained or not images.labelled:
        if expected is not None:
            why = "the network is untrained" if untrained else f"{images.name} has no labels"
            raise UsageError(f"expect_accuracy is {expected:g}, but {why}; leave it out")
        return None
    return _check(
        checkpoint.mixture.base, checkpoint, images, checkpoint.config.preprocessing, tensors, expected, say, progress
    )


def _check(
    base: Base,
    whole: Checkpoint | None,
    images: LabelledImages,
    spec: Preprocessing,
    tensors: Tensors | None,
    expected: float | None,
    say: Callable[[str], None] | None,
    progress: Progress | None,
) -> Found:
    count = len(images)
    chosen = np.arange(count)
    if expected is None and count > MOST:
        chosen = np.sort(np.random.default_rng(0).permutation(count)[:MOST])
    if tensors is None:
        tensors = Tensors(images.sample(len(chosen)), spec, progress)  # draws as above
        indices = np.arange(len(chosen))
    else:
        indices = chosen
    answers = _answers(base, whole, tensors, indices, progress or Silent())
    correct = {what: given == images.labels[chosen] for what, given in answers.items()}
    groups = None if images.groups is None else images.groups[chosen]
    found = Found(
        right={what: int(each.sum()) for what, each in correct.items()},
        intervals={what: accuracy_interval(each, groups) for what, each in correct.items()},
        images=len(chosen),
        of=count,
        name=images.name,
    )
    if say is not None:
        say(str(found))
    if expected is not None and found.accuracy < expected / 100 - _SLACK - 1e-9:
        what = list(found.right)[-1]
        raise CheckpointError(
            f"the {what} answers {found.accuracy:.2%} of {found.images:,} images of {found.name} rightly, "
            f"expected {expected:g}%; check {_CAUSES}, or leave --expect-accuracy out"
        )
    return found


@torch.no_grad()
def _answers(
    base: Base, whole: Checkpoint | None, tensors: Tensors, indices: npt.NDArray[np.int64], progress: Progress
) -> dict[str, npt.NDArray[np.int64]]:
    """Return the class that base and mixture give to each of the images `indices`: [N]."""
    device = pick_device()
    base = base.to(device).eval()
    mixture = None if whole is None or not whole.config.experts else whole.mixture.to(device).eval()
    found: dict[str, list[npt.NDArray[np.int64]]] = {"base": []}
    if mixture is not None:
        found["mixture"] = []
    parts = [indices[start : start + _BATCH] for start in range(0, len(indices), _BATCH)]
    for part in track(parts, "fp32 accuracy", len(parts), progress):
        batch = np.concatenate([tensors[int(index)] for index in part])
        images = torch.from_numpy(batch).permute(0, 3, 1, 2).to(device)  # channels last in memory
        logits, features, embedding = base(images)
        found["base"].append(logits.argmax(dim=1).cpu().numpy())
        if mixture is not None and whole is not None and mixture.gate is not None:
            best = mixture.gate(embedding).argmax(dim=1)
            experts = torch.empty_like(logits)
            for k in best.unique().tolist():
                experts[best == k] = mixture.experts[k](features[best == k])
            config = whole.config
            scores = ensemble(logits.cpu().numpy(), experts.cpu().numpy(), config.ensemble, config.space)
            found["mixture"].append(scores.argmax(axis=1))
    if whole is not None:
        whole.mixture.cpu()
    return {what: np.concatenate(answers) for what, answers in found.items()}
